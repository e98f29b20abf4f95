// Markdown as DOM nodes, grown in place: only the blocks that changed are made anew.

import { button, element } from "./element.js";
import { blocks, spans } from "./markdown.js";

/** A growing text inside `root`. */
export class MarkdownView {
  #root;
  #sources = [];

  constructor(root) {
    this.#root = root;
  }

  show(text) {
    const wanted = blocks(text);
    let same = 0;
    while (same < wanted.length && wanted[same].source === this.#sources[same]) same++;
    while (this.#root.children.length > same) this.#root.lastElementChild.remove();
    for (const block of wanted.slice(same)) this.#root.append(blockNode(block));
    this.#sources = wanted.map(({ source }) => source);
  }
}

function blockNode(block) {
  switch (block.kind) {
    case "heading": // the page's own headings are h1 and h2
      return element(`h${Math.min(block.level + 2, 6)}`, { dir: "auto" }, ...inline(block.text));
    case "code":
      return codeNode(block);
    case "list":
      return listNode(block.items, 0, 0)[0];
    case "quote":
      return element("blockquote", { dir: "auto" }, ...inline(block.text));
    case "rule":
      return element("hr");
    default:
      return element("p", { dir: "auto" }, ...inline(block.text));
  }
}

function inline(text) {
  return spans(text).map(spanNode);
}

function spanNode(span) {
  if (span.kind === "text") return document.createTextNode(span.text);
  if (span.kind === "code") return element("code", { textContent: span.text });
  return element(span.kind, {}, ...span.spans.map(spanNode));
}

function codeNode({ language, text }) {
  const copy = button("Copy code", { symbol: "copy", onClick: () => navigator.clipboard.writeText(text) });
  return element(
    "figure",
    { className: "code" },
    element("figcaption", {}, element("span", { textContent: language || "text" }), copy),
    element("pre", { tabIndex: 0 }, element("code", { textContent: text })),
  );
}

/** The list that begins at item `from`, with deeper items inside; and the first item after it. */
function listNode(items, from, depth) {
  const first = items[from];
  const list = first.number === null ? element("ul") : element("ol", { start: first.number });
  let at = from;
  while (at < items.length && items[at].depth >= depth) {
    if (items[at].depth > depth && list.lastElementChild !== null) {
      const [inner, next] = listNode(items, at, items[at].depth);
      list.lastElementChild.append(inner);
      at = next;
    } else {
      list.append(element("li", { dir: "auto" }, ...inline(items[at].text)));
      at++;
    }
  }
  return [list, at];
}
