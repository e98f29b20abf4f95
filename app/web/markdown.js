// A small part of Markdown, as data: code, headings, lists, quotes, rules, emphasis. Pure, and linear in the text.
//
// HTML, links and images are no part of it: they stay the text that they are.

const FENCE = /^ {0,3}(`{3,}|~{3,}) *([\w+#.-]*)[^`]*$/;
const HEADING = /^ {0,3}(#{1,6}) +(.*)$/;
const ITEM = /^( *)(?:([-*+])|(\d{1,9})[.)]) +(.*)$/;
const QUOTE = /^ {0,3}> ?(.*)$/;
const RULE = /^ {0,3}(?:-{3,}|\*{3,}|_{3,}) *$/;
const DEEPEST_LIST = 5;

/**
 * The blocks of a text, in order. Each carries the `source` it was read from: while a text grows, a block whose
 * source is unchanged is unchanged. Kinds: paragraph, heading, code, list, quote, rule.
 */
export function blocks(text) {
  const lines = text.split("\n");
  const found = [];
  for (let at = 0; at < lines.length; ) {
    if (lines[at].trim() === "") {
      at++;
      continue;
    }
    const start = at;
    const [block, next] = readBlock(lines, at);
    found.push({ ...block, source: lines.slice(start, next).join("\n") });
    at = next;
  }
  return found;
}

function readBlock(lines, at) {
  const line = lines[at];
  const fence = FENCE.exec(line);
  if (fence) return readCode(lines, at, fence);
  if (RULE.test(line)) return [{ kind: "rule" }, at + 1];
  const heading = HEADING.exec(line);
  if (heading) return [{ kind: "heading", level: heading[1].length, text: heading[2] }, at + 1];
  if (ITEM.test(line)) return readList(lines, at);
  if (QUOTE.test(line)) return readWhile(lines, at, "quote", (other) => QUOTE.exec(other)?.[1]);
  return readWhile(lines, at, "paragraph", (other, first) => (first || !startsBlock(other) ? other : undefined));
}

function startsBlock(line) {
  return line.trim() === "" || [FENCE, RULE, HEADING, ITEM, QUOTE].some((start) => start.test(line));
}

/** An unclosed fence runs to the end: while a reply is being written, its last block often is one. */
function readCode(lines, at, [, fence, language]) {
  let end = at + 1;
  const closes = (line) => line.trim().startsWith(fence) && line.trim().replaceAll(fence[0], "") === "";
  while (end < lines.length && !closes(lines[end])) end++;
  const code = lines.slice(at + 1, end).join("\n");
  return [{ kind: "code", language, text: code }, Math.min(end + 1, lines.length)];
}

/** Items carry their depth; a further line of an item belongs to it when it is indented. */
function readList(lines, at) {
  const items = [];
  const indents = [];
  let next = at;
  for (; next < lines.length; next++) {
    const item = ITEM.exec(lines[next]);
    if (item) {
      const indent = item[1].length;
      while (indents.length > 0 && indents.at(-1) > indent) indents.pop();
      if (indents.at(-1) !== indent && indents.length < DEEPEST_LIST) indents.push(indent);
      const number = item[3] === undefined ? null : Number(item[3]);
      items.push({ depth: indents.length - 1, number, text: item[4] });
    } else if (/^ {2,}\S/.test(lines[next]) && !FENCE.test(lines[next])) {
      items.at(-1).text += `\n${lines[next].trim()}`;
    } else if (!(lines[next].trim() === "" && ITEM.test(lines[next + 1] ?? ""))) {
      break;
    }
  }
  return [{ kind: "list", items }, next];
}

function readWhile(lines, at, kind, textOf) {
  const texts = [];
  let next = at;
  for (; next < lines.length; next++) {
    const text = textOf(lines[next], next === at);
    if (text === undefined) break;
    texts.push(text);
  }
  return [{ kind, text: texts.join("\n") }, next];
}

const MARKS = [
  { mark: "`", kind: "code" },
  { mark: "**", kind: "strong" },
  { mark: "*", kind: "em" },
];

const MARK = /[`*]/g;

/** The spans of a line or paragraph: text, code, strong, em; the last two carry `spans` of their own. */
export function spans(text) {
  const found = [];
  const closers = new Map(); // mark -> the next place where it can close, so that no part is searched twice
  let plain = 0;
  for (let at = 0; at < text.length; ) {
    MARK.lastIndex = at;
    at = MARK.exec(text)?.index ?? text.length;
    const opened = MARKS.find(({ mark }) => opens(text, at, mark));
    const end = opened ? nextCloser(text, at + opened.mark.length, opened.mark, closers) : -1;
    if (end < 0) {
      at += opened ? opened.mark.length : 1;
      continue;
    }
    if (at > plain) found.push({ kind: "text", text: text.slice(plain, at) });
    const inner = text.slice(at + opened.mark.length, end);
    found.push(opened.kind === "code" ? { kind: "code", text: inner } : { kind: opened.kind, spans: spans(inner) });
    at = plain = end + opened.mark.length;
  }
  if (plain < text.length) found.push({ kind: "text", text: text.slice(plain) });
  return found;
}

function opens(text, at, mark) {
  if (!text.startsWith(mark, at)) return false;
  if (mark === "`") return true;
  const [before, after] = [text[at - 1] ?? " ", text[at + mark.length] ?? " "];
  return !/[\w*]/.test(before) && !/[\s*]/.test(after);
}

function closes(text, at, mark) {
  if (mark === "`") return true;
  const [before, after] = [text[at - 1], text[at + mark.length] ?? " "];
  return !/[\s*]/.test(before) && !/[\w*]/.test(after);
}

function nextCloser(text, from, mark, closers) {
  const known = closers.get(mark);
  if (known === -1 || known > from) return known;
  let at = text.indexOf(mark, from + 1); // something must stand between
  while (at >= 0 && !closes(text, at, mark)) at = text.indexOf(mark, at + 1);
  closers.set(mark, at);
  return at;
}
