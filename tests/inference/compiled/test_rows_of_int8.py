"""Whole numbers with a scale for each row, against torch's own quantisation by channels."""

import numpy as np
import pytest
import torch

from groundup.errors import ArtefactError
from groundup.inference.compiled import reading, rows_of_int8
from groundup.weights import huggingface, portable, tensors
from tests.models.tiny import small


@pytest.mark.parametrize("size", [1, 1e-6, 1e6])
def test_numbers_are_those_of_torch(size):
    numbers = np.random.default_rng(0).normal(size=(70, 96)).astype(np.float32) * np.float32(size)
    kept = rows_of_int8.quantise(numbers)
    assert (kept.dtype, kept.shape) == (np.uint32, (70, 25))
    scales = np.abs(numbers).max(axis=1) / np.float32(127)
    theirs = torch.fake_quantize_per_channel_affine(
        torch.from_numpy(numbers), torch.from_numpy(scales), torch.zeros(70), axis=0, quant_min=-127, quant_max=127
    ).numpy()
    quotients = numbers / scales[:, None]
    is_tie = np.abs(np.abs(quotients - np.trunc(quotients)) - 0.5) < 1e-4  # torch multiplies by 1 / scale
    assert is_tie.mean() < 0.01
    np.testing.assert_allclose(rows_of_int8.widen(kept)[~is_tie], theirs[~is_tie], rtol=1e-6)


def test_many_rows_are_cut_into_stretches(monkeypatch):
    numbers = np.random.default_rng(0).normal(size=(50, 64)).astype(np.float32)
    whole = rows_of_int8.quantise(numbers)
    monkeypatch.setattr(rows_of_int8, "STRETCH", 7 * 64)
    assert np.array_equal(rows_of_int8.quantise(numbers), whole)


def test_rows_near_zero_and_far_from_it():
    numbers = np.zeros((4, 32), np.float32)
    numbers[1], numbers[2, 3], numbers[3, 5] = 1e-44, 3.0e38, 127
    numbers[3, :3] = 0.5, 1.5, -2.5
    found = rows_of_int8.widen(rows_of_int8.quantise(numbers))
    assert (found[:2] == 0).all(), "a scale of zero"
    np.testing.assert_allclose(found[2], numbers[2], rtol=1e-6)
    assert found[3, :3].tolist() == [0, 2, -2]


def test_a_scale_that_has_lost_its_digits_gives_no_larger_numbers():
    numbers = np.full((1, 32), 190 * 2.0**-149, np.float32)  # 190 / 127 of the smallest number there is becomes one
    assert np.ascontiguousarray(rows_of_int8.quantise(numbers)[:, 1:]).view(np.int8).max() == 127


@pytest.mark.parametrize("kind", ["int8", "int8-row", "int4", "fp16"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_is_said(kind, bad, tmp_path):
    model = small("llama", d_model=64, n_heads=2, n_kv_heads=2, d_ff=96)
    with torch.no_grad():
        model.blocks[0].mlp.down_proj.weight[3, 4] = bad
    huggingface.write(tmp_path, portable.of(model))
    with pytest.raises(ArtefactError, match="the weights cannot be kept as .* not finite"):
        reading.read(tensors.open_model(tmp_path), kind)
