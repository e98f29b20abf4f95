// The blocks of a Markdown text, as data: code, headings, lists, tables, quotes, rules. Pure, and linear in the text.

import { beginsTable, readTable } from "./table.js";

// No pattern has two ways to match the same characters: none looks at a part of a line twice.
const FENCE = /^( *)(`{3,}|~{3,})/;
const LANGUAGE = /^ *([\w+#.-]{0,40})/;
const HEADING = /^ {0,3}(#{1,6}) +(.*)$/s;
const ITEM = /^( *)(?:([-*+])|(\d{1,9})[.)]) +(.*)$/s;
const QUOTE = /^ {0,3}> ?(.*)$/s;
const RULE = /^ {0,3}(?:-{3,}|\*{3,}|_{3,}) *$/;
const TASK = /^\[([ xX])\] +(?=\S)/;
const DEEPEST_LIST = 5;
const DEEPEST_QUOTE = 3;

/**
 * The blocks of a text, in order. Each carries the `source` it was read from: while a text grows, a block whose
 * source is unchanged is unchanged. Kinds: paragraph, heading, code, list, table, quote (with blocks), rule.
 */
export function blocks(text, depth = 0) {
  const lines = text.split("\n");
  const found = [];
  for (let at = 0; at < lines.length; ) {
    if (lines[at].trim() === "") {
      at++;
      continue;
    }
    const start = at;
    const [block, next] = readBlock(lines, at, depth);
    found.push({ ...block, source: lines.slice(start, next).join("\n") });
    at = next;
  }
  return found;
}

function readBlock(lines, at, depth) {
  const line = lines[at];
  if (isFence(line)) return readCode(lines, at);
  if (RULE.test(line)) return [{ kind: "rule" }, at + 1];
  const heading = HEADING.exec(line);
  if (heading) return [{ kind: "heading", level: heading[1].length, text: heading[2] }, at + 1];
  if (ITEM.test(line)) return readList(lines, at);
  if (QUOTE.test(line)) return readQuote(lines, at, depth);
  if (beginsTable(lines, at)) return readTable(lines, at, startsBlock);
  const goesOn = (next) => next === at || !(startsBlock(lines[next]) || beginsTable(lines, next));
  const [text, next] = readWhile(lines, at, (other) => (goesOn(other) ? lines[other] : undefined));
  return [{ kind: "paragraph", text }, next];
}

function startsBlock(line) {
  return line.trim() === "" || isFence(line) || [RULE, HEADING, ITEM, QUOTE].some((start) => start.test(line));
}

/** Three backticks or more begin no code where others follow on the line: that is code within a text. */
function isFence(line) {
  const fence = FENCE.exec(line);
  return fence !== null && !(fence[2].startsWith("`") && line.includes("`", fence[0].length));
}

function readQuote(lines, at, depth) {
  const [text, next] = readWhile(lines, at, (other) => QUOTE.exec(lines[other])?.[1]);
  const inner = depth < DEEPEST_QUOTE ? blocks(text, depth + 1) : [{ kind: "paragraph", text }];
  return [{ kind: "quote", blocks: inner }, next];
}

/**
 * An unclosed fence runs to the end: while a reply is being written, its last block often is one. Code that stands
 * under an item of a list loses the fence's own indent.
 */
function readCode(lines, at) {
  const [opening, indent, fence] = FENCE.exec(lines[at]);
  const [, language] = LANGUAGE.exec(lines[at].slice(opening.length));
  let end = at + 1;
  const closes = (line) => line.trim().startsWith(fence) && line.trim().replaceAll(fence[0], "") === "";
  while (end < lines.length && !closes(lines[end])) end++;
  const outdented = (line) => (line.startsWith(indent) ? line.slice(indent.length) : line.trimStart());
  const code = lines.slice(at + 1, end).map(outdented).join("\n");
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
      items.push({ depth: indents.length - 1, number, text: item[4].replace(TASK, taskBox) });
    } else if (/^ {2,}\S/.test(lines[next]) && !isFence(lines[next])) {
      items.at(-1).text += `\n${lines[next].trim()}`;
    } else if (!(lines[next].trim() === "" && ITEM.test(lines[next + 1] ?? ""))) {
      break;
    }
  }
  return [{ kind: "list", items }, next];
}

function taskBox(_, mark) {
  return mark === " " ? "☐ " : "☑ ";
}

function readWhile(lines, at, textOf) {
  const texts = [];
  let next = at;
  for (; next < lines.length; next++) {
    const text = textOf(next);
    if (text === undefined) break;
    texts.push(text);
  }
  return [texts.join("\n"), next];
}
