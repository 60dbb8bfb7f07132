"""`groundup generate RUN "Once upon a time"`: one prompt, and one text of it or several."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson
from rich.console import Console

from groundup.commands.generate import say_if_chat
from groundup.inference.repetition import MUCH
from groundup.inference.settings import Settings

if TYPE_CHECKING:
    from groundup.commands.generate import Config

LONG_ENOUGH = 40
"""Tokens; a shorter text may well say a thing twice."""


def read_prompt(given: str) -> str:
    """The prompt that was typed, or what a pipe brings; empty where a terminal brings none."""
    if given != "-":
        return given
    if sys.stdin is None or sys.stdin.isatty():
        return ""
    # The line end that `echo` and a text file add belongs to them, not to the prompt.
    return sys.stdin.read().removesuffix("\n")


def run(config: "Config", people: Console, speaker: Any, prompt: str) -> int:
    """Prints the text, or texts. Ctrl-C leaves with what was made so far."""
    from groundup.inference.prompt import check_room

    say_if_chat(speaker, people)
    settings = replace(config.sampling, seed=config.sampling.some_seed())
    ids = speaker.prompt_ids(prompt)
    if not config.shift:
        check_room(ids, speaker.context_length)
    if config.dry_run:
        people.print(f"would continue {len(ids)} tokens by up to {settings.max_new_tokens}, {config.n} times")
        return 0
    options = {"show_special": config.show_special, "trim": config.trim, "shift": config.shift}
    comes_in_pieces = config.n == 1 and not config.json and not settings.beams
    make = _as_it_comes if comes_in_pieces else _whole
    completions, is_interrupted = make(config, speaker, prompt, ids, settings, options)
    longest = len(ids) + max(completion.n_tokens for completion in completions)
    _say_length(people, longest, speaker.context_length, config.shift)
    _say_facts(people, completions, config)
    if is_interrupted:
        raise KeyboardInterrupt
    return 0


Made = tuple[list[Any], bool]
"""Completions, and whether Ctrl-C ended them."""


def _as_it_comes(
    config: "Config", speaker: Any, prompt: str, ids: list[int], settings: Settings, options: dict[str, bool]
) -> Made:
    from groundup.inference.text_stream import TextStream, printable

    terminal = Console(highlight=False)
    _show_prompt(terminal, prompt)

    def show(piece: str) -> None:
        sys.stdout.write(printable(piece) if terminal.is_terminal else piece)
        sys.stdout.flush()

    stream = TextStream(speaker.model, speaker.tokenizer, ids, settings, draft=speaker.draft, **options)
    is_interrupted = False
    try:
        for piece in stream:
            show(piece)
    except KeyboardInterrupt:
        show(stream.stop())
        is_interrupted = True
    show("\n")
    return [stream.completion], is_interrupted


def _show_prompt(terminal: Console, prompt: str) -> None:
    """Before a text that goes on from it; a pipe gets the text alone."""
    if terminal.is_terminal:
        terminal.print(prompt, style="bold", end="", markup=False, soft_wrap=True)


def _whole(
    config: "Config", speaker: Any, prompt: str, ids: list[int], settings: Settings, options: dict[str, bool]
) -> Made:
    from groundup.inference.completing import Interrupted, complete
    from groundup.inference.text_stream import printable

    prompts, is_interrupted = [ids] * config.n, False
    batch = {**options, "batch_size": config.batch_size, "draft": speaker.draft}
    try:
        completions = complete(speaker.model, speaker.tokenizer, prompts, settings, **batch)
    except Interrupted as interrupted:
        # Of those that had not begun there is nothing to show.
        completions = [each for each in interrupted.completions if each.ids] or interrupted.completions[:1]
        is_interrupted = True
    if config.best and not is_interrupted:
        completions = [max(completions, key=lambda completion: completion.mean_logprob)]
    terminal = Console(highlight=False)
    for number, completion in enumerate(completions):
        if config.json:
            report = completion.report(prompt, settings)
            if settings.n_alternatives:
                report["tokens"] = _tokens(completion, speaker.tokenizer)
            sys.stdout.write(orjson.dumps(report).decode() + "\n")
        else:
            sys.stdout.write("---\n" if number else "")
            _show_prompt(terminal, prompt)
            sys.stdout.write((printable(completion.text) if terminal.is_terminal else completion.text) + "\n")
    sys.stdout.flush()
    return completions, is_interrupted


def _tokens(completion: Any, tokenizer: Any) -> list[dict[str, Any]]:
    """Each new token, how likely it was, and what else was likely in its place."""

    def name(id_: int) -> str:
        return tokenizer.decode_bytes([id_], skip_special=False).decode("utf-8", "replace")

    return [
        {
            "id": id_,
            "token": name(id_),
            "logprob": logprob,
            "alternatives": [{"id": other, "token": name(other), "logprob": likely} for other, likely in others],
        }
        for id_, logprob, others in zip(completion.ids, completion.logprobs, completion.alternatives, strict=True)
    ]


def _say_length(people: Console, n_longest: int, context_length: int, is_shifted: bool) -> None:
    if n_longest >= context_length and not is_shifted:
        note = f"The text ends here because the context of {context_length} tokens is full; --shift goes on."
        people.print(note, markup=False)
    elif n_longest > context_length:
        note = (
            f"With {n_longest} tokens this is longer than the context of {context_length} that the model was trained "
            "for: it saw at most the later part of it at a time."
        )
        people.print(note, style="yellow", markup=False)


def _say_facts(people: Console, completions: Sequence[Any], config: "Config") -> None:
    share = max((each.repeated_4grams for each in completions if each.n_tokens >= LONG_ENOUGH), default=0.0)
    if share >= MUCH:
        hint = "try --repetition-penalty 1.1, or a higher --temperature"
        people.print(f"{share:.0%} of its runs of four tokens are repetitions: {hint}.", style="yellow", markup=False)
    if not people.is_terminal or config.json:
        return
    from groundup.inference.text_stream import guesses_of

    n_tokens = sum(completion.n_tokens for completion in completions)
    seconds = max(completion.seconds for completion in completions)
    firsts = [completion.seconds_to_first for completion in completions if completion.seconds_to_first is not None]
    facts = [f"{n_tokens} tokens", f"{n_tokens / max(seconds, 1e-9):.0f} tokens/s"]
    facts += [f"first after {firsts[0]:.2f} s"] if firsts else []
    facts += sorted({completion.finish_reason for completion in completions})
    facts += guesses_of(completions)
    people.print(", ".join(facts), style="dim", markup=False)
