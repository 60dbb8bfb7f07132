"""`groundup evaluate` as a person calls it: by which engine, with weights kept how."""

import json

import pytest

from groundup import cli
from groundup.inference.compiled.weights import NAMES
from groundup.weights import checkpoint
from tests.inference import tiny
from tests.models.tiny import small

SIZES = {"vocab_size": 300, "d_model": 64, "n_heads": 4, "n_kv_heads": 2, "d_ff": 96, "context_length": 64}


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    checkpoint.save(folder / "m", small("llama", noise=0.1, **SIZES), tiny.tokenizer())
    (folder / "text.txt").write_text(tiny.STORY * 20)
    return ["evaluate", str(folder / "m"), "--data", str(folder / "text.txt")]


def found(command, capsys, *options):
    assert cli.main([*command, "--json", *options]) == 0
    return json.loads(capsys.readouterr().out)


def test_every_kind_of_weights_is_measured(command, capsys):
    torch = found(command, capsys)
    by_kind = {kind: found(command, capsys, "--weights", kind) for kind in NAMES}
    assert by_kind["fp32"] == pytest.approx(torch, rel=1e-5)
    lost = {kind: abs(result["loss"] - torch["loss"]) for kind, result in by_kind.items()}
    assert 0 < lost["int8-row"] < lost["int4"] < 0.1


def test_which_engine_is_said(command, capsys):
    assert cli.main([*command, "--weights", "int8"]) == 0
    assert capsys.readouterr().err.endswith("in windows of 64, by compiled (int8)\n")
    assert cli.main(command) == 0
    assert capsys.readouterr().err.endswith("in windows of 64, by torch\n")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--weights", "int3"], "valid values are auto, fp32, bf16, fp16, int8, int8-row, int4"),
        (["--weights", "int8", "--engine", "torch"], "--weights are of the compiled engine"),
        (["--engine", "compiled", "--device", "cuda"], "the compiled engine runs on the CPU"),
    ],
)
def test_what_does_not_go_together(command, capsys, options, message):
    assert cli.main([*command, *options]) == 2
    assert message in capsys.readouterr().err
