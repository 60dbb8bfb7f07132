"""What `groundup data clean` takes and leaves."""

import os
from pathlib import Path

import pytest

from groundup import artifact
from groundup.errors import ArtefactError, EnvironmentFault
from groundup.train import cleaning


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run of five checkpoints that made its data from a text."""
    (tmp_path / "text.txt").write_text("words")
    run = tmp_path / "runs" / "one"
    for step in (2, 4, 6, 8, 10):
        with artifact.writing(run / "checkpoints" / f"step-{step:08d}", {}) as folder:
            (folder / "model.safetensors").write_bytes(b"x" * 1000)
    for name, file in (("data", "manifest.json"), ("tokenizer", "tokenizer.json")):
        (run / name).mkdir()
        (run / name / file).write_text("{}")
    (run / "data" / "train-00000.bin").write_bytes(b"x" * 5000)
    for name in ("metrics.jsonl", "events.jsonl", "report.html", "run.json"):
        (run / name).write_text("{}\n")
    (run / "config.toml").write_text(f'data = "{(tmp_path / "text.txt").as_posix()}"\n')
    (run / "best").write_text("checkpoints/step-00000004\n")
    (run / "latest").write_text("checkpoints/step-00000010\n")
    return run


def names(found: list[cleaning.Removable]) -> list[str]:
    return [entry.path.name for entry in found]


def test_what_can_be_made_again_goes_and_the_rest_stays(run_dir: Path):
    listed = cleaning.removable(run_dir)
    assert names(listed) == ["data", "tokenizer", "step-00000002", "step-00000006", "step-00000008"]
    assert [entry.n_bytes // 1000 for entry in listed] == [5, 0, 1, 1, 1] and listed[0].n_bytes == 5002
    assert all(entry.path.exists() for entry in listed), "looking removes nothing"
    assert cleaning.remove(run_dir) == listed
    assert sorted(path.name for path in run_dir.iterdir()) == [
        ".lock", "best", "checkpoints", "config.toml", "events.jsonl", "latest", "metrics.jsonl", "report.html",
        "run.json",
    ]  # fmt: skip
    assert sorted(path.name for path in (run_dir / "checkpoints").iterdir()) == ["step-00000004", "step-00000010"]
    assert cleaning.removable(run_dir) == []


def test_data_that_cannot_be_made_again_stays(run_dir: Path, tmp_path: Path):
    (tmp_path / "text.txt").unlink()
    assert "data" not in names(cleaning.removable(run_dir)) and "tokenizer" not in names(cleaning.removable(run_dir))
    (run_dir / "config.toml").write_text("data = [")
    assert "data" not in names(cleaning.removable(run_dir))


def test_data_that_another_run_reads_stays(run_dir: Path):
    other = run_dir.parent / "two"
    other.mkdir()
    (other / "config.toml").write_text(f'data = ["{(run_dir / "data").as_posix()}"]\n')
    assert names(cleaning.removable(run_dir))[0] == "step-00000002"


def test_a_pointer_that_points_nowhere_never_costs_the_newest(run_dir: Path):
    (run_dir / "latest").unlink()
    (run_dir / "best").write_text("checkpoints/step-00000099\n")
    assert names(cleaning.removable(run_dir))[2:] == [f"step-{step:08d}" for step in (2, 4, 6, 8)]


def test_where_the_newest_is_damaged_the_one_before_stays(run_dir: Path):
    (run_dir / "checkpoints" / "step-00000010" / "model.safetensors").write_bytes(b"y" * 1000)
    assert names(cleaning.removable(run_dir))[2:] == ["step-00000002", "step-00000006"]


def test_what_a_dead_process_left_goes(run_dir: Path):
    (run_dir / "checkpoints" / ".tmp-1-00000000-0-step-00000012").mkdir()
    (run_dir / ".old-1-00000000-0-data").mkdir()
    assert len(cleaning.removable(run_dir)) == 7


def test_a_run_that_is_held_is_left_alone(run_dir: Path):
    with artifact.lock(run_dir), pytest.raises(EnvironmentFault, match="another process") as caught:
        cleaning.remove(run_dir)
    assert caught.value.exit_code == 4 and (run_dir / "data").exists()


def test_links_are_removed_and_not_followed(run_dir: Path, tmp_path: Path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_bytes(b"x" * 100)
    target = run_dir / "checkpoints" / "step-00000002"
    os.symlink(precious, target / "link")
    cleaning.remove(run_dir)
    assert (precious / "file").exists() and not target.exists()


def test_a_folder_that_is_no_run(tmp_path: Path):
    with pytest.raises(ArtefactError, match="holds no run"):
        cleaning.check_is_run(tmp_path)
