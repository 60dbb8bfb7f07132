"""Ours and another library's, from the same numbers: outputs and gradients, in fp32 and in bf16."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

DTYPES = [torch.float32, torch.bfloat16]
KERNELS = ["fused", "textbook"]
RELATIVE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2e-2}
"""Of outputs. Gradients have gone through twice as many roundings, and are allowed twice as much."""


def assert_near(ours: Tensor, theirs: Tensor, dtype: torch.dtype, what: str = "", allowance: float = 1) -> None:
    """|ours - theirs| <= tolerance · |theirs| over the whole tensor; what cancels out to nothing is equal to zero."""
    assert ours.shape == theirs.shape, what
    distance, size = (ours.double() - theirs.double()).norm(), theirs.double().norm()
    assert distance <= allowance * RELATIVE[dtype] * size + 1e-6, f"{what}: {distance / size:.1e} apart in {dtype}"


def assert_agree(
    ours: Callable[..., Tensor],
    theirs: Callable[..., Tensor],
    inputs: Sequence[Tensor],
    dtype: torch.dtype = torch.float32,
    weights: Callable[[], Iterable[tuple[Tensor | None, Tensor | None]]] = lambda: (),
) -> None:
    """Same output, and same gradient by every input and by every pair of `weights` (called after both have run)."""
    found = []
    for compute in (ours, theirs):
        own = [x.detach().to(dtype).requires_grad_() if x.is_floating_point() else x for x in inputs]
        y = compute(*own)
        assert y.dtype == dtype
        pull = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).view(y.shape).sin().to(dtype)
        y.backward(pull)
        found.append({"output": y.detach()} | {f"input {i}": x.grad for i, x in enumerate(own) if x.requires_grad})
    for name in found[0]:
        assert_near(found[0][name], found[1][name], dtype, name, allowance=1 if name == "output" else 2)
    for i, (mine, other) in enumerate(weights()):
        assert mine is not None and other is not None
        assert_near(mine, other, dtype, f"weight {i}", allowance=2)


def copied(theirs: torch.nn.Module, pairs: Iterable[tuple[Tensor, Tensor]], std: float = 0.5) -> None:
    """Random weights for `theirs`, and the same in ours, pair by pair (ours, theirs)."""
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(std=std)
        for mine, other in pairs:
            mine.copy_(other)


def gradients(ours: torch.nn.Module, theirs: torch.nn.Module, names: dict[str, str]) -> list[tuple[Tensor, Tensor]]:
    """Pairs of gradients; `names` is ours -> theirs."""
    mine, other = dict(ours.named_parameters()), dict(theirs.named_parameters())
    assert set(mine) == set(names)
    return [(mine[a].grad, other[b].grad) for a, b in names.items()]  # pyright: ignore[reportReturnType]
