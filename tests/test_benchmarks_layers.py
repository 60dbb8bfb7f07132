"""The benchmark of layers: it times what agrees, and says what does not."""

import json

import pytest

torch = pytest.importorskip("torch")

import layers as benchmark  # noqa: E402
from harness import in_turns  # noqa: E402


def test_rows_for_both_dtypes(capsys):
    assert benchmark.main(["--only", "RMSNorm", "dropout", "--repetitions", "1", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    assert [row["row"] for row in rows] == ["RMSNorm, fp32", "RMSNorm, bf16", "dropout, fp32", "dropout, bf16"]
    assert all(row["ratio"] > 0 and row["peer_name"] == "textbook" and row["unit"] == "ms" for row in rows)


def test_what_differs_is_not_timed(monkeypatch):
    wrong = benchmark.Case(lambda k: lambda x: x if k == "fused" else 1.001 * x, ((2, 3),))
    broken = benchmark.Case(lambda k: lambda x: x / 0 * 0, ((2, 3),))
    monkeypatch.setattr(benchmark, "CASES", {"wrong": wrong, "broken": broken})
    rows = list(benchmark.layer_rows([], 1))

    assert rows[0].failed == "output is 1.0e-03 apart"
    assert rows[1].failed is None and rows[1].ours is not None  # 1e-3 is nothing in bf16
    assert rows[2].failed == "output is nan apart"


def test_a_layer_is_run_as_often_as_its_time_needs():
    compute = torch.nn.Identity()
    side = benchmark.Side(compute, [torch.ones(2, requires_grad=True)])
    times = benchmark.timed(side, side, "itself", 2, "cpu")

    assert set(times) == {"groundup", "itself"} and len(times["groundup"]) == 2
    once = 1000 * min(in_turns({"once": side.run}, 5)["once"])
    assert min(times["groundup"]) < 5 * once + 1


def test_every_case_can_be_made():
    for case in benchmark.CASES.values():
        ours, theirs = benchmark.sides(case, torch.float32, "cpu")
        assert callable(ours.compute) and callable(theirs.compute)
