"""The fast family against its formulas, written out here once more, and how it starts."""

import math

import pytest
import torch
import torch.nn.functional as F

from groundup import models
from groundup.models import fast
from tests.models import tiny
from tests.models.tiny import VOCAB_SIZE


def rms(x, weight):
    return F.rms_norm(x, weight.shape, weight, 1e-6)


def turned(x, theta=10_000.0):
    """Each pair (a, b) of numbers half a head apart as a complex number, times e^(i · angle)."""
    T, half = x.shape[-2], x.shape[-1] // 2
    angles = torch.arange(T)[:, None] * theta ** -(torch.arange(half) / half)
    pairs = torch.complex(x[..., :half], x[..., half:]) * torch.exp(1j * angles)
    return torch.cat([pairs.real, pairs.imag], dim=-1)


def logits_by_formula(model, ids, n_heads, n_kv_heads, softcap):
    p = dict(model.named_parameters())
    x = p["tok_embed.weight"][ids]
    names = {2: "bigram_embed", 3: "trigram_embed", 4: "fourgram_embed", 5: "fivegram_embed"}
    longest = model.config.longest_ngram if model.config.ngram_rows else 1
    for n, name in ((n, name) for n, name in names.items() if n <= longest):
        table = p[f"{name}.table.weight"]
        for row in range(len(ids)):
            for t in range(ids.shape[1]):
                value = 0
                for place in range(t - n + 1, t + 1):
                    value = (value * 1_000_003 + (ids[row, place].item() + 1 if place >= 0 else 0)) % (2**31 - 1)
                x[row, t] += table[value % len(table)]
    for i in range(model.config.n_layers):
        w = {name.removeprefix(f"blocks.{i}."): weight for name, weight in p.items()}
        y = rms(x, w["attn_norm.weight"])
        q, k, v = (
            (y @ w[f"attn.{name}_proj.weight"].T).unflatten(-1, (n, -1)).transpose(1, 2)
            for name, n in (("q", n_heads), ("k", n_kv_heads), ("v", n_kv_heads))
        )
        q, k = turned(rms(q, w["attn.q_norm.weight"])), turned(rms(k, w["attn.k_norm.weight"]))
        back = torch.arange(ids.shape[1])[:, None] - torch.arange(ids.shape[1])
        seen = (back >= 0) & (back < (model.config.window or ids.shape[1]))
        y = F.scaled_dot_product_attention(q, k, v, seen, enable_gqa=True)
        x = x + y.transpose(1, 2).flatten(-2) @ w["attn.o_proj.weight"].T
        y = rms(x, w["mlp_norm.weight"]) @ w["mlp.up_proj.weight"].T
        x = x + (y.clamp(min=0) ** 2) @ w["mlp.down_proj.weight"].T
    logits = rms(x, p["final_norm.weight"]) @ p["lm_head.weight"].T
    return softcap * torch.tanh(logits / softcap)


@pytest.mark.parametrize("fields", [{}, {"ngram_rows": 53}, {"ngram_rows": 53, "longest_ngram": 5}, {"window": 3}])
def test_it_computes_its_formulas(fields):
    model = tiny.small("fast", **fields)
    ids = torch.randint(VOCAB_SIZE, (2, 9))
    with torch.no_grad():
        torch.testing.assert_close(model(ids), logits_by_formula(model, ids, 6, 2, 15.0), atol=1e-5, rtol=1e-5)


def test_it_starts_as_if_it_had_no_blocks_and_no_opinion():
    model = models.build("fast", "nano", {"vocab_size": VOCAB_SIZE, "ngram_rows": 20}, seed=0)
    ids = torch.randint(VOCAB_SIZE, (2, 9))

    assert model(ids).abs().max() == 0
    torch.testing.assert_close(model.hidden(ids), model.final_norm(model.tok_embed(ids)))
    loss = F.cross_entropy(model(ids).flatten(0, 1), ids.flatten())
    assert loss.item() == pytest.approx(math.log(VOCAB_SIZE))


def test_from_zero_every_parameter_is_moving_after_three_steps():
    model = models.build("fast", "nano", {"vocab_size": VOCAB_SIZE, "ngram_rows": 20}, seed=0)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    ids = torch.randint(VOCAB_SIZE, (4, 30))
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    for _ in range(3):
        optimizer.zero_grad()
        F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten()).backward()
        optimizer.step()
    assert [name for name, parameter in model.named_parameters() if torch.equal(parameter, before[name])] == []


def test_ngrams_see_what_attention_is_not_allowed_to():
    """The mask is attention's. Positions say where a text begins, and they are what n-grams go by."""
    model, ids = tiny.small("fast", ngram_rows=53, n_layers=1), torch.tensor([[7, 8, 9]])
    itself = torch.eye(3, dtype=torch.bool)[None, None]
    alone = model(ids[:, 2:])

    begun_again = model(ids, positions=torch.zeros(1, 3, dtype=torch.long), mask=itself)
    torch.testing.assert_close(begun_again[:, 2], alone[:, 0], atol=1e-5, rtol=1e-5)
    assert (model(ids, mask=itself)[:, 2] - alone[:, 0]).abs().max() > 1e-3


def test_ngrams_are_optimised_as_embeddings():
    from groundup.optim import groups

    model = tiny.small("fast", ngram_rows=53, longest_ngram=5)
    matrices, embeddings, _ = groups.split(model)
    assert sum(len(table) == 53 for table in embeddings) == 4
    assert all(len(matrix) != 53 for matrix in matrices)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"softcap": -1.0}, "softcap is -1.0; valid values are above 0"),
        ({"softcap": float("inf")}, "softcap is inf"),
        ({"ngram_rows": -1}, "ngram_rows is -1; valid values are whole numbers from 1, and 0 for none"),
        ({"window": -1}, "window is -1; valid values are whole numbers from 1, and 0 for no window"),
        ({"longest_ngram": 6}, "longest_ngram is 6; valid values are 2, 3, 4, 5"),
        ({"head_dim": 3}, "head_dim is 3; valid values are even"),
    ],
)
def test_what_cannot_be_built_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        fast.Config(**fields)
