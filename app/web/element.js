// DOM nodes without HTML: text is only ever text, whoever wrote it.

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element. `properties` are set as properties where the element has them (`className`, `textContent`, `hidden`),
 * else as attributes (`aria-label`, `data-…`); `on` maps event names to listeners.
 */
export function element(tag, { on = {}, ...properties } = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (name in node) node[name] = value;
    else node.setAttribute(name, value);
  }
  for (const [event, listener] of Object.entries(on)) node.addEventListener(event, listener);
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** One of the symbols that index.html defines, hidden from screen readers. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

/** A button with a symbol; the label is its name, shown only when `text` is asked for. */
export function button(label, { symbol, text = false, className = "quiet", onClick, ...rest } = {}) {
  return element(
    "button",
    { type: "button", className, title: text ? null : label, "aria-label": text ? null : label, on: { click: onClick }, ...rest },
    symbol ? icon(symbol) : null,
    text ? element("span", { textContent: label }) : null,
  );
}
