"""Products by the matrix unit against numpy's, and a text's numbers in other company, bit by bit."""

import numpy as np
import pytest
from numba import njit

from groundup.inference.compiled import reading
from groundup.inference.compiled.code import CODE, compile_kind
from groundup.inference.compiled.tiles import HAS_TILES, SHAPES
from groundup.inference.compiled.tiles_compiled import SUMS, TILE, begin_tiles, end_tiles, pack, tile_times
from groundup.inference.runner import Work
from groundup.weights import checkpoint, tensors
from groundup.weights.gguf_blocks import dequantise, round_bf16
from tests.models.tiny import small

pytestmark = pytest.mark.skipif(not HAS_TILES, reason="this processor has no AMX")
SIZES = {"d_model": 64, "n_heads": 4, "n_kv_heads": 2, "d_ff": 96, "context_length": 300}


@njit(nogil=True)
def times_by_tiles(kept, x, packed, out, last, sums, shapes):
    begin_tiles(shapes)
    pack(x, packed, 0, len(x), 0, x.shape[1])
    tile_times(kept, x, packed, out, 0, last, sums)
    end_tiles()


@pytest.mark.parametrize("n", [1, 2, 15, 16, 17, 32, 33, 100])
@pytest.mark.parametrize(("rows", "columns"), [(16, 32), (48, 64), (50, 96), (7, 32)])
def test_it_is_numpys(n, rows, columns):
    rng = np.random.default_rng(n * rows)
    kept = round_bf16(rng.normal(size=(rows, columns)).astype(np.float32)).view(np.uint16).reshape(rows, columns)
    wide = dequantise(kept.reshape(-1).view(np.uint8), "BF16").reshape(rows, columns)
    x = rng.normal(size=(n, columns)).astype(np.float32)
    packed = np.zeros((-(-n // TILE), 2, columns // 2, TILE), np.uint32)
    out = np.full((n, rows), np.nan, np.float32)
    times_by_tiles(kept, x, packed, out, rows, np.zeros((SUMS, TILE, TILE), np.float32), SHAPES)
    wanted = x.astype(np.float64) @ wide.T.astype(np.float64)
    # Of x's 24 bits 16 are left: each product is within 2^-17 of what it should be.
    bound = 2**-16 * (np.abs(x).astype(np.float64) @ np.abs(wide.T)) + 1e-6
    assert (np.abs(out - wanted) < bound).all()


def runners(tmp_path):
    """The same model with the matrix unit and without."""
    checkpoint.save(tmp_path / "m", small("llama", noise=0.1, **SIZES))
    shape, found, _ = reading.read(tensors.open_model(tmp_path / "m"), "bf16")
    compile_kind("BF16")
    make = CODE.load("runner").CompiledRunner
    return make(shape, found, n_threads=2), make(shape, found, n_threads=2, uses_tiles=False)


def test_with_the_matrix_unit_and_without_a_model_says_the_same(tmp_path):
    with_tiles, without = runners(tmp_path)
    assert with_tiles.uses_tiles and not without.uses_tiles
    ids = [i * 7 % 50 for i in range(290)]
    found, wanted = [each.run([Work(each.open(), ids, every=True)])[0] for each in (with_tiles, without)]
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())


def test_in_company_a_text_has_the_numbers_it_has_alone(tmp_path):
    runner, _ = runners(tmp_path)
    prompt, new = [i * 3 % 50 for i in range(21)], [7, 8, 9]

    def text(others: list[list[int]]) -> list[np.ndarray]:
        state, rows = runner.open(), []
        company = [runner.open() for _ in others]
        for ids in (prompt, *([id_] for id_ in new)):
            work = [Work(each, part or [1], in_company=True) for each, part in zip(company, others, strict=True)]
            rows.append(runner.run([*work, Work(state, ids, in_company=True)])[-1])
        return rows

    alone = text([])
    for others in ([[1, 2]], [[5]] * 20, [list(range(40)), [3]]):
        for row, wanted in zip(text(others), alone, strict=True):
            np.testing.assert_array_equal(row, wanted)
