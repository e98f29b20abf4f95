// The message box: Enter sends, Shift+Enter breaks the line, Escape stops. What is typed outlives a reload.

const DRAFT = "sluice.draft";
const TALLEST = 0.4; // of the window

export class Composer {
  #chat;
  #connection;
  #storage;
  #form;
  #field;
  #send;
  #stop;
  #hint;
  #running = false;

  /** @param parts the elements {form, field, send, stop, hint}. */
  constructor(chat, connection, storage, { form, field, send, stop, hint }) {
    this.#chat = chat;
    this.#connection = connection;
    this.#storage = storage;
    this.#form = form;
    this.#field = field;
    this.#send = send;
    this.#stop = stop;
    this.#hint = hint;
    field.value = storage.getItem(DRAFT) ?? "";
    field.addEventListener("input", () => this.#typed());
    field.addEventListener("keydown", (event) => this.#key(event));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    stop.addEventListener("click", () => chat.stop());
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && document.querySelector("dialog:modal") === null) chat.stop();
    });
    for (const event of ["turn", "path"]) chat.addEventListener(event, () => this.#show());
    connection.addEventListener("state", () => this.#show());
    this.#typed();
  }

  /** Put a text into the box for the user to send or change. */
  suggest(text) {
    this.#field.value = text;
    this.#typed();
    this.focus();
  }

  focus() {
    this.#field.focus();
  }

  #key(event) {
    // While an input method is composing, Enter chooses a word.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    this.#form.requestSubmit();
  }

  #submit() {
    const text = this.#field.value;
    if (text.trim() === "") return;
    if (!this.#chat.send(text)) return this.explain();
    this.#field.value = "";
    this.#typed();
  }

  /** Why nothing was sent; the text stays where it is. */
  explain() {
    this.#hint.textContent = this.#chat.running
      ? "A reply is being written. Press Escape to stop it, then send."
      : "Not connected. Your message stays here and can be sent once the connection is back.";
    this.#hint.dataset.tone = "warning";
  }

  #typed() {
    if (this.#field.value === "") this.#storage.removeItem(DRAFT);
    else this.#storage.setItem(DRAFT, this.#field.value);
    this.#field.style.height = "auto";
    this.#field.style.height = `${Math.min(this.#field.scrollHeight, window.innerHeight * TALLEST)}px`;
    this.#explainUsual();
    this.#show();
  }

  #show() {
    const running = this.#chat.running;
    const hadFocus = document.activeElement;
    this.#send.hidden = running;
    this.#stop.hidden = !running;
    if (hadFocus === this.#send || hadFocus === this.#stop) (running ? this.#stop : this.#field).focus();
    this.#send.disabled = !this.#chat.ready || this.#field.value.trim() === "";
    if (running !== this.#running || this.#chat.ready) this.#explainUsual();
    this.#running = running;
  }

  #explainUsual() {
    this.#hint.textContent = this.#hint.dataset.usual;
    delete this.#hint.dataset.tone;
  }
}
