"""Stopping on request: the first signal lets the step finish and a checkpoint be saved, the second ends at once."""

import signal
import threading
from types import FrameType


class StopRequest:
    """As a context: `SIGTERM` or `Ctrl-C` sets `is_set`; a second Ctrl-C raises `KeyboardInterrupt`.

    Outside the main thread, where Python takes no signal handlers, it stays unset.
    """

    def __init__(self) -> None:
        self.is_set = False
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType]

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.is_set:
            raise KeyboardInterrupt
        self.is_set = True
