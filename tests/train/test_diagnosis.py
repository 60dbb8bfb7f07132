"""The doctor: each fault injected and named with its evidence; healthy runs of each family and optimizer stay quiet."""

import math
from dataclasses import replace

import pytest
import torch

from groundup import models
from groundup.data.batches import IGNORE, Batch, Windows
from groundup.train import losses, probes, reference
from groundup.train.config import TrainConfig
from groundup.train.diagnosis import Doctor
from tests.train.doctored import Bigram, build, findings, text

# --- nothing is found where nothing is wrong ---


# Each kind of block once, the rest where there is time.
FAMILIES = [
    pytest.param(name, marks=[] if name in ("gpt2", "llama", "mixtral") else pytest.mark.soak)
    for name in models.names()
]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_healthy_run_of_every_family_is_quiet(family):
    assert findings(build(family), n_steps=50) == {}


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "muon", "lr": 3e-3, "matrix_lr": 0.02, "n_steps": 50},
        pytest.param({"optimizer": "sgd", "lr": 0.1}, marks=pytest.mark.soak),
        pytest.param({"lr": 1e-3, "weight_decay": 0.1, "n_steps": 600}, marks=pytest.mark.soak),
        pytest.param({"lr": 3e-2}, marks=pytest.mark.soak),
    ],
)
def test_a_healthy_run_of_other_optimizers_is_quiet(settings):
    n_steps = settings.get("n_steps", 75)
    assert findings(n_steps=n_steps, **{name: value for name, value in settings.items() if name != "n_steps"}) == {}


def test_epochs_and_validation_of_a_healthy_run_are_no_fault():
    windows = Windows(text(40), 16, 8)
    assert windows.epoch(100) > 10
    assert findings(Bigram(), windows, n_steps=100, lr=1e-3, evaluate=lambda step: 3 - step / 100) == {}
    assert findings(Bigram(), Windows(text(40), 16, 8, sampler="random"), n_steps=50, lr=1e-3) == {}


# --- each fault, injected ---


class Altered:
    """Batches with a fault in them."""

    def __init__(self, change, windows: Windows | None = None):
        self.change, self.windows = change, windows or Windows(text(), 16, 8)

    def batch(self, step: int, rows: slice = slice(None)) -> Batch:
        return self.change(self.windows, step, rows)

    def epoch(self, step: int) -> float:
        return self.windows.epoch(step)


@pytest.mark.parametrize(("shift", "evidence"), [(0, "the id itself"), (2, "the id after the next")])
def test_shifted_targets(shift, evidence):
    def change(windows, step, rows):
        batch = windows.batch(step, rows)
        targets = torch.full_like(batch.ids, IGNORE)
        targets[:, : 16 - shift] = batch.ids[:, shift:]
        return replace(batch, targets=targets)

    found = findings(batches=Altered(change), n_steps=100)
    assert f"100% of the targets are {evidence}" in found["shifted_targets"]
    # The loss says so too, where the answer is in the input.
    assert ("too_good" in found) == (shift == 0)


def test_replies_may_be_certain():
    def conversation(windows, step, rows):
        batch = windows.batch(step, rows)
        return replace(batch, targets=batch.ids.clone(), segments=torch.ones_like(batch.ids))

    assert "too_good" not in findings(batches=Altered(conversation), n_steps=100)


def test_no_targets():
    batches = Altered(
        lambda windows, step, rows: replace(windows.batch(step, rows), targets=torch.full((8, 16), IGNORE))
    )
    assert "none of the 128 positions" in findings(batches=batches, n_steps=2)["no_targets"]


def test_targets_that_run_out_later():
    def change(windows, step, rows):
        batch = windows.batch(step, rows)
        return batch if step < 50 else replace(batch, targets=torch.full((8, 16), IGNORE))

    assert "exactly zero" in findings(batches=Altered(change), n_steps=100)["no_targets"]


def all_see_all(model, batch: Batch):
    """The loss of pretraining with a mask that hides nothing."""
    T = batch.ids.shape[1]
    hidden = model.hidden(batch.ids, mask=torch.ones(1, 1, T, T, dtype=torch.bool))
    return losses.linear_cross_entropy(hidden, model.lm_head_weight, batch.targets)[0], batch.n_targets, {}


def sees_one_ahead(model, batch: Batch):
    T = batch.ids.shape[1]
    mask = torch.ones(T, T, dtype=torch.bool).tril(1)[None, None]
    hidden = model.hidden(batch.ids, mask=mask)
    return losses.linear_cross_entropy(hidden, model.lm_head_weight, batch.targets)[0], batch.n_targets, {}


