"""T6: the k-th system call of a save fails, for every k there is and every way a disk has to refuse.

After each the newest checkpoint must verify, and the run must go on from it.
"""

import errno
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from groundup import artifact
from groundup.errors import EnvironmentFault
from groundup.train import step_dirs
from tests.faults.disk import FaultyDisk
from tests.faults.tiny import Trial, saved

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="file names of descriptors")
NUMBERS = [errno.EIO, errno.ENOSPC, errno.EROFS, errno.EINTR]


def fail_at(folder: Path, k: int, number: int, *, for_ever: bool = False, keep: int = 1) -> tuple[bool, bool]:
    """Save step 2 over step 1 on a disk whose k-th call fails: (did one fail, did people hear of it?)"""
    trial = Trial(folder, keep)
    trial.resume()
    trial.step()
    told = False
    with FaultyDisk(folder, k, number, for_ever) as disk:
        try:
            trial.saver.save(trial.progress)
            trial.saver.wait()
        except EnvironmentFault:
            told = True
    trial.run.close()
    return disk.failed, told


def holds(folder: Path) -> int:
    """The invariant: `latest` verifies, what is half-done is swept, the run goes on. Returns from which step."""
    artifact.verify(folder / (folder / "latest").read_text().strip(), checksums=True)
    with Trial(folder) as trial:
        found = trial.saver.find()
    assert found is not None
    assert not list((folder / "checkpoints").glob("aside-*")), "a whole one was taken for damaged"
    assert not list(folder.rglob(".tmp-*")), "not swept"
    return step_dirs.step_of(found)


def fail_at_each(tmp_path: Path, number_of: Callable[[int], int], *, for_ever: bool) -> int:
    """How many calls failed, one after the other, before a save made no more of them."""
    saved(tmp_path / "start", steps=1)
    for k in range(1, 1000):
        folder = tmp_path / f"{k}"
        shutil.copytree(tmp_path / "start", folder)
        failed, told = fail_at(folder, k, number_of(k), for_ever=for_ever)
        step = holds(folder)
        shutil.rmtree(folder)
        assert told or step == 2, f"call {k} failed, nobody was told, and nothing was saved"
        if not failed:
            return k - 1
    raise AssertionError("a save makes no end of calls")


def test_after_every_failing_call_the_latest_verifies(tmp_path):
    assert fail_at_each(tmp_path, lambda k: NUMBERS[k % 3], for_ever=False) > 60


@pytest.mark.soak
@pytest.mark.parametrize("number", NUMBERS, ids=errno.errorcode.get)
@pytest.mark.parametrize("for_ever", [False, True], ids=["once", "for-ever"])
def test_every_failing_call_with_every_refusal(tmp_path, number, for_ever):
    print(f"\nT6: {fail_at_each(tmp_path, lambda k: number, for_ever=for_ever)} failing calls")
