"""The decoder alone: what is called when, what a Config is refused for. What it computes is tested on every family."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from groundup.layers.decoder import Decoder, check_shape, fill_in
from groundup.layers.embedding import Embedding
from groundup.layers.linear import Linear
from groundup.layers.rope import RoPE


@dataclass(frozen=True, kw_only=True)
class Config:
    vocab_size: int = 11
    context_length: int = 6
    n_layers: int = 2
    d_model: int = 8
    n_heads: int = 2
    n_kv_heads: int = 0
    head_dim: int = 0
    d_ff: int = 16
    norm_eps: float = 1e-5
    dropout: float = 0.0

    def __post_init__(self):
        fill_in(self, n_kv_heads=self.n_heads, head_dim=self.d_model // max(1, self.n_heads))
        check_shape(self)


class Block(nn.Module):
    """Adds its number, and keeps what it was called with."""

    def __init__(self, number: int):
        super().__init__()
        self.number = number

    def forward(self, x, **given):
        self.given = given
        return x + self.number


class Model(Decoder):
    def __init__(self, config: Config, tied: bool = True):
        super().__init__()
        self.config = config
        self.tok_embed = Embedding(config.vocab_size, config.d_model)
        self.blocks = nn.ModuleList([Block(10), Block(100)])
        self.final_norm = nn.Identity()
        self.lm_head = None if tied else Linear(config.d_model, config.vocab_size)


IDS = torch.tensor([[3, 1, 4], [1, 5, 9]])


def test_blocks_run_in_order_on_the_embeddings():
    model = Model(Config())
    torch.testing.assert_close(model.hidden(IDS), model.tok_embed.weight[IDS] + 110)
    torch.testing.assert_close(model(IDS), model.hidden(IDS) @ model.tok_embed.weight.T)
    assert model.blocks[0].given == {"rotation": None, "mask": None, "cache": None}


def test_mask_cache_and_rotation_reach_every_block():
    model, mask = Model(Config()), torch.ones(1, 1, 3, 5, dtype=torch.bool)
    model.rope = RoPE(4)
    cache = model.new_cache(2, 5)
    cache.length = 2
    model(IDS, cache=cache, mask=mask)

    for block in model.blocks:
        assert block.given["mask"] is mask
        assert block.given["cache"] is cache
        # Positions count on from the cache.
        for found, expected in zip(block.given["rotation"], RoPE(4).rotation(torch.tensor([2, 3, 4])), strict=True):
            torch.testing.assert_close(found, expected[None, None])


def test_a_cache_has_the_shape_of_the_config():
    model = Model(Config(n_kv_heads=1, head_dim=6)).bfloat16()
    cache = model.new_cache(3, 7)

    assert cache.keys.shape == (2, 3, 1, 7, 6)
    assert cache.keys.dtype == torch.bfloat16
    assert model.new_cache(1, 1, torch.float32).values.dtype == torch.float32


def test_beyond_the_context_there_is_a_warning_unless_positions_are_given():
    model, ids = Model(Config()), torch.zeros(1, 7, dtype=torch.long)
    with pytest.warns(UserWarning, match="position 7 is beyond the context_length of 6"):
        model(ids)
    model(ids, positions=torch.arange(7)[None])


def test_the_soft_cap_bends_logits_and_keeps_their_order():
    model = Model(Config(), tied=False)
    with torch.no_grad():
        model.lm_head.weight.mul_(100)
    free = model(IDS)
    model.softcap = 15.0
    capped = model(IDS)

    torch.testing.assert_close(capped, 15 * torch.tanh(free / 15))
    torch.testing.assert_close(model.logits_of(model.hidden(IDS)[:, -1]), capped[:, -1])
    assert capped.abs().max() <= 15
    assert model.lm_head_weight is model.lm_head.weight


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"n_layers": 0}, "n_layers is 0; valid values are whole numbers from 1"),
        ({"d_ff": -4}, "d_ff is -4; valid values are whole numbers from 1"),
        ({"n_heads": 0}, "n_heads is 0; valid values are whole numbers from 1"),
        ({"n_heads": 3}, "n_heads is 3; valid values divide d_model, which is 8"),
        ({"n_kv_heads": 3}, "n_kv_heads is 3; valid values divide n_heads, which is 2"),
        ({"dropout": 1.0}, "dropout is 1.0; valid values are from 0 up to, not including, 1"),
        ({"dropout": float("nan")}, "dropout is nan"),
        ({"norm_eps": 0.0}, "norm_eps is 0.0; valid values are between 0 and 1, such as 1e-5"),
    ],
)
def test_what_no_network_can_have(fields, message):
    with pytest.raises(ValueError, match=message):
        Config(**fields)


def test_heads_of_any_width_are_fine_where_the_width_is_given():
    assert Config(n_heads=3, head_dim=5, n_kv_heads=3).head_dim == 5
    assert Config().head_dim == 4
