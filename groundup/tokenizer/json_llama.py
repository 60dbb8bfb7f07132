"""SentencePiece BPE in tokenizer.json, in the form that Llama 2 has there: spaces become "▁", one is put before the
text, and characters that are no token become tokens of their bytes, `<0x00>` to `<0xFF>`.

Files that use `Metaspace` for this, which leaves out the first "▁" where text begins with a space, are refused.
"""

from collections.abc import Mapping
from typing import Any

from groundup.errors import ArtefactError, UsageError
from groundup.tokenizer import vocabulary
from groundup.tokenizer.sentencepiece import SPACE, SentencePieceBPE, byte_ids

_TO_SPACE = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
_PREPEND = {"type": "Prepend", "prepend": SPACE}
_DECODE = [
    {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
    {"type": "ByteFallback"},
    {"type": "Fuse"},
]
_STRIP = {"type": "Strip", "content": " ", "start": 1, "stop": 0}


def content(tokenizer: SentencePieceBPE) -> dict[str, Any]:
    """What tokenizer.json says of this tokenizer. UsageError if its joins are no list of merges."""
    if tokenizer.merges is None:
        raise UsageError(
            "pieces of this SentencePiece model have equal scores, which tokenizer.json cannot say",
            hint="keep the .model file, it is read wherever a tokenizer is asked for",
        )
    names = dict(enumerate(tokenizer.pieces)) | {i: name for name, i in tokenizer.special_ids.items()}
    prefix = tokenizer.add_dummy_prefix
    return {
        "normalizer": {"type": "Sequence", "normalizers": [_PREPEND, _TO_SPACE] if prefix else [_TO_SPACE]},
        "pre_tokenizer": None,
        "decoder": {"type": "Sequence", "decoders": [*_DECODE, _STRIP] if prefix else _DECODE},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": tokenizer.roles.get("unk"),
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": {name: i for i, name in names.items() if name},
            "merges": [f"{names[left]} {names[right]}" for left, right in tokenizer.merges],
        },
    }


def is_one(content: dict[str, Any]) -> bool:
    """Whether characters are joined, with bytes for those that are no token."""
    return bool(content["model"].get("byte_fallback"))


def read(
    content: dict[str, Any], special_ids: dict[str, int], options: Mapping[str, Any], where: str
) -> SentencePieceBPE:
    """The tokenizer. ArtefactError on what is not supported; errors of want or type where the file is damaged."""
    model, normalizer = content["model"], content.get("normalizer") or {}
    steps = normalizer["normalizers"] if normalizer.get("type") == "Sequence" else [normalizer]
    if steps not in ([_PREPEND, _TO_SPACE], [_TO_SPACE]) or content.get("pre_tokenizer") is not None:
        raise ArtefactError(
            "this tokenizer splits text in a way that is not supported",
            where=where,
            hint="supported is Llama 2's form: Prepend and Replace, no pre-tokenizer; or load tokenizer.model",
        )
    if model.get("dropout") or model.get("ignore_merges"):
        raise ArtefactError("this tokenizer uses dropout or ignore_merges, which is not supported", where=where)
    pieces = _pieces(model["vocab"], special_ids, where)
    ids = {piece: i for i, piece in enumerate(pieces) if piece}
    for i in byte_ids(pieces, where):
        ids.pop(pieces[i])
    merges = []
    for merge in model["merges"]:
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        if not ids.keys() >= {left, right, left + right}:
            what = f"the merge {vocabulary.shown(merge)} joins or makes a token that is not in the vocabulary"
            raise ArtefactError(what, where=where)
        merges.append((ids[left], ids[right]))
    return SentencePieceBPE(pieces, special_ids, merges=merges, add_dummy_prefix=steps[0] == _PREPEND, **options)


def _pieces(vocab: Mapping[str, int], special_ids: Mapping[str, int], where: str) -> list[str]:
    """The text of each piece by id, "" for added tokens and gaps."""
    for name, i in special_ids.items():
        if vocab.get(name, i) != i:
            raise ArtefactError(f"the added token {vocabulary.shown(name)} has two ids", where=where)
    plain = {i: piece for piece, i in vocab.items() if piece not in special_ids}
    vocabulary.check_ids([*(i for piece, i in vocab.items() if piece not in special_ids), *special_ids.values()], where)
    pieces = [""] * (1 + max([*plain, *special_ids.values()]))
    for i, piece in plain.items():
        pieces[i] = piece
    return pieces
