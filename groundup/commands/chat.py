"""Talk with a trained chat model.

On a terminal, `/help` lists what can be said to the program instead of the model; a line that ends in a backslash goes
on in the next, and three quotation marks begin and end a text of several lines. From a pipe, each line is a question.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson
from rich.console import Console

from groundup import config as configs
from groundup.errors import GroundupError, UsageError
from groundup.inference.settings import Settings

PROMPT, GO_ON, QUOTES = "> ", "... ", '"""'


@dataclass(frozen=True)
class Config:
    """What `groundup chat` can be told."""

    model: str = field(default="", metadata={"positional": True})
    """a run, a checkpoint, a Hugging Face folder or a GGUF file"""
    system: str = ""
    """system prompt; without one the model is told nothing"""
    sampling: Settings = field(default_factory=lambda: Settings(max_new_tokens=500, temperature=0.5, top_p=0.9))
    """how to choose the next token; cooler than for stories, since an answer has to be right first"""
    device: str = "auto"
    """auto, cpu, cuda, mps"""
    force: bool = False
    """open a model that does not keep its contract, and say what is skipped"""
    json: bool = False
    """one JSON object for each answer"""
    quiet: bool = False
    """nothing but the answers"""


def run(config: Config) -> int:
    from groundup.inference import language_model
    from groundup.text.records import Message
    from groundup.train.devices import device_for

    if not config.model:
        raise UsageError("a model must be named", hint="groundup chat RUN")
    people = Console(stderr=True, quiet=config.quiet, highlight=False)
    speaker = language_model.load(config.model, str(device_for(config.device)), force=config.force)
    for line in speaker.skipped:
        people.print(f"skipped: {line}", style="yellow", markup=False)
    # A tokenizer without chat tokens is refused now, not after the first question.
    speaker.chat_ids([Message("user", "?")])
    if not speaker.is_chat:
        note = "Chatting with a base model, which only continues text; `groundup generate` speaks its language."
        people.print(note, style="yellow")
    if is_interactive():
        size = f"{sum(weight.numel() for weight in speaker.model.parameters()) / 1e6:.1f}M parameters"
        about = f"{speaker.path}: {size}, context of {speaker.context_length} tokens. /help lists commands."
        people.print(about, style="dim", markup=False)

    talk = Talk(language_model.Chat(speaker, config.sampling, config.system), people, config.json)
    for said in turns():
        try:
            if not talk.hear(said):
                break
        except GroundupError as error:
            people.print(f"{error}" + (f" {error.hint}" if error.hint else ""), style="red", markup=False)
    return 0


