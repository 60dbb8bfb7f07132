"""Stopping on request: the first signal lets the step finish and a checkpoint be saved, the second ends at once."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

NAMES = ("SIGINT", "SIGTERM", "SIGUSR1")
"""Ctrl-C; what schedulers and containers send; what Slurm is asked to send before the time is up. Windows has two."""

ECHO_SECONDS = 2.0


class BrokenOff(Exception):
    """Somebody asked to stop while something was done that can be done again."""


class StopRequest:
    """As a context: the first of the signals sets `is_set`, and `name` to its own. Whoever trains looks at it.

    The same one again, or Ctrl-C after any, raises `KeyboardInterrupt`: somebody does not want to wait. SIGTERM after
    another one does not: Slurm sends it after SIGUSR1. Under torchrun, which hands on to its processes what they got
    from the terminal already, an echo within two seconds counts as one with the first.

    Outside the main thread, where Python takes no signal handlers, it stays unset.
    """

    def __init__(self) -> None:
        self.is_set = False
        self.name = ""
        self._since = 0.0
        self._breaks_off = False
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for name in NAMES:
                if (number := getattr(signal, name, None)) is not None:
                    self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            with contextlib.suppress(TypeError):  # a handler that was not set from Python cannot be set again
                signal.signal(number, handler)  # pyright: ignore[reportArgumentType]

    @contextlib.contextmanager
    def breaking_off(self) -> Iterator[None]:
        """Within, a first signal raises `BrokenOff` at once: an evaluation, say, is not waited for."""
        if self.is_set:
            raise BrokenOff
        self._breaks_off = True
        try:
            yield
        finally:
            self._breaks_off = False

    def _note(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        is_echo = "TORCHELASTIC_RUN_ID" in os.environ and time.monotonic() - self._since < ECHO_SECONDS
        if not self.is_set:
            self.is_set, self.name, self._since = True, name, time.monotonic()
            if self._breaks_off:
                raise BrokenOff
        elif name in (self.name, "SIGINT") and not is_echo:
            raise KeyboardInterrupt
