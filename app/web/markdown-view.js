// Markdown as DOM nodes, grown in place: only the blocks that changed are made anew.

import { button, element } from "./element.js";
import { blocks } from "./markdown.js";
import { spans } from "./spans.js";

/** A growing text inside `root`. */
export class MarkdownView {
  #root;
  #shown = []; // the blocks that `root` holds

  constructor(root) {
    this.#root = root;
  }

  show(text) {
    const wanted = blocks(text);
    let same = 0;
    while (same < wanted.length && wanted[same].source === this.#shown[same]?.source) same++;
    if (growsCode(this.#shown[same], wanted[same])) {
      this.#root.children[same].querySelector("pre code").textContent = wanted[same].text;
      same++; // whoever reads, selects or scrolls in it goes on
    }
    while (this.#root.children.length > same) this.#root.lastElementChild.remove();
    for (const block of wanted.slice(same)) this.#root.append(blockNode(block));
    this.#shown = wanted;
  }
}

function growsCode(shown, wanted) {
  return shown?.kind === "code" && wanted?.kind === "code" && shown.language === wanted.language;
}

function blockNode(block) {
  switch (block.kind) {
    case "heading": // the page's own headings are h1 and h2
      return element(`h${Math.min(block.level + 2, 6)}`, { dir: "auto" }, ...inline(block.text));
    case "code":
      return codeNode(block);
    case "list":
      return listNode(block.items, 0, 0)[0];
    case "table":
      return tableNode(block);
    case "quote":
      return element("blockquote", { dir: "auto" }, ...block.blocks.map(blockNode));
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
  if (span.kind === "link") return linkNode(span);
  return element(span.kind, {}, ...span.spans.map(spanNode));
}

/** Where a link leads is told by its title: its text is the model's. */
function linkNode({ href, spans: inner }) {
  const properties = { href, title: href, target: "_blank", rel: "noopener noreferrer nofollow" };
  return element("a", properties, ...inner.map(spanNode));
}

function codeNode({ language, text }) {
  const code = element("code", { textContent: text });
  const copy = button("Copy code", {
    symbol: "copy",
    onClick: () => navigator.clipboard.writeText(code.textContent),
  });
  return element(
    "figure",
    { className: "code" },
    element("figcaption", {}, element("span", { textContent: language || "text" }), copy),
    element("pre", { tabIndex: 0, role: "region", "aria-label": "Code" }, code),
  );
}

function tableNode({ alignments, headings, rows }) {
  const row = (tag, texts) =>
    element(
      "tr",
      {},
      ...texts.map((text, at) =>
        element(tag, { className: alignments[at] ?? "", scope: tag === "th" ? "col" : null, dir: "auto" }, ...inline(text)),
      ),
    );
  return element(
    "div",
    { className: "table", tabIndex: 0, role: "region", "aria-label": "Table" },
    element(
      "table",
      {},
      element("thead", {}, row("th", headings)),
      element("tbody", {}, ...rows.map((texts) => row("td", texts))),
    ),
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
