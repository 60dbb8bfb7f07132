"""N-gram embeddings against a dictionary of n-grams, id by id in plain Python."""

import pytest
import torch

from groundup.layers.ngrams import NgramEmbedding, ngram_hashes


def plain_hash(ids):
    value = 0
    for id_ in ids:
        value = (value * 1_000_003 + (0 if id_ is None else id_ + 1)) % (2**31 - 1)
    return value


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_hashes_are_those_of_each_ids_own_past(n):
    ids = torch.randint(1000, (2, 9))
    positions = torch.tensor([[0, 1, 2, 3, 0, 1, 0, 1, 2]])  # three texts in one row
    hashes = ngram_hashes(ids, positions, n)

    for row in range(2):
        for t, position in enumerate(positions[0].tolist()):
            grams = [ids[row, t - back].item() if back <= position else None for back in reversed(range(n))]
            assert hashes[row, t].item() == plain_hash(grams)


def test_the_last_ids_alone_have_the_same_hashes():
    ids, positions = torch.randint(50, (3, 8)), torch.arange(8)[None]
    whole = ngram_hashes(ids, positions, 3)

    for T in (1, 2, 5):
        assert torch.equal(ngram_hashes(ids, positions[:, -T:], 3), whole[:, -T:])


def test_nothing_before_the_text_is_no_id():
    """Not even id 0, and not what stands to the left where positions do not begin at 0."""
    first, after_zero = torch.tensor([[7]]), torch.tensor([[0, 7]])
    assert ngram_hashes(first, torch.tensor([[0]]), 2) != ngram_hashes(after_zero, torch.tensor([[1]]), 2)
    assert ngram_hashes(first, torch.tensor([[1000]]), 2) == ngram_hashes(first, torch.tensor([[0]]), 2)


def test_large_ids_do_not_overflow():
    ids = torch.full((1, 5), 2**31 - 3)
    hashes = ngram_hashes(ids, torch.arange(5)[None], 5)
    assert hashes[0, -1].item() == plain_hash(ids[0].tolist())


def test_ids_in_32_bits_have_the_same_hashes():
    ids, positions = torch.randint(4096, (2, 6)), torch.arange(6)[None]
    assert torch.equal(ngram_hashes(ids.int(), positions, 3), ngram_hashes(ids, positions, 3))


def test_few_triples_share_a_row():
    """Of 5000 random triples in 65536 rows, about 1 in 27 shares: as few as if rows were drawn at random."""
    ids = torch.randint(4096, (5000, 3))
    rows = ngram_hashes(ids, torch.arange(3)[None], 3)[:, -1] % 65536
    expected = 65536 * (1 - (1 - 1 / 65536) ** 5000)
    assert len(rows.unique()) == pytest.approx(expected, rel=0.01)


def test_embeds_by_row():
    embed, ids = NgramEmbedding(2, 37, 6), torch.randint(100, (2, 5))
    positions = torch.arange(5)[None]
    expected = embed.table.weight[ngram_hashes(ids, positions, 2) % 37]

    assert torch.equal(embed(ids, positions), expected)
    assert embed(ids, positions[:, 3:]).shape == (2, 2, 6)
