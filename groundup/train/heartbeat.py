"""A thread in each rank that notices when another rank, or the process that started it, is no longer there.

The main thread may wait inside an exchange that never returns, which only another thread can leave. Once a second this
one tells how far its rank has come and looks at the others. Everything ends when a rank stays behind the others for
longer than `hang_timeout` (it is named), when another rank has noted why it failed, and when the parent is gone.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from groundup.train.launch import LOST

EVERY_SECONDS = 1.0
GRACE_SECONDS = 8.0
"""How long a rank may take to end by itself after another one has failed."""


class Heartbeat:
    """Watches from its making until `stop`.

    `step` is the training step, -1 until the first. `moved()` counts the places that every rank passes in the same
    order: the rank with fewer than the others is the one they wait for. `record_failure(code, what)` is true for the
    rank that notes one first; that rank speaks.
    """

    def __init__(
        self,
        store: Any,
        rank: int,
        world_size: int,
        hang_timeout: float,
        record_failure: Callable[[int, str], bool],
    ):
        self.step = -1
        self._n_places = 0
        self._store, self._rank, self._world_size = store, rank, world_size
        self._hang_timeout, self._record_failure = hang_timeout, record_failure
        self._parent = os.getppid()
        self._seen: list[tuple[int, int]] = []
        self._seen_at = time.monotonic()
        self._is_stopped = threading.Event()
        self._is_ending = False
        self._thread = threading.Thread(target=self._watch, name="heartbeat", daemon=True)
        self._thread.start()

    def moved(self) -> None:
        """This rank has come to the next place at which it meets the others."""
        self._n_places += 1

    def stop(self) -> None:
        """Watch no more. Python must not end while the thread asks the store: it would abort."""
        self._is_stopped.set()
        self._thread.join(GRACE_SECONDS)

    def end_within(self, seconds: float, code: int) -> None:
        """End this process with `code` if it has not ended by itself by then."""
        if not self._is_ending:
            self._is_ending = True
            timer = threading.Timer(seconds, os._exit, [code])
            timer.daemon = True
            timer.start()

    def _watch(self) -> None:
        while not self._is_stopped.wait(EVERY_SECONDS):
            if os.getppid() != self._parent:
                os._exit(LOST)
            try:
                self._look()
            except RuntimeError:  # the store is gone, and with it the process that keeps it
                self.end_within(GRACE_SECONDS, LOST)

    def _look(self) -> None:
        self._store.set(f"place-{self._rank}", f"{self._n_places} {self.step}")
        if self._store.check(["failure"]):
            self.end_within(GRACE_SECONDS, json.loads(self._store.get("failure"))["code"])
            return
        places = [self._place_of(rank) for rank in range(self._world_size)]
        if places != self._seen:
            self._seen, self._seen_at = places, time.monotonic()
        is_training = all(step >= 0 for _, step in places)
        if self._hang_timeout and is_training and time.monotonic() - self._seen_at > self._hang_timeout:
            self._name_the_hung(places)

    def _place_of(self, rank: int) -> tuple[int, int]:
        """(places passed, step) as that rank told them last."""
        if not self._store.check([f"place-{rank}"]):
            return 0, -1
        n_places, step = self._store.get(f"place-{rank}").split()
        return int(n_places), int(step)

    def _name_the_hung(self, places: list[tuple[int, int]]) -> None:
        fewest, most = min(places)[0], max(places)[0]
        if fewest == most:  # all at the same place: a long validation, or an exchange that has a timeout of its own
            return
        hung = [rank for rank, (n_places, _) in enumerate(places) if n_places == fewest]
        names = ", ".join(f"rank {rank} at step {places[rank][1]}" for rank in hung)
        what = f"{names}: nothing moved for {self._hang_timeout:g} s, and the other ranks are waiting"
        if self._record_failure(LOST, what):
            sys.stderr.write(f"\nerror: {what}\n")
            sys.stderr.flush()
        os._exit(LOST)
