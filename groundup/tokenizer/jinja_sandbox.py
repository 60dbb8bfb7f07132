"""Running a chat template that somebody else wrote: as a program of unknown intent, within bounds.

A template comes with a downloaded tokenizer and may be hostile (CVE-2024-34359). jinja2's sandbox keeps it from files
and from Python, but not from `"a" * 10**10`, endless loops or a gigabyte of output, and such expressions cost their
memory inside one operation of C, even while the template is compiled. No check of ours can stand before all of them;
a process has bounds for them all. So the template runs in a child process (jinja_child.py), which bounds its own time
and memory and is ended from here where a system has no such bounds. Starting it costs about 0.1 s, once for a
template; a request after that a fraction of a millisecond beside the rendering.
"""

import atexit
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from groundup.errors import ArtefactError, EnvironmentFault
from groundup.tokenizer.jinja_child import MEGABYTES, SECONDS

MAX_CHARACTERS = 1_000_000
"""A template may write this many beside the contents of the messages."""

SECONDS_TO_WAIT = 5.0 if hasattr(signal, "setitimer") else 1.0
"""Where the child counts its own time, waiting is for a machine that is busy with other things."""

SECONDS_TO_START = 60.0
SECONDS_BETWEEN_LOOKS = 0.05

HINT = "write conversations in one of groundup's own forms, such as --template chatml or plain"


def run(template: str, jobs: Sequence[dict[str, Any]], n_characters: int) -> list[dict[str, str]]:
    """The result of the template for each job, a dictionary of variables: {"text"}, {"refused"} or {"failed"}.

    n_characters: how many the messages have, which do not count against MAX_CHARACTERS. ArtefactError if the template
    takes too much time or memory over the jobs together.
    """
    with _lock:
        return _child_of(template).ask({"jobs": list(jobs), "max_characters": MAX_CHARACTERS + n_characters})


class _Child:
    """The process of one template."""

    def __init__(self, template: str):
        self.template = template
        self.parent = os.getpid()
        program = Path(__file__).with_name("jinja_child.py")
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(program)],  # -P: the modules beside the program are no business of its imports
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self.answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()
        self._say({"template": template})
        if not self._answer(SECONDS_TO_START):
            self.close()
            raise EnvironmentFault("the process for chat templates does not start", hint="pip install 'jinja2>=3.1.6'")

    def ask(self, request: dict[str, Any]) -> list[dict[str, str]]:
        try:
            self._say(request)
            line = self._answer(SECONDS_TO_WAIT)
        except BaseException:
            self.close()  # its answer would be taken for that to the next request
            raise
        if not line:
            self.close()
            raise ArtefactError(
                "the chat template of this tokenizer was stopped:"
                f" it takes more than {SECONDS} seconds or {MEGABYTES} MB",
                hint=HINT,
            )
        return json.loads(line)["results"]

    def close(self) -> None:
        """End the process; without effect in a fork of the one that started it."""
        global _current
        if _current is self:
            _current = None
        if self.parent == os.getpid():
            self.process.kill()
            self.process.wait()
            for stream in (self.process.stdin, self.process.stdout):
                try:
                    assert stream is not None
                    stream.close()
                except OSError:
                    pass

    def is_usable(self, template: str) -> bool:
        return self.template == template and self.parent == os.getpid() and self.process.poll() is None

    def _say(self, content: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(content).encode() + b"\n")
            self.process.stdin.flush()
        except OSError:
            pass  # it has ended, which the missing answer tells

    def _answer(self, seconds: float) -> bytes:
        """Its next line; b"" if it ends, lasts too long or grows too large."""
        last = time.monotonic() + seconds
        while time.monotonic() < last and self._megabytes() <= 2 * MEGABYTES:
            try:
                return self.answers.get(timeout=SECONDS_BETWEEN_LOOKS)
            except queue.Empty:
                continue
        return b""

    def _megabytes(self) -> float:
        import psutil

        try:
            return psutil.Process(self.process.pid).memory_info().rss / 2**20
        except psutil.Error:
            return 0.0

    def _read(self) -> None:
        assert self.process.stdout is not None
        line = b"..."
        while line:
            try:
                line = self.process.stdout.readline()
            except (OSError, ValueError):  # closed from the other thread
                line = b""
            self.answers.put(line)


_lock = threading.Lock()
_current: _Child | None = None


def _child_of(template: str) -> _Child:
    """The process of this template; that of another template is ended, so that none is left from it."""
    global _current
    if _current is None or not _current.is_usable(template):
        close()
        _current = _Child(template)
    return _current


@atexit.register
def close() -> None:
    """End the process, if there is one."""
    if _current is not None:
        _current.close()
