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
    const sizes = new ResizeObserver(() => this.#follow());
    for (const sized of [scroller, list]) sizes.observe(sized);
    jump.addEventListener("click", () => this.#toEnd());
    this.#showPath();
  }

  /** Turns of both paths are a beginning of both, and stay as they are: what they hold may be focused or selected. */
  #showPath() {
    const path = this.#chat.path;
    const hadFocus = this.#list.contains(document.activeElement);
    const old = this.#views;
    this.#views = new Map(path.map((turn) => [turn.id, old.get(turn.id) ?? new TurnView(turn, this.#act)]));
    for (const [id, { root }] of old) if (!this.#views.has(id)) root.remove();
    for (const turn of path) this.#views.get(turn.id).showBranch(this.#chat.siblings(turn));
    const added = path.map(({ id }) => this.#views.get(id)).filter(({ root }) => !root.isConnected);
    this.#list.append(...added.map(({ root }) => root));
    this.#changed.clear();
    this.#empty.hidden = path.length > 0;
    this.#toEnd();
    if (hadFocus && !this.#list.contains(document.activeElement)) added[0]?.focus();
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
    this.#scroller.scrollTop = this.#empty.hidden ? this.#scroller.scrollHeight : 0;
    this.#noteScroll();
  }

  #noteScroll() {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    this.#following = scrollHeight - scrollTop - clientHeight <= AT_END_PX;
    this.#jump.hidden = this.#following || !this.#empty.hidden;
  }
}
