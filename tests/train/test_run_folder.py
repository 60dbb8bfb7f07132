"""A run folder: what is written, what survives a kill, who may write."""

import csv
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from groundup.errors import ArtefactError, EnvironmentFault, Stopped, UsageError
from groundup.train import run_folder, tables
from groundup.train.run_folder import RunFolder


def open_run(path: Path, *, resume: bool = True, **changes: Any) -> RunFolder:
    toml, config_hash = changes.get("toml", 'lr = 0.001\n[model]\nsize = "nano"\n'), changes.get("hash", "a")
    return RunFolder.open(
        path, verb="pretrain", config_toml=toml, config_hash=config_hash, facts={"seed": 7}, resume=resume
    )


def row(step: int) -> dict[str, Any]:
    return {"step": step, "train_loss": 9.0 / step, "lr": 1e-3, "seconds": step / 10}


def test_what_is_in_the_folder(tmp_path: Path) -> None:
    with open_run(tmp_path / "run") as run:
        run.metric(row(1))
        run.sample(1, "Once", " upon a time\n\u2028")
        run.remember(n_parameters=10)
        assert json.loads((tmp_path / "run" / "run.json").read_text())["state"] == "running"
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    assert about["state"] == "finished" and about["verb"] == "pretrain" and about["command"].startswith("groundup")
    assert about["facts"] == {"seed": 7, "n_parameters": 10}
    assert {"python", "torch", "numpy"} <= about["versions"].keys() and about["machine"]["n_threads"] >= 1
    assert (tmp_path / "run" / "config.toml").read_text().startswith("lr = 0.001")
    assert list(tables.read(tmp_path / "run" / "samples.jsonl")) == [
        {"step": 1, "prompt": "Once", "text": " upon a time\n\u2028"}
    ]
    assert [event["kind"] for event in tables.read(tmp_path / "run" / "events.jsonl")] == ["opened"]
    assert not list((tmp_path / "run").glob(".tmp*"))


def test_csv_keeps_step_when_columns_grow(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        run.metric({"step": 0, "val_loss": 8.0})
        run.metric(row(1))
        run.metric({**row(2), "val_loss": 4.0, "text": 'a "quoted", line\nbreak', "nan": float("nan")})
        run.metric(row(3_000_000_000))
        jsonl = run.metrics()
        with open(tmp_path / "metrics.csv", encoding="utf-8", newline="") as file:
            found = list(csv.DictReader(file))
    assert list(found[0]) == ["step", "val_loss", "train_loss", "lr", "seconds", "text", "nan"]
    assert len(found) == len(jsonl) == 4
    for ours, theirs in zip(jsonl, found, strict=True):
        assert {key: "" if ours.get(key) is None else str(ours[key]) for key in theirs} == theirs
    assert jsonl[2]["nan"] is None and jsonl[3]["step"] == 3_000_000_000


def test_a_row_needs_a_step(tmp_path: Path) -> None:
    with open_run(tmp_path) as run, pytest.raises(KeyError):
        run.metric({"train_loss": 1.0})


@pytest.mark.parametrize("torn", [b'{"step": 4, "train_l', b'{"step": 4}', b"\0\0\0\0"])
def test_a_torn_last_line_is_dropped_and_cut(tmp_path: Path, torn: bytes) -> None:
    with open_run(tmp_path) as run:
        for step in (1, 2, 3):
            run.metric(row(step))
    whole = (tmp_path / "metrics.jsonl").read_bytes()
    (tmp_path / "metrics.jsonl").write_bytes(whole + torn)
    assert [r["step"] for r in tables.read(tmp_path / "metrics.jsonl")] == [1, 2, 3]
    with open_run(tmp_path) as run:
        assert (tmp_path / "metrics.jsonl").read_bytes() == whole
        run.metric(row(4))
        assert [r["step"] for r in run.metrics()] == [1, 2, 3, 4]


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_bytes(b'{"step": 1}\n{"step": \n{"step": 3}\n')
    with pytest.raises(ArtefactError, match="t.jsonl:2"):
        list(tables.read(tmp_path / "t.jsonl"))


def test_resumed_rows_equal_uninterrupted_rows(tmp_path: Path) -> None:
    with open_run(tmp_path / "whole") as run:
        for step in range(1, 21):
            run.metric(row(step))
            run.sample(step, "p", "t")
    with pytest.raises(Stopped), open_run(tmp_path / "cut") as run:
        for step in range(1, 14):
            run.metric(row(step))
            run.sample(step, "p", "t")
        raise Stopped("stopped")
    with open_run(tmp_path / "cut") as run:
        run.forget_after(10)
        for step in range(11, 21):
            run.metric(row(step))
            run.sample(step, "p", "t")
    for name in ("metrics.jsonl", "metrics.csv", "samples.jsonl"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    kinds = [event["kind"] for event in tables.read(tmp_path / "cut" / "events.jsonl")]
    assert kinds == ["opened", "opened", "resumed"]


@pytest.mark.parametrize(
    ("error", "state"), [(Stopped("x"), "stopped"), (KeyboardInterrupt(), "stopped"), (ValueError("odd"), "failed")]
)
def test_how_it_ended_is_recorded(tmp_path: Path, error: BaseException, state: str) -> None:
    with pytest.raises(type(error)), open_run(tmp_path):
        raise error
    assert run_folder.read_state(tmp_path) == state
    events = list(tables.read(tmp_path / "events.jsonl"))
    assert ("Traceback" in events[-1].get("traceback", "")) == (state == "failed")


def test_another_configuration_is_refused_by_field(tmp_path: Path) -> None:
    open_run(tmp_path).close()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.name != ".lock"}
    with pytest.raises(UsageError) as refused:
        open_run(tmp_path, toml='lr = 0.002\n[model]\nsize = "nano"\nextra = 1\n', hash="b")
    assert "lr was 0.001, is now 0.002" in refused.value.what
    assert "model.extra was not set, is now 1" in refused.value.what and "size" not in refused.value.what
    assert refused.value.hint and refused.value.where == str(tmp_path)
    with pytest.raises(UsageError, match="already holds a run"):
        open_run(tmp_path, resume=False)
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.name != ".lock"}
    open_run(tmp_path).close()


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    with open_run(tmp_path):
        assert run_folder.read_state(tmp_path) == "running"
        with pytest.raises(EnvironmentFault, match="pid"):
            open_run(tmp_path)
    open_run(tmp_path).close()