@pytest.mark.parametrize("loss", [all_see_all, sees_one_ahead])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_mask_that_leaks(loss, family):
    found = findings(build(family), loss=loss, n_steps=1)
    assert "when ids from there on were changed" in found["leaking_mask"]


def test_a_mask_that_leaks_between_conversations():
    class Two:
        """Rows of two conversations of eight positions each."""

        def batch(self, step: int, rows: slice = slice(None)) -> Batch:
            batch = Windows(text(), 16, 8).batch(step, rows)
            segments = torch.ones_like(batch.ids)
            segments[:, 8:] = 2
            targets = torch.where(torch.arange(16) == 7, IGNORE, batch.targets)
            return Batch(batch.ids, targets, segments, 8 * 15)

    def forgets_segments(model, batch: Batch):
        return losses.next_token(model, replace(batch, segments=None))

    found = findings(batches=Two(), loss=forgets_segments, n_steps=1)
    assert "another one in its row was changed" in found["leaking_mask"]
    assert findings(batches=Two(), n_steps=60) == {}


def test_a_leak_that_only_shows_when_trained():
    """Output projections of zero hide the mask at the start."""
    model = build()
    with torch.no_grad():
        for block in model.blocks:
            block.attn.o_proj.weight.zero_()
    doctor = Doctor(TrainConfig(warmup_steps=0), all_see_all)
    assert doctor.before(model, Windows(text(), 16, 8)) == []
    with torch.no_grad():
        for block in model.blocks:
            block.attn.o_proj.weight.normal_(std=0.1)
    assert [finding.kind for finding in doctor.examine(model, 10)] == ["leaking_mask"]


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_norm_that_gives_nothing(family):
    model = build(family)
    with torch.no_grad():
        model.blocks[1].mlp_norm.weight.zero_()
        if family == "gpt2":
            model.blocks[1].mlp_norm.bias.zero_()
    found = findings(model, n_steps=1)
    assert "blocks.1.mlp_norm gives numbers of about 0.0e+00" in found["dead_norm"]


def test_a_norm_that_gives_the_same_everywhere():
    model = build("gpt2")
    with torch.no_grad():
        model.blocks[0].attn_norm.weight.zero_()
        model.blocks[0].attn_norm.bias.fill_(1.0)
    assert "blocks.0.attn_norm gives the same numbers" in findings(model, n_steps=1)["dead_norm"]


def test_a_norm_whose_gradient_stays_zero():
    def cut(model):
        model.blocks[0].attn_norm.weight.grad.zero_()

    found = findings(after_backward=cut, n_steps=50)
    assert "the gradient of blocks.0.attn_norm.weight was exactly zero" in found["dead_norm"]


def test_a_layer_whose_gradients_stay_zero():
    def cut(model):
        for weight in model.blocks[1].mlp.parameters():
            weight.grad.zero_()

    assert "the gradient of blocks.1.mlp" in findings(after_backward=cut, n_steps=50)["dead_layer"]


def test_a_block_that_adds_nothing():
    model = build()
    for name in ("attn.o_proj", "mlp.down_proj"):
        model.blocks[1].get_submodule(name).weight.data.zero_()
    doctor = Doctor(TrainConfig(warmup_steps=10), losses.next_token)
    assert doctor.before(model, Windows(text(), 16, 8)) == [], "many models begin so"
    assert doctor.examine(model, 5) == []
    (finding,) = doctor.examine(model, 20)
    assert finding.kind == "dead_layer"
    assert "blocks.1 changes what passes through it by 0.0e+00" in finding.evidence


def test_a_loader_that_is_stuck():
    stuck = Altered(lambda windows, step, rows: windows.batch(step % 4, rows), Windows(text(4000), 16, 8))
    evidence = findings(batches=stuck, n_steps=50, lr=1e-3)["looping_data"]
    assert "stood in an earlier step of the same epoch already, the last one 4 steps before" in evidence


