"""What is written tensor by tensor is what the safetensors library reads, and the same bytes every time."""

import pytest
import safetensors.torch
import torch

from groundup.weights import lazy, safetensors_file, safetensors_writer

TENSORS = {
    "b.weight": torch.randn(3, 5),
    "a.half": torch.randn(7).half(),
    "a.brain": torch.randn(2, 2, 2).bfloat16(),
    "step": torch.tensor(12345678901),
    "none": torch.zeros(0, 4),
    "flags": torch.tensor([True, False, True]),
    "turned": torch.arange(6.0).view(2, 3).T,
    "ü": torch.ones(1, dtype=torch.uint8),
}


def write(file, dtype=None, tensors=TENSORS):
    safetensors_writer.write(file, {name: lazy.of(tensor) for name, tensor in tensors.items()}, dtype)


def test_the_library_reads_it(tmp_path):
    write(tmp_path / "x.safetensors")
    theirs = safetensors.torch.load_file(tmp_path / "x.safetensors")
    assert theirs.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert theirs[name].dtype == tensor.dtype and torch.equal(theirs[name], tensor), name


def test_our_own_reader_maps_it(tmp_path):
    write(tmp_path / "x.safetensors")
    stored, metadata = safetensors_file.read(tmp_path / "x.safetensors")
    assert metadata == {"format": "pt"}
    for name, tensor in TENSORS.items():
        found = lazy.stored(stored[name])
        assert found.shape == tuple(tensor.shape) and found.dtype == tensor.dtype
        assert torch.equal(found.load(), tensor), name
    # Aligned to its own size, so that nothing has to be copied out of the file.
    assert all(tensor.offset % TENSORS[name].dtype.itemsize == 0 for name, tensor in stored.items())


def test_the_order_given_does_not_matter(tmp_path):
    write(tmp_path / "one")
    write(tmp_path / "other", tensors=dict(reversed(TENSORS.items())))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_rounding_in_stretches_is_rounding(tmp_path, dtype, monkeypatch):
    monkeypatch.setattr(safetensors_writer, "CHUNK", 4)
    numbers = {name: TENSORS[name] for name in ("b.weight", "a.half", "turned", "none")}
    write(tmp_path / "x.safetensors", dtype, numbers)
    theirs = safetensors.torch.load_file(tmp_path / "x.safetensors")
    assert all(torch.equal(theirs[name], tensor.to(dtype)) for name, tensor in numbers.items())
