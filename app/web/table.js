// Tables in Markdown: a line of headings, a line of dashes, and rows. Pure, and linear in the text.

const DASHES = /^:?-+:?$/;
const ALIGNMENTS = { "::": "centre", ":": "start", " :": "end" };

/** Whether a table begins at this line: as many headings as groups of dashes below them. */
export function beginsTable(lines, at) {
  return (lines[at + 1] ?? "").includes("-") && lines[at].includes("|") && dashes(lines[at], lines[at + 1]) !== null;
}

/** The table that begins at this line, and the first line after it. `ends` says of a line that it is no row. */
export function readTable(lines, at, ends) {
  const alignments = dashes(lines[at], lines[at + 1]).map(alignmentOf);
  let next = at + 2;
  while (next < lines.length && !ends(lines[next])) next++;
  const rows = lines.slice(at + 2, next).map(cells);
  return [{ kind: "table", alignments, headings: cells(lines[at]), rows }, next];
}

/** The texts between the bars of a line; `\|` is a bar within a text. */
export function cells(line) {
  const row = line.trim();
  const found = [];
  let cell = "";
  for (let at = row.startsWith("|") ? 1 : 0; at < row.length; at++) {
    if (row[at] === "\\" && row[at + 1] === "|") {
      cell += "|";
      at++;
    } else if (row[at] === "|") {
      found.push(cell.trim());
      cell = "";
    } else {
      cell += row[at];
    }
  }
  if (cell.trim() !== "" || !row.endsWith("|")) found.push(cell.trim());
  return found;
}

function dashes(headings, below) {
  const groups = cells(below);
  const table = below.includes("|") && groups.every((group) => DASHES.test(group));
  return table && cells(headings).length === groups.length ? groups : null;
}

function alignmentOf(group) {
  return ALIGNMENTS[(group.startsWith(":") ? ":" : " ") + (group.endsWith(":") ? ":" : "")] ?? "start";
}
