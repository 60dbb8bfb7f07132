"""One person and one model: questions, answers and slash-commands. Answers go to stdout, all else to stderr.

A slash-command is a method of Talk and a line in the table at the foot.
"""

import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from groundup import config as configs
from groundup.commands.chat import saved
from groundup.commands.chat.typed import PROMPT, QUOTES, is_interactive
from groundup.errors import UsageError
from groundup.inference.settings import Settings


class Talk:
    """A `Chat` (inference/language_model.py) with somebody at a terminal or a pipe. `people` is where notes go."""

    def __init__(self, chat: Any, people: Console, as_json: bool = False, uses_markdown: bool = True):
        self.chat = chat
        self.people = people
        self.as_json = as_json
        self._markdown = _markdown_writer() if uses_markdown and not as_json else None
        self._own_files: set[Path] = set()
        """What this chat has saved or loaded, and may write over."""

    def hear(self, said: str) -> bool:
        """Answers a question or carries out a slash-command; false when it was the one that leaves."""
        if not said.startswith("/"):
            self._answer(said, lambda: self.chat.ask(said))
            return True
        name, _, rest = said[1:].partition(" ")
        name = ALIASES.get(name, name)
        if name not in COMMANDS:
            near = configs.nearest(name, [*COMMANDS, *ALIASES])
            raise UsageError(f"There is no command /{name}.", hint=f"Did you mean /{near}?" if near else "See /help.")
        COMMANDS[name].carry_out(self, rest.strip())
        return name != "bye"

    def about_model(self) -> str:
        """What one talks with, in a line."""
        speaker = self.chat.speaker
        size = f"{speaker.n_parameters / 1e6:.1f}M parameters"
        return f"{speaker.path}: {size}, context of {speaker.context_length} tokens, {speaker.engine} engine"

    def go_on_with(self, before: saved.Saved, path: Path | str) -> None:
        """Puts a saved conversation in place of this one, with its system prompt and its settings."""
        self.chat.turns, self.chat.system = list(before.turns), before.system
        self.chat.settings = before.settings or self.chat.settings
        self._own_files.add(Path(path).resolve())
        question, answer = before.turns[-2:]
        self._note(f"{len(before.turns)} messages are loaded from {path}; the last are:")
        self._note(f"{PROMPT}{_short(question.content)}\n{_short(answer.content)}")

    # --- the slash-commands ---

    def set_system(self, text: str) -> None:
        self.chat.system = text
        self._note("The system prompt is set." if text else "There is no system prompt now.")

    def set(self, assignment: str) -> None:
        from groundup.inference.text_stream import refuse_beams

        name, _, value = assignment.partition(" ")
        name, value = name.replace("-", "_"), value.strip()
        if not name:
            return self._list_settings()
        if not value:
            raise UsageError("/set needs a name and a value,", hint="such as /set temperature 0.7")
        now = configs.to_dict(self.chat.settings)
        settings = configs.load(Settings, preset=now, flags={name: _unquoted(value)}).config
        refuse_beams(settings)
        self.chat.settings = settings
        self._note(f"{name} is {value} now.")
        return None

    def show(self, _: str) -> None:
        chat = self.chat
        settings = configs.to_dict(chat.settings)
        self._note(f"model: {self.about_model()}")
        self._note(f"system prompt: {chat.system or 'none'}")
        self._note(f"settings: {', '.join(f'{name} {_shown(value)}' for name, value in settings.items())}")
        self._note(f"conversation: {len(chat.turns)} messages, {chat.n_tokens} of {chat.speaker.context_length} tokens")

    def retry(self, _: str) -> None:
        if not self.chat.turns:
            raise UsageError("Nothing has been asked yet.")
        self._answer(self.chat.turns[-2].content, self.chat.retry)

    def clear(self, _: str) -> None:
        self.chat.reset()
        self._note("The conversation begins anew.")

    def save(self, name: str) -> None:
        path = self._path(name, "/save")
        if not self.chat.turns:
            raise UsageError("Nothing has been said yet.")
        content = saved.Saved(self.chat.turns, self.chat.system, self.chat.settings)
        saved.write(path, content, str(self.chat.speaker.path), replace=path.resolve() in self._own_files)
        self._own_files.add(path.resolve())
        self._note(f"{len(self.chat.turns)} messages are saved in {path}.")

    def load(self, name: str) -> None:
        path = self._path(name, "/load")
        self.go_on_with(saved.read(path), path)

    def bye(self, _: str) -> None:
        """Leaving is `hear`'s."""

    def help(self, _: str) -> None:
        rows = [(f"/{name} {command.argument}", command.does) for name, command in COMMANDS.items()]
        rows += [
            ("Ctrl-C", "stop an answer; at the prompt, leave"),
            ("... \\", "a backslash at the end of a line: go on in the next"),
            (f"{QUOTES} ... {QUOTES}", "a text of several lines"),
        ]
        self._list(rows)

    def _list_settings(self) -> None:
        docs, settings = configs.leaves(Settings), configs.to_dict(self.chat.settings)
        self._list([(f"{name} {_shown(value)}", docs[name].doc) for name, value in settings.items()])

    def _list(self, rows: list[tuple[str, str]]) -> None:
        table = Table.grid(padding=(0, 3, 0, 0))
        for name, about in rows:
            table.add_row(Text(name, no_wrap=True), Text(about))
        self.people.print(table, style="dim")

    def _path(self, name: str, command: str) -> Path:
        if not name:
            raise UsageError(f"{command} needs the name of a file,", hint=f"such as {command} talk.json")
        path = Path(name).expanduser()
        return path if path.suffix else path.with_suffix(".json")

    # --- an answer ---

    def _answer(self, question: str, ask: Callable[[], Any]) -> None:
        from groundup.inference.text_stream import guesses_of

        answer = ask()
        if self.chat.n_dropped:
            self._note(f"The context is full: the oldest {self.chat.n_dropped} messages are forgotten.")
        is_stopped = self._stream(answer)
        self.chat.remember(answer)
        completion = answer.completion
        if self.as_json:
            first = round(completion.seconds_to_first or 0.0, 4)
            report = completion.report(question, self.chat.settings) | {"seconds_to_first": first}
            print(orjson.dumps(report).decode(), flush=True)
        else:
            is_longest = completion.n_tokens == self.chat.settings.max_new_tokens
            cut = "cut at max_new_tokens" if is_longest else "cut where the context is full"
            reason = {"stop": "", "length": f", {cut}", "interrupted": ", stopped"}
            facts = [
                f"{completion.n_tokens} tokens",
                f"{completion.tokens_per_second:.0f} tokens/s",
                f"first after {completion.seconds_to_first or 0:.2f} s",
                *guesses_of([completion]),
            ]
            self._note(", ".join(facts) + reason[completion.finish_reason])
        if is_stopped and not is_interactive():
            raise KeyboardInterrupt

    def _stream(self, answer: Any) -> bool:
        """Shows the answer while it comes. True where Ctrl-C ended it, with what was said so far."""
        shown, is_stopped = self._writer(), False
        try:
            for piece in answer:
                shown.push(piece)
        except KeyboardInterrupt:
            shown.push(answer.stop())
            is_stopped = True
        shown.end()
        return is_stopped

    def _writer(self) -> Any:
        if self.as_json:
            return _Silence()
        return self._markdown() if self._markdown else _Plain()

    def _note(self, text: str) -> None:
        from groundup.inference.text_stream import printable

        self.people.print(printable(text), style="dim", markup=False)


