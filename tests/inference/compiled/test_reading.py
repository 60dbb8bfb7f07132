"""What was exported is opened without a conversion: its matrices are places of the file, as the system tells too."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from groundup.inference.compiled import reading
from groundup.inference.compiled.shape import FAMILIES
from groundup.inference.compiled.weights import Weights
from groundup.weights import gguf, huggingface, portable, tensors
from tests.inference import tiny
from tests.models.tiny import small

SIZES = {"vocab_size": 300, "d_model": 64, "n_heads": 4, "d_ff": 96, "context_length": 64}

needs_maps = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc/self/maps is Linux's")


def places(file: Path) -> list[tuple[int, int]]:
    """From which address to which this process sees a file, by the system's own list."""
    rows = [row.split() for row in Path("/proc/self/maps").read_text().splitlines()]
    found = [row[0] for row in rows if row[5:] == [str(file)]]
    pairs = [re.fullmatch("([0-9a-f]+)-([0-9a-f]+)", place) for place in found]
    return [(int(pair[1], 16), int(pair[2], 16)) for pair in pairs if pair]


def is_in(array: np.ndarray, file: Path) -> bool:
    start = array.ctypes.data
    return any(first <= start and start + array.nbytes <= last for first, last in places(file))


def opened(path: Path, kind: str = "auto") -> Weights:
    return reading.read(tensors.open_model(path), kind)[1]


@needs_maps
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", gguf.ENCODERS)
def test_every_matrix_of_a_gguf_file_is_a_place_in_it(family, dtype, tmp_path):
    reader = pytest.importorskip("gguf").GGUFReader
    model = small(family, noise=0.1, **SIZES)
    gguf.write(tmp_path / "m.gguf", portable.of(model, tiny.tokenizer()), dtype)
    found = opened(tmp_path / "m.gguf")
    assert all(is_in(matrix.kept, tmp_path / "m.gguf") for matrix in found.matrices)
    theirs = {tensor.name: tensor.data for tensor in reader(tmp_path / "m.gguf").tensors}
    down = theirs["blk.1.ffn_down.weight"]
    assert found.layers[1].down.kept.tobytes() == down.tobytes()
    assert found.embed.kept.tobytes() == theirs["token_embd.weight"].tobytes()


@needs_maps
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_every_matrix_of_a_hugging_face_folder_is_a_place_in_it(dtype, tmp_path):
    huggingface.write(tmp_path, portable.of(small("llama", noise=0.1, **SIZES)), dtype)
    found = opened(tmp_path)
    assert all(is_in(matrix.kept, tmp_path / "model.safetensors") for matrix in found.matrices)
    in_memory = opened(tmp_path, "int8")
    assert not any(is_in(matrix.kept, tmp_path / "model.safetensors") for matrix in in_memory.matrices)
