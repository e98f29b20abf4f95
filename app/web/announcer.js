// The reply for screen readers: whole sentences as they come, in a polite live region, and how it ended.

import { notice } from "./notices.js";
import { spoken } from "./spoken.js";
import { isRunning } from "./turn.js";

const SENTENCE_END = /[.!?…。！？][)"'”’]*(?=\s)|\n/g;
const KEPT = 12; // older announcements are read already

export class Announcer {
  #region;
  #turn = null; // id of the turn being read
  #read = 0; // characters of its reply that were announced

  constructor(chat, region) {
    this.#region = region;
    chat.addEventListener("turn", ({ detail }) => this.#hear(detail));
  }

  #hear(turn) {
    if (turn.id !== this.#turn) {
      this.#turn = turn.id;
      this.#read = 0;
    }
    const end = isRunning(turn) ? this.#lastSentenceEnd(turn.reply) : turn.reply.length;
    if (end > this.#read) {
      this.#say(spoken(turn.reply.slice(this.#read, end)));
      this.#read = end;
    }
    if (!isRunning(turn)) this.#say(outcome(turn));
  }

  #lastSentenceEnd(text) {
    let end = this.#read;
    SENTENCE_END.lastIndex = this.#read;
    for (let found = SENTENCE_END.exec(text); found !== null; found = SENTENCE_END.exec(text)) {
      end = SENTENCE_END.lastIndex;
    }
    return end;
  }

  #say(text) {
    if (text === "") return;
    const line = document.createElement("p");
    line.textContent = text;
    this.#region.append(line);
    while (this.#region.childElementCount > KEPT) this.#region.firstElementChild.remove();
  }
}

function outcome(turn) {
  const said = notice(turn);
  return said === null ? "End of the reply." : `${said.title} ${said.text}`;
}
