"""AdamW, SGD and Muon against torch's own, and the splitting of parameters among them."""

import copy

import pytest
import torch
from torch import nn

from groundup.optim import groups, muon, state
from groundup.optim.adamw import AdamW
from groundup.optim.muon import Muon, orthogonalise
from groundup.optim.sgd import SGD, SGDDecay
from groundup.train.config import TrainConfig


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


def assert_apart(ours: nn.Module, theirs: nn.Module, atol: float) -> None:
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=atol, rtol=0)


@pytest.mark.parametrize("kernels", ["fused", "textbook"])
def test_adamw_equals_torch_after_100_steps(kernels):
    ours, theirs = twins()
    settings = {"lr": 1e-2, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1}
    descend(ours, AdamW(ours.parameters(), **settings, kernels=kernels), 100)
    descend(theirs, torch.optim.AdamW(theirs.parameters(), **settings), 100)
    assert_apart(ours, theirs, 1e-6)


@pytest.mark.parametrize("kernels", ["fused", "textbook"])
def test_adamw_decays_without_gradient_direction(kernels):
    weight = nn.Parameter(torch.ones(3))
    weight.grad = torch.zeros(3)
    AdamW([weight], lr=0.1, weight_decay=0.5, kernels=kernels).step()
    torch.testing.assert_close(weight.detach(), torch.full((3,), 0.95))


def test_fused_adamw_takes_weights_of_several_dtypes_and_ages():
    """An expert that no token chose has no gradient: its counter stands still while the others' go on."""

    def weights() -> list[nn.Parameter]:
        return [nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3).bfloat16())]

    results = []
    for kernels in ("fused", "textbook"):
        made = weights()
        optimizer = AdamW(made, lr=0.1, kernels=kernels)
        for step in range(4):
            for number, weight in enumerate(made):
                weight.grad = None if number == 1 and step < 2 else torch.full_like(weight, step + 1.0)
            optimizer.step()
        assert [optimizer.state[weight]["step"] for weight in made] == [4, 2, 4]
        assert all(type(optimizer.state[weight]["step"]) is int for weight in made)
        results.append(made)
    for fused, textbook in zip(*results, strict=True):
        torch.testing.assert_close(fused, textbook, atol=1e-6 if fused.dtype == torch.float32 else 1e-2, rtol=0)


@pytest.mark.parametrize("momentum, nesterov", [(0.0, False), (0.9, False), (0.9, True)])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_sgd_equals_torch(momentum, weight_decay, nesterov):
    ours, theirs = twins()
    settings = {"lr": 0.1, "momentum": momentum, "weight_decay": weight_decay, "nesterov": nesterov}
    descend(ours, SGD(ours.parameters(), **settings), 50)
    descend(theirs, torch.optim.SGD(theirs.parameters(), dampening=0, **settings), 50)
    assert_apart(ours, theirs, 1e-6)


def test_sgd_decay_follows_its_formula():
    """On w^2 / 2 the gradient is w, so each step multiplies w by 1 - lr / sqrt(t + 1)."""
    weight = nn.Parameter(torch.tensor([4.0]))
    optimizer = SGDDecay([weight], lr=0.5)
    seen = []
    for _ in range(5):
        optimizer.zero_grad()
        (weight.pow(2) / 2).sum().backward()
        optimizer.step()
        seen.append(weight.item())
    assert seen == pytest.approx([2.0, 1.29289, 0.91967, 0.68975, 0.53552], abs=1e-5)
    assert optimizer.state[weight] == {"step": 5}


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


@pytest.mark.parametrize("kernels", ["fused", "textbook"])
def test_muon_follows_torch(kernels):
    ours, theirs = twins()
    descend(ours, Muon(ours.parameters(), lr=0.02, weight_decay=0.1, kernels=kernels), 20)
    descend(theirs, torch.optim.Muon(theirs.parameters(), lr=0.02, weight_decay=0.1), 20)
    assert_apart(ours, theirs, 2e-2)


def test_muon_makes_the_same_step_in_stacks_of_any_size(monkeypatch):
    ours, theirs = twins(n_layers=5)
    descend(ours, Muon(ours.parameters()), 3)
    monkeypatch.setattr(muon, "STACK", 2 * 64)
    assert [len(stack) for stack in muon.stacks(list(theirs.parameters()))] == [2, 2, 1, 1]
    descend(theirs, Muon(theirs.parameters()), 3)
    assert_apart(ours, theirs, 1e-3)


