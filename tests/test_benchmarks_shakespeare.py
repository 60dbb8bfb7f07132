"""benchmarks/shakespeare.py: the text it divides, the rows it makes, and what it refuses to count."""

import json
import math
from pathlib import Path

import pytest
import shakespeare

OUTCOME = {"val_bits_per_byte": 2.2, "short_rows": 2.25, "wall": 118.0, "n_steps": 300, "context_length": 128}


def test_the_text_is_divided_where_nanogpt_divides_it(tmp_path: Path):
    text = tmp_path / "input.txt"
    text.write_bytes(bytes(97 + i % 26 for i in range(shakespeare.N_CHARACTERS)))
    shakespeare.prepare(text, tmp_path)
    parts = [(tmp_path / "data/tinyshakespeare" / f"{name}.txt").read_bytes() for name in ("train", "val")]
    assert b"".join(parts) == text.read_bytes()
    assert len(parts[0]) == int(0.9 * shakespeare.N_CHARACTERS) == shakespeare.N_TRAIN  # nanoGPT's prepare.py
    (tmp_path / "other.txt").write_text("to be")
    with pytest.raises(ValueError, match="has 5 bytes; tinyshakespeare has 1,115,394"):
        shakespeare.prepare(tmp_path / "other.txt", tmp_path / "elsewhere")


def test_rows_are_the_mean_and_the_longest(capsys: pytest.CaptureFixture[str]):
    outcomes = [OUTCOME, OUTCOME | {"val_bits_per_byte": 2.32, "wall": 119.0}, OUTCOME]
    quality, wall = shakespeare.rows_of("2min", outcomes)
    assert quality.ours == pytest.approx(2.24) and quality.goal == "<= 2.25 bits per byte" and quality.is_reached
    assert quality.note == "mean of 3 seeds: 2.200, 2.320, 2.200; validated in rows of 128: 2.250"
    assert wall.ours == 119.0 and wall.goal == "<= 120 s" and wall.is_reached
    worse, late = shakespeare.rows_of("5min", [OUTCOME | {"wall": 301.0}])
    assert worse.is_reached is False and late.is_reached is False


def test_published_figures_are_in_the_same_unit_and_nobodys_measurement():
    by_name = {row.row: row for row in shakespeare.published()}
    row = by_name["tinyshakespeare, nanoGPT on an A100"]
    assert row.peer == pytest.approx(1.4697 / math.log(2)) and row.ours is None and row.peer_name == "published"


def test_a_run_on_other_text_is_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def command(arguments, folder):
        if arguments[0] == "evaluate":
            return {"bits_per_byte": 2.3}
        data = folder / arguments[arguments.index("--run-dir") + 1] / "data"
        data.mkdir(parents=True)
        counts = {"train": {"bytes": n_train}, "val": {"bytes": shakespeare.N_CHARACTERS - shakespeare.N_TRAIN}}
        (data / "manifest.json").write_text(json.dumps({"counts": counts}))
        return {"val_bits_per_byte": 2.2, "n_steps": 300, "wall": 100.0}

    monkeypatch.setattr(shakespeare, "command", command)
    n_train = shakespeare.N_TRAIN
    assert shakespeare.run("2min", 0, tmp_path / "a")["short_rows"] == 2.3
    n_train = 1000
    with pytest.raises(RuntimeError, match="first nine tenths"):
        shakespeare.run("2min", 0, tmp_path / "b")
