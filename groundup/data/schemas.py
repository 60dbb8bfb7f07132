"""Rows of other people's data sets to conversations.

One schema is one pair of functions, `is_...` (does this row look like it?) and `from_...` (row to messages), and one
line in the table at the foot. A row is looked at by itself, so that a file may mix schemas. Nothing is tokenised here.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from groundup.errors import DataError
from groundup.text import files
from groundup.text.records import Conversation, Message
from groundup.text.sources import Tolerance, parse_rows

Row = dict[str, Any]
Messages = list[Message]


# --- Alpaca, also BELLE, Guanaco, GPT4-LLM ---
# {"instruction": "Add the numbers.", "input": "2 2", "output": "4", "system": "...", "history": [["Hi", "Hello"], ...]}


def is_alpaca(row: Row) -> bool:
    return "instruction" in row and "output" in row


def from_alpaca(row: Row) -> Messages:
    """`input` stands below the instruction; `history` holds earlier exchanges, `system` a prompt; all may be absent."""
    asked = "\n".join(part for part in (_text(row, "instruction"), _text(row, "input")) if part.strip())
    earlier = []
    for i, exchange in enumerate(row.get("history") or []):
        if not (isinstance(exchange, list) and len(exchange) == 2 and all(isinstance(said, str) for said in exchange)):
            raise DataError(f"history {i + 1} is not a pair of texts")
        earlier += [Message("user", exchange[0]), Message("assistant", exchange[1])]
    answer = Message("assistant", _text(row, "output"))
    return [*_system(row), *earlier, Message("user", asked), answer]


# --- ShareGPT, also Vicuna, SlimOrca, BELLE 3.5M ---
# {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}], "system": "..."}

SHAREGPT_ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "system": "system",
}
TOOL_SPEAKERS = ["function_call", "observation"]


def is_sharegpt(row: Row) -> bool:
    return _has_turns(row.get("conversations"), "from", "value")


def from_sharegpt(row: Row) -> Messages:
    """`from` names the speaker in the words of `SHAREGPT_ROLES`."""
    turns = [_message(turn, "from", "value", SHAREGPT_ROLES) for turn in row["conversations"]]
    return [*(_system(row) if turns[0].role != "system" else []), *turns]


# --- OpenAI messages, also UltraChat 200k, minimind ---
# {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}

OPENAI_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}


def is_openai(row: Row) -> bool:
    return _has_turns(row.get("messages"), "role", "content") or _has_turns(row.get("conversations"), "role", "content")


def from_openai(row: Row) -> Messages:
    """`content` is a text, or a list of parts `{"type": "text", "text": ...}` (or `"value"`) that are joined."""
    if row.get("label") is False:
        raise DataError("its answer is marked as a bad one (label false)")
    turns = row["messages"] if "messages" in row else row["conversations"]
    return [_message(turn, "role", "content", OPENAI_ROLES) for turn in turns]


# --- what they share ---


def _has_turns(turns: Any, role_key: str, content_key: str) -> bool:
    """A list whose first element has these keys: whether the rest is right is for the reader to say, in words."""
    first = turns[0] if isinstance(turns, list) and turns else None
    return isinstance(first, dict) and role_key in first and content_key in first


def _text(row: Row, key: str) -> str:
    """A text field; absent and null count as empty."""
    value = row.get(key)
    if value is not None and not isinstance(value, str):
        raise DataError(f"the key {key!r} does not hold text")
    return value or ""


def _system(row: Row) -> Messages:
    text = _text(row, "system")
    return [Message("system", text)] if text.strip() else []


def _message(turn: Any, role_key: str, content_key: str, roles: dict[str, str]) -> Message:
    if not isinstance(turn, dict) or role_key not in turn or content_key not in turn:
        raise DataError(f"a turn lacks {role_key!r} or {content_key!r}")
    if turn.get("tool_calls") or turn[role_key] in TOOL_SPEAKERS:
        raise DataError("it calls tools, which cannot be trained on yet")
    if not isinstance(turn[role_key], str) or turn[role_key] not in roles:
        raise DataError(f"the speaker {turn[role_key]!r} is not known; known are {', '.join(roles)}")
    role = roles[turn[role_key]]
    if role == "assistant" and turn.get("weight", turn.get("loss_weight")) == 0:
        raise DataError("it has an assistant's turn of weight 0, which cannot be left untrained yet")
    return Message(role, _joined(turn[content_key]))


def _joined(content: Any) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise DataError("a turn's content is neither text nor a list of parts")
    texts = []
    for part in content:
        if not isinstance(part, dict) or part.get("type") != "text":
            raise DataError("a turn has a part that is not text, such as an image")
        texts.append(_text(part, "text") or _text(part, "value"))
    return "".join(texts)


# --- the table ---


class Schema(NamedTuple):
    is_row: Callable[[Row], bool]
    messages: Callable[[Row], Messages]


SCHEMAS: dict[str, Schema] = {
    "openai": Schema(is_openai, from_openai),
    "sharegpt": Schema(is_sharegpt, from_sharegpt),
    "alpaca": Schema(is_alpaca, from_alpaca),
}
"""In the order in which they are tried."""


def detect(row: Row) -> str:
    """The name of the schema a row has. DataError naming its keys if it has none."""
    for name, schema in SCHEMAS.items():
        if schema.is_row(row):
            return name
    raise DataError(
        f"no schema has the keys {', '.join(sorted(row)[:12]) or '(none)'}",
        hint="known are instruction/input/output, conversations with from/value, messages with role/content",
    )


def read(row: Row, where: str | None = None) -> Conversation:
    """A row as a conversation that a model can learn from. DataError with the reason if it is none."""
    name = detect(row)
    conversation = Conversation(_without_empty_system(SCHEMAS[name].messages(row)), {"schema": name})
    conversation.check(where)
    return conversation


def _without_empty_system(messages: Messages) -> tuple[Message, ...]:
    is_empty = bool(messages) and messages[0].role == "system" and not messages[0].content.strip()
    return tuple(messages[1:] if is_empty else messages)


def conversations(
    paths: Sequence[Path | str],
    *,
    max_bad: float = 0,
    notice: files.Notice = files.ignore,
    count_by_schema: Counter[str] | None = None,
) -> Iterator[Conversation]:
    """The conversations in JSON and JSON-lines files, or folders of them, packed or not, in order.

    max_bad: how many rows (from 1 on) or which share of them (below 1) may be unusable; each is counted with its
    reason, and `notice` is told. `count_by_schema` is filled as rows are read. DataError if nothing is left.
    """
    tolerance, counts = Tolerance(max_bad), Counter() if count_by_schema is None else count_by_schema
    for path in files.files(paths, notice, files.ROW_ENDINGS):
        for name, stream in files.streams(path, notice, files.ROW_ENDINGS):
            for number, row in parse_rows(stream, name, tolerance):
                try:
                    conversation = read(row)
                except DataError as error:
                    tolerance.refuse(f"{name}, row {number:,}", error.what, error.hint)
                    continue
                counts[conversation.meta["schema"]] += 1
                yield conversation
    tolerance.finish(notice)
    if not counts:
        raise DataError("there is no conversation in it", where=", ".join(map(str, paths)))
    notice("read " + ", ".join(f"{n:,} x {name}" for name, n in counts.most_common()))
