"""Snapshots: what a layer or a model computed when it was right, in a small .npz file beside its test.

Numbers that never change by themselves: weights and inputs come from a formula and not from a generator, whose stream
another version of torch may change. `pytest --update-snapshots` writes the files anew; the difference is then for a
reviewer to judge.
"""

from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

AnyModule = TypeVar("AnyModule", bound=nn.Module)


def numbers(*shape: int, seed: int = 1, size: float = 1.0) -> Tensor:
    """Numbers between -size and size that look random, the same on every machine."""
    indices = np.arange(1, 1 + int(np.prod(shape)), dtype=np.float64)
    # Fractions of multiples of an irrational number spread evenly; the sine of a large one hides how.
    spread = np.sin(1000 * np.modf(indices * np.sqrt(2) * (seed + 0.1))[0] + seed)
    return torch.from_numpy(size * spread).float().view(shape)


def with_numbers(module: AnyModule, size: float = 0.5) -> AnyModule:
    """The module with such numbers for weights."""
    with torch.no_grad():
        for seed, parameter in enumerate(module.parameters(), start=10):
            parameter.copy_(numbers(*parameter.shape, seed=seed, size=size))
    return module


def check(request: pytest.FixtureRequest, name: str, found: dict[str, Tensor], atol: float = 1e-5) -> None:
    """Equal, up to rounding, to what is stored in snapshots/`name`.npz beside the test that asks."""
    path = Path(request.path).parent / "snapshots" / f"{name}.npz"
    arrays = {key: tensor.detach().float().numpy() for key, tensor in found.items()}
    if request.config.getoption("--update-snapshots"):
        path.parent.mkdir(exist_ok=True)
        np.savez_compressed(path, **arrays)
    assert path.is_file(), f"{path.name} is not there; pytest --update-snapshots writes it"

    with np.load(path, allow_pickle=False) as stored:
        assert set(stored) == set(arrays)
        for key in stored:
            assert stored[key].shape == arrays[key].shape, f"{name}: {key}"
            np.testing.assert_allclose(arrays[key], stored[key], atol=atol, rtol=1e-5, err_msg=f"{name}: {key}")
