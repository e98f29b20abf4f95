// What to do after a socket has closed or could not be opened. Pure: time and chance come in as arguments.

const FIRST_DELAY_MS = 400; // a restart of the server is noticed at once
const LONGEST_DELAY_MS = 15_000;
const SETTLED_MS = 5_000; // a socket that was open this long had a good key

// 1015 never reaches a page; 1009 was our own last message, and the next one may be smaller.
const RECONNECT = new Set([1001, 1005, 1006, 1009, 1011, 1012, 1013, 1015]);
const POLICY = 1008;

/** The wait before attempt number `attempt` (from 0): doubling, the upper half of it by chance. */
export function delayMs(attempt, chance) {
  const full = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** attempt);
  return Math.round(full / 2 + (full / 2) * chance);
}

/** @returns {"retry" | "key" | "stop"} after a socket closed with `code`, having been open for `openMs`. */
export function afterClose(code, openMs, limitReached = false) {
  if (limitReached || RECONNECT.has(code)) return "retry";
  if (code === POLICY) return openMs >= SETTLED_MS ? "retry" : "key"; // retry: the short-lived key may have run out
  return "stop";
}

/** @returns {"retry" | "key" | "stop"} after an exchange was answered with `status` (0: not at all). */
export function afterExchange(status) {
  if (status === 401 || status === 403) return "key";
  if (status === 0 || status === 408 || status === 429 || status >= 500) return "retry";
  return "stop";
}
