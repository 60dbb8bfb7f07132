"""Trackers: what they get, and that nothing they do stops or slows a run."""

import importlib
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from groundup.train import trackers
from groundup.train.trackers import TRACKERS, Trackers

CONFIG = {"data": "books", "train": {"lr": 1e-3, "log": ["wandb"]}}


class Kept:
    """A tracker that keeps what it gets."""

    made: list["Kept"] = []

    def __init__(self, run_dir: Path, config: dict[str, Any]):
        self.run_dir, self.config, self.rows, self.is_closed = run_dir, config, [], False
        Kept.made.append(self)

    def log(self, step: int, numbers: dict[str, float]) -> None:
        self.rows.append((step, numbers))

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[Kept]:
    Kept.made = []
    monkeypatch.setitem(TRACKERS, "kept", Kept)
    return Kept.made


def test_every_number_arrives_in_order(tmp_path: Path, kept: list[Kept]) -> None:
    notes: list[str] = []
    with Trackers(("kept", "kept"), tmp_path, CONFIG, notes.append) as told:
        for step in range(1, 1001):
            told.metric({"step": step, "train_loss": 2.0 / step, "clipped": True, "epoch": None, "lr": float("nan")})
        told.metric({"step": 1000, "val_loss": 2})
    [tracker] = kept
    assert tracker.is_closed and tracker.config == CONFIG and notes == []
    assert tracker.rows[:-1] == [(s, {"train_loss": 2.0 / s, "clipped": 1.0}) for s in range(1, 1001)]
    assert tracker.rows[-1] == (1000, {"val_loss": 2.0})
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("log-")]


def test_nothing_asked_for_nothing_imported(tmp_path: Path) -> None:
    packages = ("tensorboard", "swanlab", "wandb", "trackio")
    before = {name for name in packages if name in sys.modules}
    n_threads = threading.active_count()
    with Trackers((), tmp_path, CONFIG) as told:
        told.metric({"step": 1, "train_loss": 1.0})
        assert threading.active_count() == n_threads
    assert {name for name in packages if name in sys.modules} == before and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [ValueError("no such project\n at all"), SystemExit(1), KeyboardInterrupt()])
@pytest.mark.parametrize("where", ["made", "log", "close"])
def test_whatever_is_raised_is_one_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: list[Kept], error: BaseException, where: str
) -> None:
    def broken(*_: Any) -> Any:
        raise error

    def make(run_dir: Path, config: dict[str, Any]) -> Any:
        tracker = Kept(run_dir, config)
        if where == "made":
            broken()
        return SimpleNamespace(**{"log": tracker.log, "close": tracker.close, where: broken})

    monkeypatch.setitem(TRACKERS, "broken", make)
    notes: list[str] = []
    with Trackers(("broken", "kept"), tmp_path, CONFIG, notes.append) as told:
        for step in range(1, 51):
            told.metric({"step": step, "train_loss": 1.0})
            time.sleep(0.0005)
    [note] = notes
    assert note.startswith(f"--log broken failed and is left alone: {type(error).__name__}") and "\n" not in note
    assert len(kept[-1].rows) == 50 and kept[-1].is_closed, "the other tracker hears everything"


@pytest.mark.parametrize("name", TRACKERS)
def test_a_missing_package_is_one_note_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def absent(package: str) -> Any:
        raise ModuleNotFoundError(f"No module named {package!r}")

    monkeypatch.setattr(trackers, "import_module", absent)
    notes: list[str] = []
    with Trackers((name,), tmp_path, CONFIG, notes.append) as told:
        for step in range(3):
            told.metric({"step": step, "train_loss": 1.0})
    [note] = notes
    assert f"pip install {name}" in note and "pip install 'groundup[trackers]'" in note


def test_an_unknown_name_is_a_note_that_lists_the_known(tmp_path: Path) -> None:
    notes: list[str] = []
    with Trackers(("tensorbored",), tmp_path, CONFIG, notes.append):
        pass
    assert notes == ["--log tensorbored: there is no such tracker; there are tensorboard, swanlab, wandb, trackio"]


