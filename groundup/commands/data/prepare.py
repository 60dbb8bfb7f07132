"""Turn text, conversations or files of ids into token data."""

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
