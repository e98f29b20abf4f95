// Light, dark, or as the system says; `theme.js` has already set the stored choice before the first paint.

const STORED = "sluice.theme";
const NEXT = { system: "light", light: "dark", dark: "system" };

export class ThemeSwitch {
  #storage;
  #button;

  constructor(storage, button) {
    this.#storage = storage;
    this.#button = button;
    button.addEventListener("click", () => this.#choose(NEXT[this.#chosen]));
    this.#show();
  }

  get #chosen() {
    return document.documentElement.dataset.theme ?? "system";
  }

  #choose(theme) {
    if (theme === "system") {
      delete document.documentElement.dataset.theme;
      this.#storage.removeItem(STORED);
    } else {
      document.documentElement.dataset.theme = theme;
      this.#storage.setItem(STORED, theme);
    }
    this.#show();
  }

  #show() {
    const chosen = this.#chosen;
    const label = `Colours: ${chosen}. Change to ${NEXT[chosen]}`;
    this.#button.title = label;
    this.#button.setAttribute("aria-label", label);
    this.#button.querySelector("use").setAttribute("href", `#icon-${chosen}`);
  }
}
