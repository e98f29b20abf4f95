// How likely each token was, and what else might have come: a table that is made when it is opened.

import { element } from "./element.js";

export class OddsView {
  root = element("details", { className: "odds", hidden: true });
  #odds = [];

  constructor() {
    this.root.append(element("summary", { textContent: "Log probabilities" }));
    this.root.addEventListener("toggle", () => this.#draw());
  }

  show(odds) {
    if (odds.length === this.#odds.length && odds.at(-1) === this.#odds.at(-1)) return;
    this.#odds = odds;
    this.root.hidden = odds.length === 0;
    this.#draw();
  }

  #draw() {
    this.root.querySelector(".table")?.remove();
    if (!this.root.open) return;
    const heading = (text, className = "") => element("th", { scope: "col", className, textContent: text });
    this.root.append(
      element(
        "div",
        { className: "table", tabIndex: 0, role: "region", "aria-label": "Log probabilities" },
        element(
          "table",
          {},
          element("thead", {}, element("tr", {}, heading("Token"), heading("Probability", "end"), heading("Log", "end"), heading("Alternatives"))),
          element("tbody", {}, ...this.#odds.map(row)),
        ),
      ),
    );
  }
}

function row({ token, logprob, top_logprobs: others = [] }) {
  const said = others.filter((other) => other.token !== token).map((other) => `${quoted(other.token)} ${percent(other.logprob)}`);
  return element(
    "tr",
    {},
    element("td", {}, element("code", { textContent: quoted(token) })),
    element("td", { className: "end", textContent: percent(logprob) }),
    element("td", { className: "end", textContent: logprob.toFixed(2) }),
    element("td", { textContent: said.join(", ") }),
  );
}

/** With its blanks and line ends to be seen. */
function quoted(token) {
  return JSON.stringify(token).slice(1, -1).replaceAll(" ", "␣");
}

function percent(logprob) {
  const share = Math.exp(logprob) * 100;
  return share < 0.1 ? "< 0.1 %" : `${share.toFixed(1)} %`;
}
