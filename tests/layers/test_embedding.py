"""Embedding: rows of a table, equal to a one-hot product."""

import torch
import torch.nn.functional as F

from groundup.layers.embedding import Embedding


def test_equals_the_product_of_one_hot_vectors():
    embedding = Embedding(11, 4)
    ids = torch.tensor([[0, 10, 3], [3, 3, 7]])

    torch.testing.assert_close(embedding(ids), F.one_hot(ids, 11).float() @ embedding.weight)
    assert embedding(ids).shape == (2, 3, 4)


def test_a_row_learns_from_each_of_its_uses():
    embedding = Embedding(5, 2)
    embedding(torch.tensor([1, 1, 4])).sum().backward()

    assert embedding.weight.grad.tolist() == [[0, 0], [2, 2], [0, 0], [0, 0], [1, 1]]
