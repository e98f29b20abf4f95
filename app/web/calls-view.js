// The calls of a reply: name and arguments, and a place to say what the function gave.

import { element } from "./element.js";

export class CallsView {
  #root;
  #answer;
  #shown = "";

  /** @param answer called with {call_id, output} of every call, when the user sends them. */
  constructor(root, answer) {
    this.#root = root;
    this.#answer = answer;
  }

  show(calls, ended) {
    const wanted = JSON.stringify([calls, ended]);
    if (wanted === this.#shown) return;
    this.#shown = wanted;
    const whole = calls.filter(({ status }) => status === "completed");
    this.#root.replaceChildren(...calls.map(callNode), ...(ended && whole.length > 0 ? [this.#form(whole)] : []));
  }

  #form(calls) {
    const fields = calls.map(({ name }) =>
      element("textarea", { rows: 2, dir: "auto", required: true, "aria-label": `What ${name} gave`, placeholder: `What ${name} gave` }),
    );
    const submit = (event) => {
      event.preventDefault();
      this.#answer(calls.map(({ call_id }, at) => ({ call_id, output: fields[at].value })));
    };
    const send = element("button", { type: "submit", className: "plain", textContent: calls.length > 1 ? "Send the results" : "Send the result" });
    return element("form", { className: "results", on: { submit } }, ...fields, element("div", { className: "row" }, send));
  }
}

function callNode({ name, arguments: given, status }) {
  const unfinished = status === "completed" ? "" : " (unfinished)";
  return element(
    "figure",
    { className: "code call" },
    element("figcaption", {}, element("span", { textContent: `Calls ${name}${unfinished}` })),
    element("pre", { tabIndex: 0, role: "region", "aria-label": `Arguments for ${name}` }, element("code", { textContent: laidOut(given) })),
  );
}

function laidOut(given) {
  try {
    return JSON.stringify(JSON.parse(given), null, 2);
  } catch {
    return given; // still being written
  }
}
