"""A tokenizer as GGUF's metadata, both ways: `tokenizer.ggml.*` and `tokenizer.chat_template`.

GGUF has no regular expression for where text is split. It has a name, `tokenizer.ggml.pre`, for what is programmed in
llama.cpp, which also says whether a piece that is a token is taken whole. A tokenizer is written if one of the names
gives the same ids; otherwise it is refused, because a model that is fed other ids talks nonsense.

byte-level BPE        model "gpt2": tokens in GPT-2's printable alphabet, merges as text, special tokens by name
SentencePiece BPE     model "llama": pieces with "▁", a score each, bytes as <0x41>

A vocabulary that is smaller than the embedding is filled up with unused tokens, `[PAD123]`, one for each row.

What llama.cpp does in another way, whatever is written here: it never normalises text (Qwen's NFC); `shown` tokens
such as `<think>` become tokens wherever text spells them; a "▁" in text is a space to it, as to `sentencepiece`; bytes
that a vocabulary lacks keep their neighbours apart, where `tokenizers` and groundup join those.

Source: llama.cpp, `src/llama-vocab.cpp` and `conversion/base.py`; key names are those of `gguf.constants`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from groundup.errors import ArtefactError, UsageError
from groundup.tokenizer import gpt2_files, split, vocabulary
from groundup.tokenizer.alphabet import BYTE_BY_CHARACTER
from groundup.tokenizer.bpe import BPE
from groundup.tokenizer.merge_order import as_list
from groundup.tokenizer.protocol import ENDS_OF_TURN, Tokenizer
from groundup.tokenizer.sentencepiece import SentencePieceBPE
from groundup.tokenizer.sentencepiece_file import BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED
from groundup.tokenizer.sentencepiece_joins import merges_by_score
from groundup.weights import gguf_scores

NORMALIZER = "groundup.tokenizer.normalizer"
"""A key of our own, where the normalizer is not the one that goes with the name of the split."""

NO_VOCABULARY = ("none", "no_vocab")

ROLES = {"bos": "bos_token_id", "eos": "eos_token_id", "unk": "unknown_token_id", "pad": "padding_token_id"}
ENDS = dict(zip(ENDS_OF_TURN, ("eot_token_id", "eot_token_id", "eom_token_id"), strict=True))

NAMES_OF_SPLIT = {
    (split.GPT2, False): "gpt-2",
    (split.SMOLLM, False): "smollm",
    (split.QWEN2, False): "qwen2",
    (split.CL100K, True): "llama-bpe",
    (split.CL100K, False): "dbrx",
}
"""What is written, by (regular expression, whole_first). Not O200K: llama.cpp's "gpt-4o" tells capitals from small
letters in English only, so that a capital in "éÉ" begins no new word."""

TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Mistral Nemo's: O200K without contractions, every digit alone."""

SPLITS = {
    "gpt-2 phi-2 mpt olmo trillion exaone4 a.x-4.0 mellum": ("gpt2", False, None),
    "smollm starcoder refact codeshell exaone minerva-7b": ("smollm", False, None),
    "qwen2 deepseek-r1-qwen megrez kormo": ("qwen2", False, "NFC"),
    "stablelm2 hunyuan solar-open": ("qwen2", False, None),
    "llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 glm4": ("llama3", True, None),
    "dbrx smaug-bpe chatglm-bpe": ("cl100k", False, None),
    "gpt-4o llama4 kanana2": ("o200k", False, None),
    "tekken": (TEKKEN, True, None),
}
"""What is read: (pattern, whole_first, normalizer) by the names that say it. It is how the model was trained, which in
the last two rows is not quite how llama.cpp splits."""

BY_NAME = {name: said for names, said in SPLITS.items() for name in names.split()}

PADDING = re.compile(r"\[+PAD\d+\]+")

ADDED_SCORE = -1000.0
"""Of tokens that text does not become, as llama.cpp's own converter has it."""


# --- out ---


