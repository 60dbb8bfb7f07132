"""What text becomes when it has been read: a document, or a conversation of messages.

Plain values without behaviour, shared by every stage. How they are read from files is `text/sources.py` and
`data/schemas.py`; how they become ids is `tokenizer/`.
"""

from dataclasses import dataclass, field
from typing import Any

from groundup.errors import DataError

ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True, slots=True)
class Document:
    """A piece of text that stands alone, and the name of where it came from (`books.tar.xz:emma.md`)."""

    text: str
    source: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """What one participant says. `role` is one of `ROLES`."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages in the order they were said; the assistant's are what a model learns.

    `meta` holds what a data set says about the conversation, such as its kind; no stage depends on it.

    >>> Conversation((Message("user", "Two and two?"), Message("assistant", "Four."))).check()
    """

    messages: tuple[Message, ...]
    meta: dict[str, Any] = field(default_factory=dict)

    def check(self, where: str | None = None) -> None:
        """Raise `DataError` unless a model can learn from this: known roles, an assistant's turn, no empty turn,
        a system prompt only at the beginning, and never two turns of the user or of the assistant in a row."""
        problem = self.problem()
        if problem is not None:
            raise DataError(problem, where=where)

    def problem(self) -> str | None:
        """The first rule of `check` that is broken, in words, or None."""
        if not self.messages:
            return "the conversation has no message"
        previous = ""
        for i, message in enumerate(self.messages):
            if message.role not in ROLES:
                return f"message {i + 1} has the role {message.role!r}; known roles are {', '.join(ROLES)}"
            if message.role == "system" and i > 0:
                return f"message {i + 1} is a system prompt; it may only come first"
            if message.role == previous and message.role in ("user", "assistant"):
                return f"messages {i} and {i + 1} are both the {message.role}'s"
            if message.role in ("user", "assistant") and not message.content.strip():
                return f"message {i + 1}, the {message.role}'s, is empty"
            previous = message.role
        if not any(message.role == "assistant" for message in self.messages):
            return "the assistant has no turn, so there is nothing to learn"
        return None
