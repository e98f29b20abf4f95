// Asking for the key: what was wrong with the last one, and where to find one.

export class KeyDialog {
  #dialog;
  #field;
  #fault;

  /** @param parts the elements {dialog, field, fault, later}; @param use called with a key that was entered. */
  constructor({ dialog, field, fault, later }, use) {
    this.#dialog = dialog;
    this.#field = field;
    this.#fault = fault;
    dialog.querySelector("form").addEventListener("submit", (event) => {
      event.preventDefault();
      const key = field.value.trim();
      if (key === "") return this.ask("Enter a key.");
      field.value = "";
      dialog.close();
      use(key);
    });
    later.addEventListener("click", () => dialog.close());
  }

  ask(fault = "") {
    this.#fault.textContent = fault;
    this.#fault.hidden = fault === "";
    this.#field.setAttribute("aria-invalid", String(fault !== ""));
    if (!this.#dialog.open) this.#dialog.showModal();
    this.#field.focus();
  }
}
