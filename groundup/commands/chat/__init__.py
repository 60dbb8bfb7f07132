"""Talk with a trained chat model.

On a terminal, `/help` lists what can be said to the program instead of the model; a line that ends in a backslash goes
on in the next, and three quotation marks begin and end a text of several lines. From a pipe, each line is a question.
"""

from dataclasses import dataclass, field

from rich.console import Console

from groundup import config as configs
from groundup.commands._speaker import Opening, opened
from groundup.errors import GroundupError, UsageError
from groundup.inference.settings import Settings


@dataclass(frozen=True)
class Config:
    """What `groundup chat` can be told."""

    model: str = field(default="", metadata={"positional": True})
    """a run, a checkpoint, a Hugging Face folder or a GGUF file"""
    system: str = ""
    """system prompt; without one the model is told nothing"""
    load: str = ""
    """go on with a conversation that /save wrote"""
    preset: str = ""
    """TOML file with settings, such as temperature = 0.7; a flag beats it"""
    sampling: Settings = field(default_factory=lambda: Settings(max_new_tokens=500, temperature=0.5, top_p=0.9))
    """how to choose the next token; cooler than for stories, since an answer has to be right first"""
    markdown: bool = True
    """show Markdown as headings, lists and code, on a terminal"""
    history: bool = True
    """remember what was typed, for the arrow keys of the next chat"""
    opening: Opening = field(default_factory=Opening)
    """what runs the model"""
    json: bool = False
    """one JSON object for each answer"""
    quiet: bool = False
    """nothing but the answers"""


def run(config: Config) -> int:
    from groundup.commands.chat import saved
    from groundup.commands.chat.talk import Talk, completions
    from groundup.commands.chat.typed import is_interactive, turns
    from groundup.inference import language_model, presets, text_stream
    from groundup.text.records import Message

    if not config.model:
        raise UsageError("a model must be named", hint="groundup chat RUN")
    settings = presets.over(config.sampling, config.preset, configs.origins_of(config))
    text_stream.refuse_beams(settings)
    before = saved.read(config.load) if config.load else None
    people = Console(stderr=True, quiet=config.quiet, highlight=False)

    speaker = opened(config.model, config.opening, people)
    # A tokenizer without chat tokens is refused now, not after the first question.
    speaker.chat_ids([Message("user", "?")])
    if not speaker.is_chat:
        note = "Chatting with a base model, which only continues text; `groundup generate` speaks its language."
        people.print(note, style="yellow", markup=False)

    chat = language_model.Chat(speaker, settings, config.system)
    talk = Talk(chat, people, config.json, uses_markdown=config.markdown)
    if is_interactive():
        people.print(f"{talk.about_model()}. /help lists commands.", style="dim", markup=False)
        chat.warm_up()
    if before is not None:
        talk.go_on_with(before, config.load)
    for said in turns(config.history, completions):
        try:
            if not talk.hear(said):
                break
        except GroundupError as error:
            what = str(error)
            joint = " " if what.endswith((".", ",")) else "; "
            people.print(what + (joint + error.hint if error.hint else ""), style="red", markup=False)
    return 0