def to_metadata(tokenizer: Tokenizer | None, n_rows: int) -> dict[str, Any]:
    """The metadata of a tokenizer for a model whose embedding has `n_rows`; numbers that are ids are unsigned.

    UsageError if llama.cpp has nothing that gives the same ids.
    """
    if tokenizer is None:
        return {"tokenizer.ggml.model": "none"}
    if isinstance(tokenizer, BPE):
        said = _byte_level(tokenizer, n_rows)
    elif isinstance(tokenizer, SentencePieceBPE):
        said = _sentencepiece(tokenizer, n_rows)
    else:
        raise UsageError(
            f"llama.cpp has no tokenizer of the kind {tokenizer.kind!r}",
            hint="train one that it has: groundup tokenizer train TEXT --out FOLDER",
        )
    said |= _ids_of_roles(tokenizer)
    said["add_bos_token"] = tokenizer.adds_bos
    said["add_space_prefix"] = isinstance(tokenizer, SentencePieceBPE) and tokenizer.add_dummy_prefix
    metadata = {f"tokenizer.ggml.{key}": value for key, value in said.items()}
    if isinstance(tokenizer, BPE) and tokenizer.normalizer != BY_NAME[said["pre"]][2]:
        metadata[NORMALIZER] = tokenizer.normalizer or "none"
    if tokenizer.chat_template:
        metadata["tokenizer.chat_template"] = tokenizer.chat_template
    return metadata


def _byte_level(tokenizer: BPE, n_rows: int) -> dict[str, Any]:
    names = gpt2_files.spelled(tokenizer)
    merges = [f"{names[left]} {names[right]}" for left, right in as_list(tokenizer)]
    tokens = _filled(names, n_rows)
    types = {i: _type_of_added(name, tokenizer) for name, i in tokenizer.special_ids.items()}
    return {
        "model": "gpt2",
        "pre": _name_of_split(tokenizer),
        "tokens": tokens,
        "token_type": [types.get(i, NORMAL if i in names else UNUSED) for i in range(len(tokens))],
        # The list has to be there, and the gguf package writes no empty one; this entry joins nothing.
        "merges": merges or [""],
    }


def _name_of_split(tokenizer: BPE) -> str:
    pattern = split.expression(tokenizer.pattern)
    if name := NAMES_OF_SPLIT.get((pattern, tokenizer.whole_first)):
        return name
    other = NAMES_OF_SPLIT.get((pattern, not tokenizer.whole_first))
    # Where merges make every token, taking a piece that is a token whole changes nothing.
    if other and all(tokenizer.merge_plainly(token) == [i] for token, i in tokenizer.id_by_token.items()):
        return other
    raise UsageError(
        f"llama.cpp does not split text as this tokenizer does ({vocabulary.shown(tokenizer.pattern)}"
        + (", a piece that is a token taken whole)" if other and tokenizer.whole_first else ")"),
        hint="it knows the patterns gpt2, smollm, qwen2, cl100k and llama3; the model would be fed other ids than it"
        " was trained on",
    )


def _sentencepiece(tokenizer: SentencePieceBPE, n_rows: int) -> dict[str, Any]:
    names = {i: piece for i, piece in enumerate(tokenizer.pieces) if piece}
    names |= {i: name for name, i in tokenizer.special_ids.items()}
    tokens = _filled(names, n_rows)
    types = dict.fromkeys(tokenizer._byte_ids, BYTE)
    types |= {i: _type_of_added(name, tokenizer) for name, i in tokenizer.special_ids.items()}
    if tokenizer.unk_id is not None:
        types[tokenizer.unk_id] = UNKNOWN
    scores = dict(enumerate(gguf_scores.scores(tokenizer)))
    scores |= dict.fromkeys(tokenizer.special_ids.values(), ADDED_SCORE)
    return {
        "model": "llama",
        "pre": "default",
        "tokens": tokens,
        "scores": [float(scores[i]) if i in names else ADDED_SCORE for i in range(len(tokens))],
        "token_type": [types.get(i, NORMAL if i in names else UNUSED) for i in range(len(tokens))],
    }


def _type_of_added(name: str, tokenizer: Tokenizer) -> int:
    return USER_DEFINED if name in tokenizer.shown else CONTROL


