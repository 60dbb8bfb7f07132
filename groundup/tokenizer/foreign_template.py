"""Conversations in the form of a Jinja template that a tokenizer brings along and that is none of ours.

A template makes one text, in which special tokens and what people typed look alike. transformers takes every
`<|im_end|>` in it for a special token, whoever wrote it. Here only those of the template are:

1. The conversation is rendered as it is.
2. It is rendered again with marks of random digits around every content. If that, with the marks taken out, is the
   same text, then the marks tell which stretches are contents, and special tokens are looked for between them.
3. A template may treat the ends of contents apart, as `|trim` does. So if the texts differ, the marks are put inside
   the newlines at the ends of contents, or inside all white space there. And one that takes an answer apart at
   `</think>` only does so if no mark hides it: then marks are put around such names (added tokens that are text to a
   reader, `Tokenizer.shown`), which are special where the template leaves them.
4. Whatever agrees with none of these is refused: DataError, never a guess.

The mask is known in the same way. The assistant's turn begins where the rendering of all messages before it, with the
generation prompt, ends, and that rendering must be the beginning of the whole; it ends with the first token behind
the content that stops an answer. Where this does not hold, there is no mask: DataError.
"""

import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from groundup.errors import ArtefactError, DataError
from groundup.text.records import Message
from groundup.tokenizer import jinja_sandbox
from groundup.tokenizer.chat import Rendered, check_order, encode_segments
from groundup.tokenizer.chat_templates import Segment
from groundup.tokenizer.protocol import Tokenizer

ENDS = ("", "\n", None)
"""What a template may strip from an end of a content, as `str.strip` takes it; None is all white space."""

TRIED_AT_ONCE = 9


def render_foreign(
    messages: Sequence[Message],
    tokenizer: Tokenizer,
    generation_prompt: bool = False,
    variables: Mapping[str, Any] | None = None,
) -> Rendered:
    """The ids and targets of a conversation by `tokenizer.chat_template`.

    variables: what else the template is told, such as {"enable_thinking": False}; plain values that JSON has.
    DataError: the template refuses the conversation, or what it does to contents cannot be told apart from its own
    text, or the mask cannot be known (with `generation_prompt`, from which nobody learns, nothing is a target then).
    ArtefactError: it fails, or takes too much time or memory.
    """
    check_order(messages, generation_prompt)
    template = _Template(tokenizer, variables or {})
    answers = [i for i, message in enumerate(messages) if message.role == "assistant"]
    first, *prompts, marked = template.run(
        [
            (messages, generation_prompt),
            *((messages[:i], True) for i in answers),
            (_marked(messages, template, *PLACES[0]), generation_prompt),
        ]
    )
    text = _accepted(first)
    contents = _contents(marked, text, template)
    if contents is None:
        contents = _contents_elsewhere(messages, text, template, generation_prompt)
    specials = list(_specials(text, contents, template.special_name))
    try:
        turns = _turns(messages, dict(zip(answers, prompts, strict=True)), text, contents, specials, template)
    except DataError:
        if not generation_prompt:
            raise
        turns = []
    return encode_segments(_segments(text, specials, turns), tokenizer)


class _Template:
    """The tokenizer's template with what every rendering of a conversation needs."""

    def __init__(self, tokenizer: Tokenizer, variables: Mapping[str, Any]):
        assert tokenizer.chat_template is not None
        self.jinja = tokenizer.chat_template
        roles = {f"{role}_token": name for role, name in tokenizer.roles.items()}
        self.variables = {"tools": None, "documents": None, **roles, **variables}
        self.secret = f"{secrets.randbelow(10**20):020d}"
        self.mark = re.compile(rf"{self.secret}(\d{{6}})([01])")
        self.special_name = _any_of(tokenizer.special_ids)
        self.shown_name = _any_of(tokenizer.shown)
        by_id = {i: name for name, i in tokenizer.special_ids.items()}
        self.stops = {by_id[i] for i in tokenizer.stop_ids if i in by_id}

    def run(self, jobs: Sequence[tuple[Sequence[Message], bool]]) -> list[dict[str, str]]:
        rows = [
            {
                "messages": [{"role": message.role, "content": message.content} for message in messages],
                "add_generation_prompt": generation_prompt,
                **self.variables,
            }
            for messages, generation_prompt in jobs
        ]
        longest = max(sum(len(message.content) for message in messages) for messages, _ in jobs)
        return jinja_sandbox.run(self.jinja, rows, longest)


def _any_of(names: Any) -> re.Pattern[str]:
    """Finds any of the names; of overlapping ones the longest. Matches nothing if there are none."""
    return re.compile("|".join(map(re.escape, sorted(names, key=len, reverse=True))) or "(?!)")


def _accepted(result: dict[str, str]) -> str:
    if "refused" in result:
        raise DataError(f"the chat template of this tokenizer refuses the conversation: {result['refused']}")
    if "failed" in result:
        raise ArtefactError(f"the chat template of this tokenizer fails: {result['failed']}", hint=jinja_sandbox.HINT)
    return result["text"]


# --- which stretches are contents ---


@dataclass(frozen=True, slots=True)
class _Content:
    """text[start:stop] comes from a message, the number-th."""

    number: int
    start: int
    stop: int


