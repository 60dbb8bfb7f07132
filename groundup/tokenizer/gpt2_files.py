"""GPT-2's pair of files: tokens with their ids (`encoder.json`, elsewhere `vocab.json`) and merges in order
(`vocab.bpe`, elsewhere `merges.txt`).

They do not say how text is split, nor which tokens are special. The split is GPT-2's unless another is given. Special
is an entry in angle or square brackets that no merge makes; or what the neighbour `tokenizer_config.json` lists.
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from groundup import artifact
from groundup.errors import ArtefactError, UsageError
from groundup.tokenizer import vocabulary
from groundup.tokenizer.alphabet import BYTE_BY_CHARACTER, spell, unspell
from groundup.tokenizer.bpe import BPE
from groundup.tokenizer.merge_order import as_list
from groundup.tokenizer.split import GPT2, expression

NAMES = (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe"))
"""Of tokens and merges: as Hugging Face names them, as OpenAI does."""

VERSION = "#version: 0.2"

NORMALIZER_AND_PATTERN = {"Qwen2Tokenizer": ("NFC", "qwen2"), "GPT2Tokenizer": (None, "gpt2")}
"""What the class named by a neighbouring `tokenizer_config.json` does with such files."""


def merges_beside(file: Path) -> Path | None:
    """The file of merges that belongs to a file of tokens."""
    found = [file.with_name(merges) for tokens, merges in NAMES if file.name == tokens]
    return found[0] if found and found[0].is_file() else None


# --- reading ---


def read(file: Path, pattern: str | None = None, special_tokens: Mapping[str, int] | None = None) -> BPE:
    """The tokenizer of a file of tokens and the merges beside it. `pattern` and `special_tokens` (id by name) go before
    what the files say. ArtefactError: a file is missing or damaged, or the neighbour names an unknown class.
    """
    merges_file = merges_beside(file)
    if merges_file is None:
        expected = " and ".join(map(" + ".join, NAMES))
        raise ArtefactError(f"there are no merges beside {file.name}", where=str(file), hint=f"expected {expected}")
    vocab = vocabulary.read_json(file)
    lines = _lines(merges_file)
    normalizer, class_pattern, config_tokens = _config(file.with_name("tokenizer_config.json"))
    with vocabulary.blaming(str(file), "a vocabulary of GPT-2's form"):
        if special_tokens is None:
            special_tokens = config_tokens if config_tokens is not None else _in_brackets(vocab, lines)
        tokens, special_ids = read_tokens(vocab, special_tokens, str(file))
        merges = read_merges(lines, vocab, special_ids, str(merges_file))
        return BPE(tokens, merges, special_ids, pattern or class_pattern, normalizer=normalizer)


def _lines(file: Path) -> list[str]:
    try:
        lines = vocabulary.read_bytes(file).decode().split("\n")
    except UnicodeDecodeError as error:
        raise ArtefactError("this file of merges is not UTF-8", where=str(file)) from error
    lines = [line.rstrip("\r") for line in lines]
    return [line for line in lines[lines[0].startswith("#version") :] if line]


def _config(file: Path) -> tuple[str | None, str, dict[str, int] | None]:
    """What the neighbour says: normalizer, pattern, added tokens (None where it lists none)."""
    if not file.is_file():
        return None, "gpt2", None
    config = vocabulary.read_json(file)
    with vocabulary.blaming(str(file), "a tokenizer's configuration"):
        name = config.get("tokenizer_class", "GPT2Tokenizer").removesuffix("Fast")
        if name not in NORMALIZER_AND_PATTERN:
            raise ArtefactError(
                f"how {vocabulary.shown(name)} splits text is not known here",
                where=str(file),
                hint=f"known are {', '.join(NORMALIZER_AND_PATTERN)}; or load its tokenizer.json",
            )
        added = config.get("added_tokens_decoder")
        special = None if added is None else {token["content"]: int(i) for i, token in added.items()}
        return *NORMALIZER_AND_PATTERN[name], special


def _in_brackets(vocab: Mapping[str, int], merges: Iterable[str]) -> dict[str, int]:
    made = {merge.replace(" ", "") for merge in merges}
    return {name: i for name, i in vocab.items() if name not in made and re.fullmatch(r"<.+>|\[.+\]", name)}


def read_tokens(
    vocab: Mapping[str, int], special_ids: Mapping[str, int], where: str
) -> tuple[list[bytes], dict[str, int]]:
    """The bytes by id, and the special tokens in the order of their ids, from tokens spelled in the byte alphabet."""
    for name, i in special_ids.items():
        if vocab.get(name, i) != i:
            raise ArtefactError(f"the added token {vocabulary.shown(name)} has two ids", where=where)
    vocabulary.check_ids(vocab.values(), where)
    plain = {i: name for name, i in vocab.items() if name not in special_ids}
    if both := plain.keys() & set(special_ids.values()):
        raise ArtefactError(f"the id {both.pop()} is given to two tokens", where=where)
    for i, name in plain.items():
        if not name or not BYTE_BY_CHARACTER.keys() >= set(name):
            raise ArtefactError(f"the token {i}, {vocabulary.shown(name)}, is not spelled in bytes", where=where)
    tokens = vocabulary.table({i: unspell(name) for i, name in plain.items()}, special_ids, where)
    vocabulary.check_bytes(tokens, where, may_miss=vocabulary.SELDOM)
    return tokens, dict(sorted(special_ids.items(), key=lambda item: item[1]))


def read_merges(
    merges: Iterable[str | list[str]], vocab: Mapping[str, int], special_ids: Mapping[str, int], where: str
) -> list[tuple[int, int]]:
    """Pairs of ids from "a b" (every version writes or reads it) or ["a", "b"] (tokenizers since 0.20)."""
    pairs = []
    for merge in merges:
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        for name in (left, right, left + right):
            if name not in vocab or name in special_ids:
                what = f"the merge {vocabulary.shown(merge)} joins or makes a token that is not in the vocabulary"
                raise ArtefactError(what, where=where)
        pairs.append((vocab[left], vocab[right]))
    return pairs


# --- writing ---


def spelled(tokenizer: BPE) -> dict[int, str]:
    """The name in files of each id that has a token. UsageError if two would have the same."""
    names = {i: spell(token) for i, token in enumerate(tokenizer.token_bytes) if token}
    names |= {i: name for name, i in tokenizer.special_ids.items()}
    if len(set(names.values())) < len(names):
        seen: set[str] = set()
        twice = next(name for name in names.values() if name in seen or seen.add(name))
        raise UsageError(f"two tokens are spelled {twice!r}, these files cannot hold both")
    return dict(sorted(names.items()))


def contents(tokenizer: BPE) -> tuple[str, str]:
    """The file of tokens and the file of merges."""
    names = spelled(tokenizer)
    merges = [f"{names[left]} {names[right]}" for left, right in as_list(tokenizer)]
    vocab = {name: i for i, name in names.items()}
    return json.dumps(vocab, ensure_ascii=False, indent=2) + "\n", "\n".join([VERSION, *merges, ""])


def write_gpt2(tokenizer: BPE, folder: Path | str, names: tuple[str, str] = NAMES[0]) -> None:
    """Write the two files. UsageError on a tokenizer that they cannot describe: other programs split as GPT-2 does."""
    if expression(tokenizer.pattern) != GPT2 or tokenizer.normalizer or tokenizer.whole_first:
        raise UsageError(
            "GPT-2's files cannot say that this tokenizer splits or joins text in another way than GPT-2's",
            hint="save it as tokenizer.json instead",
        )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in zip(names, contents(tokenizer), strict=True):
        artifact.write_file(folder / name, content)
