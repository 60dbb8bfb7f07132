"""The peak memory of this process and its children, sampled while a block runs."""

import threading
from types import TracebackType

import psutil


class PeakMemory:
    """As a context: `megabytes` is the largest sum of resident sizes seen, sampled every `interval` seconds."""

    def __init__(self, interval: float = 0.5):
        self.megabytes = 0.0
        self._interval = interval
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()
        self._sample()

    def _watch(self) -> None:
        while not self._done.wait(self._interval):
            self._sample()

    def _sample(self) -> None:
        process = psutil.Process()
        total = 0
        for one in [process, *process.children(recursive=True)]:
            try:
                total += one.memory_info().rss
            except psutil.Error:
                continue  # it ended between being listed and being asked
        self.megabytes = max(self.megabytes, total / 1e6)
