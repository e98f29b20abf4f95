// The spans of a line or paragraph: code, emphasis, links. Pure, and linear in the text.
//
// Images and HTML are no part of it: they stay the text that they are.

const MARK = /[`*_~\\[\]]|https?:\/\//g;
const PUNCTUATION = /[!-/:-@[-`{-~]/;
const TARGET = /\(((?:https?:\/\/|mailto:)[^\s()<>]{1,2000}(?:\([^\s()<>]*\)[^\s()<>]*)?)(?: +"[^"\n]*")?\)/y;
const ADDRESS = /https?:\/\/[^\s<>"`|[\]]{1,2000}/y;
const OPEN = 12; // marks that may be open at once; the oldest stays text
const LONGEST = 3; // a longer run of marks stays text; with OPEN this bounds how deep spans lie in each other

/** Spans are text, code (with `text`), strong, em, del and link (with `spans`, a link with `href`). */
export function spans(text) {
  const reader = new Reader(text);
  for (let at = 0; at < text.length; ) at = reader.read(at);
  return reader.end();
}

/** What a reader sees of spans. */
export function plain(found) {
  return found.map((span) => span.text ?? plain(span.spans)).join("");
}

/** Keeps what was found, and the marks that something may still close: `open` marks stand in `found` as text. */
class Reader {
  #text;
  #found = [];
  #open = []; // {mark, count, at: its place in found}
  #ticks = null;

  constructor(text) {
    this.#text = text;
  }

  /** Read on from `at`. @returns the place after what was read. */
  read(at) {
    MARK.lastIndex = at;
    const mark = MARK.exec(this.#text);
    const next = mark?.index ?? this.#text.length;
    this.#say(this.#text.slice(at, next));
    if (mark === null) return next;
    switch (mark[0]) {
      case "\\":
        return this.#escape(next);
      case "`":
        return this.#code(next);
      case "[":
        return this.#run(next, 1, true, false);
      case "]":
        return this.#link(next);
      case "*":
      case "_":
      case "~":
        return this.#emphasis(next);
      default:
        return this.#address(next);
    }
  }

  end() {
    return joined(this.#found);
  }

  #say(text) {
    if (text !== "") this.#found.push({ kind: "text", text });
  }

  #escape(at) {
    const escaped = PUNCTUATION.test(this.#text[at + 1] ?? "");
    this.#say(escaped ? this.#text[at + 1] : "\\");
    return at + (escaped ? 2 : 1);
  }

  #code(at) {
    const length = runLength(this.#text, at);
    const end = this.#closingTicks(at, length);
    if (end < 0) {
      this.#say("`".repeat(length));
      return at + length;
    }
    const inner = this.#text.slice(at + length, end);
    const padded = inner.length > 2 && inner.startsWith(" ") && inner.endsWith(" ");
    this.#found.push({ kind: "code", text: padded ? inner.slice(1, -1) : inner });
    return end + length;
  }

  /** The next run of so many backticks. All are found once, so that no part is searched twice. */
  #closingTicks(at, length) {
    this.#ticks ??= Map.groupBy(this.#text.matchAll(/`+/g), ([ticks]) => ticks.length);
    const places = this.#ticks.get(length) ?? [];
    while (places.length > 0 && places[0].index <= at) places.shift();
    return places[0]?.index ?? -1;
  }

  #emphasis(at) {
    const length = runLength(this.#text, at);
    const [before, after] = [this.#text[at - 1] ?? " ", this.#text[at + length] ?? " "];
    const opens = length <= LONGEST && !/\w/.test(before) && !/\s/.test(after);
    const closes = length <= LONGEST && !/\s/.test(before) && !/\w/.test(after);
    return this.#run(at, length, opens, closes);
  }

  /** A run of one mark: closes what it can, and what is left of it may open. */
  #run(at, length, opens, closes) {
    const mark = this.#text[at];
    let left = length;
    while (closes && left > 0) {
      const closed = this.#close(mark, left);
      if (closed === 0) break;
      left -= closed;
    }
    if (left > 0) {
      if (opens) this.#open.push({ mark, count: left, at: this.#found.length });
      if (this.#open.length > OPEN) this.#open.shift();
      this.#say(mark.repeat(left));
    }
    return at + length;
  }

  /** Wrap what stands behind the nearest open run of this mark. @returns how many of its characters that took. */
  #close(mark, left) {
    const place = this.#open.findLastIndex((open) => open.mark === mark);
    if (place < 0) return 0;
    const opener = this.#open[place];
    const taken = Math.min(2, left, opener.count);
    if (mark === "~" && taken < 2) return 0;
    const inner = this.#found.splice(opener.at + 1);
    opener.count -= taken;
    this.#open.length = opener.count > 0 ? place + 1 : place;
    if (opener.count > 0) this.#found[opener.at] = { kind: "text", text: mark.repeat(opener.count) };
    else this.#found.pop();
    this.#found.push({ kind: mark === "~" ? "del" : taken === 2 ? "strong" : "em", spans: joined(inner) });
    return taken;
  }

  #link(at) {
    const place = this.#open.findLastIndex((open) => open.mark === "[");
    TARGET.lastIndex = at + 1;
    const target = place < 0 ? null : TARGET.exec(this.#text);
    if (target === null || !URL.canParse(target[1])) {
      if (place >= 0) this.#open.splice(place, 1);
      this.#say("]");
      return at + 1;
    }
    const inner = this.#found.splice(this.#open[place].at);
    this.#open.length = place;
    this.#found.push({ kind: "link", href: target[1], spans: joined(inner.slice(1).flatMap(withoutLinks)) });
    return TARGET.lastIndex;
  }

  /** An address as it stands; what ends a sentence is no part of it. */
  #address(at) {
    ADDRESS.lastIndex = at;
    const address = ADDRESS.exec(this.#text)?.[0] ?? "";
    const href = address.slice(0, addressEnd(address));
    const linked = URL.canParse(href) && !/\w/.test(this.#text[at - 1] ?? " ");
    if (linked) this.#found.push({ kind: "link", href, spans: [{ kind: "text", text: href }] });
    const end = at + (linked ? href.length : "http".length);
    if (!linked) this.#say(this.#text.slice(at, end));
    return end;
  }
}

function runLength(text, at) {
  let end = at + 1;
  while (text[end] === text[at]) end++;
  return end - at;
}

function addressEnd(address) {
  const bracket = address.includes("(") ? "" : ")";
  let end = address.length;
  while (end > 0 && `.,;:!?'*_~]${bracket}`.includes(address[end - 1])) end--;
  return end;
}

/** A link within a link's text is only text. */
function withoutLinks(span) {
  return span.kind === "link" ? span.spans : [span.spans ? { ...span, spans: span.spans.flatMap(withoutLinks) } : span];
}

function joined(found) {
  const whole = [];
  let texts = [];
  const close = () => {
    if (texts.length > 0) whole.push({ kind: "text", text: texts.join("") });
    texts = [];
  };
  for (const span of found) {
    if (span.kind === "text") texts.push(span.text);
    else {
      close();
      whole.push(span);
    }
  }
  close();
  return whole;
}