def test_a_folder_that_cannot_be_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(EnvironmentFault):
        open_run(tmp_path / "file")
    with pytest.raises(EnvironmentFault):
        open_run(tmp_path / "file" / "below")
    (tmp_path / "orphan").mkdir()
    (tmp_path / "orphan" / "metrics.jsonl").write_text("")
    with pytest.raises(ArtefactError, match="no run.json"):
        open_run(tmp_path / "orphan")


def test_names_of_unnamed_runs(tmp_path: Path) -> None:
    assert run_folder.next_run_dir("sft", tmp_path / "runs") == tmp_path / "runs" / "sft-1"
    for name in ("sft-2", "sft-10", "sft-final", "pretrain-40"):
        (tmp_path / name).mkdir()
    assert run_folder.next_run_dir("sft", tmp_path) == tmp_path / "sft-11"


def test_a_full_disk_leaves_whole_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that takes half of a line and then fails is undone, so that the next row is not glued to it."""
    with open_run(tmp_path) as run:
        run.metric(row(1))
        table = run._tables["metrics.jsonl"]
        run.metric(row(2))
        whole = (tmp_path / "metrics.jsonl").read_bytes()
        opened = table._lines._file
        assert opened is not None

        class FullDisk:
            n = 0

            def write(self, data: bytes) -> int:
                self.n += 1
                if self.n > 1:
                    raise OSError(28, "No space left on device")
                return os.write(opened.fileno(), data[:10])

            def fileno(self) -> int:
                return opened.fileno()

        monkeypatch.setattr(table._lines, "_file", FullDisk())
        with pytest.raises(EnvironmentFault, match="the disk is full"):
            run.metric(row(3))
        assert (tmp_path / "metrics.jsonl").read_bytes() == whole
        monkeypatch.setattr(table._lines, "_file", opened)


def test_rows_survive_a_kill(tmp_path: Path) -> None:
    program = textwrap.dedent(f"""
        from tests.train.test_run_folder import open_run, row
        from pathlib import Path
        run = open_run(Path({str(tmp_path)!r}))
        for step in range(1, 10_000_000):
            run.metric(row(step))
            if step == 300:
                print("go", flush=True)
    """)
    root = Path(__file__).parents[2]
    killed = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}
    )
    assert killed.stdout is not None and killed.stdout.readline() == b"go\n"
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert run_folder.read_state(tmp_path) == "interrupted"
    steps = [r["step"] for r in tables.read(tmp_path / "metrics.jsonl")]
    assert len(steps) >= 300 and steps == list(range(1, len(steps) + 1))
    with open_run(tmp_path) as run:
        run.forget_after(250)
        run.metric(row(251))
    assert [r["step"] for r in tables.read(tmp_path / "metrics.jsonl")] == list(range(1, 252))
    assert len((tmp_path / "metrics.csv").read_text().splitlines()) == 252


def test_torch_is_not_imported() -> None:
    program = (
        "import sys\n"
        "import groundup.train.run_folder, groundup.train.watch, groundup.train.plots, groundup.insight.report\n"
        "import groundup.commands.runs, groundup.commands.report\n"
        "print([m for m in ('torch', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
