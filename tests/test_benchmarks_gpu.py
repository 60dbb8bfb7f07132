"""benchmarks/gpu.py where there is no GPU: its parts with tiny shapes, its clock, and what becomes of failures."""

import json
from pathlib import Path
from typing import Any

import gpu
import gpu_talking
import pytest
from harness import Row

from groundup import models


def rows_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, dict[str, dict[str, Any]]]:
    out = tmp_path / "gpu.json"
    code = gpu.main(["--smoke", "--no-compile", "--out", str(out), *arguments])
    assert "|" in capsys.readouterr().out
    return code, {row["row"]: row for row in json.loads(out.read_text())["rows"]}


@pytest.mark.parametrize(
    ("part", "n_rows"),
    [("peak", 2), ("gpt2", 2), ("llama", 2), ("parity", 4), ("resume", 1), ("optimizers", 2), ("talking", 5)],
)
def test_each_part_measures(tmp_path: Path, capsys: pytest.CaptureFixture[str], part: str, n_rows: int) -> None:
    code, rows = rows_of(tmp_path, capsys, "--only", *dict.fromkeys(("peak", part)))
    rows = {name: row for name, row in rows.items() if part == "peak" or not name.startswith("matrix product")}
    assert code == 0 and len(rows) == n_rows
    assert all(row["failed"] is None and row["ours"] is not None for row in rows.values())
    assert all(row["is_reached"] in (None, True) for row in rows.values())


@pytest.mark.soak
@pytest.mark.parametrize("part", ["options", "ddp"])
def test_the_longer_parts_measure(tmp_path: Path, capsys: pytest.CaptureFixture[str], part: str) -> None:
    code, rows = rows_of(tmp_path, capsys, "--only", part)
    assert code == 0 and all(row["failed"] is None and row["ours"] > 0 for row in rows.values())


def test_without_time_every_part_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, rows = rows_of(tmp_path, capsys, "--minutes", "0")
    assert code == 0 and len(rows) > 15
    assert all(row["failed"].startswith("left out") for row in rows.values())


def test_a_failure_is_a_row(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(bench: gpu.Bench) -> Any:
        yield Row("good", "s", ours=1.0)
        raise RuntimeError("out of luck\nand a long story")

    monkeypatch.setitem(gpu.PARTS, "gpt2", broken)
    monkeypatch.setattr(gpu, "speed", lambda *_, **__: 1 / 0)
    code, rows = rows_of(tmp_path, capsys, "--only", "gpt2", "llama")
    assert code == 1 and rows["good"]["ours"] == 1.0 and rows["gpt2"]["failed"] == "RuntimeError: out of luck"
    assert all("ZeroDivisionError" in row["failed"] for name, row in rows.items() if name.startswith("Llama"))


def test_what_hangs_is_broken_off_with_what_there_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    codes: list[int] = []
    monkeypatch.setattr(gpu.os, "_exit", codes.append)
    bench = gpu.Bench(gpu.SMOKE, 1.0, tmp_path / "out.json")
    bench.doing = "a long part"
    bench.watched()._end()
    assert codes == [1]
    (row,) = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert row["row"] == "a long part" and "broken off" in row["failed"]


def test_flops_of_a_token() -> None:
    """One layer of GPT-2 124M: all weights but positions and vectors, the tied table once, and attention."""
    model = models.build("gpt2", "124m", {"n_layers": 1, "vocab_size": 100})
    matrices = 12 * 768 * 768 + 100 * 768
    assert gpu.flops_per_token(model) == 6 * matrices + 12 * 768 * 1024


def test_what_a_step_of_talking_reads() -> None:
    """All of a tied model; of an untied one not the table in which ids are looked up. fp32, 4 bytes each."""
    tied, untied = (
        models.build("llama", "nano", {"n_layers": 1, "vocab_size": 100, "tie_embeddings": tie})
        for tie in (True, False)
    )
    n = sum(weight.numel() for weight in tied.parameters())
    assert gpu_talking.bytes_of_a_step(tied) == gpu_talking.bytes_of_a_step(untied) == 4 * n


def test_no_gpu_is_an_error_with_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is one")
    assert gpu.main([]) == 4
    assert "--smoke" in capsys.readouterr().err
