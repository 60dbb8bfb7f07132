"""A conversation as ids, and which of them are to be learned.

Ids and mask grow together by one inner helper, so that the mask is right by construction: the assistant's words and
the token that ends its turn are targets, nothing else is. Text between special tokens is encoded as plain text, so a
user who types `<|im_end|>` ends nothing. No system prompt is ever added.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from groundup.errors import DataError, UsageError
from groundup.text.records import ROLES, Message
from groundup.tokenizer.protocol import Tokenizer


@dataclass(frozen=True, slots=True)
class Template:
    """How one message is written: `start`, "role" + `after_role`, the content, `end`, `after_message`.

    `start` and `end` are special tokens. `jinja` says the same for other programs.
    """

    start: str
    after_role: str
    end: str
    after_message: str
    jinja: str


@dataclass(frozen=True, slots=True)
class Rendered:
    """ids: uint32 (n,). is_target: bool (n,), true where a model is trained to produce the id."""

    ids: np.ndarray
    is_target: np.ndarray


def render(
    messages: Sequence[Message],
    tokenizer: Tokenizer,
    *,
    template: str = "chatml",
    generation_prompt: bool = False,
) -> Rendered:
    """The ids and targets of a conversation; with `generation_prompt` it ends where the assistant begins to speak.

    The first messages of a conversation render to the beginning of its rendering, so a chat can go on from its cache.
    DataError on roles that are unknown or out of order. UsageError if the tokenizer lacks a special token it takes.
    """
    check_order(messages, generation_prompt)
    form = find(template)
    start, end = (_special_id(tokenizer, name, template) for name in (form.start, form.end))
    ids: list[int] = []
    is_target: list[bool] = []

    def add(part: int | str, target: bool = False) -> None:
        part_ids = [part] if isinstance(part, int) else tokenizer.encode(part).tolist()
        ids.extend(part_ids)
        is_target.extend([target] * len(part_ids))

    for message in messages:
        add(start)
        if message.role == "assistant":
            # Apart from the line before it, which is all that a model sees when it has to begin to speak.
            add(message.role + form.after_role)
            add(message.content, target=True)
            add(end, target=True)
        else:
            add(message.role + form.after_role + message.content)
            add(end)
        add(form.after_message)
    if generation_prompt:
        add(start)
        add("assistant" + form.after_role)
    return Rendered(np.array(ids, np.uint32), np.array(is_target, bool))


def check_order(messages: Sequence[Message], generation_prompt: bool = False) -> None:
    """DataError unless roles are known, `system` comes only first, and user and assistant take turns."""
    if not messages:
        raise DataError("the conversation has no message")
    previous = ""
    for number, message in enumerate(messages, 1):
        if message.role not in ROLES:
            raise DataError(f"message {number} has the role {message.role!r}", hint=f"roles are {', '.join(ROLES)}")
        if message.role == "system" and number > 1:
            raise DataError(f"message {number} is a system prompt, which may only come first")
        if message.role == previous and message.role in ("user", "assistant"):
            raise DataError(f"messages {number - 1} and {number} are both the {message.role}'s")
        previous = message.role
    if generation_prompt and previous == "assistant":
        raise DataError("the assistant has just spoken, it is not its turn")


def find(template: str) -> Template:
    """The template of that name. UsageError on an unknown one."""
    if template not in TEMPLATES:
        raise UsageError(f"unknown chat template {template!r}", hint=f"use one of: {', '.join(TEMPLATES)}")
    return TEMPLATES[template]


def _special_id(tokenizer: Tokenizer, name: str, template: str) -> int:
    if name not in tokenizer.special_ids:
        raise UsageError(
            f"the chat template {template!r} needs the special token {name!r}, which this tokenizer does not have",
            hint="train a tokenizer with the default special tokens: groundup tokenizer train",
        )
    return tokenizer.special_ids[name]


CHATML = Template(
    start="<|im_start|>",
    after_role="\n",
    end="<|im_end|>",
    after_message="\n",
    jinja=(
        "{% for message in messages %}"
        "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    ),
)

TEMPLATES = {"chatml": CHATML}
