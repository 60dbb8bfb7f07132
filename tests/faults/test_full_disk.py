"""T5: a disk that is full. Refused before the work where that can be known; else the last checkpoint stays whole."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import pytest

from groundup import artifact
from groundup.errors import EnvironmentFault
from groundup.train import tables
from tests.faults.tiny import Trial, saved

ROOT = Path(__file__).parents[2]


def run_python(code: str, *arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120)


def left_whole(run_dir: Path, step: int) -> None:
    artifact.verify(run_dir / "checkpoints" / f"step-{step:08d}", checksums=True)
    assert (run_dir / "latest").read_text() == f"checkpoints/step-{step:08d}\n"
    assert not list(run_dir.rglob(".tmp-*"))


def test_it_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    saved(tmp_path, steps=1)
    with Trial(tmp_path) as trial:
        trial.resume()
        trial.saver.preflight(10)
        monkeypatch.setattr(artifact.shutil, "disk_usage", lambda place: SimpleNamespace(free=5))
        with pytest.raises(EnvironmentFault, match=r"has 0 MB free, and .* takes 0 MB") as caught:
            trial.saver.preflight(10)
        assert "--keep" in (caught.value.hint or "") and caught.value.exit_code == 4
        trial.step()
        with pytest.raises(EnvironmentFault, match="the checkpoint of step 2 takes"):
            trial.saver.save(trial.progress)
    left_whole(tmp_path, 1)


def test_what_will_be_needed_is_known_before_the_first_step(tmp_path):
    """AdamW keeps two numbers for each weight: what was estimated is what then lies there, but for the small files."""
    with Trial(tmp_path) as trial:
        before = trial.saver._estimated_bytes()
        step_dir = trial.save()
        numbers = sum(file.stat().st_size for file in step_dir.rglob("*.safetensors"))
        assert before == pytest.approx(trial.saver._estimated_bytes(), rel=0.05)
        assert before == pytest.approx(numbers, rel=0.7)  # headers weigh here, in a model of nothing


CODE = """
    import resource, signal, sys
    from pathlib import Path
    from groundup import errors
    from tests.faults.tiny import Trial
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with Trial(Path(sys.argv[1]), on_error=sys.argv[2]) as trial:
            trial.resume()
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
            for _ in range(3):
                trial.save()
            assert trial.told, "nobody was told"
    except errors.GroundupError as error:
        print(error)
        sys.exit(error.exit_code)
"""


@pytest.mark.parametrize(("on_error", "code"), [("stop", 4), ("warn", 0)])
def test_a_limit_of_file_sizes(tmp_path, on_error, code):
    saved(tmp_path, steps=1)
    done = run_python(CODE, tmp_path, on_error)
    assert done.returncode == code, done.stderr
    assert on_error == "warn" or "the disk is full" in done.stdout
    left_whole(tmp_path, 1)
    if on_error == "warn":
        assert [e["kind"] for e in tables.read(tmp_path / "events.jsonl")].count("save_failed") == 3
        assert [row["step"] for row in tables.read(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4]


@pytest.fixture
def small_disk(tmp_path: Path):
    """A disk of 512 KB in memory."""
    place = tmp_path / "small disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(place)]
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    if not is_root or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs root, and the right to mount")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def fill(folder: Path, leave: int) -> None:
    free = os.statvfs(folder)
    (folder / "filler").write_bytes(bytes(max(0, free.f_bavail * free.f_bsize - leave)))


@pytest.mark.parametrize("leave", [0, 8192, 24576])
@pytest.mark.parametrize("is_known", [True, False])
def test_a_full_disk_during_a_save(small_disk, leave, is_known, monkeypatch):
    run_dir = small_disk / "run"
    saved(run_dir, steps=1)
    with Trial(run_dir) as trial:
        trial.resume()
        trial.step()
        fill(small_disk, leave)
        if not is_known:  # a quota, say
            monkeypatch.setattr(artifact, "need_room", lambda *_: None)
        with pytest.raises(EnvironmentFault) as caught:
            trial.saver.save(trial.progress)
            trial.saver.wait()
        assert caught.value.exit_code == 4
        left_whole(run_dir, 1)
        (small_disk / "filler").unlink()
        assert trial.save(1).name == "step-00000003"  # and on it goes
    left_whole(run_dir, 3)


@pytest.mark.parametrize("on_error", ["stop", "warn"])
def test_a_full_disk_at_a_row_of_the_metrics(small_disk, on_error):
    run_dir = small_disk / "run"
    saved(run_dir, steps=1)
    with Trial(run_dir, on_error=on_error) as trial:
        trial.resume()
        fill(small_disk, 0)
        row = {"step": 2, "text": "x" * 9000}
        if on_error == "stop":
            with pytest.raises(EnvironmentFault, match="disk is full"):
                trial.run.metric(row)
        else:
            trial.run.metric(row)
            assert trial.run.n_lost_rows >= 1
        (small_disk / "filler").unlink()
        trial.run.metric({"step": 2})
    assert [row["step"] for row in tables.read(run_dir / "metrics.jsonl")] == [1, 2]


def test_a_full_disk_while_shards_are_written(small_disk):
    fill(small_disk, 8192)
    with pytest.raises(EnvironmentFault, match="disk is full"), artifact.writing(small_disk / "data") as folder:
        (folder / "train-00000.bin").write_bytes(bytes(1 << 20))
    assert [entry.name for entry in small_disk.iterdir()] == ["filler"]
