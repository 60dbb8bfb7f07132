"""Turn text and conversations into token data, and look at what is in it."""

import json
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from groundup.errors import UsageError
from groundup.text.records import Conversation, Document

Record = TypeVar("Record", Document, Conversation)
ID_FILES = (".npy", ".bin")


@dataclass(frozen=True)
class PrepareConfig:
    paths: tuple[str, ...] = field(metadata={"positional": True})
    """text, as files or folders of .txt, .md, .jsonl, packed or not; or .npy and .bin files of ids"""
    tokenizer: str
    """folder with the tokenizer"""
    out: str
    """folder to write"""
    conversations: bool = False
    """the files hold conversations: Alpaca, ShareGPT or OpenAI messages"""
    val_fraction: float = 0.05
    """share of the documents that is held out"""
    seed: int = 0
    """chooses which documents are held out"""
    text_field: str = field(default="text", metadata={"alias": ("--field",)})
    """key of the text in JSON rows"""
    template: str = ""
    """how conversations are written: chatml, llama3, plain and others; by default as the tokenizer says"""
    context_length: int | None = None
    """shorten conversations that are longer than this many tokens"""
    max_bad: float = 0
    """rows that may be unusable: a number from 1 on, or a share below 1"""
    processes: int = 0
    """processes that tokenise; 0: one for each core"""
    replace: bool = False
    """put the new data in place of what is there"""
    dry_run: bool = False
    """read everything once, write nothing"""
    json: bool = False
    quiet: bool = False


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


# --- prepare ---


def prepare(config: PrepareConfig) -> None:
    """Turn text, conversations or files of ids into token data."""
    from groundup.data import schemas, shards
    from groundup.text import sources
    from groundup.tokenizer.protocol import Tokenizer
    from groundup.train.watch import phase

    out = Path(config.out)
    if out.exists() and not config.replace and (not out.is_dir() or any(out.iterdir())):
        raise UsageError("there is something already", where=str(out), hint="choose another --out, or add --replace")
    tokenizer = Tokenizer.load(config.tokenizer)
    are_ids = [path.endswith(ID_FILES) for path in config.paths]
    if any(are_ids) and (not all(are_ids) or config.conversations):
        raise UsageError("files of ids cannot be mixed with text", hint="prepare them into a folder of their own")
    processes = config.processes or os.cpu_count() or 1
    common: dict[str, Any] = {"val_fraction": config.val_fraction, "seed": config.seed, "replace": config.replace}

    with phase("reading" if config.dry_run else "tokenising", None, "records", quiet=config.quiet) as shown:

        def counted(records: Iterable[Record]) -> Iterator[Record]:
            for record in records:
                shown.advance()
                yield record

        common["notice"] = shown.note
        if all(are_ids):
            if config.dry_run:
                n_ids = sum(len(shards.read_ids(path, tokenizer.vocab_size)) for path in config.paths)
                return _tell(config, {"would_write": str(out), "tokens": n_ids})
            return _tell(config, shards.prepare_ids(config.paths, tokenizer, out, **common))
        if config.conversations:
            conversations = counted(schemas.conversations(config.paths, max_bad=config.max_bad, notice=shown.note))
            if config.dry_run:
                return _tell(config, {"would_write": str(out), "conversations": sum(1 for _ in conversations)})
            return _tell(
                config,
                shards.prepare_conversations(
                    conversations,
                    tokenizer,
                    out,
                    template=config.template or None,
                    context_length=config.context_length,
                    processes=processes,
                    **common,
                ),
            )
        documents = counted(
            sources.documents(config.paths, field=config.text_field, max_bad=config.max_bad, notice=shown.note)
        )
        if config.dry_run:
            sizes = [len(document.text.encode("utf-8", "surrogatepass")) for document in documents]
            return _tell(config, {"would_write": str(out), "documents": len(sizes), "bytes": sum(sizes)})
        return _tell(config, shards.prepare(documents, tokenizer, out, processes=processes, **common))


def _tell(config: PrepareConfig, facts: dict[str, Any]) -> None:
    if config.json:
        print(json.dumps({"out": config.out, **facts}, ensure_ascii=False))
        return
    if config.quiet:
        return
    if config.dry_run:
        said = ", ".join(f"{n:,} {what}" for what, n in facts.items() if isinstance(n, int))
        print(f"would write {config.out}: {said}", file=sys.stderr)
        return
    for name, counts in facts["counts"].items():
        print(
            f"{name:5} " + ", ".join(f"{n:,} {what.replace('_', ' ')}" for what, n in counts.items()), file=sys.stderr
        )
    print(f"{config.out}: held out by {facts['split']['rule']}", file=sys.stderr)
    print(f"look at it: groundup data inspect {config.out}", file=sys.stderr)


# --- inspect ---


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


VERBS = {"prepare": prepare, "inspect": inspect}
