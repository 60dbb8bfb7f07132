"""Held-out loss against numbers computed by hand from transformers-free logits."""

import math

import pytest
import torch
from torch import nn

from groundup.data.batches import IGNORE, Batch
from groundup.evaluate import loss
from groundup.evaluate.loss import byte_lengths, held_out_loss
from groundup.inference.torch_runner import TorchRunner
from groundup.tokenizer.train import train
from tests.models.tiny import small


class Uniform(nn.Module):
    """Every id is as likely as every other: the loss is log(vocab_size)."""

    softcap = 0.0
    kernels = "fused"

    def __init__(self, vocab_size: int):
        super().__init__()
        self.lm_head_weight = nn.Parameter(torch.zeros(vocab_size, 4))

    def hidden(self, ids, positions=None, mask=None):
        return torch.ones(*ids.shape, 4)


def test_loss_perplexity_and_bits_per_byte_of_a_uniform_model():
    targets = torch.tensor([[5, 6, IGNORE, 7]])
    batch = Batch(torch.tensor([[4, 5, 6, 6]]), targets, None, 3)
    lengths = torch.tensor([0, 0, 0, 0, 1, 1, 2, 3])
    result = held_out_loss(Uniform(8), [batch, batch], lengths)
    assert result["loss"] == pytest.approx(math.log(8))
    assert result["perplexity"] == pytest.approx(8)
    assert result["n_targets"] == 6
    assert result["bits_per_byte"] == pytest.approx(3 * 3 / 6)  # 3 bits for each of 3 targets, over 1 + 2 + 3 bytes


def test_a_runner_is_measured_as_its_model(monkeypatch):
    """The engine's logits, a piece of a row at a time, against the cross-entropy of torch."""
    model = small("llama", noise=0.5, context_length=64)
    rows = torch.randint(50, (3, 41), generator=torch.Generator().manual_seed(0))
    rows[1, 30:] = 0
    targets = rows[:, 1:].clone()
    targets[1, 29:] = IGNORE
    batch = Batch(rows[:, :-1], targets, None, int((targets != IGNORE).sum()))
    lengths = torch.arange(50)
    wanted = torch.nn.functional.cross_entropy(model(batch.ids).flatten(0, 1), targets.flatten(), ignore_index=IGNORE)
    runner = TorchRunner(model)
    for piece in (256, 7):
        monkeypatch.setattr(loss, "PIECE", piece)
        result = held_out_loss(runner, [batch], lengths)
        assert result["loss"] == pytest.approx(wanted.item(), rel=1e-5)
        assert result == pytest.approx(held_out_loss(model, [batch], lengths), rel=1e-5)


def test_a_runner_is_not_given_rows_of_several_texts():
    segments = torch.tensor([[1, 1, 2]])
    batch = Batch(torch.tensor([[4, 5, 6]]), torch.tensor([[5, 6, 7]]), segments, 3)
    with pytest.raises(ValueError, match="segments"):
        held_out_loss(TorchRunner(small("llama")), [batch])


def test_byte_lengths_count_bytes_not_characters():
    tokenizer = train(["äöü " * 50 + "the cat " * 50], 262)
    lengths = byte_lengths(tokenizer)
    text = "the cat äöü"
    assert int(lengths[tokenizer.encode(text).astype(int)].sum()) == len(text.encode())
    assert lengths[tokenizer.eos_id] == 0
