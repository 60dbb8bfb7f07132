"""The byte alphabet of byte-level BPE: one printable character for each of the 256 bytes.

GPT-2 writes tokens, which are bytes, into JSON files as text. Bytes that print well stand for themselves; the other 68
(control characters, the space, a few more) are shifted to code points from 256 on. So the space becomes "Ġ" and the
newline "Ċ". Hugging Face numbers the bytes by the code point of their character, and so do we.
"""

_PRINTABLE = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
_SHIFTED = [byte for byte in range(256) if byte not in _PRINTABLE]

BYTES_IN_ORDER = bytes(_PRINTABLE + _SHIFTED)
"""The 256 bytes in the order of their characters' code points: the order of their ids."""

CHARACTER_BY_BYTE = {byte: chr(byte) for byte in _PRINTABLE} | {b: chr(256 + i) for i, b in enumerate(_SHIFTED)}
BYTE_BY_CHARACTER = {character: byte for byte, character in CHARACTER_BY_BYTE.items()}

_LATIN_TO_ALPHABET = {byte: ord(character) for byte, character in CHARACTER_BY_BYTE.items()}


def spell(token: bytes) -> str:
    """A token as the files spell it: `spell(b" the")` is `"Ġthe"`."""
    return token.decode("latin-1").translate(_LATIN_TO_ALPHABET)


def unspell(text: str) -> bytes:
    """The bytes behind a spelled token: `unspell("Ġthe")` is `b" the"`. KeyError on another character."""
    return bytes(BYTE_BY_CHARACTER[character] for character in text)
