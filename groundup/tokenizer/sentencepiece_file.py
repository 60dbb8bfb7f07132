"""SentencePiece's .model files: a protocol buffer with the pieces, how the model was trained, how text is normalised.

The few fields that are needed are read here, whatever else the file holds is skipped. The fields' numbers are those of
google/sentencepiece, `src/sentencepiece_model.proto`.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from groundup.errors import ArtefactError
from groundup.tokenizer import vocabulary
from groundup.tokenizer.sentencepiece import SPACE, SentencePieceBPE
from groundup.tokenizer.sentencepiece_joins import merges_by_score

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
"""Types of pieces."""

MODEL_TYPES = {1: "Unigram", 2: "BPE", 3: "words", 4: "characters"}


@dataclass
class Model:
    """What is needed of a file. Defaults are those of the format, which leaves out what has its default."""

    pieces: list[tuple[str, float, int]]
    """Text, score, type."""
    model_type: int = 1
    byte_fallback: bool = False
    suffix: bool = False
    name_of_role: tuple[tuple[str, int], ...] = ()
    charsmap: bytes = b""
    add_dummy_prefix: bool = True
    remove_extra_whitespaces: bool = True
    escape_whitespaces: bool = True
    denormalizer: bytes = b""


def read(file: Path) -> SentencePieceBPE:
    """The tokenizer of a file. ArtefactError: damaged, or a model of a kind that is not supported."""
    where = str(file)
    data = vocabulary.read_bytes(file)
    with vocabulary.blaming(where, "a SentencePiece model"):
        model = parse(data)
        _refuse(model, where)
        return _tokenizer(model, where)


def _refuse(model: Model, where: str) -> None:
    kind = MODEL_TYPES.get(model.model_type, str(model.model_type))
    types = {kind for _, _, kind in model.pieces}
    asked = {
        f"is of the type {kind}, not BPE": model.model_type != 2,
        "has no byte fallback: characters that are no piece would be lost": not model.byte_fallback,
        "normalises text, so that it would not come back": bool(model.charsmap or model.denormalizer),
        "removes extra spaces, so that text would not come back": model.remove_extra_whitespaces,
        "puts spaces behind words, or leaves them as they are": model.suffix or not model.escape_whitespaces,
        "has pieces that are marked unused": UNUSED in types,
        "has pieces of a type that is unknown here": not types <= set(range(1, 7)),
    }
    for what, is_asked in asked.items():
        if is_asked:
            raise ArtefactError(
                f"this SentencePiece model {what}; this is not supported",
                where=where,
                hint="supported is BPE with byte fallback and the normalisation 'identity', as Llama 2 has",
            )


def _tokenizer(model: Model, where: str) -> SentencePieceBPE:
    vocabulary.check_ids(range(len(model.pieces)), where)
    names = [name for name, _, _ in model.pieces]
    if "" in names or len(set(names)) < len(names):
        raise ArtefactError("a piece is empty or comes twice", where=where)
    for name, score, kind in model.pieces:
        if score != score:
            raise ArtefactError(f"the score of {vocabulary.shown(name)} is no number", where=where)
        if kind == USER_DEFINED and {SPACE, " "} & set(name):
            what = f"the user-defined symbol {vocabulary.shown(name)} has a space, which is not supported"
            raise ArtefactError(what, where=where)
        if (kind == BYTE) != (re.fullmatch("<0x[0-9A-F]{2}>", name) is not None):
            raise ArtefactError(f"the piece {vocabulary.shown(name)} is no byte, or is not marked as one", where=where)
    special = {name: i for i, (name, _, kind) in enumerate(model.pieces) if kind in (UNKNOWN, CONTROL, USER_DEFINED)}
    tokenizer = SentencePieceBPE(
        ["" if name in special else name for name in names],
        special,
        scores=[score for _, score, _ in model.pieces],
        add_dummy_prefix=model.add_dummy_prefix,
        roles={role: names[i] for role, i in model.name_of_role if 0 <= i < len(names) and names[i] in special},
        shown=[name for name, _, kind in model.pieces if kind == USER_DEFINED],
    )
    merges = merges_by_score(tokenizer)
    if merges is not None:
        tokenizer = SentencePieceBPE(
            tokenizer.pieces,
            special,
            merges=merges,
            add_dummy_prefix=tokenizer.add_dummy_prefix,
            roles=tokenizer.roles,
            shown=tokenizer.shown,
        )
    return tokenizer


# --- the protocol buffer ---

Value = int | bytes


def parse(data: bytes) -> Model:
    """The fields of a model. ValueError or struct.error on bytes that are no such message."""
    model = Model([])
    trainer: dict[int, Value] = {}
    normalizer: dict[int, Value] = {}
    for number, value in fields(data):
        if number == 1:
            model.pieces.append(_piece(_bytes(value)))
        elif number == 2:
            trainer.update(fields(_bytes(value)))
        elif number == 3:
            normalizer.update(fields(_bytes(value)))
        elif number == 5:
            model.denormalizer = _bytes(dict(fields(_bytes(value))).get(2, b""))
    if not model.pieces:
        raise ValueError("it has no pieces")
    model.model_type = _int(trainer.get(3, 1))
    model.suffix = bool(trainer.get(24, 0))
    model.byte_fallback = bool(trainer.get(35, 0))
    ids = (("unk", 40, 0), ("bos", 41, 1), ("eos", 42, 2), ("pad", 43, -1))
    model.name_of_role = tuple((role, _signed(_int(trainer.get(number, default)))) for role, number, default in ids)
    model.charsmap = _bytes(normalizer.get(2, b""))
    model.add_dummy_prefix = bool(normalizer.get(3, 1))
    model.remove_extra_whitespaces = bool(normalizer.get(4, 1))
    model.escape_whitespaces = bool(normalizer.get(5, 1))
    return model


def _piece(data: bytes) -> tuple[str, float, int]:
    found = dict(fields(data))
    score = found.get(2)
    return (
        _bytes(found.get(1, b"")).decode(),
        struct.unpack("<f", score)[0] if isinstance(score, bytes) else 0.0,
        _int(found.get(3, NORMAL)),
    )


def _int(value: Value) -> int:
    if not isinstance(value, int):
        raise ValueError("a field holds bytes, not a number")
    return value


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _bytes(value: Value) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("a field holds a number, not bytes")
    return value


def fields(data: bytes) -> Iterator[tuple[int, Value]]:
    """Number and value of each field of a message, none longer than the message itself.

    A value is an int (a varint) or bytes (a string, a message, a fixed 4 or 8 bytes).
    """
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire == 2:
            size, at = _varint(data, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(f"a field of the wire type {wire}")
        if size > len(data) - at:
            raise ValueError("it ends inside a field")
        yield number, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of 7 bits a byte, the lowest first, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & ((1 << 64) - 1), at
    raise ValueError("it ends inside a number, or one has more than 64 bits")