def _filled(names: Mapping[int, str], n_rows: int) -> list[str]:
    """The name of every row: what no token has is padding, under a name that nothing else has."""
    if max(names) >= n_rows:
        raise UsageError(f"the tokenizer has ids up to {max(names)}, the model's vocab_size is {n_rows}")
    taken = set(names.values())
    tokens = []
    for i in range(n_rows):
        name = names.get(i, f"[PAD{i}]")
        while i not in names and name in taken:
            name = f"[{name}]"
        tokens.append(name)
    return tokens


def _ids_of_roles(tokenizer: Tokenizer) -> dict[str, int]:
    ids = {ROLES[role]: tokenizer.special_ids.get(name) for role, name in tokenizer.roles.items() if role in ROLES}
    for name, key in ENDS.items():
        i = tokenizer.special_ids.get(name)
        if i not in ids.values() and ids.get(key) is None:
            ids[key] = i
    if ids.get("eos_token_id") is None:
        ids["eos_token_id"] = _never_in_text(tokenizer)
    return {key: i for key, i in ids.items() if i is not None}


def _never_in_text(tokenizer: Tokenizer) -> int | None:
    """The id of a byte that UTF-8 has not. A vocabulary without an end gets it as one, because llama.cpp would take
    token 11 (of GPT-2's, a comma) or 2."""
    ids = {token: i for i, token in enumerate(tokenizer.token_bytes)}
    return next((ids[bytes([byte])] for byte in (0xFF, 0xFE, 0xC0, 0xC1) if bytes([byte]) in ids), None)


# --- in ---


def from_metadata(metadata: Mapping[str, Any], where: str | None = None) -> Tokenizer | None:
    """The tokenizer of a file's metadata, None if it has none.

    ArtefactError: damaged, or one that splits or joins text in a way that is not known here.
    """
    where = where or "GGUF metadata"
    kind = metadata.get("tokenizer.ggml.model")
    if kind is None or (isinstance(kind, str) and kind in NO_VOCABULARY):
        return None
    if not isinstance(kind, str) or kind not in ("gpt2", "llama"):
        raise ArtefactError(
            f"this file's tokenizer is of the kind {vocabulary.shown(kind)}, which is not supported",
            where=where,
            hint='supported are "gpt2" (byte-level BPE) and "llama" (SentencePiece BPE)',
        )
    with vocabulary.blaming(where, "a tokenizer in GGUF's form"):
        names, types = _names_and_types(metadata, where)
        special, shown = _added(names, types, metadata, is_byte_level=kind == "gpt2")
        options = {
            "roles": dict(_read_roles(metadata, special)),
            "shown": shown,
            "chat_template": _text(metadata.get("tokenizer.chat_template")),
        }
        read = _read_byte_level if kind == "gpt2" else _read_sentencepiece
        tokenizer = read(metadata, names, types, special, options, where)
        tokenizer.adds_bos = tokenizer.bos_id is not None and adds_bos(metadata)
        return tokenizer


def adds_bos(metadata: Mapping[str, Any]) -> bool:
    """Whether llama.cpp begins a text with `bos`. Where the file does not say, the kind of tokenizer does."""
    takes_whole = BY_NAME.get(str(metadata.get("tokenizer.ggml.pre")), ("", False, None))[1]  # the same in llama.cpp
    is_usual = metadata.get("tokenizer.ggml.model") == "llama" or takes_whole
    return metadata.get("tokenizer.ggml.add_bos_token", is_usual) is True


def _names_and_types(metadata: Mapping[str, Any], where: str) -> tuple[list[str], list[int]]:
    """The name and the type of each token, without the padding behind the last."""
    names = list(metadata["tokenizer.ggml.tokens"])
    types = list(map(int, metadata.get("tokenizer.ggml.token_type", [NORMAL] * len(names))))
    if len(types) != len(names) or not all(isinstance(name, str) for name in names):
        raise ArtefactError("tokens and their types do not belong together", where=where)
    types = [UNUSED if not name else kind for name, kind in zip(names, types, strict=True)]
    while names and types[-1] == UNUSED and _is_padding(names[-1]):
        names.pop()
        types.pop()
    if len(set(names)) < len(names):
        raise ArtefactError("two tokens have the same name", where=where)
    return names, types


