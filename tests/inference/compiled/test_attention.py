"""One head's attention over pages against numpy's, for whole vectors and odd ones, pages full and not."""

import numpy as np
import pytest

from groundup.inference.compiled.attention_compiled import PAGE, attend, padded


@pytest.mark.parametrize("head_dim", [8, 16, 20, 64, 80, 128])
@pytest.mark.parametrize("n_seen", [1, 15, 17, 64, 65, 150])
def test_it_is_numpys(head_dim, n_seen):
    rng = np.random.default_rng(head_dim + n_seen)
    order = np.array([2, 0, 3], np.int32)
    size = (4, 2, 3, PAGE, padded(head_dim))
    kept = [rng.normal(size=size).astype(np.float32) for _ in range(2)]
    for each in kept:
        each[..., head_dim:] = 0
        each[order[n_seen // PAGE :], :, :, n_seen % PAGE + 1 :] = np.nan  # what nobody wrote is not looked at
    query, out = rng.normal(size=head_dim).astype(np.float32), np.zeros(head_dim, np.float32)
    attend(
        query, n_seen, order, *kept, 1, 2, np.zeros(4 * PAGE, np.float32), np.zeros(padded(head_dim), np.float32), out
    )
    keys, values = (each[order, 1, 2].reshape(-1, padded(head_dim))[:n_seen, :head_dim].astype(float) for each in kept)
    scores = keys @ query / np.sqrt(head_dim)
    likely = np.exp(scores - scores.max())
    np.testing.assert_allclose(out, likely @ values / likely.sum(), atol=2e-6)
