"""T7, T8: any damage to a checkpoint is found, the file is named, and the run goes on from the one before."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from groundup import artifact
from groundup.errors import ArtefactError
from groundup.train import step_dirs
from groundup.weights import checkpoint
from tests.faults.tiny import Trial, saved


def flip(file: Path, dice: random.Random) -> None:
    """One bit, anywhere."""
    data = bytearray(file.read_bytes())
    at = dice.randrange(len(data))
    data[at] ^= 1 << dice.randrange(8)
    file.write_bytes(data)


def zero(file: Path, dice: random.Random) -> None:
    """A page that never reached the disk; smaller in our small files."""
    data = bytearray(file.read_bytes())
    at = dice.randrange(len(data))
    page = range(at, min(len(data), at + min(4096, 1 + len(data) // 4)))
    for place in page:
        data[place] = 0
    # A page of zeros where zeros were is no damage.
    data[at] = data[at] if data[at] != file.read_bytes()[at] else data[at] ^ 0xFF
    file.write_bytes(data)


def truncate(file: Path, dice: random.Random) -> None:
    """The end is missing."""
    data = file.read_bytes()
    file.write_bytes(data[: dice.randrange(len(data))])


DAMAGES = [flip, zero, truncate]


def damage_each(tmp_path: Path, n_trials: int, damages: list[Callable[[Path, random.Random], None]]) -> int:
    """Damage a checkpoint so often, each file in turn; every time it must be found and its file named."""
    *_, newest = saved(tmp_path / "run", steps=2)
    dice = random.Random(0)
    files = sorted(file for file in newest.rglob("*") if file.is_file())
    whole = {file: file.read_bytes() for file in files}
    for trial in range(n_trials):
        file = files[trial % len(files)]
        damages[trial // len(files) % len(damages)](file, dice)
        with pytest.raises(ArtefactError) as caught:
            step_dirs.check(newest)
        told = str(caught.value)
        # A manifest that is damaged may accuse another file before it is itself read to the end: it lists them all.
        assert file.name in told or file.name == artifact.MANIFEST, f"trial {trial}: {file.name} is not named in {told}"
        file.write_bytes(whole[file])
    step_dirs.check(newest)
    return n_trials


def test_every_damage_is_found_and_its_file_named(tmp_path):
    damage_each(tmp_path, 300, DAMAGES)


@pytest.mark.soak
def test_a_thousand_damages_of_each_kind(tmp_path):
    for damage in DAMAGES:
        print(f"\nT7: {damage_each(tmp_path / damage.__name__, 1000, [damage])} of {damage.__name__}, all found")


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_one_before_is_taken_and_it_is_said(tmp_path, damage):
    _, second, third = saved(tmp_path, steps=3)
    damage(third / "training" / "state.safetensors", random.Random(1))
    with Trial(tmp_path, keep=9) as trial:
        assert trial.resume().step == 2
        assert trial.saver.step_dir == second
        assert "step-00000003 is passed over" in trial.told[0] and "state.safetensors" in trial.told[0]
        assert trial.save() == third  # made again; the damaged one lies beside it
    assert (tmp_path / "checkpoints" / "aside-step-00000003").exists()
    kinds = [event["kind"] for event in artifact_events(tmp_path)]
    assert "passed_over" in kinds and "resumed" in kinds
    step_dirs.check(third)


def artifact_events(run_dir: Path) -> list[dict]:
    from groundup.train import tables

    return list(tables.read(run_dir / "events.jsonl"))


def swapped(newest: Path) -> None:
    """Two files of one size in each other's place: each is whole, and the checkpoint is not."""
    one, other = newest / "model.safetensors", newest.parent / "step-00000001" / "model.safetensors"
    assert one.stat().st_size == other.stat().st_size
    shutil.copy(other, one)


def emptied(newest: Path) -> None:
    shutil.rmtree(newest)
    newest.mkdir()


def half_deleted(newest: Path) -> None:
    (newest / "manifest.json").unlink()
    (newest / "config.json").unlink()


CASES = {
    "missing file": (lambda newest: (newest / "groundup.json").unlink(), 1),
    "missing state": (lambda newest: (newest / "training" / "state.json").unlink(), 1),
    "extra weights": (lambda newest: (newest / "model.safetensors.index.json").write_text("{}"), 1),
    "extra note": (lambda newest: (newest / "NOTES").write_text("mine"), 2),
    "swapped shards": (swapped, 1),
    "empty folder": (emptied, 1),
    "half-deleted": (half_deleted, 1),
    "a file in its place": (lambda newest: (shutil.rmtree(newest), newest.write_text("")), 1),
    "stale latest": (lambda newest: (newest.parents[1] / "latest").write_text("checkpoints/step-00000001\n"), 2),
    "missing latest": (lambda newest: (newest.parents[1] / "latest").unlink(), 2),
    "latest of nothing": (lambda newest: (newest.parents[1] / "latest").write_text("checkpoints/step-9\n"), 2),
    "latest outside": (lambda newest: (newest.parents[1] / "latest").write_text("../../elsewhere\n"), 2),
    "latest of binary": (lambda newest: (newest.parents[1] / "latest").write_bytes(b"\xff\xfe\x00"), 2),
    "best of nothing": (lambda newest: (newest.parents[1] / "best").write_text("checkpoints/step-9\n"), 2),
}


@pytest.mark.parametrize("case", CASES)
def test_every_disorder_is_found_with_the_right_fallback(tmp_path, case):
    *_, newest = saved(tmp_path, steps=2)
    disorder, expected = CASES[case]
    disorder(newest)
    with Trial(tmp_path) as trial:
        assert trial.resume().step == expected
        assert bool(trial.told) == (expected == 1 or case == "extra note")
    for pointer in ("latest", "best"):
        folder = tmp_path / (tmp_path / pointer).read_text().strip()
        assert folder.parent == tmp_path / "checkpoints"
        assert checkpoint.load(folder).contract is not None
    assert (tmp_path / "latest").read_text() == f"checkpoints/step-0000000{expected}\n"


def test_of_several_damaged_ones_none_is_taken(tmp_path):
    for step_dir in saved(tmp_path, steps=3):
        (step_dir / "model.safetensors").write_bytes(b"")
    with Trial(tmp_path) as trial:
        assert trial.resume().step == 0
        assert len(trial.told) == 3
        assert trial.run.metrics() == []
        assert trial.save().name == "step-00000001"
