"""exp against numpy's in float64."""

import numpy as np
from numba import njit

from groundup.inference.compiled.exp_compiled import exp


def test_it_is_numpys():
    @njit
    def all_of(x, out):
        for i in range(len(x)):
            out[i] = exp(x[i])

    x = np.concatenate([np.linspace(-86.9, 87.9, 200_001), [0.0, -0.0, 1e-30, 1.0]]).astype(np.float32)
    out = np.empty_like(x)
    all_of(x, out)
    np.testing.assert_allclose(out, np.exp(x.astype(np.float64)), rtol=3e-7)
    all_of(np.full(3, -np.inf, np.float32), out)
    assert (out[:3] < 2e-38).all()
