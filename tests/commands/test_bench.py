"""`groundup bench`: which scripts there are, what would run, and the quick table."""

import json
from pathlib import Path

import pytest

import groundup
from groundup.cli import main
from groundup.commands import bench


def test_the_benchmarks_are_listed_with_what_they_measure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [line.split()[0] for line in lines]
    assert {"gpu", "layers", "models", "tokenizer"} <= set(names) and not {"harness", "corpus"} & set(names)
    assert all(len(line.split()) > 3 for line in lines)
    assert main(["bench", "--list", "--json"]) == 0
    assert sorted(json.loads(capsys.readouterr().out)) == sorted(names)


def test_what_would_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "models", "layers", "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [Path(line.split()[1]).name for line in lines] == ["models.py", "layers.py"]
    assert all(line.endswith("--write") for line in lines)


def test_a_script_runs_and_its_failure_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "harness.py").write_text("")
    for name, code in (("good", 0), ("bad", 1)):
        text = f'"""About {name}."""\nimport sys\nprint("{name}", sys.argv[1:])  # "--write"\nsys.exit({code})\n'
        (tmp_path / "benchmarks" / f"{name}.py").write_text(text)
    monkeypatch.setattr(groundup, "__file__", str(tmp_path / "groundup" / "__init__.py"))
    assert main(["bench", "good", "--json"]) == 0
    assert capfd.readouterr().out == "good ['--json']\n"
    assert main(["bench"]) == 1
    out, err = capfd.readouterr()
    assert "good ['--write']" in out and "bad ['--write']" in out and "1 of 2 benchmarks" in err


def test_without_a_clone_it_is_said_what_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(groundup, "__file__", str(tmp_path / "groundup" / "__init__.py"))
    assert main(["bench"]) == 4
    assert "clone" in capsys.readouterr().err
    assert main(["bench", "--quick", "--dry-run"]) == 0


def test_an_unknown_name_is_answered_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "nothing"]) == 2
    assert "tokenizer" in capsys.readouterr().err


def test_the_quick_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(bench, "SIZES", ("nano",))
    monkeypatch.setattr(bench.quick_row, "__defaults__", (0.0,))
    assert main(["bench", "--quick", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["size"] == "nano" and row["training"] > 0 and row["generating"] > 0 and row["memory"] > 1e7
    assert main(["bench", "--quick", "--quiet"]) == 0
    header, line = capsys.readouterr().out.splitlines()
    assert header.startswith("Llama") and line.startswith("nano") and line.count("tokens/s") == 2
