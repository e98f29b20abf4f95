// What a response may be asked with. An empty field is not sent: the server's own default counts. Pure but for storage.

const STORED = "sluice.settings";
const LOGPROBS = "message.output_text.logprobs";
const VARIED_TEMPERATURE = 0.7;

/** The number fields: the names are those of the request, the bounds those of the server. */
export const NUMBERS = [
  { name: "temperature", label: "Temperature", min: 0, max: 2, step: 0.1, hint: "0 takes the likeliest token every time; Regenerate then takes 0.7." },
  { name: "top_p", label: "Top P", min: 0, max: 1, step: 0.05, hint: "Only the likeliest tokens that add up to this." },
  { name: "top_k", label: "Top K", min: 0, step: 1, hint: "Only this many of the likeliest tokens; 0 for all." },
  { name: "min_p", label: "Min P", min: 0, max: 1, step: 0.01, hint: "Only tokens this likely beside the likeliest one." },
  { name: "max_output_tokens", label: "Max output tokens", min: 1, step: 1, hint: "The reply stops there." },
  { name: "seed", label: "Seed", min: 0, step: 1, hint: "The same seed gives the same text, but for ties that rounding decides. Regenerate takes another." },
  { name: "top_logprobs", label: "Log probabilities", min: 0, max: 20, step: 1, hint: "So many alternatives of each token are shown too; empty: no probabilities." },
];

export const EMPTY = Object.freeze({
  model: "",
  instructions: "",
  tools: "",
  ...Object.fromEntries(NUMBERS.map(({ name }) => [name, ""])),
});

/** @returns {string} what is wrong with the text of a number field, or "". */
export function fault({ label, min, max = Infinity, step }, text) {
  if (text.trim() === "") return "";
  const value = Number(text);
  const whole = Number.isInteger(step);
  if (!Number.isFinite(value) || (whole && !Number.isSafeInteger(value))) {
    return `${label} must be a ${whole ? "whole number" : "number"}.`;
  }
  if (value < min || value > max) {
    return max === Infinity ? `${label} must be ${min} or more.` : `${label} must be between ${min} and ${max}.`;
  }
  return "";
}

/** @returns {string} what is wrong with the text of the functions, or "". */
export function toolsFault(text) {
  if (text.trim() === "") return "";
  try {
    return Array.isArray(JSON.parse(text)) ? "" : "The functions must be a JSON array.";
  } catch {
    return "The functions are no JSON.";
  }
}

/** The fields of `response.create` for these settings; a faulty number is left out, as its field says. */
export function parameters(settings) {
  const fields = {};
  if (settings.model !== "") fields.model = settings.model;
  if (settings.instructions.trim() !== "") fields.instructions = settings.instructions;
  if (settings.tools.trim() !== "" && toolsFault(settings.tools) === "") fields.tools = JSON.parse(settings.tools);
  for (const number of NUMBERS) {
    const text = settings[number.name];
    if (text.trim() !== "" && fault(number, text) === "") fields[number.name] = Number(text);
  }
  if (fields.top_logprobs !== undefined) fields.include = [LOGPROBS];
  return fields;
}

/** The fields for asking the same once more: with the seed, or without any chance, the same text would come. */
export function varied(fields, defaults, seed) {
  const greedy = (fields.temperature ?? defaults.temperature) === 0;
  return { ...fields, seed, ...(greedy ? { temperature: VARIED_TEMPERATURE } : {}) };
}

export function load(storage) {
  try {
    const saved = JSON.parse(storage.getItem(STORED) ?? "{}");
    const known = Object.keys(EMPTY).filter((name) => typeof saved[name] === "string");
    return { ...EMPTY, ...Object.fromEntries(known.map((name) => [name, saved[name]])) };
  } catch {
    return { ...EMPTY };
  }
}

export function save(storage, settings) {
  storage.setItem(STORED, JSON.stringify(settings));
}
