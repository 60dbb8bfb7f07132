"""Continue a text with a trained model; or many, from a file to a file; or a grid of prompts and settings.

The text goes to stdout as it is made; on a terminal the prompt stands before it. Without a prompt, or with `-`, the
prompt is read from a pipe; on a terminal the model then begins a document of its own. With --prompts FILE every row of
a file is a prompt, and with --out a job that was killed goes on when it is called again. With --grid FILE.toml some
prompts are continued with several settings each, to be compared side by side.
"""

from dataclasses import dataclass, field, replace
from typing import Any

from rich.console import Console

from groundup import config as configs
from groundup.commands._speaker import Opening, opened
from groundup.errors import UsageError
from groundup.inference import presets
from groundup.inference.settings import Settings


@dataclass(frozen=True)
class Config:
    """What `groundup generate` can be told."""

    model: str = field(default="", metadata={"positional": True})
    """a run, a checkpoint, a Hugging Face folder or a GGUF file"""
    prompt: str = field(default="-", metadata={"positional": True})
    """the text to continue; none or - reads it from stdin"""
    n: int = 1
    """how many texts of each prompt"""
    best: bool = False
    """of n texts, give only the one whose tokens the model finds likeliest on the whole"""
    preset: str = ""
    """TOML file with settings, such as temperature = 0.7; a flag beats it"""
    sampling: Settings = field(default_factory=Settings)
    """how to choose the next token, and when to stop"""
    shift: bool = False
    """where the context is full, forget the earlier half and go on"""
    trim: bool = False
    """leave out a last sentence that was not finished"""
    show_special: bool = False
    """show special tokens by their names"""
    prompts: str = ""
    """file of prompts, JSON lines or one a line, or - for stdin; texts are made in batches"""
    grid: str = ""
    """TOML file of prompts and settings to try with each other"""
    out: str = ""
    """where to write: JSON lines with --prompts, a .md or .html page with --grid"""
    batch_size: int = 64
    """texts that are made at the same time"""
    replace: bool = False
    """begin the file of --out anew"""
    opening: Opening = field(default_factory=Opening)
    """what runs the model"""
    json: bool = False
    """one JSON object for each text"""
    quiet: bool = False
    """nothing but the text"""
    dry_run: bool = False
    """say what would be made, and make nothing"""


def run(config: Config) -> int:
    _check(config)
    people = Console(stderr=True, quiet=config.quiet, highlight=False)
    config = replace(config, sampling=presets.over(config.sampling, config.preset, configs.origins_of(config)))
    _check_beams(config)
    if config.prompts:
        from groundup.commands.generate import bulk

        return bulk.run(config, people, opened(config.model, config.opening, people))
    if config.grid:
        from groundup.commands.generate import grid

        return grid.run(config, people)
    from groundup.commands.generate import single

    # Read before the model is: what a pipe brings is not kept waiting.
    prompt = single.read_prompt(config.prompt)
    return single.run(config, people, opened(config.model, config.opening, people), prompt)


def say_if_chat(speaker: Any, people: Console) -> None:
    """Completing with a chat model is no mistake, but often not what is wanted."""
    if speaker.is_chat:
        note = "Completing with a chat model; `groundup chat` speaks its language."
        people.print(note, style="yellow", markup=False)


def _check(config: Config) -> None:
    if not config.model:
        raise UsageError("a model must be named", hint='groundup generate RUN "Once upon a time"')
    for name in ("n", "batch_size"):
        if (value := getattr(config, name)) < 1:
            raise UsageError(f"{name} is {value}, and it has to be at least 1", where=configs.flag(name))
    if config.best and (config.n == 1 or config.prompts or config.grid):
        raise UsageError("--best chooses among several texts of one prompt", where="--best", hint="--n 8 --best")
    if config.prompts and config.grid:
        raise UsageError("--prompts and --grid are two jobs", hint="a grid's file names its own prompts")
    if config.prompt != "-" and (config.prompts or config.grid):
        other = "--prompts" if config.prompts else "--grid"
        raise UsageError(f"a prompt and {other} are two jobs", where=other, hint="leave one of them out")
    if config.out and not (config.prompts or config.grid):
        raise UsageError("--out goes with --prompts or --grid", hint="send one text to a file with > FILE")


def _check_beams(config: Config) -> None:
    n_beams = config.sampling.beams
    for name in ("best", "shift") if n_beams else ():
        if getattr(config, name):
            what = f"{configs.flag(name)} is for texts that are drawn, and --beams looks for the best"
            raise UsageError(what, where=configs.flag(name), hint="leave one of them out")
    if n_beams and (config.opening.draft or config.opening.prompt_lookup):
        raise UsageError(
            "drafts guess for texts that are drawn, and a beam search draws none", hint="leave out --beams"
        )
    if n_beams and config.n > n_beams:
        what = f"{config.n} texts are asked for, and {n_beams} beams end in as many texts"
        raise UsageError(what, where="--n", hint=f"--beams {config.n}")
