"""Conversations as files: what `/save` writes and `/load` reads.

    {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}, ...],
     "settings": {"temperature": 0.5, ...}, "model": "runs/demo/sft/checkpoints/step-00002000"}

in one line. The messages are as OpenAI writes them, so that `groundup sft --data FILE.jsonl` learns from conversations
that were saved, and any file with such a list under "messages" can be loaded.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from groundup import artifact
from groundup import config as configs
from groundup.data import schemas
from groundup.errors import DataError, GroundupError, UsageError
from groundup.inference.settings import Settings
from groundup.text.records import Message


@dataclass(frozen=True)
class Saved:
    """A conversation, the system prompt apart; `settings` are None where the file has none."""

    turns: list[Message]
    system: str = ""
    settings: Settings | None = None


def write(path: Path | str, saved: Saved, model: str, *, replace: bool) -> None:
    """Write it whole. UsageError for a file that is there, unless `replace`."""
    path = artifact.claim(path, replace=replace)
    system = [Message("system", saved.system)] if saved.system else []
    messages = [{"role": message.role, "content": message.content} for message in [*system, *saved.turns]]
    content = {"messages": messages, "settings": configs.to_dict(saved.settings), "model": model}
    artifact.write_file(path, orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE))


def read(path: Path | str) -> Saved:
    """Read it, whoever wrote it. UsageError where there is no file, DataError where it holds no conversation."""
    try:
        content = orjson.loads(Path(path).read_bytes())
    except OSError as error:
        raise UsageError(f"cannot read the conversation: {error.strerror}", where=str(path)) from error
    except orjson.JSONDecodeError as error:
        raise DataError(f"no conversation: not valid JSON ({error})", where=str(path)) from error
    content = {"messages": content} if isinstance(content, list) else content
    if not isinstance(content, dict) or not schemas.is_openai(content):
        hint = 'a conversation is {"messages": [{"role": "user", "content": "..."}, ...]}'
        raise DataError("there is no conversation in it", where=str(path), hint=hint)
    try:
        turns = schemas.from_openai(content)
    except GroundupError as error:
        raise DataError(error.what, where=str(path), hint=error.hint) from error
    system = turns.pop(0).content if turns[0].role == "system" else ""
    if not turns or [turn.role for turn in turns] != ["user", "assistant"] * (len(turns) // 2):
        what = "user and assistant have to speak in turn, the user first and the assistant last"
        raise DataError(what, where=str(path), hint="leave out a question that nobody has answered")
    return Saved(turns, system, _settings(content.get("settings"), path))


def _settings(settings: Any, path: Path | str) -> Settings | None:
    return configs.from_dict(Settings, settings, str(path)) if isinstance(settings, dict) else None
