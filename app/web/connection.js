// One socket that comes back: exchange the key, open, and after a loss try again with a fresh short-lived key.

import { afterClose, afterExchange, delayMs } from "./backoff.js";

const PATH = "/v1/responses";
const PROTOCOL = "sluice.v1.json";
const KEY_PREFIX = "openai-insecure-api-key.";
const LIMIT_REACHED = "websocket_connection_limit_reached";

/**
 * Fires `state` (after each change of `state`), `message` (detail: the parsed event) and `lost` (a socket that was
 * open has closed). States: idle, connecting, open, waiting (`until`, a time in ms), key (needs one), stopped.
 */
export class Connection extends EventTarget {
  state = { name: "idle", message: "" };
  #keys;
  #socket = null;
  #attempt = 0;
  #timer = null;
  #round = 0; // a newer round makes every answer to an older one void

  constructor(keys) {
    super();
    this.#keys = keys;
  }

  get open() {
    return this.state.name === "open";
  }

  /** Start, or start over at once. */
  connect() {
    this.#abandon();
    if (this.#keys.key === null) return this.#become("key");
    this.#become("connecting");
    this.#exchange(this.#round);
  }

  close() {
    this.#abandon();
    this.#become("idle");
  }

  /** @returns false when there is no open socket: nothing was sent. */
  send(event) {
    if (!this.open) return false;
    this.#socket.send(JSON.stringify(event));
    return true;
  }

  async #exchange(round) {
    try {
      const secret = await this.#keys.exchange();
      if (round === this.#round) this.#dial(secret, round);
    } catch (error) {
      if (round !== this.#round) return;
      this.#follow(afterExchange(error.status), error.message, error.retryAfterS);
    }
  }

  #dial(secret, round) {
    const socket = new WebSocket(PATH, [PROTOCOL, KEY_PREFIX + secret]);
    let openedAt = null;
    let limitReached = false;
    socket.addEventListener("open", () => {
      if (round !== this.#round) return;
      openedAt = performance.now();
      this.#attempt = 0;
      this.#become("open");
    });
    socket.addEventListener("message", (message) => {
      if (round !== this.#round) return;
      const event = JSON.parse(message.data);
      limitReached ||= event.type === "error" && event.error.code === LIMIT_REACHED;
      this.dispatchEvent(new CustomEvent("message", { detail: event }));
    });
    socket.addEventListener("close", ({ code }) => {
      if (round !== this.#round) return;
      const openMs = openedAt === null ? 0 : performance.now() - openedAt;
      this.#socket = null;
      this.#follow(afterClose(code, openMs, limitReached), openedAt === null ? "The server cannot be reached." : "");
      if (openedAt !== null) this.dispatchEvent(new CustomEvent("lost", { detail: { code } }));
    });
    this.#socket = socket;
  }

  #follow(step, message, retryAfterS = null) {
    if (step !== "retry") return this.#become(step === "key" ? "key" : "stopped", { message });
    const wait = Math.max(delayMs(this.#attempt++, Math.random()), (retryAfterS ?? 0) * 1000);
    this.#timer = setTimeout(() => this.connect(), wait);
    this.#become("waiting", { message, until: Date.now() + wait });
  }

  #abandon() {
    this.#round++;
    clearTimeout(this.#timer);
    const hadOpen = this.open;
    this.#socket?.close(1000);
    this.#socket = null;
    if (hadOpen) this.dispatchEvent(new CustomEvent("lost", { detail: { code: 1000 } }));
  }

  #become(name, more = {}) {
    this.state = { name, message: "", ...more };
    this.dispatchEvent(new Event("state"));
  }
}
