// Runs before the first paint, so it is a classic script: a module would let the other theme flash by.
"use strict";

(() => {
  const chosen = localStorage.getItem("sluice.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
