"""Embedding: rows of a table, equal to a one-hot product."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from groundup.layers.embedding import Embedding
from tests.layers.agreement import DTYPES, assert_agree, copied, gradients


@pytest.mark.parametrize("dtype", DTYPES)
def test_equals_the_product_of_one_hot_vectors_bit_for_bit(dtype):
    """Every other product is with zero. Sums of gradients are of whole numbers, so exact in any order."""
    embedding = Embedding(11, 4).to(dtype)
    ids = torch.tensor([[0, 10, 3], [3, 3, 7]])
    pull = torch.randint(-4, 5, (2, 3, 4)).to(dtype)

    one_hot = F.one_hot(ids, 11).to(dtype) @ embedding.weight
    assert embedding(ids).shape == (2, 3, 4)
    assert torch.equal(embedding(ids), one_hot)
    by_row, by_product = (torch.autograd.grad(y, embedding.weight, pull)[0] for y in (embedding(ids), one_hot))
    assert torch.equal(by_row, by_product)


@pytest.mark.parametrize("dtype", DTYPES)
def test_equals_torch(dtype):
    ours, theirs = Embedding(11, 4).to(dtype), nn.Embedding(11, 4).to(dtype)
    copied(theirs, [(ours.weight, theirs.weight)])
    ids = torch.tensor([[0, 10, 3], [3, 3, 7]])

    assert_agree(ours, theirs, [ids], dtype, lambda: gradients(ours, theirs, {"weight": "weight"}))


def test_a_row_learns_from_each_of_its_uses():
    embedding = Embedding(5, 2)
    embedding(torch.tensor([1, 1, 4])).sum().backward()

    assert embedding.weight.grad.tolist() == [[0, 0], [2, 2], [0, 0], [0, 0], [1, 1]]


def test_starts_from_a_cut_normal_distribution():
    weight = Embedding(400, 300).weight

    assert weight.abs().max() <= 3
    assert weight.std().item() == pytest.approx(0.9866, rel=0.01)
