"""The frame of a page that needs nothing but itself: style sheet, security policy, and the report's few HTML shapes.

Every text goes through `escape`. The policy in the page forbids every request and admits one style sheet, and one
script if there is one, by its hash, so that even a text that slipped through unescaped could do nothing.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from html import escape

TEXT_SHOWN = 3000
STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1f2328; --grey: #5f6773; --faint: #e6e8ec; --soft: #f6f7f9;
  --train: #2563a8; --val: #c9540f; --rate: #2f7d58; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171c; --ink: #e4e7ec; --grey: #98a1ae; --faint: #2b313a;
  --soft: #1b2027; --train: #6aa9ee; --val: #f0965a; --rate: #67c394; --bad: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); line-height: 1.55;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", "Noto Sans CJK SC",
  sans-serif; }
main { max-width: 1020px; margin: 0 auto; padding: 56px 28px 72px; }
h1 { font-size: 34px; line-height: 1.2; letter-spacing: -0.02em; margin: 0 0 6px; overflow-wrap: anywhere; }
h2 { font-size: 21px; letter-spacing: -0.01em; margin: 60px 0 4px; }
h3 { font-size: 15px; margin: 28px 0 8px; }
p { margin: 6px 0 14px; max-width: 72ch; }
.dim, .note { color: var(--grey); }
.note { font-size: 15px; }
code, pre, .mono { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size:
  13.5px; }
code { overflow-wrap: anywhere; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(148px, 1fr)); gap: 1px; margin: 30px 0 0;
  background: var(--faint); border: 1px solid var(--faint); border-radius: 10px; overflow: hidden; }
.tiles div { background: var(--paper); padding: 16px 18px 14px; }
.tiles b { display: block; font-size: 25px; line-height: 1.25; letter-spacing: -0.02em; font-variant-numeric:
  tabular-nums; }
.tiles span { color: var(--grey); font-size: 13.5px; line-height: 1.35; display: block; }
.state { display: inline-block; font-size: 14px; color: var(--bad); border: 1px solid; border-radius: 99px; padding: 0
  10px;
  margin-left: 8px; vertical-align: 5px; letter-spacing: 0; font-weight: 500; }
figure { margin: 0; min-width: 0; }
.chart { margin: 20px 0 34px; }
.chart figcaption { font-weight: 600; font-size: 15px; margin-bottom: 10px; }
.legend { display: none; font-weight: 500; } .legend span { margin-left: 10px; }
.plot { display: flex; height: 270px; margin-bottom: 26px; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 0 28px; } .pair .plot { height: 150px; }
.plot svg { overflow: visible; height: 100%; } .plot svg svg { overflow: hidden; }
.ticks { width: 48px; flex: none; } .names { width: 138px; flex: none; } .area { flex: 1; min-width: 0; }
.pair .names { width: 74px; }
.plot text { font-size: 12.5px; fill: var(--grey); font-variant-numeric: tabular-nums; }
.plot .end { text-anchor: end; } .plot .middle { text-anchor: middle; }
.plot .names text { font-weight: 600; font-size: 13px; }
.grid { stroke: var(--faint); stroke-width: 1; }
.plot path { fill: none; stroke-width: 2.2; stroke-linejoin: round; stroke-linecap: round; vector-effect:
  non-scaling-stroke; }
.plot path.raw { stroke-width: 1; opacity: 0.28; }
path.train { stroke: var(--train); } path.val { stroke: var(--val); } path.rate { stroke: var(--rate); }
circle.val { fill: var(--val); stroke: var(--paper); stroke-width: 1.5; }
.names text.train { fill: var(--train); } .names text.val { fill: var(--val); } .names text.rate { fill: var(--rate); }
span.train { color: var(--train); } span.val { color: var(--val); } span.rate { color: var(--rate); }
.hover rect { fill: transparent; } .hover line, .hover text { visibility: hidden; }
.hover:hover line, .hover:hover text { visibility: visible; pointer-events: none; }
.hover line { stroke: var(--grey); } .hover text { fill: var(--ink); font-weight: 600; white-space: pre;
  paint-order: stroke; stroke: var(--paper); stroke-width: 5px; stroke-linejoin: round; }
.bar { width: 100%; height: 10px; display: block; } .track { fill: var(--faint); } .good { fill: var(--rate); }
.part { fill: var(--train); } .weak { fill: var(--val); }
details { border-top: 1px solid var(--faint); } details:last-of-type { border-bottom: 1px solid var(--faint); }
summary { cursor: pointer; padding: 10px 2px; list-style: none; } summary::-webkit-details-marker { display: none; }
summary::before { content: "\\203A"; color: var(--grey); display: inline-block; width: 16px; transition: transform
  0.12s; }
details[open] > summary::before { transform: rotate(90deg) translate(1px, 4px); }
summary:hover { background: var(--soft); }
.row { display: inline-grid; width: calc(100% - 20px); grid-template-columns: minmax(96px, 170px) 1fr 52px 76px; gap:
  16px;
  align-items: center; font-variant-numeric: tabular-nums; }
.row > :nth-child(n + 3) { text-align: right; } .row .bar { max-width: none; }
.times { display: grid; gap: 7px; margin: 14px 0; } .times .row { width: 100%; grid-template-columns: minmax(96px,
  170px) 1fr 76px; }
.scroll { overflow-x: auto; margin: 2px 0 18px; }
table { border-collapse: collapse; width: 100%; font-size: 14.5px; }
th { text-align: left; font-weight: 500; color: var(--grey); font-size: 13px; border-bottom: 1px solid var(--faint); }
th, td { padding: 7px 18px 7px 0; vertical-align: top; } td { border-bottom: 1px solid var(--faint); overflow-wrap:
  anywhere; }
tr:last-child td { border-bottom: 0; }
td.mark { white-space: nowrap; color: var(--grey); } tr.wrong td.mark { color: var(--bad); font-weight: 600; }
tr.wrong td.answer { color: var(--bad); }
.keys td:first-child { width: 34%; color: var(--grey); } .keys td { overflow-wrap: anywhere; }
.questions { table-layout: fixed; } .questions th:first-child { width: 74px; } .questions th:nth-child(2) { width:
  46%; }
blockquote { margin: 14px 0 22px; padding: 18px 22px; background: var(--soft); border-radius: 10px; white-space:
  pre-wrap;
  overflow-wrap: anywhere; font-family: Georgia, "Noto Serif", "Noto Serif CJK SC", serif; font-size: 17px;
  line-height: 1.6; }
blockquote .given { color: var(--grey); }
.step { font-size: 13px; color: var(--grey); font-weight: 600; font-variant-numeric: tabular-nums; margin: 20px 0 0; }
.step + blockquote { margin-top: 6px; }
.chat { display: grid; gap: 8px; margin: 14px 0 22px; }
.chat div { max-width: 76%; padding: 10px 16px; border-radius: 16px; white-space: pre-wrap; overflow-wrap: anywhere; }
.chat .user { justify-self: end; background: var(--train); color: var(--paper); border-bottom-right-radius: 5px; }
.chat .assistant, .chat .system, .chat .tool { justify-self: start; background: var(--soft);
  border-bottom-left-radius: 5px; }
footer { margin-top: 64px; color: var(--grey); font-size: 14px; }
@media (max-width: 680px) {
  main { padding: 32px 16px 48px; } h1 { font-size: 27px; } h2 { margin-top: 46px; }
  .pair { grid-template-columns: 1fr; } .names { display: none; } .legend { display: inline; } .plot { height: 220px; }
  .tiles { grid-template-columns: 1fr 1fr; } .tiles div { padding: 12px 14px; } .tiles b { font-size: 21px; }
  .row { grid-template-columns: 92px 1fr 44px 56px; gap: 10px; font-size: 15px; }
  .times .row { grid-template-columns: 92px 1fr 64px; }
  .chat div { max-width: 90%; } .questions, .questions tbody, .questions tr, .questions td { display: block; width:
  auto; }
  .questions tr:first-child { display: none; } .questions td { border: 0; padding: 1px 0; }
  .questions tr { border-bottom: 1px solid var(--faint); padding: 8px 0; }
  .questions td[data-name]::before { content: attr(data-name) ": "; color: var(--grey); }
}
@media print { details > *:not(summary) { display: block; } .tiles, blockquote { break-inside: avoid; } }
"""


