"""`groundup tokenizer inspect`."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from groundup.errors import UsageError

if TYPE_CHECKING:
    from groundup.tokenizer.merge_tree import Growth
    from groundup.tokenizer.protocol import Tokenizer

LINE = 100
"""Columns that a list of tokens may fill."""


@dataclass(frozen=True)
class InspectConfig:
    tokenizer: str = field(metadata={"positional": True})
    """folder or file of a tokenizer"""
    word: tuple[str, ...] = ()
    """show how the bytes of these words are joined, step by step and as a tree; " word" with its space is another"""
    text: tuple[str, ...] = ()
    """files or folders in which tokens are counted: which are used most, and which never"""
    rows: int = 10
    """tokens shown of each sort"""
    max_bytes: int = 20_000_000
    """read no more text than this"""
    text_field: str = "text"
    """key of the text in JSON lines"""
    json: bool = False
    quiet: bool = False


def inspect(config: InspectConfig) -> None:
    """Show what is in a tokenizer: longest, odd and unused tokens, scripts, how a word is joined."""
    from groundup.tokenizer.protocol import Tokenizer

    if config.rows < 0 or config.max_bytes < 1:
        where = f"--rows {config.rows}" if config.rows < 0 else f"--max-bytes {config.max_bytes}"
        raise UsageError("this number is too small", where=where)
    tokenizer = Tokenizer.load(config.tokenizer)
    words = _grown(tokenizer, config)
    # With words alone the question is how they are joined, not what else there is.
    report = {} if words and not config.text else _report(tokenizer, config)
    if config.json:
        import orjson

        if words:
            report["words"] = [_word_facts(word, growths) for word, growths in words]
        print(orjson.dumps(report, option=orjson.OPT_INDENT_2).decode())
        return
    parts = ["\n".join(_lines(report))] if report else []
    parts += ["\n".join(_drawn(word, growths)) for word, growths in words]
    encoding = sys.stdout.encoding or "utf-8"
    print("\n\n".join(parts).encode(encoding, "backslashreplace").decode(encoding))


# --- the tokenizer ---


def _report(tokenizer: "Tokenizer", config: InspectConfig) -> dict[str, Any]:
    """What is printed, and the object of --json: there every list is whole where it is of interest whole."""
    from groundup.insight import tokenizer_contents as contents
    from groundup.tokenizer.odd_tokens import REASONS

    def rows(ids: list[int]) -> list[dict[str, Any]]:
        return [contents.row(tokenizer, i) for i in ids]

    report: dict[str, Any] = contents.about(tokenizer)
    report["longest"] = rows(contents.longest(tokenizer, config.rows))
    report["letters"] = contents.count_by_letters(tokenizer)
    report["odd"] = {
        reason: {
            "why": REASONS[reason],
            "count": len(odds),
            "tokens": rows([odd.id for odd in (odds if config.json else odds[: config.rows])]),
        }
        for reason, odds in contents.odd_by_reason(tokenizer).items()
    }
    if config.text:
        use = contents.use(tokenizer, _texts(config))
        unused = use.unused(tokenizer)
        most = [i for i in (-use.counts).argsort(kind="stable")[: config.rows].tolist() if use.counts[i]]
        report["use"] = {
            "bytes": use.n_bytes,
            "tokens": use.n_tokens,
            "most_used": [
                {**contents.row(tokenizer, i), "count": int(use.counts[i]), "share": int(use.counts[i]) / use.n_tokens}
                for i in most
            ],
            "unused_count": len(unused),
            "unused": rows(unused if config.json else unused[: config.rows]),
        }
    return report


def _texts(config: InspectConfig) -> Iterator[str]:
    from groundup.text import sources
    from groundup.train.watch import phase

    left = config.max_bytes
    with phase("counting tokens", None, "B", quiet=config.quiet) as shown:
        for document in sources.documents(config.text, field=config.text_field, notice=shown.note):
            data = document.text.encode("utf-8", "surrogatepass")[:left]
            yield data.decode("utf-8", "ignore") if len(data) == left else document.text
            shown.advance(len(data))
            left -= len(data)
            if not left:
                return


def _lines(report: dict[str, Any]) -> Iterator[str]:
    size = f"{report['vocab_size']:,} tokens: {report['bytes']:,} single bytes"
    if "merges" in report:
        size += f", {report['merges']:,} merges, ranked {report['ranks']}"
    yield f"kind        {report['kind']}"
    yield f"vocabulary  {size}"
    if report["pattern"]:
        yield f"pattern     {report['pattern']}"
    for name, value in (("normalizer", report.get("normalizer")), ("whole first", report.get("whole_first"))):
        if value:
            yield f"{name:12}" + ("a piece that is a token is taken whole" if value is True else value)
    special = "  ".join(f"{i} {name}" for name, i in report["special_tokens"].items())
    yield f"special     {special or 'none'}"
    yield f"hash        {report['hash'][:16]}"
    yield from ("", "Longest tokens")
    yield from (
        f"  {len(row['bytes']) // 2:>4} bytes  {row['id']:>7}  {_short(row['token'])}" for row in report["longest"]
    )
    yield from ("", "Tokens by script")
    n_all = sum(report["letters"].values())
    yield from (f"  {count:>7,}  {count / n_all:>6.1%}  {name}" for name, count in report["letters"].items())
    yield from ("", "Odd tokens" if report["odd"] else "Odd tokens: none")
    for reason, odd in report["odd"].items():
        yield f"  {odd['count']:>7,}  {reason}: {odd['why']}"
        yield f"           {_listed(odd['tokens'], odd['count'])}"
    if "use" in report:
        yield from _use_lines(report["use"], report)


def _use_lines(use: dict[str, Any], report: dict[str, Any]) -> Iterator[str]:
    per_token = use["bytes"] / max(1, use["tokens"])
    yield from ("", f"In the text: {use['bytes']:,} bytes, {use['tokens']:,} tokens, {per_token:.2f} bytes per token")
    yield "  most used"
    yield from (
        f"  {row['count']:>9,}  {row['share']:>6.2%}  {row['id']:>7}  {row['token']}" for row in use["most_used"]
    )
    share = use["unused_count"] / report["vocab_size"]
    yield f"  never used: {use['unused_count']:,} tokens ({share:.1%} of the vocabulary)"
    if use["unused"]:
        yield f"    {_listed(use['unused'], use['unused_count'])}"


def _listed(rows: list[dict[str, Any]], n_all: int) -> str:
    """Tokens with their ids, as many as a line holds."""
    words = [f"{row['id']} {_short(row['token'], 24)}" for row in rows]
    ends = accumulate(len(word) + 3 for word in words)
    n_shown = max(sum(end <= LINE - 14 for end in ends), min(1, len(words)))
    more = f"   and {n_all - n_shown:,} more" if n_shown < n_all else ""
    return "   ".join(words[:n_shown]) + more


def _short(text: str, n: int = 80) -> str:
    return text if len(text) <= n else text[: n - 1] + "…"


# --- words ---


def _grown(tokenizer: "Tokenizer", config: InspectConfig) -> "list[tuple[str, list[Growth]]]":
    from groundup.tokenizer.bpe import BPE
    from groundup.tokenizer.merge_tree import grow

    if config.word and not isinstance(tokenizer, BPE):
        raise UsageError(
            f"trees are drawn for byte-level BPE, and this tokenizer is of another kind: {tokenizer.kind}",
            hint=f"groundup tokenizer play {config.tokenizer} shows its tokens",
        )
    return [(word, grow(tokenizer, word)) for word in config.word] if isinstance(tokenizer, BPE) else []


def _drawn(word: str, growths: "list[Growth]") -> Iterator[str]:
    from groundup.tokenizer.merge_tree import drawn, steps
    from groundup.tokenizer.show import show

    n_tokens = sum(len(growth.tokens) for growth in growths)
    data = b"".join(growth.data for growth in growths)
    yield f"{show(data)}: {len(data)} bytes, {n_tokens} {'token' if n_tokens == 1 else 'tokens'}"
    for growth in growths:
        yield ""
        if len(growths) > 1:
            yield f"piece {show(growth.data)}"
        if growth.joins:
            yield from (*steps(growth), "")
        yield from (f"  {line}" for line in drawn(growth.tokens))


def _word_facts(word: str, growths: "list[Growth]") -> dict[str, Any]:
    from groundup.tokenizer.merge_tree import step_facts

    return {
        "word": word,
        "ids": [node.id for growth in growths for node in growth.tokens],
        "pieces": [
            {"bytes": growth.data.hex(), "ids": [node.id for node in growth.tokens], "steps": step_facts(growth)}
            for growth in growths
        ],
    }
