// A conversation is a tree of turns: asking again or editing grows a branch beside the old one. No I/O.

import { afterLoss, isContinuable, isRunning, newTurn } from "./turn.js";

export class Conversation {
  #turns = new Map();
  #leaf = null;
  #nextId = 1;

  /** @param saved what `save` gave; turns that were running when it was saved have lost their socket. */
  static restore(saved, now) {
    const conversation = new Conversation();
    for (const turn of saved.turns) {
      conversation.#turns.set(turn.id, isRunning(turn) ? afterLoss(turn, now) : turn);
      conversation.#nextId = Math.max(conversation.#nextId, turn.id + 1);
    }
    conversation.#leaf = conversation.#turns.has(saved.leaf) ? saved.leaf : null;
    return conversation;
  }

  save() {
    return { turns: [...this.#turns.values()], leaf: this.#leaf };
  }

  get leaf() {
    return this.turn(this.#leaf);
  }

  turn(id) {
    return this.#turns.get(id) ?? null;
  }

  /** From the first turn to the one being read. */
  path() {
    const path = [];
    for (let turn = this.leaf; turn !== null; turn = this.turn(turn.parent)) path.unshift(turn);
    return path;
  }

  /** A new last turn under `parent`, the branch now read. */
  add(parent, text, now, outputs = null) {
    const turn = newTurn(this.#nextId++, parent, text, now, outputs);
    this.#turns.set(turn.id, turn);
    this.#leaf = turn.id;
    return turn;
  }

  /** The turn with this id is now this one. */
  put(turn) {
    this.#turns.set(turn.id, turn);
  }

  /** Take a turn out, unless another follows it. */
  remove({ id, parent }) {
    if ([...this.#turns.values()].some((other) => other.parent === id)) return;
    this.#turns.delete(id);
    if (this.#leaf === id) this.#leaf = parent;
  }

  /** The turn and its alternatives, oldest first. */
  siblings({ parent }) {
    return [...this.#turns.values()].filter((other) => other.parent === parent);
  }

  /** Read the branch of this turn, down to its newest end. */
  select(id) {
    let last = id;
    for (const turn of this.#turns.values()) if (turn.parent === last) last = turn.id; // children come after parents
    this.#leaf = last;
  }

  /** The server no longer has the responses before this turn: it will be told them as items. */
  forgetResponsesBefore(turn) {
    for (let earlier = this.turn(turn.parent); earlier !== null; earlier = this.turn(earlier.parent)) {
      this.put({ ...earlier, responseId: null });
    }
  }

  /**
   * What to send for this turn: the nearest response before it that the server has, and every message since.
   * A refused turn was never part of the conversation.
   */
  context(turn) {
    const items = asked(turn);
    for (let earlier = this.turn(turn.parent); earlier !== null; earlier = this.turn(earlier.parent)) {
      if (isContinuable(earlier)) return { previous_response_id: earlier.responseId, input: items };
      if (earlier.state === "refused") continue;
      items.unshift(...asked(earlier), ...answered(earlier));
    }
    return { input: items };
  }
}

function asked({ text, outputs }) {
  if (!outputs) return [message("user", text)];
  return outputs.map((output) => ({ type: "function_call_output", ...output }));
}

function answered({ reply, calls = [] }) {
  const said = reply === "" ? [] : [message("assistant", reply)];
  const whole = calls.filter(({ status }) => status === "completed");
  return [...said, ...whole.map(({ call_id, name, arguments: given }) => ({ type: "function_call", call_id, name, arguments: given }))];
}

function message(role, content) {
  return { type: "message", role, content };
}
