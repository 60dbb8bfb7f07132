"""T9, T13, T14: other processes, clocks that jump, and places where files do not go as usual."""

import os
import subprocess
import sys
import time

import pytest

from groundup import artifact
from groundup.errors import EnvironmentFault
from tests.faults.test_full_disk import ROOT, run_python, small_disk  # noqa: F401 - a fixture
from tests.faults.tiny import Trial, saved
from tests.train.test_loop import bytes_of


def test_two_trainers_on_one_folder(tmp_path):
    code = """
        import os, sys
        from pathlib import Path
        from groundup import errors
        from tests.faults.tiny import Trial
        try:
            with Trial(Path(sys.argv[1])) as trial:
                trial.save()
                os._exit(9)  # dies with the lock in its hand
        except errors.GroundupError as error:
            print(error)
            sys.exit(error.exit_code)
    """
    with Trial(tmp_path) as trial:
        trial.save()
        done = run_python(code, tmp_path)
        assert done.returncode == 4 and f"pid {os.getpid()}" in done.stdout, done.stderr
    assert run_python(code, tmp_path).returncode == 9
    with Trial(tmp_path) as trial:  # the dead one's lock is taken over
        assert trial.resume().step == 1


def test_what_the_dead_left_is_swept_whoever_has_their_number_now(tmp_path):
    saved(tmp_path, steps=1)
    left = [
        tmp_path / f".tmp-{os.getpid()}-{artifact._HOST}-7-data",  # a container that starts again
        tmp_path / "checkpoints" / f".tmp-{os.getppid()}-{artifact._HOST}-0-step-00000002",
        tmp_path / "checkpoints" / ".tmp-1-ffffffff-0-step-00000002",  # another machine of the cluster
    ]
    for folder in left:
        folder.mkdir()
        (folder / "half").write_bytes(b"half")
    with Trial(tmp_path) as trial:
        assert not any(folder.exists() for folder in left)
        assert trial.resume().step == 1


@pytest.mark.parametrize("jump", [-1e9, 1e9], ids=["back", "forward"])
def test_a_clock_that_jumps_changes_nothing(tmp_path, monkeypatch, jump):
    saved(tmp_path / "whole", steps=4)
    saved(tmp_path / "jumped", steps=2)
    began = time.time()
    calls = iter(range(1_000_000))
    monkeypatch.setattr(time, "time", lambda: began + (jump if next(calls) % 2 else 0))
    for step_dir in (tmp_path / "jumped" / "checkpoints").iterdir():  # ties, and the older one newer
        os.utime(step_dir, (0, 0))
        os.utime(step_dir / "manifest.json", (0, 0))
    with Trial(tmp_path / "jumped", keep=9) as trial:
        assert trial.resume().step == 2
        last = trial.save(2)
    assert bytes_of(last) == bytes_of(tmp_path / "whole" / "checkpoints" / last.name)


def test_only_the_monotonic_clock_decides_anything():
    """`time.time()` stands nowhere in the training; `datetime` only where it is written down for people."""
    for file in (ROOT / "groundup" / "train").glob("*.py"):
        assert "time.time()" not in file.read_text(encoding="utf-8"), file.name


NAMES = ["with spaces", "größe-模型-🙂", "line\nend", "x" * 255, "-dash", "100%", "quote'\""]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_odd_names_of_run_folders(tmp_path, name):
    run_dir = tmp_path / name
    saved(run_dir, steps=2)
    with Trial(run_dir) as trial:
        assert trial.resume().step == 2
    assert (run_dir / "latest").read_text() == "checkpoints/step-00000002\n"


def test_names_that_no_disk_takes_are_told(tmp_path):
    with pytest.raises(EnvironmentFault, match="name too long"):
        Trial(tmp_path / ("x" * 256))


def test_a_read_only_disk(small_disk):  # noqa: F811
    run_dir = small_disk / "run"
    saved(run_dir, steps=1)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(EnvironmentFault, match="Read-only file system"):
        Trial(run_dir)
    with pytest.raises(EnvironmentFault, match="Read-only file system"):
        Trial(small_disk / "new")
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    with Trial(run_dir) as trial:
        assert trial.resume().step == 1


def test_no_home_and_a_locale_of_ascii(tmp_path):
    code = """
        import sys
        from pathlib import Path
        from tests.faults.tiny import Trial
        with Trial(Path(sys.argv[1]) / "gr\\u00f6\\u00dfe") as trial:
            trial.run.event("note", text="gr\\u00f6\\u00dfe")
            trial.save()
        with Trial(Path(sys.argv[1]) / "gr\\u00f6\\u00dfe") as trial:
            assert trial.resume().step == 1
    """
    import textwrap

    bare = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}",
        "LANG": "C",
        "LC_ALL": "C",
    }
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)]
    done = subprocess.run(command, env=bare, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "größe" / "checkpoints" / "step-00000001").is_dir()


def test_rows_are_found_from_the_end_of_a_long_table(tmp_path):
    """Reading only a little of it: what is cut and asked for does not depend on the length."""
    from groundup.train import tables

    path = tmp_path / "metrics.jsonl"
    with path.open("wb") as file:
        for step in range(1, 60_001):
            file.write(b'{"step":%d,"train_loss":2.5,"seconds":%d}\n' % (step, step))
        file.write(b'{"step":60001,"tr')
    rows = tables.backwards(path)
    assert [next(rows)["step"] for _ in range(3)] == [60_000, 59_999, 59_998]
    tables.cut_torn(path)
    tables.cut_end(path, lambda row: row["step"] > 30_000)
    assert [row["step"] for row in tables.read(path)] == list(range(1, 30_001))
    path.write_bytes(path.read_bytes() + bytes(5000) + b"\n")  # what a power cut may leave
    tables.cut_end(path, lambda row: row["step"] > 29_999)
    assert next(tables.backwards(path))["step"] == 29_999


@pytest.mark.soak
def test_a_run_of_two_million_steps_is_resumed_in_seconds(tmp_path):
    saved(tmp_path, steps=1)
    lines = (
        b'{"step":%d,"train_loss":2.512345,"lr":0.003,"grad_norm":0.91,"tokens":%d,"tokens_per_second":12345,"seconds":%d}\n'
        % (step, 512 * step, step // 10)
        for step in range(1, 2_000_001)
    )
    with (tmp_path / "metrics.jsonl").open("wb") as file:
        file.writelines(lines)
    with Trial(tmp_path) as trial:  # writes the CSV anew, once
        trial.run.metric({"step": 2_000_001})
        trial.progress.step = 2_000_000
        trial.saver.save(trial.progress)
        trial.saver.wait()
        for step in range(2_000_001, 2_003_000):
            trial.run.metric({"step": step, "seconds": 1.0})
    began = time.monotonic()
    with Trial(tmp_path) as trial:
        assert trial.resume().step == 2_000_000
        seconds = time.monotonic() - began
    n_bytes = (tmp_path / "metrics.jsonl").stat().st_size
    print(f"\nresumed at step two million in {seconds:.2f} s, beside a metrics.jsonl of {n_bytes / 1e6:.0f} MB")
    assert seconds < 5
