"""`groundup plan`: what a person types, and what is answered."""

import json

import pytest

from groundup.cli import main
from groundup.commands import plan as command
from groundup.errors import UsageError
from groundup.insight import calibration, plan_choice
from groundup.insight.calibration import Machine
from groundup.text import stories

MACHINE = Machine(
    flops={"cpu fp32": 1e11, "cpu bf16": 2e11}, bandwidth=1e10, efficiency={"fp32": 0.5}, moving={"fp32": 1e10},
    operation_seconds=1e-6, disk_rate=1e8, base_bytes=3e8, tokenizer_rate=1e6, encoding_rate=1e6, measured_in=1.0,
)  # fmt: skip
QUICK = ("--no-trial", "--precision", "fp32", "--device", "cpu", "--vocab-size", "300", "--context-length", "32")


@pytest.fixture(autouse=True)
def _measured(monkeypatch, tmp_path):
    monkeypatch.setattr(calibration, "machine", lambda quick=False, notice=None: MACHINE)
    monkeypatch.setattr(plan_choice, "LARGEST", 1e7)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("\n\n".join(document.text for document in stories.documents(0, 30_000)), encoding="utf-8")
    return path


def told(capsys, *arguments) -> tuple[int, str, str]:
    code = main(["plan", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


def test_a_plan_for_people_and_for_machines(text, capsys):
    code, out, _ = told(capsys, text, "--n-steps", "50", *QUICK)
    assert code == 0
    for word in ("Model", "Steps      50 of 32 × 32", "Text", "Time", "Memory", "Disk", "tokens per parameter"):
        assert word in out
    code, out, _ = told(capsys, text, "--n-steps", "50", "--json", *QUICK)
    found = json.loads(out)
    assert (code, found["fits"], found["n_steps"]) == (0, True, 50)
    assert found["tokens"] == 50 * 32 * 32
    assert found["memory"]["total"] == pytest.approx(sum(found["memory"]["by_term"].values()))


def test_a_file_stands_in_the_place_of_data_and_flags_beat_it(text, tmp_path, capsys):
    file = tmp_path / "run.toml"
    file.write_text(f'data = "{text.name}"\nsize = "micro"\n[train]\nn_steps = 7\nbatch_size = 4\n')
    found = json.loads(told(capsys, file, "--n-steps", "9", "--json", *QUICK)[1])
    assert found["n_steps"] == 9 and found["tokens"] == 9 * 4 * 32 and found["text"]
    file.write_text('data = "not-there-yet"\n')
    code, out, err = told(capsys, file, "--json", *QUICK)
    assert code == 0 and json.loads(out)["text"] is None and "not-there-yet" in err
    file.write_text("sise = 3\n")
    assert told(capsys, file)[0] == 2


def test_what_cannot_fit_ends_with_4_and_flags_that_fit(text, capsys):
    code, out, err = told(capsys, text, "--memory", "500MB", "--size", "micro", "--batch-size", "256", *QUICK)
    assert code == 4 and "Memory" in out
    assert "this cannot be" in err and "--micro-batch-size" in err


def test_sizes_budget_and_memory(text, capsys):
    small = ("--batch-size", "8")
    code, out, _ = told(capsys, "--sizes", "--memory", "450MB", *small, *QUICK)
    assert code == 0 and "nano" in out and "does not fit" in out and "days" in out
    code, out, _ = told(capsys, text, "--memory", "600MB", "--budget", "20h", "--json", *small, *QUICK)
    proposal = json.loads(out)["proposal"]
    assert code == 0 and f"--size {proposal['size']}" in proposal["command"] and "times" in proposal["data"]
    code, _, err = told(capsys, text, "--memory", "600MB", "--budget", "1s", *small, *QUICK)
    assert code == 4 and "the smallest takes" in err


def test_a_gpu_that_is_not_here(text, capsys):
    code, out, err = told(capsys, text, "--gpu", "--memory", "8GB", "--size", "nano", *QUICK)
    assert code == 0 and "on cuda" in out and "not told for a GPU" in out and "no GPU is here" in err


@pytest.mark.parametrize(("spelling", "n"), [("8GB", 8e9), ("500 mb", 5e8), ("1GiB", 2**30), ("1.5g", 1.5e9), ("", 0)])
def test_bytes(spelling, n):
    assert command.bytes_of(spelling) == n


@pytest.mark.parametrize(("spelling", "n"), [("8h", 28800), ("30m", 1800), ("1.5d", 129600), ("90s", 90), ("", 0)])
def test_seconds(spelling, n):
    assert command.seconds_of(spelling) == n


@pytest.mark.parametrize("spelling", ["much", "-3GB", "8XB", "1.2.3GB", "0GB"])
def test_what_no_memory_is(spelling):
    with pytest.raises(UsageError, match="valid values are such as 8GB"):
        command.bytes_of(spelling)
    with pytest.raises(UsageError, match="valid values are such as 30m"):
        command.seconds_of(spelling)
