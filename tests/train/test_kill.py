"""SIGKILL at any instant, also inside a save: the run that is called again ends with the bytes of one never killed."""

import os
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from groundup import artifact
from tests.train.test_loop import bytes_of


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the killer forks")
def test_killed_at_random_instants_a_run_ends_with_the_same_bytes(tmp_path):
    killer = Path(__file__).parent / "killer.py"
    done = subprocess.run(
        [sys.executable, killer, tmp_path, "0"], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 3, "the run was too quick to be killed"

    last = "checkpoints/step-00000030"
    assert bytes_of(tmp_path / "killed" / last) == bytes_of(tmp_path / "whole" / last)
    artifact.verify(tmp_path / "killed" / last, checksums=True)
    rows = {}
    for name in ("killed", "whole"):
        lines = (tmp_path / name / "metrics.jsonl").read_bytes().splitlines()
        rows[name] = [{k: v for k, v in orjson.loads(line).items() if "second" not in k} for line in lines]
    assert rows["killed"] == rows["whole"]
    assert not list((tmp_path / "killed").rglob(".tmp-*"))