def _is_padding(name: str) -> bool:
    return not name or PADDING.fullmatch(name) is not None


def _added(
    names: Sequence[str], types: Sequence[int], metadata: Mapping[str, Any], *, is_byte_level: bool
) -> tuple[dict[str, int], list[str]]:
    """Ids by name of what text does not become, and the names of those that a reader sees."""
    has_role = {metadata.get(f"tokenizer.ggml.{key}") for key in ROLES.values()}
    special: dict[str, int] = {}
    shown = []
    for i, (name, kind) in enumerate(zip(names, types, strict=True)):
        # Some files mark added tokens as normal ones. No text becomes what is not spelled in bytes.
        is_spelled = not is_byte_level or BYTE_BY_CHARACTER.keys() >= set(name)
        is_mislabelled = kind == NORMAL and (not is_spelled or (i in has_role and len(name) > 1))
        if kind in (UNKNOWN, CONTROL, USER_DEFINED) or is_mislabelled or (kind == UNUSED and not _is_padding(name)):
            special[name] = i
            if kind == USER_DEFINED:
                shown.append(name)
    return special, shown


def _read_roles(metadata: Mapping[str, Any], special: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    name_by_id = {i: name for name, i in special.items()}
    for role, key in ROLES.items():
        if (name := name_by_id.get(metadata.get(f"tokenizer.ggml.{key}", -1))) is not None:
            yield role, name


def _read_byte_level(
    metadata: Mapping[str, Any],
    names: Sequence[str],
    types: Sequence[int],
    special: dict[str, int],
    options: dict[str, Any],
    where: str,
) -> BPE:
    pre = metadata.get("tokenizer.ggml.pre")
    if pre not in BY_NAME:
        raise ArtefactError(
            f"this file splits text in the way {vocabulary.shown(pre)}, which is not supported",
            where=where,
            hint=f"supported are {', '.join(BY_NAME)}",
        )
    pattern, whole_first, normalizer = BY_NAME[pre]
    said = metadata.get(NORMALIZER, normalizer)
    if said not in (None, "none", "NFC"):
        raise ArtefactError(f"this file's normalizer is {vocabulary.shown(said)}, which is not known", where=where)
    vocab = {name: i for i, name in enumerate(names) if types[i] != UNUSED or name in special}
    tokens, special = gpt2_files.read_tokens(vocab, special, where)
    merges = [merge for merge in metadata.get("tokenizer.ggml.merges", ()) if merge]
    return BPE(
        tokens,
        gpt2_files.read_merges(merges, vocab, special, where),
        special,
        pattern,
        whole_first=whole_first,
        normalizer=None if said == "none" else said,
        **options,
    )


def _read_sentencepiece(
    metadata: Mapping[str, Any],
    names: Sequence[str],
    types: Sequence[int],
    special: dict[str, int],
    options: dict[str, Any],
    where: str,
) -> SentencePieceBPE:
    scores = [float(score) for score in metadata["tokenizer.ggml.scores"]]
    if len(scores) < len(names) or any(score != score for score in scores):
        raise ArtefactError("the scores of the pieces are not a number for each", where=where)
    for name, kind in zip(names, types, strict=True):
        if (kind == BYTE) != (re.fullmatch("<0x[0-9A-F]{2}>", name) is not None):
            raise ArtefactError(f"the piece {vocabulary.shown(name)} is no byte, or is not marked as one", where=where)
    pieces = ["" if name in special or kind == UNUSED else name for name, kind in zip(names, types, strict=True)]
    vocabulary.check_ids([i for i, name in enumerate(names) if pieces[i] or name in special], where)
    options["add_dummy_prefix"] = bool(metadata.get("tokenizer.ggml.add_space_prefix", True))
    by_score = SentencePieceBPE(pieces, special, scores=scores[: len(names)], **options)
    merges = merges_by_score(by_score)
    return by_score if merges is None else SentencePieceBPE(pieces, special, merges=merges, **options)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
