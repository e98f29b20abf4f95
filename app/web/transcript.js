// The turns being read, drawn at most once a frame, and scrolled along as long as the reader is at the end.

import { TurnView } from "./turn-view.js";

const AT_END_PX = 48; // closer to the end than this counts as reading along

export class Transcript {
  #chat;
  #scroller;
  #list;
  #empty;
  #jump;
  #act;
  #views = new Map();
  #changed = new Map();
  #frame = 0;
  #following = true;

  /** @param parts the elements {scroller, list, empty, jump}; @param act what a button under a turn does. */
  constructor(chat, { scroller, list, empty, jump }, act) {
    this.#chat = chat;
    this.#scroller = scroller;
    this.#list = list;
    this.#empty = empty;
    this.#jump = jump;
    this.#act = act;
    chat.addEventListener("path", () => this.#showPath());
    chat.addEventListener("turn", ({ detail }) => this.#note(detail));
    scroller.addEventListener("scroll", () => this.#noteScroll(), { passive: true });
    new ResizeObserver(() => this.#follow()).observe(scroller);
    jump.addEventListener("click", () => this.#toEnd());
    this.#showPath();
  }

  /** Open the editor of the last message. */
  editLast() {
    const last = this.#chat.path.at(-1);
    if (last) this.#views.get(last.id)?.edit();
  }

  #showPath() {
    const path = this.#chat.path;
    this.#views = new Map(path.map((turn) => [turn.id, new TurnView(turn, this.#chat.siblings(turn), this.#act)]));
    this.#changed.clear();
    this.#list.replaceChildren(...[...this.#views.values()].map(({ root }) => root));
    this.#empty.hidden = path.length > 0;
    this.#toEnd();
  }

  #note(turn) {
    this.#changed.set(turn.id, turn);
    if (this.#frame === 0) this.#frame = requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    this.#frame = 0;
    for (const turn of this.#changed.values()) this.#views.get(turn.id)?.show(turn);
    this.#changed.clear();
    this.#follow();
  }

  #follow() {
    if (this.#following) this.#toEnd();
    else this.#noteScroll();
  }

  #toEnd() {
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#noteScroll();
  }

  #noteScroll() {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    this.#following = scrollHeight - scrollTop - clientHeight <= AT_END_PX;
    this.#jump.hidden = this.#following;
  }
}
