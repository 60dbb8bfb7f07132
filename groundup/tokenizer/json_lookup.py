"""The character and the word tokenizer in tokenizer.json: a list of words, and where text is cut into them.

Only what groundup wrote is read: with another cutting, or another decoder, text would not come back.
"""

from collections.abc import Mapping
from typing import Any

from groundup.errors import ArtefactError, UsageError
from groundup.tokenizer import vocabulary
from groundup.tokenizer.character import CharacterTokenizer
from groundup.tokenizer.json_byte_level import checked_pattern, split
from groundup.tokenizer.protocol import NAMES_BY_ROLE, _roles
from groundup.tokenizer.split import PATTERNS, expression
from groundup.tokenizer.word import WordTokenizer

EVERY_CHARACTER = r"[\s\S]"
"""Newlines, too."""

DECODER = {"type": "Fuse"}


def content(tokenizer: CharacterTokenizer | WordTokenizer) -> dict[str, Any]:
    """What tokenizer.json says of this tokenizer. UsageError if a special token is also a word."""
    vocab = {token.decode(): i for i, token in enumerate(tokenizer.token_bytes) if token}
    if both := vocab.keys() & tokenizer.special_ids.keys():
        raise UsageError(f"two tokens are spelled {both.pop()!r}, tokenizer.json cannot hold both")
    vocab |= tokenizer.special_ids
    pattern = EVERY_CHARACTER if isinstance(tokenizer, CharacterTokenizer) else expression(tokenizer.pattern)
    return {
        "normalizer": None,
        "pre_tokenizer": split(pattern),
        "decoder": DECODER,
        "model": {
            "type": "WordLevel",
            "vocab": dict(sorted(vocab.items(), key=lambda item: item[1])),
            # The field has to be there; where no such token is, an unknown word is an error, as with us.
            "unk_token": tokenizer.roles.get("unk", NAMES_BY_ROLE["unk"][0]),
        },
    }


def read(
    content: dict[str, Any], special_ids: dict[str, int], options: Mapping[str, Any], where: str
) -> CharacterTokenizer | WordTokenizer:
    """The tokenizer. ArtefactError on one that groundup did not write; errors of want or type where it is damaged."""
    step, model = content["pre_tokenizer"] or {}, content["model"]
    pattern = step["pattern"].get("Regex") if step.get("type") == "Split" else None
    is_ours = (
        content.get("normalizer") is None
        and content.get("decoder") == DECODER
        and pattern is not None
        and step == split(pattern)
    )
    if not is_ours or pattern is None:
        raise ArtefactError(
            "this tokenizer looks up words that it cuts in a way that is not supported",
            where=where,
            hint="supported are the character and word tokenizers that groundup saves",
        )
    for name, i in special_ids.items():
        if model["vocab"].get(name, i) != i:
            raise ArtefactError(f"the added token {vocabulary.shown(name)} has two ids", where=where)
    vocabulary.check_ids(model["vocab"].values(), where)
    words = {i: word.encode() for word, i in model["vocab"].items() if word not in special_ids}
    if len(set(model["vocab"].values()) | set(special_ids.values())) < len(words) + len(special_ids):
        raise ArtefactError("two tokens have the same id", where=where)
    tokens = vocabulary.table(words, special_ids, where)
    options = dict(options)
    unk = model["unk_token"]
    if unk in special_ids:
        options["roles"] = (_roles(special_ids) if options["roles"] is None else options["roles"]) | {"unk": unk}
    elif unk in model["vocab"]:
        raise ArtefactError(f"the unknown token {vocabulary.shown(unk)} is an ordinary word", where=where)
    if pattern == EVERY_CHARACTER:
        return CharacterTokenizer(tokens, special_ids, **options)
    known = [name for name, expression in PATTERNS.items() if expression == pattern]
    return WordTokenizer(tokens, special_ids, known[0] if known else checked_pattern(pattern, where), **options)
