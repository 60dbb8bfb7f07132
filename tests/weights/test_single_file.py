"""One file for any module: same bytes for the same state, and training that goes on as if never stopped."""

import io
import struct

import pytest
import torch
from torch import nn

from groundup.errors import ArtefactError
from groundup.layers.linear import Linear
from groundup.optim.adamw import AdamW
from groundup.weights.single_file import load_checkpoint, save_checkpoint


class Tied(nn.Module):
    """Two names for one weight, and a buffer, as people's own modules have them."""

    def __init__(self):
        super().__init__()
        self.one = Linear(4, 4)
        self.two = self.one
        self.register_buffer("count", torch.tensor(3))

    def forward(self, x):
        return self.two(self.one(x).relu())


OPTIMIZERS = {
    "ours": lambda p: AdamW(p, lr=1e-2),
    "adamw": lambda p: torch.optim.AdamW(p, lr=1e-2, betas=(0.9, 0.98)),
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "lbfgs": lambda p: torch.optim.LBFGS(p, lr=0.1),
}


def train(module, optimizer, n_steps):
    for step in range(n_steps):
        x = torch.randn(8, 4, generator=torch.Generator().manual_seed(step))

        def closure(x=x):
            optimizer.zero_grad()
            loss = (module(x) - x).square().mean()
            loss.backward()
            return loss

        optimizer.step(closure)


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_training_goes_on_exactly_and_saving_again_gives_the_same_bytes(make, tmp_path):
    module = Tied()
    optimizer = make(module.parameters())
    train(module, optimizer, 3)
    save_checkpoint(module, optimizer, 3, tmp_path / "a.safetensors")

    other = Tied()
    resumed = make(other.parameters())
    assert load_checkpoint(tmp_path / "a.safetensors", other, resumed) == 3
    save_checkpoint(other, resumed, 3, str(tmp_path / "b.safetensors"))
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()

    train(module, optimizer, 2)
    train(other, resumed, 2)
    for one, two in zip(module.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(one, two)


def test_an_open_file_will_do(tmp_path):
    module, other, file = Linear(2, 3), Linear(2, 3), io.BytesIO()
    save_checkpoint(module, None, 7, file)
    file.seek(0)

    assert load_checkpoint(file, other) == 7
    assert torch.equal(module.weight, other.weight)
    with open(tmp_path / "x", "wb") as opened:
        save_checkpoint(module, None, 7, opened)
    assert (tmp_path / "x").read_bytes() == file.getvalue()


def test_special_numbers_survive(tmp_path):
    module = Linear(2, 2)
    optimizer = torch.optim.SGD(module.parameters(), lr=float("inf"))
    with torch.no_grad():
        module.weight[0, 0] = float("nan")
    save_checkpoint(module, optimizer, 0, tmp_path / "x")
    load_checkpoint(tmp_path / "x", module, optimizer)

    assert optimizer.param_groups[0]["lr"] == float("inf")
    assert module.weight[0, 0].isnan()


def test_what_would_need_pickle_is_refused(tmp_path):
    module = Linear(2, 2)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    optimizer.param_groups[0]["secret"] = object()

    with pytest.raises(TypeError, match="a state holds a object, which cannot be saved without pickle"):
        save_checkpoint(module, optimizer, 0, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_another_module_or_optimizer_is_refused(tmp_path):
    module = Linear(2, 3)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    save_checkpoint(module, optimizer, 0, tmp_path / "x")

    with pytest.raises(ArtefactError, match=r"another module.*size mismatch for weight"):
        load_checkpoint(tmp_path / "x", Linear(3, 3))
    with pytest.raises(ArtefactError, match=r"another module.*bias"):
        load_checkpoint(tmp_path / "x", Linear(2, 3, bias=True))
    groups = [{"params": [p]} for p in Linear(2, 3, bias=True).parameters()]
    with pytest.raises(ArtefactError, match="another module or optimizer"):
        load_checkpoint(tmp_path / "x", module, torch.optim.SGD(groups, lr=0.1))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x04pickle",
        b"\xff" * 64,
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 36) + b'{"__metadata__":{"groundup":"[[[["}}',
        struct.pack("<Q", 1 << 60) + b"{}",
    ],
)
def test_a_damaged_file_is_refused(content, tmp_path):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ArtefactError, match="no checkpoint, or a damaged one"):
        load_checkpoint(tmp_path / "x", Linear(2, 2))


def test_every_truncation_is_refused(tmp_path):
    module = Linear(3, 3)
    save_checkpoint(module, torch.optim.SGD(module.parameters(), lr=0.1), 1, tmp_path / "x")
    content = (tmp_path / "x").read_bytes()
    for length in range(len(content)):
        with pytest.raises(ArtefactError):
            load_checkpoint(io.BytesIO(content[:length]), module)


def test_a_missing_file_is_said():
    with pytest.raises(ArtefactError, match="cannot read the checkpoint: No such file"):
        load_checkpoint("nowhere.safetensors", Linear(2, 2))
