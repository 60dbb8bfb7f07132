// What the page draws: the chips of tokens, the tree of one, the curve of all.

const MAX_CHIPS = 1500; // more tokens than this are counted and not drawn
const SIZES = [256, 1000, 2000, 6000, 16000, 32000, 64000, 128000]; // of vocabularies
const SIGNS = { " ": "␣", "\n": "↵", "\t": "⇥", "\r": "␍" };
const SVG = "http://www.w3.org/2000/svg";

const number = (n) => n.toLocaleString("en-US");
const many = (n, what) => `${number(n)} ${n === 1 ? what : what + "s"}`;

// --- elements ---

function element(tag, attributes, ...children) {
  const made = tag.startsWith("svg:") ? document.createElementNS(SVG, tag.slice(4)) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const byId = (id) => document.getElementById(id);
const bold = (text) => element("b", {}, text);
const counted = (n, what) => [bold(number(n)), ` ${n === 1 ? what : what + "s"}`];
const mono = (text) => element("span", { class: "mono" }, text);

// --- tokens as people read them ---

// The text of bytes, or null where they are no UTF-8 alone.
function textOf(bytes) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(
      Uint8Array.from(bytes, (byte) => byte.charCodeAt(0)),
    );
  } catch {
    return null;
  }
}

const hexOf = (bytes) =>
  Array.from(bytes, (byte) => byte.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")).join(" ");

// What stands for one character: spaces and characters that cannot be seen get a sign.
function sign(character) {
  if (SIGNS[character]) return SIGNS[character];
  if (/[\p{Cc}\p{Cf}\p{Zs}\p{Zl}\p{Zp}\p{Cn}\p{Co}]/u.test(character)) {
    return `<${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}>`;
  }
  return /^\p{M}/u.test(character) ? "\u25cc" + character : character;
}

const shown = (bytes) => {
  const text = textOf(bytes);
  return text === null ? hexOf(bytes) : Array.from(text, sign).join("");
};

// --- chips ---

function drawChips(container, rows, colours, last) {
  const parts = [];
  let nDrawn = 0;
  let byte = 0;
  for (const [piece, row] of rows.entries()) {
    if (nDrawn > MAX_CHIPS) break;
    const chips = row.map((node) => {
      const made = chip(node, colours[byte], last?.piece === piece && last.node === node);
      byte += node.token.length;
      return made;
    });
    nDrawn += row.length;
    parts.push(element("span", { class: "piece" }, ...chips));
    if (row.at(-1).token.endsWith("\n")) parts.push(element("br", {}));
  }
  const n = rows.reduce((sum, row) => sum + row.length, 0);
  if (nDrawn < n) parts.push(element("p", { class: "note" }, `and ${number(n - nDrawn)} more tokens`));
  const scrolled = container.scrollTop;
  container.replaceChildren(...parts);
  container.scrollTop = scrolled;
  container.querySelector(".chip")?.setAttribute("tabindex", "0");
  const fresh = container.querySelector(".new")?.getBoundingClientRect();
  const frame = container.getBoundingClientRect();
  const isSeen = !fresh || (fresh.top >= frame.top && fresh.bottom <= frame.bottom);
  if (!isSeen) container.scrollTop += fresh.top - frame.top - 60;
}

function chip(node, colour, isNew) {
  const text = textOf(node.token);
  const label = element("span", { class: "text" });
  if (text === null) label.append(hexOf(node.token));
  else {
    for (const character of text) {
      const seen = sign(character);
      label.append(seen === character ? seen : element("span", { class: "sign" }, seen));
    }
  }
  const classes = `chip c${colour}${text === null ? " hex" : ""}${isNew ? " new" : ""}`;
  const name = `${shown(node.token)}, id ${node.id}`;
  const attributes = { type: "button", class: classes, tabindex: "-1", "aria-label": name };
  const made = element("button", attributes, label, element("span", { class: "id" }, String(node.id)));
  made.node = node;
  return made;
}

// One chip can be reached with Tab, the others from there with arrow keys; looking at one shows its tree.
function watchChips(container, show) {
  const look = (event) => {
    const chip = event.target.closest(".chip");
    if (!chip) return;
    for (const other of document.querySelectorAll('.chip[aria-pressed="true"]')) other.removeAttribute("aria-pressed");
    chip.setAttribute("aria-pressed", "true");
    show(chip.node, event.type !== "mouseover" || byId("token").classList.contains("held"));
  };
  for (const name of ["mouseover", "focusin", "click"]) container.addEventListener(name, look);
  container.addEventListener("keydown", (event) => {
    const chips = [...container.querySelectorAll(".chip")];
    const at = chips.indexOf(document.activeElement);
    const [before, after, last] = [at - 1, at + 1, chips.length - 1];
    const to = { ArrowRight: after, ArrowDown: after, ArrowLeft: before, ArrowUp: before, Home: 0, End: last };
    if (at < 0 || !(event.key in to)) return;
    event.preventDefault();
    const next = chips[Math.max(0, Math.min(last, to[event.key]))];
    chips[at].setAttribute("tabindex", "-1");
    next.setAttribute("tabindex", "0");
    next.focus();
  });
}

// --- the tree: bytes below, what they were joined to above ---

const [LEAF, ROW, BOX] = [30, 46, 24];

function drawTree(root) {
  const nodes = [];
  const lay = (node, left) => {
    let width = 0;
    let height = 0;
    const children = node.parts.map((part) => {
      const child = lay(part, left + width);
      width += child.width;
      height = Math.max(height, child.height + 1);
      return child;
    });
    const x = children.length ? (children[0].x + children.at(-1).x) / 2 : left + LEAF / 2;
    const laid = { node, x, width: width || LEAF, height, children };
    nodes.push(laid);
    return laid;
  };
  const top = lay(root, 0);
  const room = 24; // to the left and right, for a label wider than its bytes
  const [width, height] = [top.width + 2 * room, top.height * ROW + BOX + 4];
  const y = (laid) => (top.height - laid.height) * ROW + 2;
  const svg = element("svg:svg", { width, height, viewBox: `${-room} 0 ${width} ${height}`, role: "img" });
  svg.append(element("svg:title", {}, `How ${shown(root.token)} was joined from bytes`));
  for (const laid of nodes) {
    const branch = y(laid) + BOX + (ROW - BOX) / 2;
    for (const child of laid.children) {
      svg.append(element("svg:path", { d: `M${laid.x} ${y(laid) + BOX}V${branch}H${child.x}V${y(child)}` }));
    }
    if (laid.children.length) {
      svg.append(element("svg:text", { class: "rank", x: laid.x + 5, y: y(laid) + BOX + 10 }, number(laid.node.rank)));
    }
  }
  for (const laid of nodes) svg.append(box(laid, y(laid)));
  return element("div", { class: "tree", tabindex: "0", "aria-label": "Tree of joins" }, svg);
}

function box({ node, x, children }, y) {
  const label = shown(node.token);
  const isHex = textOf(node.token) === null;
  const signs = Object.values(SIGNS);
  const isWide = (character) => character.codePointAt(0) >= 0x1100 && !signs.includes(character);
  const wide = Array.from(label, (character) => (isWide(character) ? 14 : isHex ? 6.7 : 8.2));
  const width = Math.max(22, wide.reduce((a, b) => a + b, 12));
  const group = element("svg:g", { class: children.length ? "joined c0" : "byte" });
  group.append(element("svg:rect", { x: x - width / 2, y, width, height: BOX, rx: 6 }));
  group.append(element("svg:text", { x, y: y + 16.5, class: isHex ? "hex" : "" }, label));
  return group;
}

// --- the curve: tokens over the size of the vocabulary, which grows by factors ---

function drawCurve(points, size, nNow, width) {
  const [height, left, right, bottom] = [190, 52, 34, 26];
  const svg = element("svg:svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
  const [first, last] = [points[0], points.at(-1)].map(([, n]) => number(Math.round(n)));
  svg.append(element("svg:title", {}, `${first} tokens as bytes, ${last} with all merges`));
  const [low, high] = [Math.log(points[0][0]), Math.log(points.at(-1)[0])];
  const most = Math.max(1, ...points.map(([, n]) => n), nNow);
  const x = (n) => left + ((Math.log(n) - low) / (high - low || 1)) * (width - left - right);
  const y = (n) => 8 + (1 - n / most) * (height - bottom - 8);
  for (const part of [0, 0.5, 1]) {
    const level = y(part * most);
    svg.append(element("svg:line", { class: "grid", x1: left, x2: width - right, y1: level, y2: level }));
    svg.append(element("svg:text", { class: "end", x: left - 10, y: level + 4 }, number(Math.round(part * most))));
  }
  const apart = Math.exp((60 / (width - left - right)) * (high - low)); // a factor, so that labels do not touch
  const labels = [points[0][0], points.at(-1)[0]];
  for (const n of SIZES) if (labels.every((label) => n > apart * label || n < label / apart)) labels.push(n);
  for (const n of labels) {
    svg.append(element("svg:text", { class: "middle", x: x(n), y: height - 4 }, number(n)));
  }
  const line = points.map(([n, tokens]) => `${x(n)} ${y(tokens)}`).join("L");
  svg.append(element("svg:path", { class: "line-of-tokens", d: `M${line}` }));
  svg.append(element("svg:line", { class: "here", x1: x(size), x2: x(size), y1: 8, y2: height - bottom }));
  svg.append(element("svg:circle", { cx: x(size), cy: y(nNow), r: 6 }));
  svg.append(element("svg:text", { class: "now", x: x(size) + 12, y: Math.max(14, y(nNow) - 8) }, number(nNow)));
  return svg;
}
