"""Blocks of quantised numbers, judged by the gguf package, by torch, and by loops that follow the drawings."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.weights import gguf_blocks, read_back
from groundup.weights.gguf_blocks import (
    BLOCKS,
    dequantise,
    quantise_q4_0,
    quantise_q4_1,
    quantise_q8_0,
    round_bf16,
    round_f16,
    widen_bf16,
)


@pytest.fixture
def gguf():
    return pytest.importorskip("gguf")


def random_blocks(dtype, n=300):
    return np.random.default_rng(0).integers(0, 256, (n, BLOCKS[dtype].n_bytes), dtype=np.uint8)


@pytest.mark.parametrize("dtype", [name for name in BLOCKS if name != "Q8_K"])
def test_the_same_bits_as_gguf(dtype, gguf):
    # Random bytes also make scales that are infinite or no numbers, so these are compared too.
    blocks = random_blocks(dtype)
    with np.errstate(all="ignore"):
        theirs = gguf.quants.dequantize(blocks, gguf.GGMLQuantizationType[dtype])
    ours = dequantise(blocks.reshape(-1), dtype)
    assert ours.dtype == np.float32
    assert np.array_equal(ours.view(np.uint32), np.ascontiguousarray(theirs).reshape(-1).view(np.uint32))


@pytest.mark.parametrize("dtype", BLOCKS)
def test_sizes_are_those_of_gguf(dtype, gguf):
    assert BLOCKS[dtype][:2] == gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[dtype]]


def test_q8_k_which_gguf_cannot_read():
    blocks = random_blocks("Q8_K", 3)
    blocks[:, :4] = np.array([[0.5], [-2], [1e-30]], "<f4").view(np.uint8)
    expected = [np.float32(d) * q for d, block in zip([0.5, -2, 1e-30], blocks[:, 4:260], strict=True)
                for q in block.view(np.int8).astype(np.float32)]  # fmt: skip
    assert np.array_equal(dequantise(blocks.reshape(-1), "Q8_K"), expected)


def test_q4_0_by_hand():
    # d = 0.5 is 0x3800 in half precision; byte 0 holds q[0] = 3 and q[16] = 12, the others 8 and 8, which is zero.
    block = np.frombuffer(bytes.fromhex("0038" + "c3" + "88" * 15), np.uint8)
    numbers = dequantise(block, "Q4_0")
    assert (numbers[0], numbers[16]) == (0.5 * (3 - 8), 0.5 * (12 - 8))
    assert not np.delete(numbers, [0, 16]).any()


def test_q6_k_number_by_number():
    block = random_blocks("Q6_K", 1)
    block[0, 208:] = np.array([0.25], "<f2").view(np.uint8)
    raw = block[0].tolist()
    numbers = dequantise(block.reshape(-1), "Q6_K")
    for i, number in enumerate(numbers):
        half, j = divmod(i, 128)
        low = raw[64 * half + j % 64] >> (0 if j < 64 else 4) & 15
        high = raw[128 + 32 * half + j % 32] >> 2 * (j // 32) & 3
        scale = (raw[192 + i // 16] + 128) % 256 - 128
        assert number == 0.25 * scale * (low + 16 * high - 32)


@pytest.mark.parametrize("dtype", ["Q8_0", "Q4_K", "BF16"])
def test_many_blocks_are_cut_into_stretches(dtype, monkeypatch):
    blocks = random_blocks(dtype, 50)
    whole = dequantise(blocks.reshape(-1), dtype)
    monkeypatch.setattr(gguf_blocks, "STRETCH", 7 * BLOCKS[dtype].n_numbers)
    assert np.array_equal(dequantise(blocks.reshape(-1), dtype), whole, equal_nan=True)


def test_no_blocks():
    assert dequantise(np.empty(0, np.uint8), "Q4_K").shape == (0,)
    assert quantise_q8_0(np.empty((0, 32), np.float32)).shape == (0, 34)


# --- to Q8_0, Q4_0 and Q4_1 ---

QUANTISE = {"Q8_0": quantise_q8_0, "Q4_0": quantise_q4_0, "Q4_1": quantise_q4_1}


@pytest.mark.parametrize("dtype", QUANTISE)
@pytest.mark.parametrize("shape", [(32,), (3, 64), (2, 3, 96), (700, 256)])
def test_the_same_bytes_as_gguf(shape, dtype, gguf):
    generator = np.random.default_rng(0)
    for scale in (1, 1e-3, 1e4, 1e-7, 1e-12):
        numbers = generator.standard_normal(shape).astype(np.float32) * np.float32(scale)
        numbers.reshape(-1, 32)[0] = 0
        theirs = gguf.quants.quantize(numbers, gguf.GGMLQuantizationType[dtype])
        assert np.array_equal(QUANTISE[dtype](numbers), theirs)


def test_q8_0_rounds_halves_away_from_zero(gguf):
    # With a largest number of 127, d is 1 and each number is its own quotient.
    numbers = np.array([[127, 0.5, -0.5, 1.5, 2.5, -2.5, 0.49999997, 126.5, -126.5] + [0] * 23], np.float32)
    packed = quantise_q8_0(numbers)
    assert packed[0, 2:11].view(np.int8).tolist() == [127, 1, -1, 2, 3, -3, 0, 127, -127]
    assert np.array_equal(packed, gguf.quants.quantize(numbers, gguf.GGMLQuantizationType.Q8_0))


@settings(derandomize=True, deadline=None)
@given(st.lists(st.floats(-8e6, 8e6, width=32), min_size=32, max_size=32))
def test_q8_0_there_and_back_is_near(numbers):
    numbers = np.array(numbers, np.float32)
    back = dequantise(quantise_q8_0(numbers), "Q8_0")
    # Half a step of rounding, and d's own rounding to 11 bits; below 2**-24 d is too small for half precision.
    largest = np.abs(numbers).max()
    assert np.abs(back - numbers).max() <= largest * (0.5 / 127 + 2**-11) + 127 * 2**-25


@pytest.mark.parametrize("dtype", QUANTISE)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 9e6])
def test_what_a_type_cannot_hold_is_refused(bad, dtype):
    numbers = np.zeros((2, 64), np.float32)
    for whole_block in (False, True):
        numbers[1, 32 if whole_block else 40 :] = bad
        with pytest.raises(ValueError, match="not finite, or too large"):
            QUANTISE[dtype](numbers)


@pytest.mark.parametrize("dtype", QUANTISE)
def test_rows_that_are_no_blocks_are_refused(dtype):
    with pytest.raises(ValueError, match="multiples of 32"):
        QUANTISE[dtype](np.zeros((32, 48), np.float32))


# --- to Q4_0 ---


@pytest.mark.parametrize("shape", [(32,), (3, 64), (2, 3, 96), (700, 256)])
def test_q4_0_the_same_bytes_as_gguf(shape, gguf):
    generator = np.random.default_rng(0)
    for scale in (1, 1e-3, 1e4, 1e-7, 1e-12):
        numbers = generator.standard_normal(shape).astype(np.float32) * np.float32(scale)
        numbers.reshape(-1, 32)[0] = 0
        theirs = gguf.quants.quantize(numbers, gguf.GGMLQuantizationType.Q4_0)
        assert np.array_equal(quantise_q4_0(numbers), theirs)


@settings(derandomize=True, deadline=None)
@given(st.lists(st.floats(-5e5, 5e5, width=32), min_size=32, max_size=32))
def test_q4_0_there_and_back_is_as_near_as_an_export_expects(numbers):
    numbers = np.array(numbers, np.float32)
    lost = dequantise(quantise_q4_0(numbers), "Q4_0").astype(np.float64) - numbers
    expected = read_back.ROUNDINGS["Q4_0"]
    # What is lost at the most: half a step of 1/8 of the largest, or all of one on the side where 7 is the end.
    assert np.abs(lost).max() <= np.abs(numbers).max() * (1 / 8 + 2**-11) + 8 * 2**-25
    length = np.linalg.norm(numbers.astype(np.float64))
    assert np.linalg.norm(lost) <= expected.share * length + expected.near_zero * np.sqrt(32)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 6e5])
def test_q4_0_refuses_what_it_cannot_hold(bad):
    numbers = np.zeros((2, 64), np.float32)
    numbers[1, 40] = bad
    with pytest.raises(ValueError, match="not finite, or too large"):
        quantise_q4_0(numbers)


# --- halves ---


def every_kind_of_float():
    bits = np.random.default_rng(0).integers(0, 1 << 32, 200_000, dtype=np.uint64).astype(np.uint32)
    halfway = np.arange(0, 1 << 32, 0x8000, dtype=np.uint64).astype(np.uint32)  # each BF16 and each tie between two
    return np.concatenate([bits, halfway, halfway + 1]).view(np.float32)


def test_bf16_rounds_as_torch_and_gguf_do(gguf):
    numbers = every_kind_of_float()
    bits = round_bf16(numbers)
    theirs = torch.from_numpy(numbers).to(torch.bfloat16)
    is_number = ~np.isnan(numbers)
    assert np.array_equal(bits[is_number], theirs.view(torch.int16).numpy().view(np.uint16)[is_number])
    assert np.isnan(widen_bf16(bits)[~is_number]).all()
    with np.errstate(all="ignore"):
        assert np.array_equal(
            bits, gguf.quants.quantize(numbers.reshape(1, -1), gguf.GGMLQuantizationType.BF16).view(np.uint16)[0]
        )


def test_f16_rounds_as_torch_does():
    numbers = np.concatenate([every_kind_of_float(), np.array([65519.99, 65520, -65520, 2**-24, 2**-25], np.float32)])
    theirs = torch.from_numpy(numbers).to(torch.float16).numpy()
    is_number = ~np.isnan(numbers)
    ours = round_f16(numbers)
    assert np.array_equal(ours[is_number].view(np.uint16), theirs[is_number].view(np.uint16))
    assert np.isnan(ours[~is_number]).all()


def test_bf16_widens_to_what_torch_widens_to():
    bits = np.arange(1 << 16, dtype=np.uint32).astype(np.uint16)
    theirs = torch.from_numpy(bits.view(np.int16).copy()).view(torch.bfloat16).float().numpy()
    assert np.array_equal(widen_bf16(bits).view(np.uint32), theirs.view(np.uint32))
