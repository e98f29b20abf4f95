// The state of the connection: a dot, a word, and a way to try at once.

const WORDS = {
  idle: ["Not connected", "off"],
  connecting: ["Connecting…", "busy"],
  open: ["Connected", "on"],
  waiting: ["Reconnecting", "busy"],
  key: ["Key needed", "off"],
  stopped: ["Disconnected", "off"],
};
const TICK_MS = 500;

export class StatusView {
  #connection;
  #root;
  #word;
  #said;
  #ticking = null;

  /** @param root a button; pressing it connects, or asks for a key. @param said tells screen readers of changes. */
  constructor(connection, { root, said }, askForKey) {
    this.#connection = connection;
    this.#root = root;
    this.#said = said;
    this.#word = root.querySelector(".word");
    root.addEventListener("click", () => (connection.state.name === "key" ? askForKey() : connection.connect()));
    connection.addEventListener("state", () => this.#show());
    this.#show();
  }

  #show() {
    const { name, message } = this.#connection.state;
    const [word, light] = WORDS[name];
    clearInterval(this.#ticking);
    this.#root.dataset.light = light;
    this.#root.disabled = name === "open" || name === "connecting";
    this.#root.title = [message, this.#root.disabled ? "" : "Press to try now."].filter(Boolean).join(" ");
    this.#word.textContent = word;
    this.#said.textContent = word; // without the seconds, which would be read one by one
    if (name === "waiting") this.#countDown();
  }

  #countDown() {
    const { until } = this.#connection.state;
    const show = () => {
      const left = Math.ceil((until - Date.now()) / 1000);
      this.#word.textContent = left > 1 ? `Reconnecting in ${left} s` : "Reconnecting…";
    };
    this.#ticking = setInterval(show, TICK_MS);
    show();
  }
}