def test_a_tracker_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: list[Kept]) -> None:
    released = threading.Event()

    class Hangs(Kept):
        def log(self, step: int, numbers: dict[str, float]) -> None:
            released.wait()

    monkeypatch.setitem(TRACKERS, "hangs", Hangs)
    monkeypatch.setattr(trackers, "CLOSE_SECONDS", 0.1)
    monkeypatch.setattr(trackers, "MOST_WAITING", 10)
    notes: list[str] = []
    told = Trackers(("hangs", "kept"), tmp_path, CONFIG, notes.append)
    for step in range(100):  # ten times what may wait: nothing blocks
        told.metric({"step": step, "train_loss": 1.0})
        time.sleep(0.0005)
    told.close()
    told.close()
    assert notes == ["--log hangs: did not end in time; metrics.jsonl has every row"]
    released.set()


def test_rows_that_a_slow_tracker_lost_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: list[Kept]
) -> None:
    begun, released = threading.Event(), threading.Event()

    class Slow(Kept):
        def log(self, step: int, numbers: dict[str, float]) -> None:
            begun.set()
            released.wait()
            super().log(step, numbers)

    monkeypatch.setitem(TRACKERS, "slow", Slow)
    monkeypatch.setattr(trackers, "MOST_WAITING", 10)
    notes: list[str] = []
    told = Trackers(("slow",), tmp_path, CONFIG, notes.append)
    for step in range(100):
        told.metric({"step": step, "train_loss": 1.0})
        begun.wait()
    threading.Timer(0.05, released.set).start()
    told.close()
    [tracker] = kept
    assert len(tracker.rows) == 10 and tracker.is_closed
    assert notes == ["--log slow: too slow, 90 rows were left out; metrics.jsonl has every row"]


def test_what_a_package_prints_about_itself_reaches_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    class Talks(Kept):
        def __init__(self, run_dir: Path, config: dict[str, Any]):
            print("welcome!")
            super().__init__(run_dir, config)

    monkeypatch.setitem(TRACKERS, "talks", Talks)
    with Trackers(("talks",), tmp_path, CONFIG):
        pass
    assert capsys.readouterr().out == ""


class Fake:
    """A package of which every attribute is a function that keeps its arguments."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple, dict]] = []

    def __getattr__(self, name: str) -> Any:
        def call(*values: Any, **named: Any) -> "Fake":
            self.calls.append((name, values, named))
            return self

        return call


@pytest.mark.parametrize("name", TRACKERS)
def test_adapters_ask_for_the_offline_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    package = Fake()
    monkeypatch.setattr(trackers, "import_module", lambda _: package)
    monkeypatch.delenv("TRACKIO_DIR", raising=False)
    with Trackers((name,), tmp_path, CONFIG) as told:
        told.metric({"step": 7, "train_loss": 1.5})
    made = next(call for call in package.calls if call[0] in ("init", "SummaryWriter"))
    if name in ("wandb", "swanlab"):
        assert made[2]["mode"] == "offline"
    assert [call for call in package.calls if 1.5 in call[1] or {"train_loss": 1.5} in call[1]]
    assert package.calls[-1][0] in ("finish", "close")


@pytest.mark.parametrize("name", TRACKERS)
def test_the_real_package_writes_into_the_run_folder(tmp_path: Path, name: str) -> None:
    """In a process of its own: these packages leave threads, hooks and children behind."""
    pytest.importorskip(name)
    program = f"""
from groundup.train.trackers import Trackers
import sys
notes = []
with Trackers(({name!r},), {str(tmp_path)!r}, {CONFIG!r}, notes.append) as told:
    for step in range(1, 21):
        told.metric({{"step": step, "train_loss": 2.0 / step}})
    told.metric({{"step": 20, "val_loss": 0.25}})
print(notes)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=200, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n", done.stderr
    assert "NetworkBlocked" not in done.stderr, "offline means offline"
    folder = {"tensorboard": "tensorboard", "swanlab": "swanlog", "wandb": "wandb", "trackio": "trackio"}[name]
    assert any(file.stat().st_size > 100 for file in (tmp_path / folder).rglob("*") if file.is_file())
    assert [path.name for path in tmp_path.iterdir()] == [folder], "nothing is written anywhere else"


def test_tensorboard_reads_back_what_was_written(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    with Trackers(("tensorboard",), tmp_path, CONFIG) as told:
        for step in range(1, 21):
            told.metric({"step": step, "train_loss": 2.0 / step})
    reader = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
    events = reader.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    read = [(event.step, event.value) for event in events.Scalars("train_loss")]
    assert read == [(step, pytest.approx(2.0 / step)) for step in range(1, 21)]
