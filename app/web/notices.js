// What to say when a reply did not simply end, and the way out of it. Pure.
//
// An action is one of: retry (ask again), edit (the message), resend (the conversation as items), settings, key, new.

const REFUSALS = {
  content_policy_violation: {
    title: "Your message was refused by the policy",
    text: "Change it.",
    actions: ["edit"],
  },
  previous_response_not_found: {
    title: "The server no longer has the earlier part of this conversation",
    text: "It can be sent again in full, as this page shows it.",
    actions: ["resend", "new"],
  },
  context_length_exceeded: {
    title: "The conversation is too long for the model",
    text: "Start a new chat, or shorten the message.",
    actions: ["edit", "new"],
  },
  request_too_large: {
    title: "The message is larger than the server accepts",
    text: "Shorten it, or send it in parts.",
    actions: ["edit"],
  },
  model_not_found: {
    title: "The server does not have this model",
    text: "Choose another one in the settings.",
    actions: ["settings", "retry"],
  },
  model_not_allowed: {
    title: "This key may not use this model",
    text: "Choose another model, or enter another key.",
    actions: ["settings", "key", "retry"],
  },
  insufficient_scope: {
    title: "This key may not ask for responses",
    text: "Enter a key that may.",
    actions: ["key", "retry"],
  },
  insufficient_quota: { title: "The quota of this key is used up", text: "", actions: ["key", "retry"] },
  budget_exceeded: { title: "The budget of this key is used up", text: "", actions: ["key", "retry"] },
  draining: { title: "The server is about to restart", text: "Try again in a moment.", actions: ["retry"] },
  queue_full: { title: "The server is busy", text: "Its queue is full.", actions: ["retry"] },
  queue_timeout: { title: "The server is busy", text: "The message waited too long for its turn.", actions: ["retry"] },
  server_is_overloaded: { title: "The server is busy", text: "", actions: ["retry"] },
  model_loading: { title: "The model is still loading", text: "Try again in a moment.", actions: ["retry"] },
  store_unavailable: {
    title: "The server cannot reach its store",
    text: "Conversations cannot be kept until it is back.",
    actions: ["retry"],
  },
  first_token_timeout: { title: "The model did not start in time", text: "", actions: ["retry"] },
  request_timeout: { title: "The reply took too long", text: "", actions: ["retry"] },
  rate_limit_exceeded: { title: "Too many requests for this key", text: "", actions: ["retry"] },
  slow_down: { title: "Too many requests at once", text: "", actions: ["retry"] },
};

const STOPPED_BY_SERVER = {
  tone: "warning",
  title: "The server stopped this reply",
  text: "What had arrived of it is kept.",
  actions: ["retry"],
};

const EXPIRED = { title: "The key no longer counts", text: "Enter another one.", actions: ["key", "retry"] };
for (const code of ["invalid_api_key", "expired_api_key", "revoked_api_key"]) REFUSALS[code] = EXPIRED;

/** @returns {{tone: "quiet" | "warning" | "error", title: string, text: string, actions: string[]} | null} */
export function notice(turn) {
  switch (turn.state) {
    case "completed":
      return turn.reply === "" && !turn.calls?.length ? quiet("The model ended its reply without any text.") : null;
    case "stopped":
      return stopped(turn);
    case "limit":
      return quiet(limitTitle(turn), "The reply is not finished. The limit can be raised in the settings.", ["settings"]);
    case "cut":
      return cut(turn.problem);
    case "interrupted":
      return interrupted(turn);
    case "refused":
    case "failed":
      return refusal(turn.problem);
    default:
      return null;
  }
}

function stopped(turn) {
  if (turn.problem === null) return quiet("Stopped.");
  return turn.problem.code === "connection_lost" ? interrupted(turn) : STOPPED_BY_SERVER;
}

function interrupted({ reply }) {
  return {
    tone: "warning",
    title: "The reply was interrupted: the connection was lost",
    text: reply === "" ? "Your message is kept." : "What had arrived of the reply is kept.",
    actions: ["retry"],
  };
}

function quiet(title, text = "", actions = []) {
  return { tone: "quiet", title, text, actions };
}

function limitTitle({ limit }) {
  if (limit === null) return "Stopped at the limit of output tokens.";
  return `Stopped at the limit of ${limit.toLocaleString("en")} output tokens.`;
}

function cut({ category, policyVersion }) {
  const reason = [category && `Category ${category}`, policyVersion && `policy ${policyVersion}`].filter(Boolean);
  const why = reason.length > 0 ? `${reason.join(", ")}. ` : "";
  return {
    tone: "warning",
    title: "The reply was cut by the policy",
    text: `${why}Asking the same again will not help: change the message.`,
    actions: ["edit"],
  };
}

function refusal({ code, message, param, retryAfterS }) {
  const known = REFUSALS[code];
  const actions = known?.actions ?? (param ? ["settings", "retry"] : ["retry"]);
  const wait = retryAfterS ? `Wait ${Math.ceil(retryAfterS)} s before trying again.` : "";
  // The server's own words name numbers and fields that a general sentence cannot.
  const text = [message, wait || (known?.text ?? "")].filter(Boolean).join(" ");
  return { tone: "error", title: known?.title ?? "The server did not answer this message", text, actions };
}
