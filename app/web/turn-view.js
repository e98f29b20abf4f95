// One turn on the page: the message, the reply as it grows, how it ended, its figures, and what can be done with it.

import { CallsView } from "./calls-view.js";
import { button, element } from "./element.js";
import { figures } from "./figures.js";
import { MarkdownView } from "./markdown-view.js";
import { notice } from "./notices.js";
import { OddsView } from "./odds-view.js";
import { isRunning } from "./turn.js";

const WAITING = {
  sending: "Sending…",
  queued: "Waiting for its turn…",
  working: "Reading the conversation…",
  resuming: "Looking for the rest of the reply…",
};

/** The notice of these says what helps; asking the same again does not, or is offered there. */
const NO_REGENERATING = new Set(["cut", "refused"]);

const ACTIONS = {
  retry: ["Try again", "retry"],
  edit: ["Edit the message", "edit"],
  resend: ["Resend the whole conversation", "retry"],
  settings: ["Open the settings", "settings"],
  key: ["Enter a key", "key"],
  new: ["New chat", "new"],
};

export class TurnView {
  #turn;
  #act;
  #question = element("div", { className: "question", dir: "auto" });
  #reply = element("div", { className: "reply" });
  #markdown = new MarkdownView(this.#reply);
  #calls = element("div", { className: "calls" });
  #callsView = new CallsView(this.#calls, (outputs) => this.#act("answer", outputs));
  #odds = new OddsView();
  #waiting = element("p", { className: "waiting" });
  #notice = element("div", { className: "notice", hidden: true });
  #figures = element("dl", { className: "figures", "aria-label": "Figures of this reply" });
  #tools = element("div", { className: "tools", role: "group", "aria-label": "This reply" });
  #copy = button("Copy the reply", {
    symbol: "copy",
    onClick: () => navigator.clipboard.writeText(this.#turn.reply),
  });
  #regenerate = button("Regenerate", { symbol: "retry", onClick: () => this.#act("retry") });
  #branch = element("span", { className: "branch" });

  /** @param act called with the name of an action and its argument. */
  constructor(turn, act) {
    this.#act = (name, argument) => act(name, this.#turn, argument);
    this.#turn = turn;
    const edit = button("Edit the message", { symbol: "edit", onClick: () => this.edit() });
    this.root = element(
      "article",
      { className: "turn", tabIndex: -1 },
      element(
        "div",
        { className: "asked", role: "group", "aria-label": turn.outputs ? "Result of the function" : "You" },
        this.#question,
        element("div", { className: "tools" }, turn.outputs ? null : edit),
      ),
      element(
        "div",
        { className: "answered", role: "group", "aria-label": "Reply" },
        this.#reply,
        this.#calls,
        this.#waiting,
        this.#notice,
        this.#odds.root,
        element("footer", {}, this.#figures, this.#tools),
      ),
    );
    this.#question.textContent = turn.text;
    this.#tools.append(this.#copy, this.#regenerate, this.#branch);
    this.show(turn);
  }

  /** Take the focus from a turn that this one stands for. */
  focus() {
    if (!isRunning(this.#turn)) this.#branch.querySelector("button:enabled")?.focus();
    if (!this.root.contains(document.activeElement)) this.root.focus();
  }

  show(turn) {
    const stateChanged = turn.state !== this.root.dataset.state;
    this.#turn = turn;
    this.#markdown.show(turn.reply);
    this.#callsView.show(turn.calls ?? [], !isRunning(turn));
    this.#odds.show(turn.odds ?? []);
    if (stateChanged) this.#showState(turn);
    this.#showFigures(turn);
  }

  /** Put an editor in the place of the message. */
  edit() {
    if (isRunning(this.#turn)) return;
    const field = element("textarea", { value: this.#turn.text, rows: 3, dir: "auto", "aria-label": "Edit the message" });
    const close = () => form.replaceWith(this.#question);
    const form = element(
      "form",
      {
        className: "editor",
        on: {
          submit: (event) => {
            event.preventDefault();
            if (field.value.trim() !== "") this.#act("send", field.value);
          },
          keydown: (event) => {
            if (event.key === "Escape") {
              event.stopPropagation();
              close();
            } else if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
              event.preventDefault();
              form.requestSubmit();
            }
          },
        },
      },
      field,
      element(
        "div",
        { className: "row" },
        button("Cancel", { text: true, onClick: close }),
        element("button", { type: "submit", className: "primary", textContent: "Send" }),
      ),
    );
    this.#question.replaceWith(form);
    field.focus();
    field.setSelectionRange(field.value.length, field.value.length);
  }

  #showState(turn) {
    this.root.dataset.state = turn.state;
    this.root.setAttribute("aria-busy", String(isRunning(turn)));
    this.#waiting.hidden = WAITING[turn.state] === undefined;
    this.#waiting.textContent = WAITING[turn.state] ?? "";
    this.#showNotice(notice(turn));
    this.#copy.hidden = turn.reply === "";
    this.#regenerate.hidden = NO_REGENERATING.has(turn.state);
  }

  #showNotice(said) {
    this.#notice.hidden = said === null;
    if (said === null) return this.#notice.replaceChildren();
    this.#notice.dataset.tone = said.tone;
    this.#notice.replaceChildren(
      element("p", { className: "title", textContent: said.title }),
      ...(said.text ? [element("p", { textContent: said.text })] : []),
      element("div", { className: "row" }, ...said.actions.map((name) => this.#actionButton(name))),
    );
  }

  #actionButton(name) {
    const [label, symbol] = ACTIONS[name];
    const onClick = name === "edit" ? () => this.edit() : () => this.#act(name);
    return button(label, { symbol, text: true, className: "plain", onClick });
  }

  #showFigures(turn) {
    const known = figures(turn);
    if (this.#figures.childElementCount === known.length && !isRunning(turn)) return;
    this.#figures.replaceChildren(
      ...known.map(({ label, value, title }) =>
        element("div", { title }, element("dt", { textContent: label }), element("dd", { textContent: value })),
      ),
    );
  }

  /** ‹ 2/3 › between the alternatives, when there are some. */
  showBranch(siblings) {
    if (siblings.length < 2) return this.#branch.replaceChildren();
    const at = siblings.findIndex(({ id }) => id === this.#turn.id);
    const to = (index, label, symbol) =>
      button(label, { symbol, disabled: !siblings[index], onClick: () => this.#act("select", siblings[index]) });
    this.#branch.replaceChildren(
      to(at - 1, "Earlier alternative", "left"),
      element("span", { textContent: `${at + 1}/${siblings.length}` }),
      to(at + 1, "Later alternative", "right"),
    );
  }
}
