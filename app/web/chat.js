// The conversation over the connection: what is asked becomes `response.create`, what is heard becomes turns.

import { Conversation } from "./conversation.js";
import { restOf } from "./rest.js";
import {
  afterEvent,
  afterLoss,
  afterOblivion,
  afterRefusal,
  afterReturn,
  hasRest,
  isRunning,
  stoppedUnasked,
} from "./turn.js";

const STORED = "sluice.conversation";
const LANES = 8; // a chat left behind may still be ending on its lane; a connection has 32 in all
const TOO_LARGE_CLOSE = 1009;
const NOT_FOUND = 404;
const HARMLESS = new Set(["response_not_found"]); // a stop that came after the end

/**
 * Fires `turn` (detail: the changed turn) for a change of a shown turn, `path` when other turns are shown, and
 * `fault` (detail: an error event) for what the server said of no turn.
 */
export class Chat extends EventTarget {
  #connection;
  #keys;
  #parameters;
  #storage;
  #conversation;
  #chats = 0;
  #asked = new Map(); // lane -> {conversation, id, stopWanted, lost} of the response it speaks of

  /** @param parameters gives the settings as fields of `response.create`, for another reply to the same if told so. */
  constructor(connection, keys, parameters, storage) {
    super();
    this.#connection = connection;
    this.#keys = keys;
    this.#parameters = parameters;
    this.#storage = storage;
    this.#conversation = this.#restored();
    connection.addEventListener("state", () => connection.open && this.#goOn());
    connection.addEventListener("message", ({ detail }) => this.#hear(detail));
    connection.addEventListener("lost", ({ detail }) => this.#lose(detail.code));
  }

  get path() {
    return this.#conversation.path();
  }

  get running() {
    const leaf = this.#conversation.leaf;
    return leaf !== null && isRunning(leaf);
  }

  get ready() {
    return this.#connection.open && !this.running;
  }

  siblings(turn) {
    return this.#conversation.siblings(turn);
  }

  /** @returns whether the message went out; if not, nothing has changed. */
  send(text) {
    return this.#ask(this.#conversation.leaf?.id ?? null, text);
  }

  /** Ask the same again, for another reply beside the one that there is. */
  retry(turn) {
    return this.#replace(turn, turn.text, turn.reply !== "", turn.outputs);
  }

  /** Tell the model what the functions gave that it called in this turn. */
  answer(turn, outputs) {
    return this.#ask(turn.id, outputs.map(({ output }) => output).join("\n"), false, outputs);
  }

  /** Ask something else in the place of this turn; it stays as an alternative if it was answered at all. */
  edit(turn, text) {
    return this.#replace(turn, text, false);
  }

  /** Ask again with the whole conversation as items, for a server that has lost it. */
  resend(turn) {
    if (!this.ready) return false;
    this.#conversation.forgetResponsesBefore(turn);
    return this.retry(turn);
  }

  stop() {
    const asked = this.#asked.get(this.#lane);
    if (asked === undefined) return;
    asked.stopWanted = true;
    this.#sendStop(asked);
  }

  /** Read another branch: the one this turn is of. */
  select(turn) {
    if (this.running) return;
    this.#conversation.select(turn.id);
    this.#changedPath();
  }

  /** Leave this conversation for an empty one. */
  begin() {
    this.stop();
    this.#chats++;
    this.#conversation = new Conversation();
    this.#changedPath();
  }

  save() {
    try {
      this.#storage.setItem(STORED, JSON.stringify(this.#conversation.save()));
    } catch {
      this.#storage.removeItem(STORED); // more than the browser keeps for a tab: a reload begins anew
    }
  }

  get #lane() {
    return `chat-${this.#chats % LANES}`;
  }

  #restored() {
    try {
      const saved = JSON.parse(this.#storage.getItem(STORED));
      return saved ? Conversation.restore(saved, performance.now()) : new Conversation();
    } catch {
      return new Conversation(); // of an older version of this page
    }
  }

  #replace(turn, text, another, outputs = null) {
    if (!this.ready) return false;
    if (turn.responseId === null && turn.reply === "") this.#conversation.remove(turn);
    return this.#ask(turn.parent, text, another, outputs);
  }

  #ask(parent, text, another = false, outputs = null) {
    if (!this.ready) return false;
    const lane = this.#lane;
    const conversation = this.#conversation;
    const turn = conversation.add(parent, text, performance.now(), outputs);
    this.#listen(conversation, turn);
    this.#connection.send({
      type: "response.create",
      stream_id: lane,
      store: true,
      ...this.#parameters(another),
      ...conversation.context(turn),
    });
    this.#changedPath();
    return true;
  }

  #listen(conversation, turn) {
    const asked = { conversation, id: turn.id, stopWanted: false, lost: new AbortController() };
    this.#asked.set(this.#lane, asked);
    return asked;
  }

  /** Read the rest of a reply whose socket was lost, before or since the page was loaded. */
  async #goOn() {
    const turn = this.#conversation.leaf;
    if (turn === null || !hasRest(turn)) return;
    const lane = this.#lane;
    const asked = this.#listen(this.#conversation, turn);
    this.#put(afterReturn(turn), asked, lane);
    const running = () => this.#asked.get(lane) === asked;
    try {
      for await (const event of restOf(this.#keys, turn.responseId, turn.seen, asked.lost.signal)) {
        if (running()) this.#tell(event, asked, lane);
      }
      if (running()) this.#put(afterLoss(this.#told(asked), performance.now()), asked, lane);
    } catch (error) {
      const end = error.status === NOT_FOUND ? afterOblivion : afterLoss;
      if (running()) this.#put(end(this.#told(asked), performance.now()), asked, lane);
    }
  }

  #hear(event) {
    const asked = this.#asked.get(event.stream_id);
    if (event.type === "error") return this.#hearError(event, asked);
    if (asked === undefined) return;
    this.#tell(event, asked, event.stream_id);
    if (event.type === "response.created" && asked.stopWanted) this.#sendStop(asked);
  }

  #told({ conversation, id }) {
    return conversation.turn(id);
  }

  #tell(event, asked, lane) {
    const turn = afterEvent(this.#told(asked), event, performance.now());
    const unasked = turn.state === "stopped" && !asked.stopWanted;
    this.#put(unasked ? stoppedUnasked(turn) : turn, asked, lane);
  }

  #hearError(event, asked) {
    if (HARMLESS.has(event.error.code)) return;
    const turn = asked?.conversation.turn(asked.id);
    if (turn === undefined) return this.dispatchEvent(new CustomEvent("fault", { detail: event }));
    if (turn.responseId !== null) return; // its `response.failed` follows and says the same
    this.#put(afterRefusal(turn, event, performance.now()), asked, event.stream_id);
  }

  #lose(code) {
    for (const [lane, asked] of this.#asked) {
      const turn = this.#told(asked);
      asked.lost.abort();
      const tooLarge = code === TOO_LARGE_CLOSE && turn.responseId === null;
      const refusal = { error: { code: "request_too_large", message: "" } };
      const now = performance.now();
      this.#put(tooLarge ? afterRefusal(turn, refusal, now) : afterLoss(turn, now), asked, lane);
    }
  }

  #put(turn, { conversation }, lane) {
    conversation.put(turn);
    if (!isRunning(turn)) this.#asked.delete(lane);
    if (conversation !== this.#conversation) return;
    if (!isRunning(turn)) this.save();
    this.dispatchEvent(new CustomEvent("turn", { detail: turn }));
  }

  #sendStop({ conversation, id }) {
    const { responseId } = conversation.turn(id);
    if (responseId !== null) this.#connection.send({ type: "response.cancel", response_id: responseId });
  }

  #changedPath() {
    this.save();
    this.dispatchEvent(new Event("path"));
  }
}
