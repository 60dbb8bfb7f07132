"""T1, T4: SIGKILL and SIGTERM at any instant, also inside a save: called again, a run ends with the bytes of one that
nobody touched. The killer verifies after each signal that `latest` names a whole checkpoint."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the killer forks")


def signals(folder: Path, n: int, name: str, seed: int = 0) -> dict:
    killer = Path(__file__).parent / "killer.py"
    command = [sys.executable, killer, folder, str(seed), str(n), name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3000, check=False)
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert counts["signals"] >= n
    assert counts["differing"] == 0
    return counts


def test_killed_at_random_instants_a_run_ends_with_the_same_bytes(tmp_path):
    signals(tmp_path, 20, "KILL")


def test_stopped_at_random_instants_a_run_ends_with_the_same_bytes(tmp_path):
    assert signals(tmp_path, 8, "TERM")["most_seconds"] < 60


@pytest.mark.soak
def test_two_hundred_kills(tmp_path):
    counts = signals(tmp_path, 200, "KILL", seed=1)
    print(f"\nT1: {counts}")
    assert counts["inside_a_save"] >= 10


@pytest.mark.soak
def test_a_hundred_stops(tmp_path):
    counts = signals(tmp_path, 100, "TERM", seed=1)
    print(f"\nT4: {counts}")
    assert counts["most_seconds"] <= 10
