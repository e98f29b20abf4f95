// What is hard to read on the page as it stands: texts below 4.5 (large ones 3), edges and symbols below 3.
(() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });

  /** Any CSS colour as [red, green, blue, alpha], each from 0 to 1. */
  function rgba(colour) {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].map((value) => value / 255);
  }

  function over([r, g, b, a], below) {
    return [r, g, b].map((value, at) => value * a + below[at] * (1 - a));
  }

  function ancestors(node) {
    return node === null ? [] : [node, ...ancestors(node.parentElement)];
  }

  function ground(node) {
    return ancestors(node).reverse().reduce((below, one) => over(rgba(getComputedStyle(one).backgroundColor), below), [1, 1, 1]);
  }

  function opacity(node) {
    return ancestors(node).reduce((all, one) => all * Number(getComputedStyle(one).opacity), 1);
  }

  function luminance(colour) {
    const [r, g, b] = colour.map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  }

  /** Of a colour on what lies below it, as WCAG 2 defines it. */
  function contrast(colour, node, below = ground(node)) {
    const [r, g, b, a] = rgba(colour);
    const [darker, lighter] = [luminance(over([r, g, b, a * opacity(node)], below)), luminance(below)].sort((x, y) => x - y);
    return (lighter + 0.05) / (darker + 0.05);
  }

  const seen = (node) =>
    node.checkVisibility({ visibilityProperty: true, opacityProperty: true }) &&
    node.closest(":disabled, .skip, .unseen") === null;
  const called = (node) => `${node.tagName.toLowerCase()}#${node.id}.${node.getAttribute("class")} ${node.textContent.trim().slice(0, 30)}`;
  const found = [];
  function check(node, what, ratio, least) {
    if (ratio < least) found.push(`${what} ${ratio.toFixed(2)} < ${least}: ${called(node)}`);
  }

  for (const node of document.querySelectorAll("body *")) {
    if (!seen(node)) continue;
    const style = getComputedStyle(node);
    const size = Number.parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    const hasText = [...node.childNodes].some((child) => child.nodeType === Node.TEXT_NODE && child.data.trim() !== "");
    if (hasText || (node.value ?? "") !== "") check(node, "text", contrast(style.color, node), large ? 3 : 4.5);
    if (node.placeholder) check(node, "placeholder", contrast(getComputedStyle(node, "::placeholder").color, node), 4.5);
    if (node.matches("svg.icon")) check(node.parentElement, "symbol", contrast(style.color, node), 3);
    if (node.matches(".light")) check(node, "light", contrast(style.backgroundColor, node, ground(node.parentElement)), 3);
    if (node.matches("input, select, dialog textarea, .box, .plain, .editor")) {
      check(node, "edge", contrast(style.borderTopColor, node, ground(node.parentElement)), 3);
    }
  }
  const accent = getComputedStyle(document.documentElement).getPropertyValue("--accent");
  for (const node of [document.body, document.querySelector(".bar"), document.querySelector("dialog")]) {
    canvas.canvas.style.setProperty("color", accent);
    node.append(canvas.canvas);
    check(node, "focus", contrast(getComputedStyle(canvas.canvas).color, node), 3);
    canvas.canvas.remove();
  }
  return found;
})();
