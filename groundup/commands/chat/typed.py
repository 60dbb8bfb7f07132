"""What a person types, turn by turn: several lines as one turn, a history for the arrow keys, Tab for commands."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

PROMPT, GO_ON, QUOTES = "> ", "... ", '"""'
N_REMEMBERED = 1000
"""Lines of the history."""

Complete = Callable[[str], list[str]]
"""What a line so far may go on to be."""


def is_interactive() -> bool:
    """A person at both ends, and not a pipe."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def turns(has_history: bool = True, complete: Complete = lambda line: []) -> Iterator[str]:
    """What is said, turn by turn, until the input ends; empty turns are passed over."""
    keyboard = _Keyboard(has_history, complete) if is_interactive() else None

    def line(prompt: str) -> str | None:
        if keyboard is None:
            return read.rstrip("\r\n") if (read := sys.stdin.readline()) else None
        return keyboard.line(prompt)

    while (first := line(PROMPT)) is not None:
        lines = [first]
        if first.lstrip().startswith(QUOTES):
            lines[0] = first.lstrip()[len(QUOTES) :]
            while not lines[-1].rstrip().endswith(QUOTES) and (more := line(GO_ON)) is not None:
                lines.append(more)
            lines[-1] = lines[-1].rstrip().removesuffix(QUOTES)
        else:
            while lines[-1].endswith("\\"):
                lines[-1] = lines[-1][:-1]
                lines.append(line(GO_ON) or "")
        if said := "\n".join(lines).strip():
            yield said


class _Keyboard:
    """`input` with editing, history and completion where Python has readline, which Windows has not."""

    def __init__(self, has_history: bool, complete: Complete):
        self._file: Path | None = None
        self._readline: Any = None
        with suppress(ImportError):
            import readline

            self._readline = readline
            self._complete_with(complete)
            if has_history:
                self._recall()

    def line(self, prompt: str) -> str | None:
        """The next line without its end; None after the last."""
        try:
            line = input(prompt)
        except (EOFError, KeyboardInterrupt) as error:
            print()  # what comes next is not said in the line of the prompt
            if isinstance(error, KeyboardInterrupt):
                raise
            return None
        self._remember()
        return line

    def _recall(self) -> None:
        file = state_folder() / "chat_history"
        with suppress(OSError):  # a history is no reason to fail
            file.parent.mkdir(parents=True, exist_ok=True)
            # Nobody else may read what was said; appending, below, needs the file to be there.
            os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
            self._readline.read_history_file(file)
            self._readline.set_history_length(N_REMEMBERED)
            self._file = file
            if self._readline.get_current_history_length() >= N_REMEMBERED:
                self._readline.write_history_file(file)  # appending alone would let it grow for ever

    def _remember(self) -> None:
        """At once, so that a chat that is killed is remembered, and two at a time do not undo each other's lines."""
        if self._file is not None and self._readline.get_current_history_length():
            with suppress(OSError, AttributeError):  # macOS's libedit cannot append
                self._readline.append_history_file(1, self._file)

    def _complete_with(self, complete: Complete) -> None:
        def pick(_: str, state: int) -> str | None:
            line = self._readline.get_line_buffer()
            found = complete(line)
            begun = line.rpartition(" ")[0]  # the word that Tab completes is the last one
            return found[state][len(begun) + bool(begun) :] if state < len(found) else None

        self._readline.set_completer_delims(" ")
        self._readline.set_completer(pick)
        is_libedit = "libedit" in (self._readline.__doc__ or "")
        self._readline.parse_and_bind("bind ^I rl_complete" if is_libedit else "tab: complete")


def state_folder() -> Path:
    """Where this user's programs keep what is neither a setting nor a cache."""
    if sys.platform == "win32":
        state = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        state = Path.home() / "Library" / "Application Support"
    else:
        state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return state / "groundup"