def test_rows_learned_by_heart():
    """The losses of a tuning run whose model is large for its rows: flat within an epoch, a cliff between two."""
    generator = torch.Generator().manual_seed(0)

    def found(fall: float) -> list:
        doctor = Doctor(TrainConfig(), losses.next_token)
        told = []
        for step in range(1, 151):
            loss = 2.0 - fall * (step // 100) + 0.1 * float(torch.randn((), generator=generator))
            told += doctor.look({"step": step, "train_loss": loss, "grad_norm": 1.0, "epoch": step / 100})
        return told

    assert found(0.0) == []
    (finding,) = found(0.5)
    assert finding.kind == "memorised" and finding.step == 125
    assert finding.evidence.startswith("the training loss fell from 2.0") and "where epoch 2 began" in finding.evidence


def test_overfitting():
    found = findings(Bigram(), evaluate=lambda step: 2.0 + abs(step - 100) / 500, n_steps=250, lr=3e-3)
    assert "the validation loss rose from 2.000 at step 100 to 2.2" in found["overfitting"]


@pytest.mark.parametrize(
    "settings", [{"optimizer": "sgd", "lr": 30.0}, {"lr": 10.0}, {"optimizer": "muon", "matrix_lr": 20.0, "lr": 3.0}]
)
def test_a_learning_rate_that_is_far_too_high(settings):
    assert "of knowing nothing" in findings(**settings)["learning_rate_too_high"]


def test_a_learning_rate_that_is_too_high():
    evidence = findings(optimizer="sgd", lr=1.0, n_steps=175)["learning_rate_too_high"]
    assert "the loss rose from" in evidence and "and the gradient norm from" in evidence


def test_a_learning_rate_that_is_too_low():
    found = findings(Bigram(), lr=1e-5, n_steps=225)
    assert list(found) == ["learning_rate_too_low"]
    assert "after 225 steps the loss is 3.4" in found["learning_rate_too_low"]


def test_weights_that_stand_still():
    assert "the weights are what they were" in findings(Bigram(), lr=0.0, n_steps=225)["not_learning"]


def test_nothing_to_learn():
    def change(windows, step, rows):
        generator = torch.Generator().manual_seed(step)
        return replace(windows.batch(step, rows), targets=torch.randint(0, 32, (8, 16), generator=generator))

    evidence = findings(batches=Altered(change), n_steps=225)["not_learning"]
    assert "though the weights moved by" in evidence


# --- what is around the rules ---


def test_a_finding_is_told_once_and_as_an_event():
    doctor = Doctor(TrainConfig(), all_see_all)
    model, windows = build(), Windows(text(), 16, 8)
    (finding,) = doctor.before(model, windows)
    assert finding.event() == {
        "step": 0, "finding": "leaking_mask", "evidence": finding.evidence, "hint": finding.hint
    }  # fmt: skip
    assert str(finding).startswith("leaking mask: the loss before position")
    assert doctor.before(model, windows) == []


def test_asking_leaves_no_trace():
    model, windows = build(), Windows(text(), 16, 8)
    model.train()
    before, state = [weight.clone() for weight in model.parameters()], torch.get_rng_state()
    doctor = Doctor(TrainConfig(), losses.next_token)
    assert doctor.before(model, windows) == [] and doctor.examine(model, 100) == []
    assert model.training and torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert not any(module._forward_hooks for module in model.modules())
    assert all(weight.grad is None for weight in model.parameters())


def test_a_row_of_one_id_has_nothing_to_ask():
    batch = Batch(torch.ones(1, 16, dtype=torch.int64), torch.ones(1, 16, dtype=torch.int64), None, 16)
    assert probes.activations_of(build(), losses.next_token, batch, is_trained=True) == []
    assert probes.targets_of(batch) is None


RECIPE = """# A recipe.
# reference: 1_000 tokens, loss 3.0
# reference: 100_000 tokens, loss 2.0
n_steps = 100
"""


def test_a_recipe_s_reference_curve(tmp_path):
    points = reference.read(RECIPE)
    assert points == [(1000.0, 3.0), (100000.0, 2.0)]
    (tmp_path / "recipe.toml").write_text(RECIPE)
    file = tmp_path / "recipe.toml"
    assert reference.of_origins({"lr": "default", "train.n_steps": f"{file}:4"}) == points
    assert reference.of_origins({"lr": "default", "data": "the command line"}) == ()

    def rows(loss: float):
        return [{"step": step, "train_loss": loss, "grad_norm": 1.0, "tokens": 100 * step} for step in range(1, 101)]

    # At 10,000 tokens, half way between the two in their logarithms, the reference is 2.5.
    assert reference.compare_with(points, rows(2.55)) is None
    above = reference.compare_with(points, rows(2.9))
    assert above is not None and "after 8,800 tokens the loss is 2.900, the recipe's own was 2.528" in above.evidence
    assert reference.compare_with(points, rows(2.9)[:20]) is None and reference.compare_with((), rows(9.0)) is None
    assert math.isclose(3 - math.log(8.8) / math.log(100), 2.528, abs_tol=1e-3)
    assert "above_reference" in findings(Bigram(), n_steps=75, reference=[(100.0, 1.0), (1e6, 0.5)])
