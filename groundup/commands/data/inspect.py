"""Show what is in token data or raw files, and judge whether it is fit to train on."""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from groundup.errors import UsageError


@dataclass(frozen=True)
class InspectConfig:
    paths: tuple[str, ...] = field(metadata={"positional": True})
    """a folder of token data, or raw files of conversations or text"""
    rows: int = 3
    """documents or conversations to show"""
    text_field: str = field(default="text", metadata={"alias": ("--field",)})
    """key of the text in JSON rows"""
    template: str = "chatml"
    """how raw conversations are shown"""
    json: bool = False
    quiet: bool = False


def inspect(config: InspectConfig) -> int | None:
    """Show what is in token data or raw files, and judge whether it is fit to train on."""
    from groundup.data.shards import TokenData

    first = Path(config.paths[0])
    if (first / "manifest.json").is_file():
        if len(config.paths) > 1:
            raise UsageError("one folder of token data at a time", where=config.paths[1])
        report, shown = _token_report(TokenData.open(first), config.rows)
    else:
        report, shown = _raw_report(config)
    if config.json:
        print(json.dumps(report, ensure_ascii=False))
    elif not config.quiet:
        _show(report, shown)
    return 3 if any(verdict["level"] == "unsuitable" for verdict in report["verdicts"]) else None


Shown = list[list[tuple[str, bool]]]


def _token_report(data: Any, n_shown: int) -> tuple[dict[str, Any], Shown]:
    from groundup.data import inspect as inspection
    from groundup.tokenizer.protocol import Tokenizer

    tokenizer = Tokenizer.load(data.path / "tokenizer")
    split = data.split("train")
    shown = [inspection.spans(split, i, tokenizer) for i in range(min(n_shown, split.n_documents))]
    return inspection.tokens(data, tokenizer), shown


def _raw_report(config: InspectConfig) -> tuple[dict[str, Any], Shown]:
    from groundup.data import inspect as inspection
    from groundup.text.records import Message
    from groundup.tokenizer import chat

    if not _are_conversations(config.paths):
        report = inspection.documents(config.paths, config.text_field, config.rows)
        return report, [[(document["text"], True)] for document in report["shown"]]
    report = inspection.conversations(config.paths, config.rows)
    conversations = [[Message(**message) for message in messages] for messages in report["shown"]]
    return report, [chat.spans(messages, config.template) for messages in conversations]


def _are_conversations(paths: tuple[str, ...]) -> bool:
    """Does the first row of the files have a schema of conversations?"""
    from groundup.data import schemas
    from groundup.errors import DataError
    from groundup.text import archives, files, sources

    for path in files.files(paths):
        if archives.plain_name(path.name).endswith(files.ROW_ENDINGS):
            for _, row in sources.rows(path, sources.Tolerance(float("inf"))):
                try:
                    return bool(schemas.detect(row))
                except DataError:
                    return False
    return False


LEVEL_STYLES = {"good": "green", "doubtful": "yellow", "unsuitable": "bold red"}
HIDDEN = {"verdicts", "shown", "top_tokens", "notices"}
LONGEST_SHOWN = 1500


def _show(report: dict[str, Any], shown: Shown) -> None:
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    # Written in one go and by ourselves: rich would leave with an error of its own when a pipe closes.
    with console.capture() as written:
        _print_report(report, shown, console)
    encoding = sys.stdout.encoding or "utf-8"
    print(written.get().encode(encoding, "backslashreplace").decode(encoding), end="", flush=True)


def _print_report(report: dict[str, Any], shown: Shown, console: Any) -> None:
    from rich.text import Text

    for key, value in report.items():
        if key not in HIDDEN:
            console.print(Text(f"{key.replace('_', ' '):24} {_brief(value)}"))
    for notice in report.get("notices", ()):
        console.print(Text(f"note: {notice}", style="yellow"))
    if top := report.get("top_tokens"):
        console.print(Text("most frequent            " + "  ".join(f"{t['token']!r} {t['share']:.1%}" for t in top)))
    has_marks = any(len(spans) > 1 for spans in shown)
    if has_marks:
        console.print(
            _marked([("shown below: ", False), ("what is learned", True), (" and what is only read", False)], console)
        )
    for number, spans in enumerate(shown, start=1):
        console.rule(f"{number}", align="left")
        console.print(_marked(spans, console) if has_marks else Text(_printable(spans[0][0])[:LONGEST_SHOWN]))
    for verdict in report["verdicts"]:
        line = Text(f"{verdict['level']:10}", LEVEL_STYLES[verdict["level"]])
        console.print(line.append(f" {verdict['name']}: {verdict['value']:g} ({verdict['limit']})", "default"))


def _marked(spans: list[tuple[str, bool]], console: Any) -> Any:
    """What is learned stands out: bright on a terminal, in brackets where there are no colours."""
    from rich.text import Text

    opening, closing = ("[", "]") if console.color_system is None else ("", "")
    line = Text()
    for text, is_target in spans:
        if is_target:
            line.append(opening + _printable(text) + closing, "bold green")
        else:
            line.append(_printable(text), "dim")
    if len(line) > LONGEST_SHOWN:
        line.truncate(LONGEST_SHOWN)
        line.append(" ...")
    return line


def _brief(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key.replace('_', ' ')} {_brief(item)}" for key, item in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(_brief, value))
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}" if isinstance(value, float) else str(value)


def _printable(text: str) -> str:
    """Without control characters, which could rewrite the screen."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)
