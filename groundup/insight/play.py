"""A page to play with a tokenizer: type a text, see its tokens, and how they were joined from bytes.

One HTML file that needs nothing but itself. The vocabulary and the merges are in it, packed; the browser does the rest:
`play_tokenizer.js` is BPE once more, `play_drawing.js` draws, `play_page.js` listens and puts the two together; they
work in `play.html`, which `play.css` dresses.
"""

from __future__ import annotations

import base64
import re
import sys
import unicodedata
from html import escape
from pathlib import Path
from typing import Any

import orjson

from groundup.errors import UsageError
from groundup.insight.javascript_pattern import translate
from groundup.insight.page import page
from groundup.insight.tokenizer_compare import samples
from groundup.tokenizer.bpe import BPE
from groundup.tokenizer.protocol import Tokenizer

HERE = Path(__file__).parent
SCRIPTS = ("play_tokenizer.js", "play_drawing.js", "play_page.js")
EXAMPLES = ("english", "chinese", "python", "numbers", "german", "emoji")


def play_page(tokenizer: Tokenizer, name: str) -> str:
    """The page for a tokenizer that is called `name`.

    UsageError: it is not byte-level BPE, or JavaScript has no words for its split pattern.
    """
    if not isinstance(tokenizer, BPE):
        raise UsageError(
            f"a page is made for byte-level BPE, and this tokenizer is of another kind: {tokenizer.kind}",
            hint="groundup tokenizer play without --out shows its tokens in the terminal",
        )
    pattern = tokenizer.pattern if len(tokenizer.pattern) <= 40 else tokenizer.pattern[:39] + "…"
    words = {
        "NAME": escape(name),
        "SIZE": f"{tokenizer.vocab_size:,}",
        "PATTERN": escape(pattern),
        "DATA": _in_html(data(tokenizer) | {"examples": examples()}),
    }
    template = (HERE / "play.html").read_text(encoding="utf-8")
    body = re.sub(r"\{\{(\w+)\}\}", lambda found: words[found[1]], template)
    style = (HERE / "play.css").read_text(encoding="utf-8")
    script = "\n".join((HERE / file).read_text(encoding="utf-8") for file in SCRIPTS)
    return page(f"{name}: tokens", body, more_style=style, script=script)


def data(tokenizer: BPE) -> dict[str, Any]:
    """All that decides the ids, as the script wants it; the packed forms are explained there."""
    pattern = translate(tokenizer.pattern)
    return {
        "tokens": _packed(b"".join(_length(len(token)) + token for token in tokenizer.token_bytes)),
        "merges": None if tokenizer.by_result else _packed(_three_bytes(tokenizer)),
        "special": tokenizer.special_ids,
        "pattern": {"source": pattern.source, "sets": pattern.sets},
        "whole_first": tokenizer.whole_first,
        "normal": _assigned() if tokenizer.normalizer == "NFC" else None,
    }


def examples() -> dict[str, str]:
    """The beginnings of some sample texts: what the page opens with, and can be asked for."""
    texts = samples()
    return {name: _beginning(texts[name]) for name in EXAMPLES}


def _beginning(text: str, n: int = 420) -> str:
    """Whole lines, or whole sentences, of about n characters."""
    if len(text) <= n:
        return text.strip("\n")
    ends = [text.rfind(mark, 0, n) + 1 for mark in (". ", "。", "\n")]
    return text[: max(ends)].strip("\n")


def _length(n: int) -> bytes:
    """Seven bits a byte, the lowest first; the eighth says that more follow."""
    return bytes([n]) if n < 128 else bytes([n % 128 + 128]) + _length(n // 128)


def _three_bytes(tokenizer: BPE) -> bytes:
    """The ids of all merges, three bytes each."""
    return tokenizer.merges.astype("<u4").view("u1").reshape(-1, 4)[:, :3].tobytes()


def _packed(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _assigned() -> list[int]:
    """Runs of the characters that this Python's Unicode knows: a newer browser may compose others too."""
    found: list[int] = []
    end, start = 0, None
    for point in range(sys.maxunicode + 2):
        is_known = point <= sys.maxunicode and unicodedata.category(chr(point)) != "Cn"
        if is_known and start is None:
            start = point
        elif not is_known and start is not None:
            found += (start - end, point - start)
            end, start = point, None
    return found


def _in_html(content: dict[str, Any]) -> str:
    """JSON that can stand in a script element: no `<` that could end it."""
    return orjson.dumps(content).decode().replace("<", "\\u003c")
