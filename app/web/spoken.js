// Markdown as it is read out: the words without the marks. Pure.

import { cells } from "./table.js";
import { plain, spans } from "./spans.js";

const FENCE = /^ *(?:`{3,}|~{3,})/;
const DASHES = /^[\s|:-]+$/;
const LEAD = /^(?: {0,3}#{1,6} +| {0,3}> ?| *[-*+] +)/;

/** What to say of some lines or sentences; empty where there are marks only. */
export function spoken(text) {
  const said = text.split("\n").map(spokenLine);
  return said.filter((line) => line !== "").join("\n");
}

function spokenLine(line) {
  if (FENCE.test(line) || (DASHES.test(line) && line.includes("-"))) return "";
  const words = line.trim().startsWith("|") ? cells(line).join(", ") : line.replace(LEAD, "");
  return plain(spans(words)).trim();
}
