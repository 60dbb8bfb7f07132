"""Continue a text with a trained model.

The text goes to stdout as it is made; on a terminal the prompt stands before it. Without a prompt, or with `-`, the
prompt is read from a pipe; on a terminal the model then begins a document of its own.
"""

import sys
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
from rich.console import Console

from groundup.errors import UsageError
from groundup.inference.settings import Settings


@dataclass(frozen=True)
class Config:
    """What `groundup generate` can be told."""

    model: str = field(default="", metadata={"positional": True})
    """a run, a checkpoint, a Hugging Face folder or a GGUF file"""
    prompt: str = field(default="-", metadata={"positional": True})
    """the text to continue; none or - reads it from stdin"""
    n: int = 1
    """how many texts, each its own"""
    sampling: Settings = field(default_factory=Settings)
    """how to choose the next token, and when to stop"""
    trim: bool = False
    """leave out a last sentence that was not finished"""
    show_special: bool = False
    """show special tokens by their names"""
    device: str = "auto"
    """auto, cpu, cuda, mps"""
    force: bool = False
    """open a model that does not keep its contract, and say what is skipped"""
    json: bool = False
    """one JSON object for each text"""
    quiet: bool = False
    """nothing but the text"""


def run(config: Config) -> int:
    from groundup.inference import language_model
    from groundup.inference.text_stream import TextStream, complete
    from groundup.train.devices import device_for

    if not config.model:
        raise UsageError("a model must be named", hint='groundup generate RUN "Once upon a time"')
    if config.n < 1:
        raise UsageError(f"n is {config.n}, and it has to be at least 1", where="--n")
    people = Console(stderr=True, quiet=config.quiet, highlight=False)
    prompt = _prompt(config.prompt)
    speaker = language_model.load(config.model, str(device_for(config.device)), force=config.force)
    for line in speaker.skipped:
        people.print(f"skipped: {line}", style="yellow", markup=False)
    if speaker.is_chat:
        people.print("Completing with a chat model; `groundup chat` speaks its language.", style="yellow")

    settings = replace(config.sampling, seed=config.sampling.some_seed())
    ids = speaker.prompt_ids(prompt)
    show = {"show_special": config.show_special, "trim": config.trim}
    if config.n == 1 and not config.json:
        stream = TextStream(speaker.model, speaker.tokenizer, ids, settings, **show)
        _print_pieces(prompt, stream)
        completions = [stream.completion]
    else:
        completions = complete(speaker.model, speaker.tokenizer, [ids] * config.n, settings, **show)
        _print_whole(prompt, completions, settings, config.json)

    for completion in completions:
        if completion.finish_reason == "length" and len(ids) + completion.n_tokens >= speaker.context_length:
            people.print(f"The text ends here because the context of {speaker.context_length} tokens is full.")
    if people.is_terminal and not config.json:
        people.print(_facts(completions), style="dim")
    return 0


def _prompt(given: str) -> str:
    if given != "-":
        return given
    if sys.stdin is None or sys.stdin.isatty():
        return ""
    # The line end that `echo` and a text file add belongs to them, not to the prompt.
    return sys.stdin.read().removesuffix("\n")


def _print_pieces(prompt: str, pieces: Iterable[str]) -> None:
    from groundup.inference.text_stream import printable

    terminal = Console(highlight=False)
    if terminal.is_terminal:
        terminal.print(prompt, style="bold", end="", markup=False, soft_wrap=True)
    for piece in pieces:
        sys.stdout.write(printable(piece) if terminal.is_terminal else piece)
        sys.stdout.flush()
    sys.stdout.write("\n")


def _print_whole(prompt: str, completions: list[Any], settings: Settings, as_json: bool) -> None:
    for number, completion in enumerate(completions):
        if as_json:
            sys.stdout.write(orjson.dumps(completion.report(prompt, settings)).decode() + "\n")
        else:
            sys.stdout.write(("---\n" if number else "") + completion.text + "\n")


def _facts(completions: list[Any]) -> str:
    n_tokens = sum(completion.n_tokens for completion in completions)
    seconds = max(completion.seconds for completion in completions)
    reasons = " ".join(sorted({completion.finish_reason for completion in completions}))
    return f"{n_tokens} tokens, {n_tokens / max(seconds, 1e-9):.0f} tokens/s, {reasons}"
