"""Byte-level BPE in tokenizer.json, in the forms that GPT-2, Llama 3, Qwen, GPT-4o and SmolLM2 have there.

How text is split:        ByteLevel alone (GPT-2's split); one Split by a regular expression, then ByteLevel;
                          Digits one by one, then ByteLevel (SmolLM2's, the pattern "smollm")
Normalizer:               none, or NFC
ignore_merges:            a piece that is a token is taken whole
Added tokens:             inside the vocabulary or behind it; with "special" false they are `shown`
Vocabulary:               tokens that no text becomes, and gaps in the ids, are kept; bytes that hardly any text has
                          may be missing, and text loses them as it does in Hugging Face's (`BPE.missing_bytes`)
"""

import re
from collections.abc import Mapping
from math import prod
from typing import Any

from groundup.errors import ArtefactError
from groundup.tokenizer import gpt2_files, vocabulary
from groundup.tokenizer.bpe import BPE
from groundup.tokenizer.merge_order import as_list
from groundup.tokenizer.split import PATTERNS, compiled, expression

LONGEST_PATTERN = 10_000
"""Characters of a strange regular expression; those in use have 400."""

MOST_REPEATS = 10_000
"""All counted repeats of a strange regular expression multiplied: nested ones take that much memory to compile."""

# --- writing ---


def content(tokenizer: BPE) -> dict[str, Any]:
    """What tokenizer.json says of this tokenizer, apart from its added tokens."""
    names = gpt2_files.spelled(tokenizer)
    return {
        "normalizer": {"type": tokenizer.normalizer} if tokenizer.normalizer else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split(expression(tokenizer.pattern)), _byte_level()]},
        "decoder": _byte_level(),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": tokenizer.whole_first,
            "vocab": {name: i for i, name in names.items()},
            "merges": [f"{names[left]} {names[right]}" for left, right in as_list(tokenizer)],
        },
    }


def split(pattern: str) -> dict[str, Any]:
    """A step that cuts text at a regular expression."""
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def _byte_level() -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}


# --- reading ---


def is_one(content: dict[str, Any]) -> bool:
    """Whether bytes are what is joined: then text passes `ByteLevel` before the model, or after it."""
    steps = _steps(content.get("pre_tokenizer"), "pretokenizers") + _steps(content.get("decoder"), "decoders")
    return any(step["type"] == "ByteLevel" for step in steps) or not content["model"].get("byte_fallback")


def _steps(step: Any, key: str) -> list[dict[str, Any]]:
    return [] if step is None else step[key] if step["type"] == "Sequence" else [step]


def read(content: dict[str, Any], special_ids: dict[str, int], options: Mapping[str, Any], where: str) -> BPE:
    """The tokenizer. ArtefactError on what is not supported; errors of want or type where the file is damaged."""
    model = content["model"]
    _refuse_unknown(content, where)
    tokens, special_ids = gpt2_files.read_tokens(model["vocab"], special_ids, where)
    vocab = {**model["vocab"], **special_ids}
    return BPE(
        tokens,
        gpt2_files.read_merges(model["merges"], vocab, special_ids, where),
        special_ids,
        _read_pattern(_steps(content.get("pre_tokenizer"), "pretokenizers"), where),
        whole_first=bool(model.get("ignore_merges")),
        normalizer=_read_normalizer(content, where),
        **options,
    )


def _refuse_unknown(content: dict[str, Any], where: str) -> None:
    model = content["model"]
    decoders = [step["type"] for step in _steps(content.get("decoder"), "decoders")]
    asked = {
        "dropout": bool(model.get("dropout")),
        "a prefix or suffix of words": bool(model.get("continuing_subword_prefix") or model.get("end_of_word_suffix")),
        "a decoder other than ByteLevel": decoders not in ([], ["ByteLevel"]),
    }
    for what, is_asked in asked.items():
        if is_asked:
            raise ArtefactError(f"this tokenizer uses {what}, which is not supported", where=where)


def _read_normalizer(content: dict[str, Any], where: str) -> str | None:
    steps = [step["type"] for step in _steps(content.get("normalizer"), "normalizers")]
    if steps not in ([], ["NFC"]):
        raise ArtefactError(
            f"this tokenizer uses the normalizer {vocabulary.shown(steps)}, which is not supported",
            where=where,
            hint="supported are NFC and none: any other loses text",
        )
    return steps[0] if steps else None


def _read_pattern(steps: list[dict[str, Any]], where: str) -> str:
    """The name of the split pattern, or its regular expression where it has no name."""
    last = steps[-1] if steps else {}
    if last.get("type") == "ByteLevel" and not last.get("add_prefix_space", True):
        by_words = last.get("use_regex", True)
        first = steps[0]
        if len(steps) == 1 and by_words:
            return "gpt2"
        if len(steps) == 2 and by_words and first["type"] == "Digits" and first.get("individual_digits"):
            return "smollm"
        if len(steps) == 2 and not by_words and first["type"] == "Split" and "Regex" in first["pattern"]:
            return _named(first, where)
    raise ArtefactError(
        "this tokenizer splits text in a way that is not supported",
        where=where,
        hint="supported are ByteLevel; Split (one regular expression, isolated) then ByteLevel; Digits then ByteLevel",
    )


def _named(step: dict[str, Any], where: str) -> str:
    pattern = step["pattern"]["Regex"]
    known = [name for name, expression in PATTERNS.items() if expression == pattern]
    # What a pattern matches, and nothing else, is kept by "removed, inverted"; a pattern with a name matches all.
    keeps_all = step["behavior"] == "Isolated" or (known and step["behavior"] == "Removed" and step.get("invert"))
    if not keeps_all:
        raise ArtefactError(
            "this tokenizer splits text in a way that is not supported",
            where=where,
            hint="supported is a Split whose behavior is Isolated",
        )
    return known[0] if known else checked_pattern(pattern, where)


def checked_pattern(pattern: str, where: str) -> str:
    """A strange regular expression. ArtefactError if it would take long to compile, UsageError if it is none."""
    counts = [int(count) for found in re.findall(r"\{(\d*)(?:,(\d*))?\}", pattern) for count in found if count]
    if not 0 < len(pattern) <= LONGEST_PATTERN or prod(filter(None, counts)) > MOST_REPEATS:
        raise ArtefactError("the regular expression that splits text is too large", where=where)
    compiled(pattern)
    return pattern
