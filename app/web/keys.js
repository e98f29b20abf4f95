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
    const answer = await this.#fetch(path, AbortSignal.timeout(EXCHANGE_TIMEOUT_MS), {
      method,
      body: body && JSON.stringify(body),
      ...(body ? { headers: { "Content-Type": "application/json" } } : {}),
    });
    return answer.json().catch(unreachable);
  }

  /** The events of a stream, as they come. @throws {ExchangeError} as `request` does, also when it breaks off. */
  async *events(path, signal) {
    const answer = await this.#fetch(path, signal);
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read().catch(unreachable);
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) if (line.startsWith("data: ")) yield JSON.parse(line.slice("data: ".length));
    }
  }

  async #fetch(path, signal, { headers = {}, ...options } = {}) {
    const answer = await fetch(path, {
      headers: { Authorization: `Bearer ${this.key}`, ...headers },
      cache: "no-store",
      signal,
      ...options,
    }).catch(unreachable);
    if (!answer.ok) throw await refusalOf(answer);
    return answer;
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

function unreachable() {
  throw new ExchangeError(0, "unreachable", "The server cannot be reached.");
}

async function refusalOf(answer) {
  const content = await answer.json().catch(() => null);
  const retryAfterS = Number.parseFloat(answer.headers.get("retry-after") ?? "");
  return new ExchangeError(
    answer.status,
    content?.error?.code ?? "unknown",
    content?.error?.message ?? `The server answered ${answer.status}.`,
    Number.isFinite(retryAfterS) ? retryAfterS : null,
  );
}