@pytest.mark.parametrize("kernels", ["fused", "textbook"])
@pytest.mark.parametrize("shape", [(12, 12), (24, 8), (8, 24)])
def test_orthogonalise_keeps_directions_and_evens_singular_values(shape, kernels):
    matrix = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    result = orthogonalise(matrix, kernels=kernels).float()
    values = torch.linalg.svdvals(result)
    assert values.min() > 0.3 and values.max() < 1.4
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    aligned = (result * (u @ v)).sum(dim=(-2, -1)) / (result.norm(dim=(-2, -1)) * (u @ v).norm(dim=(-2, -1)))
    assert aligned.min() > 0.95


def test_muon_refuses_vectors():
    with pytest.raises(ValueError, match="matrices only"):
        Muon([nn.Parameter(torch.zeros(3))])


@pytest.mark.parametrize("optimizer", [AdamW, Muon, SGD, SGDDecay])
@pytest.mark.parametrize("lr", [-1.0, float("nan")])
def test_impossible_rates_are_refused(optimizer, lr):
    with pytest.raises(ValueError, match="needs"):
        optimizer([nn.Parameter(torch.zeros(3, 3))], lr=lr)


def test_nesterov_needs_momentum():
    with pytest.raises(ValueError, match="momentum = 0"):
        SGD([nn.Parameter(torch.zeros(3))], nesterov=True)


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


def test_frozen_weights_are_nobodys():
    model = Tiny()
    model.inner.weight.requires_grad_(False)
    model.inner.bias.requires_grad_(False)
    for build in groups.OPTIMIZERS.values():
        held = groups.parameters(build(model, groups.Rates()))
        assert {id(weight) for weight in held} == {id(model.tok_embed.weight), id(model.lm_head.weight)}


def test_rates_are_those_of_the_config():
    config = TrainConfig(
        lr=0.1, matrix_lr=0.2, weight_decay=0.3, beta1=0.4, beta2=0.5, momentum=0.6, kernels="textbook"
    )
    rates = groups.Rates.of(config)
    assert rates == groups.Rates(0.1, 0.2, 0.3, (0.4, 0.5), 0.6, "textbook")
    by_name = {type(one).__name__: one for build in groups.OPTIMIZERS.values() for one in build(Tiny(), rates)}
    assert by_name["AdamW"].defaults["betas"] == (0.4, 0.5) and by_name["AdamW"].defaults["lr"] == 0.1
    assert by_name["Muon"].defaults["momentum"] == 0.6 and by_name["Muon"].defaults["lr"] == 0.2
    assert by_name["SGD"].defaults["momentum"] == 0.4
    assert all(group["full_lr"] == group["lr"] for one in by_name.values() for group in one.param_groups)


class Square(nn.Module):
    """A model of one embedding and two matrices whose gradients depend on the weights."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.tok_embed = nn.Embedding(8, 8)
        self.inner = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x @ self.tok_embed.weight)


@pytest.mark.parametrize("kernels", ["fused", "textbook"])
@pytest.mark.parametrize("name", groups.OPTIMIZERS)
def test_saved_loaded_and_saved_is_the_same_bytes_and_goes_on_the_same(name, kernels):
    def build() -> tuple[nn.Module, list[torch.optim.Optimizer]]:
        model = Square()
        return model, groups.OPTIMIZERS[name](model, groups.Rates(lr=0.01, weight_decay=0.1, kernels=kernels))

    def train(model: nn.Module, optimizers: list[torch.optim.Optimizer], first: int, last: int) -> None:
        for step in range(first, last):
            x = torch.randn(16, 8, generator=torch.Generator().manual_seed(step))
            (model(x) - x).pow(2).mean().backward()
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()

    model, optimizers = build()
    train(model, optimizers, 0, 5)
    saved = {key: tensor.clone() for key, tensor in state.to_tensors(optimizers, model).items()}

    resumed, again = build()
    resumed.load_state_dict(model.state_dict())
    state.from_tensors(saved, again, resumed)
    twice = state.to_tensors(again, resumed)
    assert list(twice) == list(saved)
    assert all(tensor.dtype == saved[key].dtype and torch.equal(tensor, saved[key]) for key, tensor in twice.items())

    train(model, optimizers, 5, 10)
    train(resumed, again, 5, 10)
    for a, b in zip(model.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("key", "message"),
    [("0.nothing.mean", "no parameter"), ("7.inner.weight.mean", "no parameter"), ("0.inner.weight.mean", "shape")],
)
def test_a_state_of_another_model_is_refused(key, message):
    model = Square()
    with pytest.raises(ValueError, match=message):
        state.from_tensors({key: torch.zeros(2)}, groups.adamw(model, groups.Rates()), model)
