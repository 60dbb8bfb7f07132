"""`groundup tokenizer compare`."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from groundup.errors import UsageError

if TYPE_CHECKING:
    from groundup.insight.tokenizer_compare import Measure
    from groundup.tokenizer.protocol import Tokenizer

    Measures = dict[str, dict[str, Measure]]

MAX_FILES_AS_ROWS = 12
"""More files than this are put together by language."""

CHARACTERS, WORDS = "characters", "words"
BUILT_HERE = (CHARACTERS, WORDS)

N_WORDS = 32_000
"""Vocabulary of the word tokenizer, if there are as many words."""


@dataclass(frozen=True)
class CompareConfig:
    tokenizers: tuple[str, ...] = field(metadata={"positional": True})
    """folders or files of tokenizers; `characters` and `words` are made from the first half of the text"""
    text: tuple[str, ...] = ()
    """files or folders to measure on; without them, short texts of many languages that come with groundup"""
    by: Literal["auto", "file", "language"] = "auto"
    """a row for each file, or for each language or kind, guessed; auto: files, up to twelve"""
    vocab_sizes: tuple[str, ...] = ()
    """also show each BPE tokenizer with only its first merges, as a vocabulary of these sizes: 2000,6000,32000"""
    max_bytes: int = 2_000_000
    """read no more than this of each row"""
    text_field: str = "text"
    """key of the text in JSON lines"""
    json: bool = False
    quiet: bool = False


def compare(config: CompareConfig) -> None:
    """Table how tokenizers cut texts of several languages and kinds: bytes per token, whole words, speed."""
    from groundup.insight.tokenizer_compare import measure, total, warm_up
    from groundup.train.watch import phase

    if config.max_bytes < 1:
        raise UsageError("there is nothing to measure in no bytes", where=f"--max-bytes {config.max_bytes}")
    texts = _texts(config)
    tokenizers = _tokenizers(config, texts)
    if any(name in BUILT_HERE for name in config.tokenizers):
        texts = {kind: _halves(parts)[1] for kind, parts in texts.items()}
        _say("characters and words are those of the first half of each text; all are measured on the second", config)
        _say("an unknown token stands for text that is lost, however many bytes that are", config)
    measures: Measures = {name: {} for name in tokenizers}
    with phase("measuring", len(tokenizers) * len(texts), "texts", quiet=config.quiet) as shown:
        for name, tokenizer in tokenizers.items():
            warm_up(tokenizer, (part for parts in texts.values() for part in parts))
            for kind, parts in texts.items():
                measures[name][kind] = measure(tokenizer, parts)
                shown.advance()
    totals = {name: total(by_kind.values()) for name, by_kind in measures.items()}
    if config.json:
        _print_json(tokenizers, measures, totals)
    else:
        print(_tables(tokenizers, measures, totals))


# --- texts ---


def _texts(config: CompareConfig) -> dict[str, list[str]]:
    """The texts of each row."""
    from groundup.insight.tokenizer_compare import samples
    from groundup.text import files, language, sources

    if not config.text:
        return {kind: [text] for kind, text in samples().items()}
    found = files.files(config.text, lambda notice: _say(notice, config))
    is_by_file = config.by == "file" or config.by == "auto" and len(found) <= MAX_FILES_AS_ROWS
    if config.by == "auto" and not is_by_file:
        _say(f"{len(found):,} files are put together by language; --by file keeps them apart", config)
    texts: dict[str, list[str]] = {}
    n_left: dict[str, int] = {}
    for file in found:
        left_in_file = config.max_bytes
        for document in sources.documents([file], field=config.text_field, notice=lambda text: _say(text, config)):
            if left_in_file <= 0:
                break
            left_in_file -= len(document.text)
            row = Path(document.source).name if is_by_file else language.guess(document.text)
            left = n_left.setdefault(row, config.max_bytes)
            if part := _first_bytes(document.text, left):
                texts.setdefault(row, []).append(part)
                n_left[row] = left - len(part.encode("utf-8", "surrogatepass"))
    return texts


def _first_bytes(text: str, n: int) -> str:
    return text.encode("utf-8", "surrogatepass")[:n].decode("utf-8", "ignore")


def _halves(texts: list[str]) -> tuple[list[str], list[str]]:
    """Two halves of about the same number of characters; a text across the middle is cut at a space."""
    middle = sum(map(len, texts)) // 2
    first: list[str] = []
    for n, text in enumerate(texts):
        if len(text) > middle:
            cut = text.rfind(" ", 0, middle) + 1 or middle
            return [*first, text[:cut]], [text[cut:], *texts[n + 1 :]]
        first.append(text)
        middle -= len(text)
    return first, []


# --- tokenizers ---


def _tokenizers(config: CompareConfig, texts: Mapping[str, list[str]]) -> "dict[str, Tokenizer]":
    """The tokenizers by the names that head their columns."""
    from groundup.tokenizer.protocol import Tokenizer

    sizes = _sizes(config.vocab_sizes)
    tokenizers: dict[str, Tokenizer] = {}
    for name in dict.fromkeys(config.tokenizers):
        if name in BUILT_HERE:
            tokenizers[name] = _built(name, [part for parts in texts.values() for part in _halves(parts)[0]])
            continue
        shown = _short_name(name, config.tokenizers)
        tokenizer = Tokenizer.load(name)
        for size in sizes:
            if smaller := _smaller(tokenizer, size, shown, config):
                tokenizers[f"{shown} {size:,}"] = smaller
        tokenizers[shown] = tokenizer
    return tokenizers


def _sizes(texts: tuple[str, ...]) -> list[int]:
    words = [word for text in texts for word in text.split(",") if word.strip()]
    for word in words:
        if not word.strip().replace("_", "").isdecimal():
            raise UsageError(
                f"{word!r} is no size of a vocabulary", where="--vocab-sizes", hint="write 2000,6000,32000"
            )
    return sorted({int(word) for word in words})


def _smaller(tokenizer: "Tokenizer", size: int, name: str, config: CompareConfig) -> "Tokenizer | None":
    from groundup.tokenizer.bpe import BPE
    from groundup.tokenizer.smaller import first_merges

    if not isinstance(tokenizer, BPE):
        _say(f"{name} {size:,} is left out: a tokenizer of this kind ({tokenizer.kind}) is not made of merges", config)
        return None
    try:
        return first_merges(tokenizer, size)
    except UsageError as error:
        _say(f"{name} {size:,} is left out: {error.what}; {error.hint}", config)
        return None


def _built(name: str, texts: list[str]) -> "Tokenizer":
    if name == CHARACTERS:
        from groundup.tokenizer.character import CharacterTokenizer

        return CharacterTokenizer.train(texts)
    from groundup.tokenizer.split import pieces
    from groundup.tokenizer.word import SPECIALS, WordTokenizer

    n_words = len({word for text in texts for word in pieces(text, "gpt2")})
    return WordTokenizer.train(texts, min(N_WORDS, n_words + len(SPECIALS)))


def _short_name(path: str, paths: tuple[str, ...]) -> str:
    """The last part of a path, or all of it where two end alike."""
    name = Path(path).name
    return name if name and [Path(other).name for other in paths].count(name) == 1 else path


# --- tables ---


def _tables(tokenizers: "Mapping[str, Tokenizer]", measures: "Measures", totals: "Mapping[str, Measure]") -> str:
    from groundup.insight.text_table import text_table

    names = list(tokenizers)
    kinds = list(next(iter(measures.values())))
    parts = []
    for title, attribute, form in (
        ("bytes per token", "bytes_per_token", "{:.2f}"),
        ("words kept whole", "whole_words", "{:.0%}"),
        ("unknown tokens", "unknown", "{:.1%}"),
    ):
        if attribute == "unknown" and not any(totals[name].unknown for name in names):
            continue
        rows = [(kind, *(_cell(getattr(measures[name][kind], attribute), form) for name in names)) for kind in kinds]
        parts.append(text_table((title, *names), rows))
    rows = [
        (
            name,
            f"{tokenizers[name].vocab_size:,}",
            f"{totals[name].n_bytes:,}",
            f"{totals[name].n_tokens:,}",
            _cell(totals[name].bytes_per_token, "{:.2f}"),
            _cell(totals[name].whole_words, "{:.0%}"),
            _cell(totals[name].unknown, "{:.1%}"),
            _cell(totals[name].megabytes_per_second, "{:.1f}"),
        )
        for name in names
    ]
    header = ("all of it", "vocabulary", "bytes", "tokens", "bytes/token", "whole words", "unknown", "MB/s")
    return "\n\n".join([*parts, text_table(header, rows)])


def _cell(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def _print_json(tokenizers: "Mapping[str, Tokenizer]", measures: "Measures", totals: "Mapping[str, Measure]") -> None:
    import orjson

    rows = {
        name: {
            "kind": tokenizer.kind,
            "vocab_size": tokenizer.vocab_size,
            "hash": tokenizer.hash,
            "all": _facts(totals[name]),
            "by_text": {kind: _facts(measure) for kind, measure in measures[name].items()},
        }
        for name, tokenizer in tokenizers.items()
    }
    print(orjson.dumps({"tokenizers": rows}).decode())


def _facts(measure: "Measure") -> dict[str, Any]:
    return {
        "bytes": measure.n_bytes,
        "tokens": measure.n_tokens,
        "bytes_per_token": measure.bytes_per_token,
        "words": measure.n_words,
        "whole_words": measure.whole_words,
        "unknown": measure.unknown,
        "megabytes_per_second": measure.megabytes_per_second,
    }


def _say(text: str, config: CompareConfig) -> None:
    if not config.quiet:
        print(text, file=sys.stderr)