Place = tuple[str | None, str | None]
"""What to leave outside the marks at the beginning and at the end of a content."""

PLACES: list[tuple[Place, Place, bool]] = [
    (others, answers, apart)
    for apart in (False, True)
    for answers, others in product(list(product(ENDS, ENDS)), repeat=2)
]
"""(in contents of others, in those of the assistant, are the assistant's taken apart), the simplest first."""


def _marked(
    messages: Sequence[Message], template: _Template, others: Place, answers: Place, is_apart: bool
) -> list[Message]:
    marked = []
    for number, message in enumerate(messages):
        opening, closing = (f"{template.secret}{number:06d}{kind}" for kind in "01")

        def around(text: str, ends: Place, opening: str = opening, closing: str = closing) -> str:
            if not text.strip():
                return text
            start = len(text) - len(text.lstrip(ends[0]))
            stop = len(text.rstrip(ends[1]))
            return f"{text[:start]}{opening}{text[start:stop]}{closing}{text[stop:]}"

        content = message.content
        if message.role != "assistant":
            content = around(content, others)
        elif not is_apart:
            content = around(content, answers)
        else:
            names = [*template.shown_name.findall(content), ""]
            parts = (around(part, answers) for part in template.shown_name.split(content))
            content = "".join(part + name for part, name in zip(parts, names, strict=True))
        marked.append(Message(message.role, content))
    return marked


def _contents(result: dict[str, str], text: str, template: _Template) -> list[_Content] | None:
    """What the marks of a rendering say about `text`, or None if it is another text without them."""
    marked = result.get("text", "")
    if template.mark.sub("", marked) != text:
        return None
    contents: list[_Content] = []
    opened: _Content | None = None
    removed = 0
    for mark in template.mark.finditer(marked):
        number, at = int(mark[1]), mark.start() - removed
        removed += len(mark[0])
        if mark[2] == "0" and opened is None:
            opened = _Content(number, at, at)
        elif mark[2] == "1" and opened is not None and opened.number == number:
            contents.append(_Content(number, opened.start, at))
            opened = None
        else:
            return None
    return None if opened else contents


def _contents_elsewhere(
    messages: Sequence[Message], text: str, template: _Template, generation_prompt: bool
) -> list[_Content]:
    """The same with the marks at all other places, of which the first that agrees is taken."""
    tried = [_marked(messages, template, *place) for place in PLACES]
    others = [marked for i, marked in enumerate(tried) if marked not in tried[:i]][1:]
    for start in range(0, len(others), TRIED_AT_ONCE):
        some = others[start : start + TRIED_AT_ONCE]
        for result in template.run([(marked, generation_prompt) for marked in some]):
            contents = _contents(result, text, template)
            if contents is not None:
                return contents
    raise DataError(
        "the chat template of this tokenizer changes what messages say,"
        " so its special tokens cannot be told from text of the same spelling",
        hint=jinja_sandbox.HINT,
    )


# --- from there to segments ---


def _specials(text: str, contents: list[_Content], special_name: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    """Start and stop of each special token between the contents, where the template wrote it."""
    start = 0
    for content in [*contents, _Content(-1, len(text), len(text))]:
        for found in special_name.finditer(text, start, content.start):
            yield found.span()
        start = content.stop


def _turns(
    messages: Sequence[Message],
    prompts: Mapping[int, dict[str, str]],
    text: str,
    contents: list[_Content],
    specials: list[tuple[int, int]],
    template: _Template,
) -> list[tuple[int, int]]:
    """Start and stop of each turn of the assistant: what follows its prompt, the token that ends it included."""
    turns: list[tuple[int, int]] = []
    for number, prompt in prompts.items():
        before = prompt.get("text")
        cut = before is not None and any(a < len(before) < b for a, b in specials)
        if before is None or cut or not text.startswith(before):
            raise DataError(
                f"message {number + 1}: the chat template of this tokenizer does not write what it prompts with,"
                " so it cannot be known what the assistant is to learn",
                hint=jinja_sandbox.HINT,
            )
        start = len(before)
        own = [content for content in contents if content.number == number]
        spoken = max((content.stop for content in own), default=start)
        stop = next((b for a, b in specials if a >= max(start, spoken) and text[a:b] in template.stops), None)
        if stop is None:
            raise DataError(
                f"message {number + 1}: the chat template of this tokenizer writes no token that ends the answer",
                hint=jinja_sandbox.HINT,
            )
        is_blank = not messages[number].content.strip()
        others = [content for content in contents if content.number != number]
        is_whole = (own or is_blank) and all(start <= content.start for content in own)
        if not is_whole or any(start < other.stop and other.start < stop for other in others):
            raise DataError(
                f"message {number + 1}: the chat template of this tokenizer does not write the answer between"
                " its prompt and its end, so it cannot be known what the assistant is to learn",
                hint=jinja_sandbox.HINT,
            )
        turns.append((start, stop))
    return turns


def _segments(text: str, specials: list[tuple[int, int]], turns: list[tuple[int, int]]) -> list[Segment]:
    starts = {start for start, _ in specials}
    borders = sorted({0, len(text), *(at for span in (*specials, *turns) for at in span)})
    return [
        Segment(text[a:b], any(start <= a < stop for start, stop in turns), is_special=a in starts)
        for a, b in zip(borders, borders[1:], strict=False)
    ]