def is_interactive() -> bool:
    """A person at both ends, and not a pipe."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def turns() -> Iterator[str]:
    """What is said, turn by turn, until the input ends; empty turns are passed over."""
    if is_interactive():
        with suppress(ImportError):
            import readline  # noqa: F401  it gives `input` editing and a history
    while (line := _line(PROMPT)) is not None:
        lines = [line]
        if line.lstrip().startswith(QUOTES):
            lines[0] = line.lstrip()[len(QUOTES) :]
            while not lines[-1].rstrip().endswith(QUOTES) and (line := _line(GO_ON)) is not None:
                lines.append(line)
            lines[-1] = lines[-1].rstrip().removesuffix(QUOTES)
        else:
            while lines[-1].endswith("\\"):
                lines[-1] = lines[-1][:-1]
                lines.append(_line(GO_ON) or "")
        if said := "\n".join(lines).strip():
            yield said


def _line(prompt: str) -> str | None:
    """The next line of input without its end; None after the last."""
    if not is_interactive():
        return line.rstrip("\r\n") if (line := sys.stdin.readline()) else None
    try:
        return input(prompt)
    except EOFError:
        print()
        return None


class Talk:
    """One person and one model: questions, answers and slash-commands. Answers go to stdout, all else to stderr."""

    def __init__(self, chat: Any, people: Console, as_json: bool = False):
        self.chat = chat
        self.people = people
        self.as_json = as_json

    def hear(self, said: str) -> bool:
        """Answers a question or carries out a slash-command; false when it was the one that leaves."""
        name, _, rest = said[1:].partition(" ")
        if not said.startswith("/"):
            self._answer(said, lambda: self.chat.ask(said))
        elif name in LEAVING:
            return False
        elif name in COMMANDS:
            COMMANDS[name].carry_out(self, rest.strip())
        else:
            near = configs.nearest(name, [*COMMANDS, *LEAVING])
            raise UsageError(f"There is no command /{name}.", hint=f"Did you mean /{near}?" if near else "See /help.")
        return True

    # --- the slash-commands ---

    def set_system(self, text: str) -> None:
        self.chat.system = text
        self._note("The system prompt is set." if text else "There is no system prompt now.")

    def set(self, assignment: str) -> None:
        name, _, value = assignment.partition(" ")
        if not value.strip():
            raise UsageError("/set needs a name and a value,", hint="such as /set temperature 0.7")
        now, change = configs.to_dict(self.chat.settings), {name.replace("-", "_"): value.strip()}
        self.chat.settings = configs.load(Settings, preset=now, flags=change).config
        self._note(f"{name} is {value.strip()} now.")

    def set_temperature(self, value: str) -> None:
        self.set(f"temperature {value}")

    def reset(self, _: str) -> None:
        self.chat.reset()
        self._note("The conversation begins anew.")

    def show(self, _: str) -> None:
        chat = self.chat
        self._note(f"system prompt: {chat.system or 'none'}")
        self._note(f"settings: {', '.join(f'{name} {value}' for name, value in asdict(chat.settings).items())}")
        n_used = len(chat.ids(chat.turns)) if chat.turns else 0
        self._note(f"conversation: {len(chat.turns)} messages, {n_used} of {chat.speaker.context_length} tokens")

    def retry(self, _: str) -> None:
        if not self.chat.turns:
            raise UsageError("Nothing has been asked yet.")
        self._answer(self.chat.turns[-2].content, self.chat.retry)

    def help(self, _: str) -> None:
        for name, command in COMMANDS.items():
            self._note(f"{f'/{name} {command.argument}':<24}{command.does}")
        self._note(f"{'/quit, /bye, Ctrl-D':<24}leave")
        self._note(f"{'Ctrl-C':<24}stop an answer; at the prompt, leave")
        self._note(f"{'... ' + chr(92):<24}a backslash at the end of a line: go on in the next")
        self._note(f"{QUOTES + ' ... ' + QUOTES:<24}a text of several lines")

    # --- an answer ---

    def _answer(self, question: str, ask: Callable[[], Any]) -> None:
        answer = ask()
        if self.chat.n_dropped:
            self._note(f"The context is full: the oldest {self.chat.n_dropped} messages are forgotten.")
        self._stream(answer)
        self.chat.remember(answer)

        completion = answer.completion
        if self.as_json:
            first = round(completion.seconds_to_first or 0.0, 4)
            report = completion.report(question, self.chat.settings) | {"seconds_to_first": first}
            print(orjson.dumps(report).decode(), flush=True)
            return
        print(flush=True)
        reason = {"stop": "", "length": ", cut at its longest", "interrupted": ", stopped"}[completion.finish_reason]
        self._note(
            f"{completion.n_tokens} tokens, {completion.tokens_per_second:.0f} tokens/s, "
            f"first after {completion.seconds_to_first or 0:.2f} s{reason}"
        )

    def _stream(self, answer: Any) -> None:
        from groundup.inference.text_stream import printable

        def show(piece: str) -> None:
            if not self.as_json:
                sys.stdout.write(printable(piece) if sys.stdout.isatty() else piece)
                sys.stdout.flush()

        try:
            for piece in answer:
                show(piece)
        except KeyboardInterrupt:
            if not is_interactive():
                raise
            show(answer.stop())

    def _note(self, text: str) -> None:
        self.people.print(text, style="dim", markup=False)


@dataclass(frozen=True)
class Command:
    carry_out: Callable[[Talk, str], None]
    argument: str
    does: str


LEAVING = ("quit", "bye", "exit")
COMMANDS = {
    "system": Command(Talk.set_system, "TEXT", "give the model a system prompt; without TEXT none"),
    "set": Command(Talk.set, "NAME VALUE", "change a setting, such as temperature, top_k or max_new_tokens"),
    "temperature": Command(Talk.set_temperature, "VALUE", "0 is always the likeliest word, higher is more varied"),
    "retry": Command(Talk.retry, "", "another answer to the last question"),
    "reset": Command(Talk.reset, "", "forget the conversation"),
    "show": Command(Talk.show, "", "show the system prompt and the settings"),
    "help": Command(Talk.help, "", "show this list"),
}
