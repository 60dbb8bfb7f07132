"""torch.compile in training: what it is applied to, what people are told, and that it changes nothing but the time."""

import os
import subprocess
import sys

import pytest
import torch

from groundup.data.batches import Batch
from groundup.errors import EnvironmentFault
from groundup.layers.masks import document_mask
from groundup.train import compiling, distributed, losses
from groundup.train.config import TrainConfig
from groundup.train.step import Stepper
from tests.train.conftest import build


@pytest.fixture
def without_compiler():
    from torch._inductor import config

    with config.patch({"cpp.cxx": (None, "/nowhere/g++")}):
        yield


def test_without_a_compiler_training_goes_on_and_says_so(without_compiler):
    model, told = build(), []
    assert not compiling.compile_model(model, told.append)
    assert "hidden" not in vars(model)
    assert len(told) == 1 and "C++ compiler" in told[0] and "install g++" in told[0]


def test_who_must_have_it_gets_an_error(without_compiler):
    with pytest.raises(EnvironmentFault, match="finds none"):
        compiling.check_compiler(torch.device("cpu"))


def test_the_folder_is_the_users_cache_or_what_they_say(monkeypatch, tmp_path):
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if sys.platform == "linux":
        assert compiling.folder() == tmp_path / "groundup" / "torch"
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "own"))
    assert compiling.folder() == tmp_path / "own"


class Rows:
    """Four rows of random ids."""

    def batch(self, step: int, rows: slice = slice(None)) -> Batch:
        ids = torch.randint(64, (4, 17), generator=torch.Generator().manual_seed(step))[rows]
        return Batch(ids[:, :-1], ids[:, 1:].contiguous(), segments=None, n_targets=ids[:, 1:].numel())


def stepper(compiled: bool, told: list[str]) -> Stepper:
    model = build(vocab_size=64, d_model=32, d_ff=64)
    config = TrainConfig(n_steps=4, batch_size=4, compile=compiled, device="cpu", precision="bf16", optimizer="adamw")
    return Stepper(model, Rows(), losses.next_token, config, distributed.World(torch.device("cpu")), notice=told.append)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """What one test has compiled, the next one finds."""
    return tmp_path_factory.mktemp("torch")


@pytest.mark.compiles
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_compiled_steps_are_the_plain_ones_in_one_graph(cache, monkeypatch):
    assert not os.listdir(cache)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(cache))
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()
    told: list[str] = []
    compiled, plain = stepper(True, told), stepper(False, [])
    for step in range(3):
        ours, theirs = compiled.gradients(step), plain.gradients(step)
        assert ours.loss == pytest.approx(theirs.loss, rel=1e-3)
        assert ours.norm == pytest.approx(theirs.norm, rel=2e-2)
        compiled.update(step, 4), plain.update(step, 4)
    assert len(told) == 1 and str(cache) in told[0]
    assert os.listdir(cache)

    counted = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    model = compiled.precise.working
    with compiled.evaluating(), torch.no_grad():
        compiled.model.hidden(torch.zeros(3, 5, dtype=torch.long))
    model.eval().hidden(torch.zeros(1, 7, dtype=torch.long))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == counted, "only training is compiled"
    assert counted == 1


@pytest.mark.compiles
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_a_mask_of_documents_makes_one_graph_and_the_same_states():
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()
    model = build().to(torch.bfloat16).train()
    ids = torch.arange(16)[None]
    mask = document_mask(torch.tensor([[0] * 5 + [1] * 11]))
    mask[..., 3, :] = False  # a query that may attend to nothing
    expected = model.hidden(ids, mask=mask)
    assert compiling.compile_model(model)
    torch.testing.assert_close(model.hidden(ids, mask=mask), expected, atol=3e-2, rtol=3e-2)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


RESUMED = """
import sys, torch
from tests.train.test_compiling import stepper
whole, first = stepper(True, []), stepper(True, [])
def go(s, steps):
    for step in steps:
        s.gradients(step); s.update(step, 4)
if sys.argv[1] == "whole":
    go(whole, range(4))
    print([p.double().sum().item() for p in whole.model.parameters()])
else:
    go(first, range(2))
    whole.model.load_state_dict(first.model.state_dict())
    for ours, theirs in zip(whole.optimizers, first.optimizers): ours.load_state_dict(theirs.state_dict())
    go(whole, range(2, 4))
    print([p.double().sum().item() for p in whole.model.parameters()])
"""


@pytest.mark.compiles
def test_resumed_with_compile_on_ends_with_the_same_bits(cache):
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(cache)}
    ends = [
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", RESUMED, how],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for how in ("whole", "resumed")
    ]
    assert ends[0] == ends[1]
