"""Hashes of the rows of an epoch: a loader that is stuck gives the same ones again. Some microseconds a batch."""

from collections.abc import Callable
from typing import Any

import xxhash

from groundup.data.batches import Batch
from groundup.train.probes import Finding

MOST_ROWS = 2**16
"""Rows that are remembered to know them again."""


class RepeatedRows:
    """Counts the rows that stood in an earlier step of their epoch."""

    def __init__(self):
        self._step, self._epoch, self._n_repeats, self._n, self._distance = -1, 0, 0, 0, 0
        self._epoch_of: Callable[[int], float] | None = None
        self._seen: dict[int, int] = {}
        self._now: list[int] = []

    def follow(self, batches: Any) -> None:
        """Batches that say where an epoch ends may repeat their rows there."""
        self._epoch_of = getattr(batches, "epoch", None)

    def add(self, step: int, batch: Batch) -> None:
        if step != self._step:
            self._begin(step)
        for row in batch.ids.contiguous().numpy():
            self._now.append(xxhash.xxh3_64_intdigest(row))

    def _begin(self, step: int) -> None:
        """File the rows of the last step, once it is known to lie within one epoch."""
        before, self._step, rows, self._now = self._step, step, self._now, []
        if not rows:
            return
        if self._epoch_of is not None:
            epoch = int(self._epoch_of(before))
            if epoch != self._epoch:
                self._seen.clear()
                self._epoch = epoch
            if self._epoch_of(before + 1) > epoch + 1 + 1e-9:  # its last rows belong to the next epoch
                return
        for row in rows:
            if self._seen.get(row, before) < before:  # a run that went back sees a step again, which is no repeat
                self._n_repeats += 1
                self._distance = before - self._seen[row]
            self._seen[row] = before
            self._n += 1
        while len(self._seen) > MOST_ROWS:
            del self._seen[next(iter(self._seen))]

    def finding(self) -> Finding | None:
        if self._n < 64 or self._n_repeats < 0.1 * self._n:
            return None
        return Finding(
            "looping_data",
            f"{self._n_repeats:,} of {self._n:,} rows stood in an earlier step of the same epoch already, the last one "
            f"{self._distance} steps before",
            "the loader may be stuck, or texts stand many times in the data: groundup data batch RUN --step N",
        )
