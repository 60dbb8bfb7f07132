"""A thread that writes one checkpoint while the training goes on: the folder, then what points at it, then the broom.

The order matters. A kill between any two lines leaves a run folder that goes on from a whole checkpoint.
"""

import os
import threading
from collections.abc import Collection
from pathlib import Path

from groundup import artifact
from groundup.train import step_dirs
from groundup.train.run_folder import RunFolder
from groundup.weights import checkpoint

MOST_SECONDS_TO_GIVE_UP = 5.0


class StepWriter:
    """Begins to write at once. `error` is what went wrong, known when `is_over`.

    `is_best` lets `best` name it; `keep` and `kept_steps` are what `step_dirs.prune` leaves.
    """

    def __init__(
        self,
        run: RunFolder,
        step_dir: Path,
        taken: checkpoint.Snapshot,
        is_best: bool,
        keep: int,
        kept_steps: Collection[int] = (),
    ):
        self.step_dir = step_dir
        self.error: BaseException | None = None
        self._is_given_up = threading.Event()

        def write() -> None:
            try:
                run.sync()  # no power cut may lose rows of the metrics that the checkpoint counts as written
                checkpoint.write(step_dir, taken, replace=os.path.lexists(step_dir), go_on=self._go_on)
                step_dirs.point(run.path, "latest", step_dir)
                if is_best or step_dirs.pointed(run.path, "best") is None:
                    step_dirs.point(run.path, "best", step_dir)
                artifact.verify(step_dir, checksums=True)  # before an older one goes
                step_dirs.prune(run.path, step_dir, keep, kept_steps)
            except BaseException as error:
                self.error = error

        # As a daemon it cannot keep the process from ending, should a disk never answer.
        self._thread = threading.Thread(target=write, name="checkpoint", daemon=True)
        self._thread.start()

    @property
    def is_over(self) -> bool:
        """Has it ended, one way or the other?"""
        return not self._thread.is_alive()

    def wait(self) -> None:
        """Until it is over; for a few seconds only after `give_up`."""
        self._thread.join(MOST_SECONDS_TO_GIVE_UP if self._is_given_up.is_set() else None)

    def give_up(self) -> None:
        """Stop before the next tensor; what is half-written is removed."""
        self._is_given_up.set()

    def _go_on(self) -> None:
        if self._is_given_up.is_set():
            raise KeyboardInterrupt
