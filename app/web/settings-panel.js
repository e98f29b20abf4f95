// The settings: a panel beside the chat where there is room for both, else a dialog over it.

import { element } from "./element.js";
import { EMPTY, NUMBERS, fault, load, save, toolsFault } from "./settings.js";

const WIDE = "(min-width: 64rem)"; // as in layout.css
const SHOWN = "sluice.panel";
const WITHOUT = { seed: "random", max_output_tokens: "no limit", top_logprobs: "none" }; // what no model has a default for

export class SettingsPanel {
  #storage;
  #panel;
  #toggle;
  #model;
  #answering;
  #values;
  #fields = new Map();
  #models = []; // as the server lists them

  /** @param parts the elements {panel (a dialog), toggle, close, reset, model, answering, instructions, tools, numbers}. */
  constructor(storage, { panel, toggle, close, reset, model, answering, instructions, tools, numbers }) {
    this.#storage = storage;
    this.#panel = panel;
    this.#toggle = toggle;
    this.#model = model;
    this.#answering = answering;
    this.#values = load(storage);
    numbers.append(...NUMBERS.map((number) => this.#numberField(number)));
    this.#bind("model", model);
    model.addEventListener("input", () => this.#showDefaults());
    this.#bind("instructions", instructions);
    this.#bindTools(tools);
    toggle.addEventListener("click", () => (panel.open ? panel.close() : this.open()));
    close.addEventListener("click", () => panel.close());
    reset.addEventListener("click", () => this.#reset());
    panel.addEventListener("close", () => this.#noteOpen());
    panel.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
    matchMedia(WIDE).addEventListener("change", () => panel.open && this.#reopen());
    if (matchMedia(WIDE).matches && storage.getItem(SHOWN) !== "no") this.#show();
    this.#noteOpen();
  }

  get values() {
    return this.#values;
  }

  /** What counts where a field is empty, as far as the server has said. */
  get defaults() {
    const chosen = this.#models.find(({ id }) => id === this.#values.model) ?? this.#models[0];
    return chosen?.defaults ?? {};
  }

  open() {
    if (!this.#panel.open) this.#show();
    this.#noteOpen();
    this.#panel.querySelector("select").focus();
  }

  /** Offer these models; a chosen one that is not among them stays chosen, and the server will say so. */
  offer(models) {
    this.#models = models;
    this.#offerNames(models.map(({ id }) => id));
    this.#showDefaults();
  }

  #offerNames(models) {
    const chosen = this.#values.model;
    const known = chosen === "" || models.includes(chosen) ? models : [...models, chosen];
    this.#model.replaceChildren(
      element("option", { value: "", textContent: "Default" }),
      ...known.map((model) => element("option", { value: model, textContent: model })),
    );
    this.#model.value = chosen;
  }

  #showDefaults() {
    const model = this.#values.model || this.#models[0]?.id;
    this.#answering.textContent = model === undefined ? "" : `Answered by ${model}.`; // in full: the list may clip it
    for (const { name } of NUMBERS) {
      const value = this.defaults[name];
      this.#fields.get(name).placeholder = value === undefined ? WITHOUT[name] ?? "default" : String(value);
    }
  }

  #show() {
    if (matchMedia(WIDE).matches) this.#panel.show();
    else this.#panel.showModal();
  }

  #reopen() {
    this.#panel.close();
    this.#show();
    this.#noteOpen();
  }

  #noteOpen() {
    this.#toggle.setAttribute("aria-expanded", String(this.#panel.open));
    if (matchMedia(WIDE).matches) this.#storage.setItem(SHOWN, this.#panel.open ? "yes" : "no");
  }

  #bind(name, field) {
    this.#fields.set(name, field);
    field.value = this.#values[name];
    field.addEventListener("input", () => this.#set(name, field.value));
  }

  #bindTools(field) {
    const about = document.getElementById(field.getAttribute("aria-describedby"));
    const hint = about.textContent;
    this.#bind("tools", field);
    checked(field, about, () => toolsFault(field.value), hint);
  }

  #set(name, value) {
    this.#values = { ...this.#values, [name]: value };
    save(this.#storage, this.#values);
  }

  #reset() {
    this.#values = { ...EMPTY };
    save(this.#storage, this.#values);
    for (const [name, field] of this.#fields) {
      field.value = EMPTY[name];
      field.dispatchEvent(new Event("input"));
    }
  }

  #numberField(number) {
    const { name, label, hint, min, max, step } = number;
    const about = element("small", { id: `${name}-about`, textContent: hint });
    const field = element("input", {
      type: "number",
      id: name,
      inputMode: step < 1 ? "decimal" : "numeric",
      placeholder: WITHOUT[name] ?? "default",
      min: String(min),
      max: max === undefined ? undefined : String(max),
      step: String(step),
      "aria-describedby": about.id,
    });
    this.#bind(name, field);
    const wrong = () => (field.validity.badInput ? `${label} must be a number.` : fault(number, field.value));
    checked(field, about, wrong, hint);
    return element("div", { className: "number" }, element("label", { htmlFor: name, textContent: label }), field, about);
  }
}

/** Tell below a field what is wrong with it, now and whenever it changes. */
function checked(field, about, fault, hint) {
  const check = () => {
    const wrong = fault();
    field.setAttribute("aria-invalid", String(wrong !== ""));
    about.textContent = wrong === "" ? hint : `${wrong} What stands here is not used.`;
    about.classList.toggle("wrong", wrong !== "");
  };
  field.addEventListener("input", check);
  check();
}
