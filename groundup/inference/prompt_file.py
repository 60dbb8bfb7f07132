"""Prompts from a file: a row is a prompt.

    .jsonl .json   {"prompt": "Once upon a time"}                          continued
                   {"messages": [{"role": "user", "content": "Hi"}]}       answered
    .txt .md       each line that is not empty is a text to continue

Rows of conversations may have any form that data/schemas.py reads; an answer that stands at their end is left for the
model to give. Files may be packed, as all text may. What else a row holds is kept, to stand beside the new text.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

from groundup.data import schemas
from groundup.errors import DataError, GroundupError
from groundup.inference.language_model import LanguageModel
from groundup.inference.prompt import check_room
from groundup.text import decoding, files
from groundup.text.archives import plain_name
from groundup.text.records import Message
from groundup.text.sources import Tolerance, parse_rows

STDIN = "-"


@dataclass(frozen=True)
class Prompt:
    """A row as it was given, what it is to the model, and where it stands, for messages."""

    row: dict[str, Any]
    ids: tuple[int, ...]
    where: str


def read(
    path: str, speaker: LanguageModel, *, may_be_longer: bool = False, notice: files.Notice = files.ignore
) -> list[Prompt]:
    """All prompts of a file, a folder of files, or of standard input as `-`, in order.

    DataError naming the row that is none, UsageError for one that the model's context has no room for, unless it
    `may_be_longer`.
    """
    prompts = []
    for row, where in _rows(path, notice):
        try:
            prompt = Prompt(row, tuple(ids_of(row, speaker)), where)
        except GroundupError as error:
            error.where = where
            raise
        if not may_be_longer:
            check_room(prompt.ids, speaker.context_length, where)
        prompts.append(prompt)
    if not prompts:
        raise DataError("there is no prompt in it", where=path)
    return prompts


def ids_of(row: dict[str, Any], speaker: LanguageModel) -> list[int]:
    """What a row is to the model."""
    if "prompt" in row:
        if not isinstance(row["prompt"], str):
            raise DataError("the key 'prompt' does not hold text")
        return speaker.prompt_ids(row["prompt"])
    return speaker.chat_ids(_asked(row))


def _asked(row: dict[str, Any]) -> list[Message]:
    """The messages of a row up to where the assistant is to speak."""
    if "instruction" in row:  # Alpaca's form; nobody has answered yet
        row = {"output": "", **row}
    schema = next((schema for schema in schemas.SCHEMAS.values() if schema.is_row(row)), None)
    if schema is None:
        keys = ", ".join(list(row)[:12]) or "(none)"
        hint = 'a row has "prompt", "messages" or "instruction"'
        raise DataError(f"there is no prompt in a row with the keys {keys}", hint=hint)
    messages = [message for message in schema.messages(row) if message.role != "system" or message.content.strip()]
    if messages and messages[-1].role == "assistant":
        messages.pop()
    if not messages or messages[-1].role == "system":
        raise DataError("nothing is asked in it")
    return messages


def _rows(path: str, notice: files.Notice) -> Iterator[tuple[dict[str, Any], str]]:
    """(row, where it stands) of every file."""
    if path == STDIN:
        stream = sys.stdin.buffer
        assert isinstance(stream, BufferedReader)
        is_json = stream.peek(1)[:1] in (b"{", b"[")
        yield from _rows_of(stream, "stdin" + (".jsonl" if is_json else ".txt"), notice)
        return
    for file in files.files([Path(path)], notice):
        for name, stream in files.streams(file, notice):
            yield from _rows_of(stream, name, notice)


def _rows_of(stream: BufferedReader, name: str, notice: files.Notice) -> Iterator[tuple[dict[str, Any], str]]:
    if plain_name(name).endswith(files.ROW_ENDINGS):
        for number, row in parse_rows(stream, name, Tolerance()):
            yield row, f"{name}, row {number:,}"
        return

    def refuse(reason: str) -> None:
        hint = f"convert it first, for example: iconv -f GB18030 -t UTF-8 '{name}' > converted.txt"
        raise DataError(reason, where=name, hint=hint)

    text = "".join(decoding.text_of(stream, name, notice, refuse))
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield {"prompt": line}, f"{name}, line {number:,}"
