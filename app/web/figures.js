// The figures under a reply: times as this page saw them, tokens as the server counted them. Pure.

/** @returns {{label: string, value: string, title: string}[]} what is known so far, in reading order. */
export function figures(turn) {
  const shown = [];
  const add = (label, value, title) => shown.push({ label, value, title });
  const timed = turn.sentAt !== null;
  if (timed && turn.firstAt !== null) {
    add("first token", duration(turn.firstAt - turn.sentAt), "From sending the message to the first text on this page");
  }
  const rate = timed ? tokensPerSecond(turn) : null;
  if (rate !== null) add("tokens/s", rate, "Output tokens after the first, over the time from first to last text");
  if (turn.usage !== null) {
    const cached = turn.usage.input_tokens_details?.cached_tokens ?? 0;
    add("in", count(turn.usage.input_tokens), "Input tokens, the whole conversation included");
    add("cached", count(cached), "Input tokens that did not have to be computed again");
    add("out", count(turn.usage.output_tokens), "Output tokens");
  }
  if (timed && turn.endedAt !== null && turn.usage !== null) {
    add("total", duration(turn.endedAt - turn.sentAt), "From sending the message to the end of the response");
  }
  return shown;
}

export function duration(ms) {
  if (ms < 1) return "< 1 ms";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
  return `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1000)} s`;
}

function tokensPerSecond({ usage, firstAt, lastAt }) {
  if (usage === null || usage.output_tokens < 2 || !(lastAt > firstAt)) return null;
  const rate = (usage.output_tokens - 1) / ((lastAt - firstAt) / 1000);
  return rate < 100 ? rate.toFixed(1) : count(Math.round(rate));
}

function count(number) {
  return number.toLocaleString("en");
}
