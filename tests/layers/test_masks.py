"""Masks against transformers', and by hand."""

import pytest
import torch

from groundup.layers.masks import causal_mask, document_mask, window_mask


def drawn(mask):
    return ["".join(".1"[int(seen)] for seen in row) for row in mask]


def test_worked_examples():
    assert drawn(causal_mask(2, 4)) == ["111.", "1111"]
    assert drawn(causal_mask(5, 5, window=3)) == ["1....", "11...", "111..", ".111.", "..111"]
    assert drawn(window_mask(5, 5, window=3)) == ["11111", "11111", "11111", ".1111", "..111"]
    assert drawn(causal_mask(2, 5, window=2)) == ["..11.", "...11"]
    assert drawn(document_mask(torch.tensor([[0, 0, 1, 1, 1]]))[0, 0]) == ["1....", "11...", "..1..", "..11.", "..111"]
    packed = document_mask(torch.tensor([[0, 0, 1]]), causal=False)
    assert packed.shape == (1, 1, 3, 3)
    assert drawn(packed[0, 0]) == ["11.", "11.", "..1"]


@pytest.mark.parametrize("window", [1, 2, 3, 8, 100])
@pytest.mark.parametrize(("T", "S"), [(6, 6), (1, 6), (3, 8)])
def test_a_window_counts_the_query_itself(window, T, S):
    """From the definition: query q, which stands at S - T + q, sees key k if 0 <= distance < window."""
    distance = torch.arange(S - T, S)[:, None] - torch.arange(S)
    expected = (distance >= 0) & (distance < window)

    assert torch.equal(causal_mask(T, S, window), expected)
    assert torch.equal(window_mask(T, S, window) & causal_mask(T, S), expected)
    assert expected.sum(-1).max() == min(window, S)


@pytest.mark.parametrize("window", [None, 1, 3])
def test_equals_transformers(window):
    transformers = pytest.importorskip("transformers")
    masking = pytest.importorskip("transformers.masking_utils")
    config = transformers.MistralConfig(
        hidden_size=8, num_attention_heads=2, num_hidden_layers=1, sliding_window=window, attn_implementation="sdpa"
    )
    # Packed documents, which transformers finds where positions start again at 0.
    documents = torch.tensor([[0, 0, 0, 1, 1, 1, 1]])
    positions = torch.tensor([[0, 1, 2, 0, 1, 2, 3]])
    make = masking.create_causal_mask if window is None else masking.create_sliding_window_causal_mask
    theirs = make(
        config=config, inputs_embeds=torch.zeros(1, 7, 8), attention_mask=None, past_key_values=None,
        position_ids=positions,
    )  # fmt: skip

    assert torch.equal(causal_mask(7, 7, window) & document_mask(documents), theirs)
