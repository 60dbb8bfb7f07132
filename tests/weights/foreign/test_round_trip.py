"""From each program's file to a checkpoint of ours and back: the same numbers, bit for bit."""

import pytest
import torch

from groundup.weights import checkpoint, foreign, portable
from tests.weights.foreign.test_gpt2_tensorflow import FIXTURE
from tests.weights.foreign.test_recognise import FILES

FIELDS = {"llms_from_scratch": {"n_heads": 3}, "happy_llm": {"n_heads": 4}}
NANOGPT = {"n_layer": 2, "n_head": 3, "n_embd": 12, "block_size": 10, "vocab_size": 20, "dropout": 0.0}
LLAMA2C = {"dim": 16, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "vocab_size": 20, "max_seq_len": 32}


@pytest.mark.parametrize("case", [*FILES, "gpt2_tensorflow"])
def test_there_and_back(case, tmp_path):
    format = case.split()[0]
    path = FIXTURE
    if case in FILES:
        name, write = FILES[case]
        path = tmp_path / name
        write(path)
        if format in ("nanogpt", "llama2c") and path.suffix != ".bin":
            content = torch.load(path, weights_only=True)
            torch.save(content | {"model_args": NANOGPT if format == "nanogpt" else LLAMA2C}, path)
    read = foreign.read(path, format, FIELDS.get(format))
    checkpoint.convert(tmp_path / "out", read, read.facts)
    back = checkpoint.open_portable(tmp_path / "out")

    assert (back.family, back.config) == (read.family, read.config)
    assert set(back.tensors) == set(read.tensors)
    for name, tensor in read.tensors.items():
        assert torch.equal(back.tensors[name].load(), tensor.load().float()), name
    built = portable.build(back)
    assert sum(parameter.numel() for parameter in built.parameters()) == read.n_parameters
