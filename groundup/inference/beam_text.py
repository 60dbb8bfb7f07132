"""The likeliest texts of a prompt, by beam search: what completing.py gives where `settings.beams` says so."""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from groundup.errors import UsageError
from groundup.inference import beam
from groundup.inference.prompt import checked_prompt
from groundup.inference.runner import Runner
from groundup.inference.settings import Settings
from groundup.inference.text_stream import Completion, Text, completion_of


def best(
    runner: Runner, tokenizer: Any, prompt: Sequence[int], settings: Settings, n: int, **show: bool
) -> list[Completion]:
    """The n best texts, best first. One that comes to hold a stop string ends there, and is cut before it.

    show: show_special and trim, as Text takes them. UsageError for more texts than beams.
    """
    if n > settings.beams:
        what = f"{n} texts are asked for, and {settings.beams} beams end in as many texts"
        raise UsageError(what, where="beams", hint=f"beams {n}")

    def text_of(ids: Sequence[int]) -> Text:
        text = Text(tokenizer, settings, **show)
        for id_ in ids:
            text.push(id_)
        return text

    def is_over(ids: Sequence[int]) -> bool:
        return bool(settings.stop) and text_of(ids).stop.is_hit

    started = time.perf_counter()
    found = beam.search(
        runner, prompt, settings,
        n_beams=settings.beams, length_penalty=settings.length_penalty, n_best=n, is_over=is_over,
    )  # fmt: skip
    seconds = time.perf_counter() - started
    texts = []
    for generation in found:
        text = text_of(generation.ids)
        text.finish(generation.finish_reason)
        texts.append(completion_of(text, generation.finish_reason, [generation], seconds))
    return texts


def search_all(
    runner: Runner,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    settings: Settings,
    copies: Sequence[int],
    add: Callable[[int, Completion], Any],
    **show: bool,
) -> None:
    """Hands `add` the index and the text of each prompt; copy 0 of a prompt is its best text, copy 1 the next.

    All prompts are checked first. UsageError.
    """
    indices: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
    for index, prompt in enumerate(prompts):
        ids = checked_prompt(prompt, runner.vocab_size, runner.context_length, f"prompt {index + 1}")
        indices[ids].append(index)
    for prompt, alike in indices.items():
        texts = best(runner, tokenizer, prompt, settings, 1 + max(copies[index] for index in alike), **show)
        for index in alike:
            add(index, texts[copies[index]])
