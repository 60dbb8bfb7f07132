"""A token as people read it: bytes that are no text, spaces and control characters made visible.

>>> show(" the\\n".encode()), show("你".encode()[:2]), show("\\u200b".encode())
('␣the↵', '<E4><BD>', '<U+200B>')
"""

import unicodedata

SIGNS = {" ": "␣", "\n": "↵", "\t": "⇥", "\r": "␍"}


def show(token: bytes) -> str:
    """The token on one line: nothing in it can move a cursor, and every byte can be seen."""
    return "".join(map(_sign, token.decode("utf-8", "surrogateescape"))) or "(empty)"


def _sign(character: str) -> str:
    if character in SIGNS:
        return SIGNS[character]
    if 0xDC80 <= ord(character) <= 0xDCFF:
        return f"<{ord(character) - 0xDC00:02X}>"
    if not character.isprintable():
        return f"<U+{ord(character):04X}>"
    # A mark that stands on the character before it gets a circle to stand on.
    return "\N{DOTTED CIRCLE}" + character if unicodedata.combining(character) else character
