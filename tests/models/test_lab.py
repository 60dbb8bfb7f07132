"""The lab: each combination of parts trains, and the parts are what their names say."""

import itertools

import pytest
import torch
from torch import nn

from groundup.models import gpt2, lab, llama
from tests.models import tiny

GRID = list(itertools.product(*(list(valid) for valid in lab.CHOICES.values())))
SHAPE = {"vocab_size": 20, "context_length": 16, "n_layers": 1, "d_model": 16, "n_heads": 2, "d_ff": 16}


@pytest.mark.parametrize(("norm", "norm_place"), list(itertools.product(lab.NORMS, ("pre", "post"))))
def test_each_combination_trains_five_steps(norm, norm_place):
    ids = torch.randint(20, (2, 9))
    for choice in GRID:
        parts = dict(zip(lab.CHOICES, choice, strict=True))
        if (parts["norm"], parts["norm_place"]) != (norm, norm_place):
            continue
        model = lab.Model(lab.Config(**SHAPE, **parts))
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01, fused=True)
        losses = []
        for _ in range(5):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[-1] < 0.97 * losses[0], parts  # no comparison holds for NaN


def test_the_grid_is_all_there_is():
    assert len(GRID) == 2 * 5 * 3 * 3 * 2


def test_by_default_it_is_a_llama():
    ours, ids = tiny.small("lab"), torch.randint(20, (2, 9))
    theirs = llama.Model(llama.Config(**tiny.SHAPE | {"n_kv_heads": 6}))
    theirs.load_state_dict(ours.state_dict())
    assert torch.equal(ours(ids), theirs(ids))


def test_with_other_parts_it_is_a_gpt2_without_biases():
    parts = {"norm": "layer", "activation": "gelu_tanh", "position": "learned"}
    ours, ids = tiny.small("lab", **parts), torch.randint(20, (2, 9))
    shape = {name: value for name, value in tiny.SHAPE.items() if name != "n_kv_heads"}
    theirs = gpt2.Model(gpt2.Config(**shape, dropout=0.0))
    left_out = theirs.load_state_dict(ours.state_dict(), strict=False).missing_keys

    assert all(name.endswith("_proj.bias") for name in left_out)
    torch.testing.assert_close(ours(ids), theirs(ids))


@pytest.mark.parametrize("norm_place", ["pre", "post"])
def test_blocks_are_those_of_pytorch(norm_place):
    config = lab.Config(**SHAPE, norm="layer", activation="gelu", position="none", norm_place=norm_place)
    block = lab.Block(config, 0, "fused").eval()
    theirs = nn.TransformerEncoderLayer(
        16, 2, 16, dropout=0.0, activation="gelu", norm_first=norm_place == "pre", bias=False, batch_first=True
    )
    with torch.no_grad():
        attn = block.attn
        theirs.self_attn.in_proj_weight.copy_(torch.cat([attn.q_proj.weight, attn.k_proj.weight, attn.v_proj.weight]))
        theirs.self_attn.out_proj.weight.copy_(attn.o_proj.weight)
        theirs.linear1.weight.copy_(block.mlp.up_proj.weight)
        theirs.linear2.weight.copy_(block.mlp.down_proj.weight)
        for norm, other in ((block.attn_norm, theirs.norm1), (block.mlp_norm, theirs.norm2)):
            other.weight.copy_(norm.weight.normal_())
    x, far = torch.randn(2, 5, 16), nn.Transformer.generate_square_subsequent_mask(5)
    torch.testing.assert_close(block(x), theirs(x, src_mask=far, is_causal=True), atol=1e-5, rtol=1e-5)


def test_heads_by_name():
    n_kv_heads = {name: lab.Config(n_heads=8, attention=name).n_kv_heads for name in lab.ATTENTIONS}
    assert n_kv_heads == {"mha": 8, "gqa": 4, "mqa": 1}


def test_without_positions_only_the_set_of_earlier_ids_counts():
    """Over one layer: attention alone does not know an order."""
    model = tiny.small("lab", position="none", n_layers=1)
    one, other = model(torch.tensor([[3, 1, 4, 5]])), model(torch.tensor([[1, 4, 3, 5]]))
    torch.testing.assert_close(one[:, -1], other[:, -1])


def test_learned_positions_end():
    model = tiny.small("lab", position="learned", context_length=8)
    with pytest.raises(ValueError, match="9 positions were asked of a model that learned 8"):
        model(torch.zeros(1, 9, dtype=torch.long))
    with pytest.warns(UserWarning, match="position 9 is beyond the context_length of 8"):
        tiny.small("lab", context_length=8)(torch.zeros(1, 9, dtype=torch.long))


@pytest.mark.parametrize("name", lab.CHOICES)
def test_an_unknown_part_is_refused_with_the_valid_ones(name):
    valid = ", ".join(lab.CHOICES[name])
    with pytest.raises(ValueError, match=f"{name} is 'best'; valid values are {valid}"):
        lab.Config(**{name: "best"})
