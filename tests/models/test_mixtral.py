"""What only Mixtral has: experts that not every id uses, and attention that reaches back a window."""

import pytest
import torch

from groundup.models import mixtral
from tests.models import tiny
from tests.models.tiny import VOCAB_SIZE


def test_an_expert_that_no_id_chose_does_not_matter():
    model, ids = tiny.small("mixtral", n_layers=1, n_experts=4, n_active=2), torch.randint(VOCAB_SIZE, (1, 1))
    before = model(ids)
    mlp = model.blocks[0].mlp
    chosen = []
    mlp.register_forward_pre_hook(lambda _, x: chosen.extend(mlp.router(x[0]).topk(2).indices.flatten().tolist()))
    model(ids)

    for number, expert in enumerate(mlp.experts):
        with torch.no_grad():
            expert.down_proj.weight.neg_()
        is_same = torch.equal(model(ids), before)
        assert is_same == (number not in chosen)
        with torch.no_grad():
            expert.down_proj.weight.neg_()


def test_the_window_ends_where_it_says():
    ids = torch.randint(VOCAB_SIZE, (1, 9))
    other = ids.clone()
    other[0, 2] = (ids[0, 2] + 1) % VOCAB_SIZE
    model = tiny.small("mixtral", n_layers=1, window=3)
    moved = (model(ids) - model(other))[0].abs().amax(-1)

    assert moved[2:5].min() > 1e-3
    assert moved[:2].max() == moved[5:].max() == 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"n_experts": 0}, "n_experts is 0; valid values are whole numbers from 1"),
        ({"n_active": 9}, "n_active is 9; valid values are from 1 to n_experts, 8"),
        ({"n_active": 0}, "n_active is 0; valid values are from 1 to n_experts, 8"),
        ({"window": -1}, "window is -1; valid values are whole numbers from 1, and 0 for no window"),
    ],
)
def test_what_cannot_be_built_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        mixtral.Config(**fields)
