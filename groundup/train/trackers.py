"""What a run measures, handed on to TensorBoard, SwanLab, W&B or trackio: offline, and never in the way of the run.

Each tracker works in a thread of its own behind a queue that drops rows when it is full, so one that is slow, broken
or hangs costs a step no more than a `put`. Whatever one of them raises becomes one note, and that tracker is left
alone from then on. They write into the run folder and send nothing; each has a command of its own to upload it later:

    tensorboard  tensorboard/             tensorboard --logdir runs
    swanlab      swanlog/                 swanlab sync runs/NAME/swanlog/run-*
    wandb        wandb/                   wandb sync runs/NAME/wandb/offline-run-*
    trackio      trackio/                 TRACKIO_DIR=runs/NAME/trackio trackio show

metrics.jsonl has every row, with or without them. To add a tracker: one class, and one line in the table at the foot.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

Note = Callable[[str], None]

MOST_WAITING = 10_000  # rows; a tracker that lags further behind loses some
CLOSE_SECONDS = 30.0  # for all trackers together: what they have not written by then is given up

_stdout_turn = threading.Lock()  # sys.stdout is the whole program's: one tracker at a time may have it moved


class Tracker(Protocol):
    """What a tracker of the table is: made with (run folder, configuration), then fed, then closed."""

    def log(self, step: int, numbers: dict[str, float]) -> None: ...

    def close(self) -> None: ...


class Trackers:
    """The trackers of a run, by name; without names, nothing happens and nothing is imported.

    `note` is told what went wrong, always from the thread that calls `metric` or `close`. No method raises.
    """

    def __init__(
        self, names: Sequence[str], run_dir: Path | str, config: Mapping[str, Any], note: Note = lambda text: None
    ):
        self._note = note
        self._workers = [_Worker(name, Path(run_dir).resolve(), dict(config)) for name in dict.fromkeys(names)]

    def metric(self, row: Mapping[str, Any]) -> None:
        """Hand on the numbers of a row of metrics.jsonl; returns at once."""
        if not self._workers:
            return
        numbers = {name: float(value) for name, value in row.items() if name != "step" and _is_number(value)}
        for worker in self._workers:
            worker.put(int(row["step"]), numbers)
        self._tell()

    def close(self) -> None:
        """Let them write what is waiting, for half a minute at most. A second call does nothing."""
        until = time.monotonic() + CLOSE_SECONDS
        for worker in self._workers:
            worker.end()
        for worker in self._workers:
            worker.wait(max(0.0, until - time.monotonic()))
        self._tell()
        self._workers = []

    def __enter__(self) -> Trackers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _tell(self) -> None:
        for worker in self._workers:
            if worker.trouble and not worker.is_told:
                worker.is_told = True
                self._note(worker.trouble)


class _Worker:
    """One tracker and its thread, which is a daemon: a tracker that hangs cannot keep the program from ending."""

    def __init__(self, name: str, run_dir: Path, config: dict[str, Any]):
        self.name = name
        self.trouble = ""
        self.is_told = False
        self._n_lost = 0
        self._rows: queue.Queue[tuple[int, dict[str, float]] | None] = queue.Queue(MOST_WAITING)
        self._thread = threading.Thread(target=self._work, args=(run_dir, config), name=f"log-{name}", daemon=True)
        self._thread.start()

    def put(self, step: int, numbers: dict[str, float]) -> None:
        if not self.trouble:
            try:
                self._rows.put_nowait((step, numbers))
            except queue.Full:
                self._n_lost += 1

    def end(self) -> None:
        while True:
            try:
                return self._rows.put_nowait(None)
            except queue.Full:  # it lags behind by all that may wait: a row makes room for the end
                with contextlib.suppress(queue.Empty):
                    self._rows.get_nowait()
                    self._n_lost += 1

    def wait(self, seconds: float) -> None:
        self._thread.join(seconds)
        if self._thread.is_alive():
            self.trouble = self.trouble or f"--log {self.name}: did not end in time; metrics.jsonl has every row"
        elif self._n_lost:
            self.trouble = self.trouble or (
                f"--log {self.name}: too slow, {self._n_lost:,} rows were left out; metrics.jsonl has every row"
            )

    def _work(self, run_dir: Path, config: dict[str, Any]) -> None:
        tracker: Tracker | None = None
        try:
            with _quietly():
                tracker = TRACKERS[self.name](run_dir, config)
            while (item := self._rows.get()) is not None:
                tracker.log(*item)
        except BaseException as error:  # also SystemExit, by which some packages give up
            self.trouble = _said(self.name, error)
        finally:
            if tracker is not None:
                try:
                    with _quietly():
                        tracker.close()
                except BaseException as error:
                    self.trouble = self.trouble or _said(self.name, error)


def _said(name: str, error: BaseException) -> str:
    if isinstance(error, KeyError) and name not in TRACKERS:
        return f"--log {name}: there is no such tracker; there are {', '.join(TRACKERS)}"
    if isinstance(error, ImportError):
        return (
            f"--log {name} needs the package {name} ({_short(error)}): pip install {name}, or all four by "
            "pip install 'groundup[trackers]'; the run goes on without"
        )
    return f"--log {name} failed and is left alone: {_short(error)}; the run goes on without"


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """What a package prints about itself must reach neither the data on stdout nor the line on the terminal."""
    with _stdout_turn, open(os.devnull, "w", encoding="utf-8") as nowhere:
        before = sys.stdout
        sys.stdout = nowhere
        try:
            yield
        finally:
            sys.stdout = before


class TensorBoard:
    """Event files in tensorboard/, a new one for each session; their steps go on where the last ended."""

    def __init__(self, run_dir: Path, config: dict[str, Any]):
        import_module("tensorboard")  # or torch says "install it" in its own words
        self._writer = import_module("torch.utils.tensorboard").SummaryWriter(str(run_dir / "tensorboard"))
        self._writer.add_text("config", "```\n" + "\n".join(f"{k} = {v}" for k, v in flat(config).items()) + "\n```")

    def log(self, step: int, numbers: dict[str, float]) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class SwanLab:
    """SwanLab in offline mode."""

    def __init__(self, run_dir: Path, config: dict[str, Any]):
        self._swanlab = import_module("swanlab")
        self._swanlab.init(
            project="groundup", name=run_dir.name, config=flat(config), mode="offline", log_dir=str(run_dir / "swanlog")
        )

    def log(self, step: int, numbers: dict[str, float]) -> None:
        self._swanlab.log(numbers, step=step)

    def close(self) -> None:
        self._swanlab.finish()


class WandB:
    """Weights & Biases in offline mode. A step's training and validation rows are handed on as they come."""

    def __init__(self, run_dir: Path, config: dict[str, Any]):
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # on, it looks for a server even when offline
        wandb = import_module("wandb")
        settings = wandb.Settings(silent=True, console="off", quiet=True)
        self._run = wandb.init(
            project="groundup", name=run_dir.name, config=config, mode="offline", dir=str(run_dir), settings=settings
        )

    def log(self, step: int, numbers: dict[str, float]) -> None:
        self._run.log(numbers, step=step)

    def close(self) -> None:
        self._run.finish()


class Trackio:
    """trackio, which keeps a database in the folder that TRACKIO_DIR names when it is first imported."""

    def __init__(self, run_dir: Path, config: dict[str, Any]):
        if "trackio" not in sys.modules:
            os.environ["TRACKIO_DIR"] = str(run_dir / "trackio")
        self._trackio = import_module("trackio")
        self._trackio.init(project="groundup", name=run_dir.name, config=config, embed=False, auto_log_gpu=False)

    def log(self, step: int, numbers: dict[str, float]) -> None:
        self._trackio.log(numbers, step=step)

    def close(self) -> None:
        self._trackio.finish()


def import_module(name: str) -> Any:
    """A package that may not be installed, only when it is asked for."""
    return importlib.import_module(name)


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"train": {"lr": 1}} as {"train.lr": 1}."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return found


TRACKERS: dict[str, Callable[[Path, dict[str, Any]], Tracker]] = {
    "tensorboard": TensorBoard,
    "swanlab": SwanLab,
    "wandb": WandB,
    "trackio": Trackio,
}