def _markdown_writer() -> Callable[[], Any] | None:
    """What shows an answer as Markdown, loaded before the first one comes; None where it cannot be shown."""
    if not sys.stdout.isatty():
        return None
    from groundup.commands.chat import markdown

    console = Console(highlight=False, theme=markdown.THEME)
    return (lambda: markdown.Writer(console)) if markdown.is_possible(console) else None


class _Plain:
    """Writes an answer as it comes."""

    def push(self, piece: str) -> None:
        from groundup.inference.text_stream import printable

        sys.stdout.write(printable(piece) if sys.stdout.isatty() else piece)
        sys.stdout.flush()

    def end(self) -> None:
        sys.stdout.write("\n")
        sys.stdout.flush()


class _Silence:
    """Shows nothing: the answer is reported when it is whole."""

    def push(self, piece: str) -> None: ...

    def end(self) -> None: ...


def _short(text: str, longest: int = 500) -> str:
    return text if len(text) <= longest else text[:longest] + " ..."


def _unquoted(value: str) -> str:
    """What stands in quotation marks as TOML reads it, so that a line end can be said: /set stop "\\n"."""
    try:
        return tomllib.loads(f"value = {value}")["value"] if value[0] in "\"'" else value
    except tomllib.TOMLDecodeError:
        return value


def _shown(value: Any) -> str:
    """A setting's value as /set would take it."""
    if value is None or value == ():
        return "none"
    return orjson.dumps(value).decode() if isinstance(value, tuple) else str(value)


@dataclass(frozen=True)
class Command:
    carry_out: Callable[[Talk, str], Any]
    argument: str
    does: str


COMMANDS = {
    "system": Command(Talk.set_system, "TEXT", "give the model a system prompt; without TEXT none"),
    "set": Command(Talk.set, "NAME VALUE", "change a setting, such as temperature; without a name, list them"),
    "show": Command(Talk.show, "", "show the model, the system prompt, the settings, and how full the context is"),
    "retry": Command(Talk.retry, "", "another answer to the last question"),
    "clear": Command(Talk.clear, "", "forget the conversation"),
    "save": Command(Talk.save, "FILE", "write the conversation to a file"),
    "load": Command(Talk.load, "FILE", "go on with a conversation that was saved"),
    "help": Command(Talk.help, "", "show this list"),
    "bye": Command(Talk.bye, "", "leave, as Ctrl-D does"),
}
ALIASES = {"quit": "bye", "exit": "bye", "reset": "clear", "?": "help"}


def completions(line: str) -> list[str]:
    """What a line that begins with a slash may go on to be: commands, and after /set the settings."""
    commands = [f"/{name}" + (" " if command.argument else "") for name, command in COMMANDS.items()]
    settings = [f"/set {field.name} " for field in fields(Settings)]
    return [whole for whole in [*commands, *settings] if line.startswith("/") and whole.startswith(line)]
