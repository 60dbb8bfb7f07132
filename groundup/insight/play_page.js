// What the page does: reads the text, asks the tokenizer, has the answers drawn (play_drawing.js).

const MAX_BYTES_OF_CURVE = 4000;
const N_POINTS = 28;
const N_COLOURS = 6;

class Page {
  constructor() {
    const data = JSON.parse(byId("data").textContent);
    this.tokenizer = new Tokenizer(data);
    this.nSpecial = Object.keys(data.special).length;
    this.nJoined = this.tokenizer.rankOfNew.length; // tokens that merges make
    this.nSmall = Math.min(this.nJoined, Math.max(0, 1000 - this.nFirst));
    this.#listen(data.examples);
    byId("text").value = data.examples.english;
    this.read();
  }

  get nFirst() {
    return 256 + this.nSpecial;
  }

  #listen(examples) {
    for (const [name, text] of Object.entries(examples)) {
      const button = element("button", { type: "button" }, name);
      button.addEventListener("click", () => {
        byId("text").value = text;
        this.read();
      });
      byId("examples").append(button);
    }
    byId("text").addEventListener("input", () => this.soon(() => this.read()));
    byId("step").addEventListener("input", () => {
      this.stop();
      this.drawStep();
    });
    byId("run").addEventListener("click", () => (this.timer ? this.stop() : this.run()));
    const isPossible = (size) => size === 256 || (size > this.nFirst && size < this.nFirst + this.nJoined);
    for (const size of SIZES.filter(isPossible)) {
      const label = size === 256 ? "bytes" : size < 1000 ? `${size}` : `${size / 1000}k`;
      const button = element("button", { type: "button", "data-n": size === 256 ? 0 : size - this.nFirst }, label);
      button.addEventListener("click", () => this.choose(Number(button.dataset.n)));
      byId("sizes").append(button);
    }
    byId("size").addEventListener("input", (event) => {
      const total = this.nFirst * ((this.nFirst + this.nJoined) / this.nFirst) ** (event.target.value / 1000);
      this.soon(() => this.choose(Math.round(total) - this.nFirst));
    });
    window.addEventListener("resize", () => this.soon(() => this.drawSmall()));
    for (const id of ["full", "small"]) {
      watchChips(byId(id), (node, isChosen) => (isChosen ? this.hold(node) : this.drawToken(node)));
    }
    document.addEventListener("keydown", (event) => event.key === "Escape" && this.letGo());
  }

  // A token that somebody looks at stays in view, wherever the page is scrolled to, until it is let go.
  hold(node) {
    this.drawToken(node);
    byId("token").classList.add("held");
    const close = element("button", { type: "button", class: "close", "aria-label": "Let go (Escape)" }, "×");
    close.addEventListener("click", () => this.letGo());
    byId("token").prepend(close);
  }

  letGo() {
    byId("token").classList.remove("held");
    byId("token").querySelector(".close")?.remove();
  }

  // Many events, one drawing.
  soon(what) {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(what);
  }

  // --- a new text ---

  read() {
    this.stop();
    const text = byId("text").value;
    this.pieces = this.tokenizer.pieces(text).map((piece) => bytesOf(piece));
    this.nBytes = this.pieces.reduce((sum, bytes) => sum + bytes.length, 0);
    this.full = this.grown(Infinity);
    this.joins = inOrder(this.full);
    this.colours = coloursOf(this.full);
    const counts = [...counted(Array.from(text).length, "character"), " · ", ...counted(this.nBytes, "byte")];
    byId("counts").replaceChildren(...counts, " · ", ...counted(this.pieces.length, "piece"));
    const step = byId("step");
    step.max = this.joins.length;
    step.value = this.joins.length;
    step.disabled = byId("run").disabled = this.joins.length === 0;
    this.curve = null;
    this.drawStep();
    this.drawSmall();
    const longer = (a, b) => (b.token.length > a.token.length ? b : a);
    const longest = this.full.flatMap((growth) => growth.row).reduce(longer, { token: "" });
    this.letGo();
    this.drawToken(longest.token ? longest : null);
  }

  // What the tokenizer makes of each piece; equal pieces are joined once.
  grown(limit) {
    const growthByPiece = new Map();
    return this.pieces.map((bytes) => {
      if (!growthByPiece.has(bytes)) growthByPiece.set(bytes, this.tokenizer.grow(bytes, limit));
      return growthByPiece.get(bytes);
    });
  }

  // --- all merges, up to a join ---

  drawStep() {
    const k = Number(byId("step").value);
    const nDone = this.pieces.map(() => 0);
    for (const { piece } of this.joins.slice(0, k)) nDone[piece]++;
    const last = k > 0 && k < this.joins.length ? this.joins[k - 1] : null;
    const rows = this.full.map((growth, piece) => rowAfter(growth, this.pieces[piece], nDone[piece], this.tokenizer));
    drawChips(byId("full"), rows, this.colours, last);
    byId("full-counts").replaceChildren(...this.counts(rows));
    byId("step").setAttribute("aria-valuetext", `${k} of ${many(this.joins.length, "join")}`);
    byId("step-says").replaceChildren(...this.saysOfStep(k, last));
  }

  saysOfStep(k, last) {
    const n = this.joins.length;
    if (n === 0) return ["Nothing to join."];
    if (k === 0) return [`The bytes; ${many(n, "join")} to come.`];
    if (!last) return [`After ${n === 1 ? "the join" : `all ${number(n)} joins`}.`];
    const [left, right] = last.node.parts;
    const sum = [mono(shown(left.token)), " + ", mono(shown(right.token)), " = ", mono(shown(last.node.token))];
    return [`Join ${number(k)} of ${number(n)}: `, ...sum, `, merge ${number(last.node.rank)}`];
  }

  run() {
    const step = byId("step");
    if (Number(step.value) >= this.joins.length) step.value = 0;
    const wait = Math.max(40, Math.min(500, 15000 / this.joins.length));
    byId("run").textContent = "Pause";
    this.timer = setInterval(() => {
      step.value = Number(step.value) + 1;
      this.drawStep();
      if (Number(step.value) >= this.joins.length) this.stop();
    }, wait);
    this.drawStep();
  }

  stop() {
    clearInterval(this.timer);
    this.timer = null;
    byId("run").textContent = "Play";
  }

  // --- the first merges only ---

  choose(n) {
    this.nSmall = n;
    this.drawSmall();
  }

  drawSmall() {
    const n = this.nSmall;
    const rows = this.grown(this.tokenizer.limitFor(n)).map((growth) => growth.row);
    drawChips(byId("small"), rows, this.colours, null);
    byId("small-counts").replaceChildren(...this.counts(rows, this.full.reduce((sum, { row }) => sum + row.length, 0)));
    const size = byId("size");
    const share = Math.log((this.nFirst + n) / this.nFirst) / Math.log((this.nFirst + this.nJoined) / this.nFirst);
    if (document.activeElement !== size) size.value = Math.round(1000 * (share || 0));
    size.setAttribute("aria-valuetext", `${number(this.nFirst + n)} tokens`);
    for (const button of byId("sizes").children) button.setAttribute("aria-pressed", Number(button.dataset.n) === n);
    byId("size-says").textContent =
      `${number(this.nFirst + n)} tokens: ${number(this.nSpecial)} special, 256 bytes, ${number(n)} made by merges.`;
    this.drawCurve(rows.reduce((sum, row) => sum + row.length, 0));
  }

  counts(rows, of = 0) {
    const n = rows.reduce((sum, row) => sum + row.length, 0);
    const parts = counted(n, "token");
    if (n) parts.push(" · ", bold((this.nBytes / n).toFixed(2)), " bytes per token");
    const change = `${n > of ? "+" : "−"}${Math.abs((100 * (n - of)) / of).toFixed(0)}%`;
    if (of && n !== of) parts.push(" · ", bold(change), " tokens");
    return parts;
  }

  // --- one token ---

  drawToken(node) {
    const panel = byId("token");
    if (!node) return panel.replaceChildren(element("p", { class: "facts" }, "Type something above."));
    const n = node.token.length;
    const facts = [`id ${node.id}`, `${many(n, "byte")}: ${hexOf(node.token)}`];
    if (node.rank !== null) facts.push(`made by merge ${number(node.rank)}`);
    else if (n > 1) facts.push("taken whole, because the piece is a token");
    const title = element("h3", {}, shown(node.token));
    const line = element("div", { class: "line" }, title, element("p", { class: "facts" }, facts.join(" · ")));
    panel.replaceChildren(line, ...(node.parts.length ? [drawTree(node)] : []));
  }

  // --- the curve ---

  drawCurve(nNow) {
    this.curve ??= this.points();
    byId("curve").replaceChildren(drawCurve(this.curve, this.nFirst + this.nSmall, nNow, byId("curve").clientWidth));
  }

  // Size of the vocabulary and tokens in the text: all of a short text, the beginning of a long one, scaled.
  points() {
    let n = 0;
    const part = this.pieces.filter((bytes) => (n += bytes.length) <= MAX_BYTES_OF_CURVE || n === bytes.length);
    const nBytes = part.reduce((sum, bytes) => sum + bytes.length, 0) || 1;
    const count = new Map();
    for (const bytes of part) count.set(bytes, (count.get(bytes) ?? 0) + 1);
    return Array.from({ length: N_POINTS }, (_, i) => {
      const total = this.nFirst * ((this.nFirst + this.nJoined) / this.nFirst) ** (i / (N_POINTS - 1));
      const limit = this.tokenizer.limitFor(Math.round(total) - this.nFirst);
      let nTokens = 0;
      for (const [bytes, times] of count) nTokens += times * this.tokenizer.grow(bytes, limit).row.length;
      return [Math.round(total), (nTokens * this.nBytes) / nBytes];
    });
  }
}

// --- joins in one order over all pieces: the lowest rank first, within a piece as they came ---

function inOrder(growths) {
  const joins = growths.flatMap(({ joins }, piece) => {
    let highest = 0;
    return joins.map(({ node }, i) => ({ node, piece, i, key: (highest = Math.max(highest, node.rank)) }));
  });
  return joins.sort((a, b) => a.key - b.key || a.piece - b.piece || a.i - b.i);
}

function rowAfter({ row, joins }, bytes, n, tokenizer) {
  if (n === joins.length) return row;
  const before = Array.from(bytes, (token) => ({ id: tokenizer.idByToken.get(token), token, rank: null, parts: [] }));
  for (const { node, at } of joins.slice(0, n)) before.splice(at, 2, node);
  return before;
}

// The colour of each byte of the text: that of the token it ends up in.
function coloursOf(growths) {
  let n = 0;
  return growths.flatMap(({ row }) => row.flatMap((node) => new Array(node.token.length).fill(n++ % N_COLOURS)));
}

if (typeof document !== "undefined") new Page();
