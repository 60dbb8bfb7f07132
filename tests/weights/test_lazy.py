"""Lazy tensors: what torch makes of the tensors themselves, and not before it is asked for."""

import torch

from groundup.weights import lazy
from groundup.weights.lazy import LazyTensor

X, Y = torch.arange(12.0).view(3, 4), torch.arange(8.0).view(2, 4)


def never() -> torch.Tensor:
    raise AssertionError("nobody asked for it")


def test_operations_are_those_of_torch():
    x, y = lazy.of(X), lazy.of(Y)
    for made, expected in [
        (x.transposed(), X.T),
        (x.rows(1, 3), X[1:3]),
        (x.transposed().rows(0, 2).transposed(), X.T[:2].T),
        (lazy.stacked([x, y]), torch.cat([X, Y])),
        (lazy.stacked([y]), Y),
        (x.mapped(lambda tensor: tensor.flip(0)), X.flip(0)),
    ]:
        assert made.shape == tuple(expected.shape)
        assert torch.equal(made.load(), expected)


def test_nothing_is_read_before_it_is_asked_for():
    unread = LazyTensor((3, 4), torch.bfloat16, never)
    made = lazy.stacked([unread.transposed().rows(0, 2), unread.rows(0, 2)])
    assert (made.shape, made.dtype) == ((4, 3), torch.bfloat16)


def test_a_parameter_is_shared_and_not_copied():
    parameter = torch.nn.Parameter(X.clone())
    loaded = lazy.of(parameter).load()
    assert loaded.data_ptr() == parameter.data_ptr() and not loaded.requires_grad
