"""A conversation as ids, and which of them are to be learned: one renderer for training and for use.

A template (chat_templates.py) divides the conversation into segments; ids and mask are both made from them, so that the
mask is right by construction: the assistant's words and the token that ends its turn are targets, nothing else is.
Special tokens come from the template alone. Text between them is encoded as plain text, so a user who types
`<|im_end|>` ends nothing.

Text that follows text is encoded together with it, as other programs do, but never across the line where the assistant
begins to speak: the text before it is all that a model sees then. On texts whose pieces would cross that line the ids
differ from those programs', which encode both at once: where white space meets white space, and, by GPT-2's pattern,
after an empty line, whose two newlines are one piece at the end of a prompt and two before a letter.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from groundup.errors import DataError, UsageError
from groundup.text.records import ROLES, Message
from groundup.tokenizer.chat_templates import CHATML, EOS, TEMPLATES, Segment, Template
from groundup.tokenizer.protocol import END_OF_TEXT, Tokenizer

OWN = "own"
"""Names the Jinja template that a tokenizer brings along, where it is none of TEMPLATES."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """ids: uint32 (n,). is_target: bool (n,), true where a model is trained to produce the id."""

    ids: np.ndarray
    is_target: np.ndarray


def render(
    messages: Sequence[Message],
    tokenizer: Tokenizer,
    *,
    template: str | Template | None = None,
    generation_prompt: bool = False,
) -> Rendered:
    """The ids and targets of a conversation; with `generation_prompt` it ends where the assistant begins to speak.

    template: a name of `TEMPLATES`, one made by hand, or None for the tokenizer's (`name_for`). The first messages of a
    conversation render to the beginning of its rendering, so a chat can go on from its cache; foreign templates may do
    otherwise. DataError on roles that are unknown or out of order, and on contents that the template cannot hold.
    UsageError if the tokenizer lacks a special token that the template takes.
    """
    check_order(messages, generation_prompt)
    if template is None or template == OWN:
        template = name_for(tokenizer)
    if template == OWN:
        from groundup.tokenizer.foreign_template import render_foreign

        return render_foreign(messages, tokenizer, generation_prompt)
    form = find(template) if isinstance(template, str) else template
    check_tokens(tokenizer, form.special_tokens, template if isinstance(template, str) else "given")
    return encode_segments(form.segments(messages, generation_prompt), tokenizer)


def encode_segments(segments: Sequence[Segment], tokenizer: Tokenizer) -> Rendered:
    """Ids and mask of the segments. Neighbours that are text and of one mind about the mask are one text."""
    ids: list[int] = []
    is_target: list[bool] = []
    before = ""
    for text, target, special_id in _runs(segments, tokenizer):
        part_ids = _continue(before, text, tokenizer) if special_id is None else [special_id]
        before = before + text if special_id is None else ""
        ids.extend(part_ids)
        is_target.extend([target] * len(part_ids))
    return Rendered(np.array(ids, np.uint32), np.array(is_target, bool))


def _runs(segments: Sequence[Segment], tokenizer: Tokenizer) -> Iterator[tuple[str, bool, int | None]]:
    """(text, is_target, None) of each longest stretch of text, ("", is_target, id) of each special token."""
    for (is_text, target), group in groupby(segments, lambda part: (not _is_id(part, tokenizer), part.is_target)):
        if is_text:
            yield "".join(part.text for part in group), target, None
        else:
            yield from (("", target, tokenizer.special_ids[_name(part.text, tokenizer.roles)]) for part in group)


def _is_id(segment: Segment, tokenizer: Tokenizer) -> bool:
    return segment.is_special or (segment.is_marker and segment.text in tokenizer.special_ids)


def _name(name: str, roles: Mapping[str, str]) -> str:
    return roles.get("eos", name) if name == EOS else name


def spans(messages: Sequence[Message], template: str) -> list[tuple[str, bool]]:
    """What a rendering looks like without a tokenizer: (text, is_target) of each stretch."""
    segments = find(template).segments(messages, False)
    return [
        ("".join(END_OF_TEXT if part.text == EOS and part.is_special else part.text for part in group), is_target)
        for is_target, group in groupby(segments, lambda part: part.is_target)
    ]


def _continue(before: str, text: str, tokenizer: Tokenizer) -> list[int]:
    """The ids of a text that follows another. SentencePiece puts a space before every text, which has none here."""
    if tokenizer.kind == "sentencepiece" and before:
        first, both = tokenizer.encode(before).tolist(), tokenizer.encode(before + text).tolist()
        if both[: len(first)] == first:
            return both[len(first) :]
    return tokenizer.encode(text).tolist()


# --- which template ---


def find(template: str) -> Template:
    """The template of that name. UsageError on an unknown one."""
    if template not in TEMPLATES:
        raise UsageError(f"unknown chat template {template!r}", hint=f"use one of: {', '.join(TEMPLATES)}")
    return TEMPLATES[template]


def template_for(tokenizer: Tokenizer) -> str | None:
    """Which of TEMPLATES the tokenizer's chat template is, letter by letter; None if it has none or another's."""
    return next((name for name, form in TEMPLATES.items() if form.jinja == tokenizer.chat_template), None)


def name_for(tokenizer: Tokenizer) -> str:
    """How a tokenizer's conversations are written if nobody says: by the chat template it brings along (`OWN` if that
    is none of ours), else as ChatML if it has the tokens for that, else plainly."""
    if tokenizer.chat_template is not None:
        return template_for(tokenizer) or OWN
    return "chatml" if set(CHATML.special_tokens) <= tokenizer.special_ids.keys() else "plain"


def jinja_for(tokenizer: Tokenizer, template: str) -> str | None:
    """The Jinja to save with a tokenizer whose conversations are written by this template."""
    return tokenizer.chat_template if template == OWN else find(template).jinja


def check_tokens(tokenizer: Tokenizer, names: Sequence[str], template: str) -> None:
    """UsageError unless the tokenizer has these special tokens."""
    missing = [name for name in names if _name(name, tokenizer.roles) not in tokenizer.special_ids]
    if not missing:
        return
    asked = [END_OF_TEXT if name == EOS else name for name in names]
    what = " and ".join("one that ends a text" if name == EOS else repr(name) for name in missing)
    raise UsageError(
        f"the chat template {template!r} needs the special token {what}, which this tokenizer does not have",
        hint=f"train one with them: groundup tokenizer train TEXT --special-tokens {' '.join(map(repr, asked))}",
    )


# --- what a conversation is ---


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
