// The key: out of the address or a dialog, kept for this tab only, spent on short-lived keys for sockets.

const STORED = "sluice.key";
const EXCHANGE_TIMEOUT_MS = 10_000;

/** Why no short-lived key was given: `status` 0 when the server was not reached. */
export class ExchangeError extends Error {
  constructor(status, code, message, retryAfterS = null) {
    super(message);
    this.status = status;
    this.code = code;
    this.retryAfterS = retryAfterS;
  }
}

/** Take `#key=…` out of the address bar, so that it is neither shared nor kept in the history. */
export function takeKeyFromAddress(location, history) {
  const key = new URLSearchParams(location.hash.slice(1)).get("key");
  if (key === null) return null;
  history.replaceState(null, "", location.pathname + location.search);
  return key.trim() || null;
}

export class Keys {
  #storage;

  constructor(storage) {
    this.#storage = storage;
  }

  get key() {
    return this.#storage.getItem(STORED);
  }

  keep(key) {
    this.#storage.setItem(STORED, key);
  }

  forget() {
    this.#storage.removeItem(STORED);
  }

  /** A request in the name of the key. @throws {ExchangeError} for every answer but 2xx, and for none. */
  async request(method, path, body = undefined) {
    let answer;
    try {
      answer = await fetch(path, {
        method,
        headers: { Authorization: `Bearer ${this.key}`, ...(body ? { "Content-Type": "application/json" } : {}) },
        body: body && JSON.stringify(body),
        cache: "no-store",
        signal: AbortSignal.timeout(EXCHANGE_TIMEOUT_MS),
      });
    } catch {
      throw new ExchangeError(0, "unreachable", "The server cannot be reached.");
    }
    const content = await answer.json().catch(() => null);
    if (answer.ok && content !== null) return content;
    const retryAfterS = Number.parseFloat(answer.headers.get("retry-after") ?? "");
    throw new ExchangeError(
      answer.status,
      content?.error?.code ?? "unknown",
      content?.error?.message ?? `The server answered ${answer.status}.`,
      Number.isFinite(retryAfterS) ? retryAfterS : null,
    );
  }

  /** A short-lived key for one socket: a browser cannot send the lasting one in a header. */
  async exchange() {
    if (this.key?.startsWith("ek_")) return this.key; // it is one, from the address the server printed
    const secret = await this.request("POST", "/v1/realtime/client_secrets", {});
    return secret.value;
  }

  async models() {
    const list = await this.request("GET", "/v1/models");
    return list.data;
  }
}