def page(title: str, body: str, *, more_style: str = "", script: str = "") -> str:
    """A whole HTML document. `body` is HTML, `title` text; a script runs when the body is there."""
    style = STYLE + more_style
    allowed = f"style-src {_hash(style)}; " + (f"script-src {_hash(script)}; " if script else "")
    policy = f"default-src 'none'; {allowed}img-src data:; base-uri 'none'; form-action 'none'"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="referrer" content="no-referrer">\n<title>{escape(title)}</title>\n'
        '<link rel="icon" href="data:,">\n'
        f"<style>{style}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n"
        + (f"<script>{script}</script>\n" if script else "")
        + "</body>\n</html>\n"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def tiles(facts: Iterable[tuple[str, str]]) -> str:
    """Big numbers with what they are under them: (number, name)."""
    cells = "".join(f"<div><b>{escape(number)}</b><span>{escape(name)}</span></div>" for number, name in facts)
    return f'<div class="tiles">{cells}</div>' if cells else ""


def keys(rows: Iterable[tuple[str, ...]], header: tuple[str, ...] = ()) -> str:
    """A table whose first column names what stands in the others."""
    head = "<tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in header) + "</tr>" if header else ""
    lines = ["<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows]
    return f'<div class="scroll"><table class="keys">{head}{"".join(lines)}</table></div>' if lines else ""


def details(summary: str, body: str, is_open: bool = False) -> str:
    """A part that opens on a click. Both are HTML."""
    return f"<details{' open' if is_open else ''}><summary>{summary}</summary>{body}</details>" if body else ""


def short(text: object) -> str:
    """At most the first 3000 characters of a text."""
    text = str(text)
    return text if len(text) <= TEXT_SHOWN else text[:TEXT_SHOWN] + " …"
