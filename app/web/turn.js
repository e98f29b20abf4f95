// One turn: what was asked, and its response as the events tell it. Pure: every change is a new object.

/** The states in which a response may still say something. */
const RUNNING = new Set(["sending", "queued", "working", "writing", "resuming"]);
/** The states whose response the server keeps and can continue from. */
const CONTINUABLE = new Set(["completed", "stopped", "limit", "cut"]);
const CONNECTION_LOST = { code: "connection_lost", message: "" };

/** @param outputs what functions gave that the turn before called, as {call_id, output}; null for a message. */
export function newTurn(id, parent, text, now, outputs = null) {
  return {
    id,
    parent, // the turn before, or null
    text,
    outputs,
    state: "sending",
    responseId: null,
    seen: -1, // the number of the last event
    model: null,
    reply: "",
    calls: [], // {name, call_id, arguments, status}
    odds: [], // of each token {token, logprob, top_logprobs}, where they were asked for
    problem: null, // {code, message, param, retryAfterS, category, policyVersion} of an end that was not `completed`
    limit: null, // max_output_tokens as the server understood it
    usage: null,
    sentAt: now, // null when the page was reloaded since: its clock began anew
    firstAt: null,
    lastAt: null,
    endedAt: null,
  };
}

export function isRunning(turn) {
  return RUNNING.has(turn.state);
}

export function isContinuable(turn) {
  return turn.responseId !== null && CONTINUABLE.has(turn.state);
}

/** The turn after an event of its response. An event that says nothing to a reader changes nothing. */
export function afterEvent(before, event, now) {
  const turn = { ...before, seen: event.sequence_number ?? before.seen };
  switch (event.type) {
    case "response.created":
      return { ...turn, state: "working", responseId: event.response.id, model: event.response.model };
    case "response.queued":
      return { ...turn, state: "queued" };
    case "response.in_progress":
      return { ...turn, state: "working" };
    case "response.output_text.delta":
      return { ...said(turn, now), reply: turn.reply + event.delta, odds: [...turn.odds, ...(event.logprobs ?? [])] };
    case "response.output_text.done": // may be shorter than the deltas were: what is gone was taken back
      return { ...turn, reply: event.text };
    case "response.output_item.added":
      return event.item.type === "function_call" ? { ...turn, calls: [...turn.calls, event.item] } : turn;
    case "response.function_call_arguments.delta":
      return { ...said(turn, now), calls: turn.calls.map((call) => longer(call, event)) };
    case "response.completed":
    case "response.incomplete":
    case "response.cancelled": // the status of a response that was read as a whole
    case "response.failed":
      return ended(turn, event.response, now);
    default:
      return turn;
  }
}

function said(turn, now) {
  return { ...turn, state: "writing", firstAt: turn.firstAt ?? now, lastAt: now };
}

function longer(call, { item_id: id, delta }) {
  return call.id === id ? { ...call, arguments: call.arguments + delta } : call;
}

/** The turn after the server refused it: there is no response. */
export function afterRefusal(turn, event, now) {
  const { code, message, param } = event.error;
  const retryAfterS = Number.parseFloat(event.headers?.["retry-after"] ?? "") || null;
  return { ...turn, state: "refused", problem: { code, message, param, retryAfterS }, endedAt: now };
}

/** The turn after its socket was lost; what arrived is kept. */
export function afterLoss(turn, now) {
  return { ...turn, state: "interrupted", problem: CONNECTION_LOST, endedAt: now };
}

/** Whether the server may have more of its reply than arrived. */
export function hasRest(turn) {
  return turn.state === "interrupted" && turn.responseId !== null;
}

/** The turn while the rest of its reply is awaited. Its times would be those of the gap. */
export function afterReturn(turn) {
  return { ...turn, state: "resuming", problem: null, sentAt: null, endedAt: null };
}

/** The turn after the server stopped it unasked: because its socket was lost, if it was. */
export function stoppedUnasked(turn) {
  const problem = turn.sentAt === null ? CONNECTION_LOST : { code: "stopped_by_server", message: "" };
  return { ...turn, problem };
}

/** The turn after the server said that it does not know the response. */
export function afterOblivion(turn, now) {
  return { ...afterLoss(turn, now), responseId: null };
}

function ended(turn, response, now) {
  return {
    ...turn,
    state: endState(response),
    reply: releasedText(response) ?? turn.reply,
    calls: response.output.length > 0 ? response.output.filter(({ type }) => type === "function_call") : turn.calls,
    odds: releasedText(response) === null ? turn.odds : releasedOdds(response),
    problem: problemOf(response),
    limit: response.max_output_tokens ?? null,
    usage: response.usage ?? null,
    endedAt: now,
  };
}

function endState({ status, incomplete_details: details }) {
  if (status === "completed" || status === "failed") return status;
  if (status === "cancelled") return "stopped";
  return details?.reason === "content_filter" ? "cut" : "limit";
}

function problemOf({ error, incomplete_details: details }) {
  if (error) return { code: error.code, message: error.message };
  if (!details) return null;
  return { code: details.reason, message: "", category: details.category, policyVersion: details.policy_version };
}

/** The terminal event's own text is the truth; null when it carries none. */
function releasedText({ output, status }) {
  if (output.length === 0) return status === "failed" ? null : "";
  return output.flatMap((item) => item.content ?? []).map((part) => part.text ?? "").join("");
}

function releasedOdds({ output }) {
  return output.flatMap((item) => item.content ?? []).flatMap((part) => part.logprobs ?? []);
}
