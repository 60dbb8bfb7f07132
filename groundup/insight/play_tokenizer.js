"use strict";
// Byte-level BPE in the browser: the same ids as groundup/tokenizer/bpe.py, and a record of every join.
// Bytes are strings of the characters U+0000 to U+00FF, so that they can be keys.

// data, made by groundup/insight/play.py:
//   tokens   base64: for each id the length of its bytes (7 bits a byte, lowest first), and the bytes
//   merges   base64: for each merge two ids of three bytes, lowest first; null where the rank is the id that is made
//   pattern  {source, sets}: #2# in the source stands for the characters of sets[2]
//   normal   null, or the characters that Unicode's NFC may touch, as one of the sets
class Tokenizer {
  constructor(data) {
    this.specialIds = data.special;
    this.wholeFirst = data.whole_first;
    this.normal = data.normal && new RegExp(`${charactersOf(data.normal)}+`, "gu");
    const source = data.pattern.source.replace(/#(\d+)#/g, (_, index) => charactersOf(data.pattern.sets[index]));
    this.pattern = new RegExp(source, "gu");
    // A match of nothing is a border; what else matches at its place is found by asking for more than nothing.
    this.patternOfSome = new RegExp(`(?=(?<rest>[^]*))(?:${source})(?!\\k<rest>(?![^]))`, "yu");

    this.tokens = readTokens(atob(data.tokens));
    this.idByToken = new Map();
    this.tokens.forEach((token, id) => token && this.idByToken.set(token, id));
    if (data.merges !== null) {
      const merges = readMerges(atob(data.merges));
      this.rankByPair = new Map(merges.map(([left, right], rank) => [pair(left, right), rank]));
      this.resultByRank = merges.map(([left, right]) => this.idByToken.get(this.tokens[left] + this.tokens[right]));
    }
    this.firstRankById = this.#firstRankById();
    this.rankOfNew = [...this.firstRankById.values()].sort((a, b) => a - b);
  }

  // The rank from which on merges are left out when the first n tokens that merges make are kept.
  limitFor(n) {
    return n < this.rankOfNew.length ? this.rankOfNew[n] : Infinity;
  }

  encode(text, limit = Infinity) {
    return this.pieces(text).flatMap((piece) => this.grow(bytesOf(piece), limit).row.map((node) => node.id));
  }

  // The text in pieces: the matches of the pattern, and what lies between them.
  pieces(text) {
    text = asText(text);
    if (this.normal) text = text.replace(this.normal, (run) => run.normalize("NFC"));
    const found = [];
    let end = 0;
    for (let at = 0; at <= text.length; ) {
      this.pattern.lastIndex = at;
      let match = this.pattern.exec(text);
      if (!match) break;
      if (match.index > end) found.push(text.slice(end, match.index));
      end = match.index;
      if (match[0] === "") {
        this.patternOfSome.lastIndex = end;
        at = match.index + (text.codePointAt(match.index) > 0xffff ? 2 : 1);
        match = this.patternOfSome.exec(text);
        if (!match) continue;
      }
      found.push(match[0]);
      at = end = match.index + match[0].length;
    }
    if (end < text.length) found.push(text.slice(end));
    return found;
  }

  // Joins the bytes of a piece: the pair of lowest rank first, of equal ones the leftmost.
  // Gives the tokens and all joins in their order: {row, joins}; a node is {id, token, rank, parts}, a join {node, at}.
  grow(bytes, limit = Infinity) {
    const whole = this.wholeFirst ? this.idByToken.get(bytes) : undefined;
    if (whole !== undefined && this.isMadeBelow(whole, limit)) {
      return { row: [{ id: whole, token: bytes, rank: null, parts: [] }], joins: [] };
    }
    const row = Array.from(bytes, (token) => ({ id: this.idByToken.get(token), token, rank: null, parts: [] }));
    const ranks = row.slice(1).map((right, i) => this.rank(row[i], right));
    const joins = [];
    for (;;) {
      let at = 0;
      for (let i = 1; i < ranks.length; i++) if (ranks[i] < ranks[at]) at = i;
      const rank = ranks[at];
      if (!(rank < limit)) return { row, joins };
      const [left, right] = [row[at], row[at + 1]];
      const id = this.resultByRank ? this.resultByRank[rank] : rank;
      const node = { id, token: left.token + right.token, rank, parts: [left, right] };
      row.splice(at, 2, node);
      ranks.splice(at, 1);
      if (at > 0) ranks[at - 1] = this.rank(row[at - 1], node);
      if (at < ranks.length) ranks[at] = this.rank(node, row[at + 1]);
      joins.push({ node, at });
    }
  }

  rank(left, right) {
    if (this.rankByPair) return this.rankByPair.get(pair(left.id, right.id)) ?? Infinity;
    return this.idByToken.get(left.token + right.token) ?? Infinity;
  }

  isMadeBelow(id, limit) {
    return limit === Infinity || this.tokens[id].length === 1 || this.firstRankById.get(id) < limit;
  }

  // For each token that merges make, the rank of the first merge that makes it.
  #firstRankById() {
    const first = new Map();
    if (this.resultByRank) this.resultByRank.forEach((id, rank) => first.has(id) || first.set(id, rank));
    else for (const [token, id] of this.idByToken) if (token.length > 1) first.set(id, id);
    return first;
  }
}

const pair = (left, right) => left * 2 ** 24 + right;

function readTokens(packed) {
  const tokens = [];
  for (let at = 0; at < packed.length; ) {
    let size = 0;
    for (let shift = 0, more = true; more; shift += 7) {
      const byte = packed.charCodeAt(at++);
      size |= (byte & 127) << shift;
      more = byte > 127;
    }
    tokens.push(packed.slice(at, at + size));
    at += size;
  }
  return tokens;
}

function readMerges(packed) {
  const number = (at) => packed.charCodeAt(at) | (packed.charCodeAt(at + 1) << 8) | (packed.charCodeAt(at + 2) << 16);
  return Array.from({ length: packed.length / 6 }, (_, rank) => [number(6 * rank), number(6 * rank + 3)]);
}

// Gap, length, gap, length ... of code points, as a class of a regular expression.
function charactersOf(runs) {
  let text = "";
  for (let i = 0, end = 0; i < runs.length; i += 2) {
    const start = end + runs[i];
    end = start + runs[i + 1];
    text += `\\u{${start.toString(16)}}-\\u{${(end - 1).toString(16)}}`;
  }
  return `[${text}]`;
}

// A lone surrogate becomes the three bytes that UTF-8 would have for it, each as an escape from U+DC80 to U+DCFF, as in
// groundup/tokenizer/split.py: so it is split and comes out as Python has it.
function asText(text) {
  return text.replace(/\p{Cs}/gu, (lone) => {
    const point = lone.charCodeAt(0);
    const bytes = [0xe0 | (point >> 12), 0x80 | ((point >> 6) & 63), 0x80 | (point & 63)];
    return String.fromCharCode(...bytes.map((byte) => 0xdc00 | byte));
  });
}

const utf8 = new TextEncoder();

function bytesOf(piece) {
  let bytes = "";
  for (const character of piece) {
    const point = character.codePointAt(0);
    if (point < 0x80) bytes += character;
    else if (point >= 0xdc80 && point <= 0xdcff) bytes += String.fromCharCode(point - 0xdc00);
    else bytes += String.fromCharCode(...utf8.encode(character));
  }
  return bytes;
}
