"""`groundup verify`: what people read, what machines read, and the exit codes. The faults are in tests/insight."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from groundup import cli, models
from groundup.weights import checkpoint, huggingface, portable

FIELDS = {"vocab_size": 50, "context_length": 32, "n_layers": 2, "d_model": 24, "n_heads": 2}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint of ours, with its contract."""
    checkpoint.save(tmp_path / "model", models.build("llama", "nano", FIELDS, seed=0))
    return tmp_path / "model"


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = cli.main(["verify", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def damage(folder: Path) -> None:
    file = folder / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-4:] = torch.tensor([3.0]).numpy().tobytes()
    file.write_bytes(data)


def test_a_healthy_model_takes_a_few_lines(folder, capsys):
    pytest.importorskip("transformers")
    code, out, err = run(capsys, folder, "--checksums")
    lines = out.splitlines()

    assert (code, err) == (0, "")
    assert lines[0] == f"healthy    {folder}"
    assert lines[1].startswith("judge      transformers ")
    assert lines[2].startswith("forward    39 tensors agree ")
    assert lines[3].startswith("backward   20 gradients agree ")
    assert lines[4].startswith("checks     finite, causal, batch = single, cached = full, loss ignores padding")
    assert lines[4].endswith("contract, checksums")
    assert len(lines) == 5


def test_a_sick_model_is_told_what_where_why_and_what_helps(folder, tmp_path, capsys):
    pytest.importorskip("transformers")
    model: Any = models.build("llama", "nano", FIELDS, seed=0)
    for block in model.blocks:
        block.mlp.gate_proj, block.mlp.up_proj = block.mlp.up_proj, block.mlp.gate_proj
    (tmp_path / "converted").mkdir()
    huggingface.write(tmp_path / "converted", portable.of(model))
    code, out, err = run(capsys, tmp_path / "converted", "--against", folder)

    assert (code, err) == (5, "")
    assert out.splitlines()[0] == f"unhealthy  {tmp_path / 'converted'}"
    (first,) = [line for line in out.splitlines() if line.endswith("the first that differs")]
    assert first.split()[0] == "blocks.0.mlp.gate_proj"
    assert "\ncause      swapped gate and up: what stands in gate_proj belongs in up_proj" in out
    assert "\nproof      with that undone, 59 of 59 tensors agree" in out
    assert "\nhint       Meta's w1 is gate_proj" in out
    assert len(out.splitlines()) < 20


def test_json(folder, capsys):
    pytest.importorskip("transformers")
    code, out, _ = run(capsys, folder, "--json", "--no-backward")
    report = json.loads(out)
    assert code == 0
    assert report["healthy"]
    assert {each["kind"] for each in report["differences"]} == {"activation"}
    assert report["differences"][-1]["name"] == "logits"


def test_a_contract_that_is_not_kept_is_one_of_the_checks(folder, capsys):
    """The file still opens, so all the rest is compared too."""
    damage(folder)
    code, out, _ = run(capsys, folder, "--checksums")
    assert code == 5
    assert "check      contract broken: " in out
    assert "check      damaged file: model.safetensors is damaged: its checksum differs" in out


def test_golden_tensors(folder, tmp_path, capsys, monkeypatch):
    pytest.importorskip("transformers")
    file = tmp_path / "golden.safetensors"
    code, out, err = run(capsys, folder, "--write-golden", file)
    assert (code, out) == (0, f"{file}\n")
    assert err.startswith("golden tensors of transformers ")

    from groundup.insight.verify import judges

    monkeypatch.setattr(judges, "has_transformers", lambda: False)
    code, out, _ = run(capsys, folder, "--against", file)
    assert code == 0
    assert "judge      golden tensors of transformers " in out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "no model was named"),
        (["nowhere"], 2, "there is no such folder"),
        (["{folder}", "--against", "nowhere"], 2, "there is no such folder"),
        (["{folder}", "--againts", "x"], 2, "did you mean --against?"),
    ],
)
def test_what_cannot_be_meant(arguments, code, said, folder, capsys):
    found, _, err = run(capsys, *(argument.format(folder=folder) for argument in arguments))
    assert found == code
    assert said in err
