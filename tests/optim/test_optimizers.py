"""AdamW and Muon against torch's own, and the splitting of parameters among them."""

import copy

import pytest
import torch
from torch import nn

from groundup.optim import groups
from groundup.optim.adamw import AdamW
from groundup.optim.muon import Muon, orthogonalise


def twins(n_layers: int = 2) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    ours = nn.Sequential(*[nn.Linear(8, 8, bias=False) for _ in range(n_layers)], nn.Linear(8, 3, bias=False))
    theirs = nn.Sequential(*[nn.Linear(8, 8, bias=False) for _ in range(n_layers)], nn.Linear(8, 3, bias=False))
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def descend(model: nn.Module, optimizer: torch.optim.Optimizer, n_steps: int) -> None:
    generator = torch.Generator().manual_seed(1)
    for _ in range(n_steps):
        x = torch.randn(16, 8, generator=generator)
        optimizer.zero_grad()
        (model(x).tanh() - x[:, :3]).pow(2).mean().backward()
        optimizer.step()


def test_adamw_equals_torch_after_100_steps():
    ours, theirs = twins()
    settings = {"lr": 1e-2, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1}
    descend(ours, AdamW(ours.parameters(), **settings), 100)
    descend(theirs, torch.optim.AdamW(theirs.parameters(), **settings), 100)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=0)


def test_adamw_decays_without_gradient_direction():
    weight = nn.Parameter(torch.ones(3))
    weight.grad = torch.zeros(3)
    AdamW([weight], lr=0.1, weight_decay=0.5).step()
    torch.testing.assert_close(weight.detach(), torch.full((3,), 0.95))


def test_adamw_state_round_trip_continues_the_same():
    ours, theirs = twins()
    first = AdamW(ours.parameters(), lr=1e-2)
    descend(ours, first, 5)
    theirs.load_state_dict(ours.state_dict())
    second = AdamW(theirs.parameters(), lr=1e-2)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    descend(ours, first, 5)
    descend(theirs, second, 5)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a, b)


def test_muon_follows_torch():
    ours, theirs = twins()
    descend(ours, Muon(ours.parameters(), lr=0.02, weight_decay=0.1), 20)
    descend(theirs, torch.optim.Muon(theirs.parameters(), lr=0.02, weight_decay=0.1), 20)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=2e-2, rtol=0)


@pytest.mark.parametrize("shape", [(12, 12), (24, 8), (8, 24)])
def test_orthogonalise_keeps_directions_and_evens_singular_values(shape):
    matrix = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    result = orthogonalise(matrix).float()
    values = torch.linalg.svdvals(result)
    assert values.min() > 0.3 and values.max() < 1.4
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    aligned = (result * (u @ v)).sum(dim=(-2, -1)) / (result.norm(dim=(-2, -1)) * (u @ v).norm(dim=(-2, -1)))
    assert aligned.min() > 0.95


def test_muon_refuses_vectors():
    with pytest.raises(ValueError, match="matrices only"):
        Muon([nn.Parameter(torch.zeros(3))])


@pytest.mark.parametrize("arguments", [{"lr": -1.0}, {"weight_decay": -1.0}])
def test_negative_settings_are_refused(arguments):
    with pytest.raises(ValueError, match="needs"):
        AdamW([nn.Parameter(torch.zeros(3))], **arguments)


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tok_embed = nn.Embedding(5, 4)
        self.inner = nn.Linear(4, 4)
        self.lm_head = nn.Linear(4, 5, bias=False)


def test_split_and_builders_cover_every_parameter_once():
    model = Tiny()
    matrices, embeddings, vectors = groups.split(model)
    assert [tuple(m.shape) for m in matrices] == [(4, 4)]
    assert len(embeddings) == 2 and len(vectors) == 1
    for build in groups.OPTIMIZERS.values():
        held = groups.parameters(build(model, groups.Rates()))
        assert sorted(map(id, held)) == sorted(map(id, model.parameters()))


def test_vectors_never_decay():
    (optimizer,) = groups.adamw(Tiny(), groups.Rates(weight_decay=0.1))
    decay_by_ndim = {p.ndim: g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert decay_by_ndim == {2: 0.1, 1: 0.0}
