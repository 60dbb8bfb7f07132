"""The loop against itself cut in pieces: accumulation, resuming, budgets, and a stored list of losses."""

import hashlib
import os
import signal
from pathlib import Path

import orjson
import pytest
import torch

from groundup import artifact
from groundup.data.batches import IGNORE, Batch, Windows
from groundup.errors import EnvironmentFault, GroundupError, Stopped
from groundup.train import losses, step_dirs
from groundup.train.config import TrainConfig
from groundup.train.distributed import World
from groundup.train.precision import LossScale
from groundup.train.step import Stepper
from tests.train.conftest import build


class Uneven:
    """Batches whose rows have very different numbers of targets: 1, 3, 5 ..."""

    def batch(self, step: int, rows: slice = slice(None)) -> Batch:
        generator = torch.Generator().manual_seed(step)
        ids = torch.randint(0, 32, (8, 16), generator=generator)
        targets = torch.randint(0, 32, (8, 16), generator=generator)
        for row in range(8):
            targets[row, 2 * row + 1 :] = IGNORE
        ids, targets = ids[rows], targets[rows]
        return Batch(ids, targets, None, int((targets != IGNORE).sum()))


def bytes_of(step_dir: Path) -> dict[str, str]:
    """The hash of every file of a checkpoint."""
    files = sorted(f for f in step_dir.rglob("*") if f.is_file())
    return {str(f.relative_to(step_dir)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_the_loss_falls(train, optimizer):
    trial = train("run", n_steps=60, optimizer=optimizer, lr=1e-2)
    assert trial.losses[0] > 3.3
    assert sum(trial.losses[-5:]) / 5 < 2.2


@pytest.mark.parametrize("n_rows", [1, 2, 4])
def test_accumulation_equals_the_big_batch_with_uneven_targets(n_rows):
    def gradients(micro_batch_size: int) -> list[torch.Tensor]:
        model = build()
        config = TrainConfig(
            batch_size=8, micro_batch_size=micro_batch_size, precision="fp32", lr=0, matrix_lr=0, grad_clip=0
        )
        stepper = Stepper(model, Uneven(), losses.next_token, config, World(torch.device("cpu")))
        stepper.gradients(0)
        return [parameter.grad.clone() for parameter in model.parameters()]

    for whole, parts in zip(gradients(8), gradients(n_rows), strict=True):
        torch.testing.assert_close(parts, whole, atol=1e-6, rtol=1e-5)


def test_twenty_losses_are_the_stored_ones(train):
    """A refactoring that changes what is computed shows here; the tolerance is for other processors' rounding."""
    stored = [3.501, 3.4608, 3.3742, 3.2723, 3.1631, 3.0814, 2.9991, 2.866, 2.7671, 2.6771]
    stored += [2.5731, 2.5211, 2.4391, 2.3658, 2.3315, 2.2948, 2.2467, 2.219, 2.1966, 2.1761]
    assert train("run", n_steps=20, optimizer="adamw", lr=1e-2).losses == pytest.approx(stored, abs=3e-3)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_stopped_run_goes_on_and_ends_with_the_same_bytes(train, split, precision):
    settings = {"precision": precision, "save_every": 4, "eval_every": 6, "keep": 9}
    whole = train("whole", evaluate=lambda model, step: {"val_loss": 5.0 - step}, **settings)

    class Stopping(Windows):
        """Asks the run to stop in its first step; the batch that is looked at before that is the first one."""

        def batch(self, step, rows=slice(None)):
            self.n_asked = getattr(self, "n_asked", 0) + 1
            if self.n_asked == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().batch(step, rows)

    n_stops = 0
    while True:
        try:
            batches = Stopping(split, 16, 8, 0)
            cut = train("cut", evaluate=lambda model, step: {"val_loss": 5.0 - step}, batches=batches, **settings)
            break
        except Stopped as stopped:
            assert stopped.exit_code == 75
            n_stops += 1
            assert n_stops < 20
    assert n_stops == 12  # the last time before the last validation
    assert cut.losses == whole.losses
    assert bytes_of(cut.outcome.step_dir) == bytes_of(whole.outcome.step_dir)


def test_an_evaluation_that_a_signal_broke_off_is_made_again(train, tmp_path):
    """Also the last one, without which the run is not done."""
    settings = {"eval_every": 6, "save_every": 6, "keep": 9}
    train("whole", evaluate=lambda model, step: {"val_loss": 9.0 - step}, **settings)
    n_asked = 0

    def interrupted(model, step):
        nonlocal n_asked
        n_asked += 1
        if n_asked % 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return {"val_loss": 9.0 - step}

    for _ in range(3):
        with pytest.raises(Stopped):
            train("cut", evaluate=interrupted, **settings)
    cut = train("cut", evaluate=interrupted, **settings)
    assert n_asked == 6 and cut.outcome.metrics == {"val_loss": -3.0}
    for one, other in zip(step_dirs.all_of(tmp_path / "cut"), step_dirs.all_of(tmp_path / "whole"), strict=True):
        assert bytes_of(one) == bytes_of(other)
    assert (tmp_path / "cut" / "best").read_text() == (tmp_path / "whole" / "best").read_text()


def test_a_damaged_checkpoint_is_passed_over_and_said(train, tmp_path):
    whole = train("whole", save_every=4, keep=9)
    torn = train("torn", save_every=4, keep=9)
    weights = torn.outcome.step_dir / "model.safetensors"
    damaged = bytearray(weights.read_bytes())
    damaged[-1] ^= 1
    weights.write_bytes(damaged)
    saved_again = train("torn", save_every=4, keep=9)
    assert "damaged_checkpoint" in (tmp_path / "torn" / "events.jsonl").read_text()
    assert saved_again.losses == whole.losses


def test_best_and_latest_are_named_and_old_checkpoints_go(train, tmp_path):
    by_step = {0: 9.0, 3: 4.0, 6: 2.0, 9: 3.0, 12: 3.5}
    trial = train("run", evaluate=lambda model, step: {"val_loss": by_step[step]}, eval_every=3, keep=1)
    run_dir = tmp_path / "run"
    assert (run_dir / "latest").read_text().strip().endswith("step-00000012")
    assert (run_dir / "best").read_text().strip().endswith("step-00000006")
    assert [d.name for d in step_dirs.all_of(run_dir)] == ["step-00000006", "step-00000012"]
    assert trial.outcome.metrics == {"val_loss": 3.5}


def test_a_finished_run_called_again_changes_nothing(train):
    first = train("run")
    again = train("run")
    assert again.outcome.step_dir == first.outcome.step_dir
    assert again.losses == first.losses


def test_minutes_become_steps_once_and_leave_no_trace_in_the_weights(train, tmp_path):
    timed = train("timed", minutes=0.01, save_every=1, keep=99)
    n_steps = timed.outcome.n_steps
    assert n_steps >= 1 and (tmp_path / "timed" / "budget.json").exists()
    turn = artifact.read_json(tmp_path / "timed" / "budget.json")["turns"]
    counted = train("counted", n_steps=turn[0]["n_steps"], save_every=1, keep=99)
    n_alike = turn[1]["step"] if len(turn) > 1 else n_steps
    assert timed.losses[:n_alike] == counted.losses[:n_alike]
    assert train("timed", minutes=0.01, save_every=1, keep=99).outcome.n_steps == n_steps


def test_a_loss_that_is_not_a_number_ends_in_one_sentence(train):
    model = build()
    with torch.no_grad():
        next(iter(model.parameters())).fill_(float("nan"))
    with pytest.raises(GroundupError, match="not a number in the steps 1 to 6"):
        train("run", model=model)


def test_dropout_is_a_function_of_the_step(train):
    first = train("a", model=build(dropout=0.2))
    second = train("b", model=build(dropout=0.2))
    assert first.losses == second.losses


def test_a_bad_batch_is_left_out_kept_and_named(train, split, tmp_path):
    """One step's loss is no number: weights stay as they were, its batch lies in a bundle, the run goes on."""
    trial = train("run", batches=Poisoned(split, {5}), loss=poisonable, n_steps=12)
    assert [row["step"] for row in trial.rows if row.get("train_loss") is None] == [6]
    assert trial.rows[-1]["skipped"] == 1
    assert (tmp_path / "run" / "faults" / "step-00000006" / "batch.safetensors").is_file()
    whole = train("whole", n_steps=12)
    assert trial.losses[:5] == whole.losses[:5]
    assert all(torch.isfinite(parameter).all() for parameter in trial.model.parameters())


def test_after_too_many_bad_steps_the_run_goes_back_and_passes_over_what_led_there(train, split, tmp_path):
    settings = {"n_steps": 20, "max_skips": 2, "save_every": 4, "keep": 9}
    trial = train("run", batches=Poisoned(split, {9, 10, 11}), loss=poisonable, **settings)
    events = (tmp_path / "run" / "events.jsonl").read_text()
    assert "went_back" in events and trial.outcome.n_steps == 20
    [passed] = [row for row in map(orjson.loads, events.splitlines()) if row["kind"] == "went_back"]
    assert set(passed["passed_over"]) >= {10, 11, 12} and passed["step"] == 8
    again = train("again", batches=Poisoned(split, {9, 10, 11}), loss=poisonable, **settings)
    assert bytes_of(again.outcome.step_dir) == bytes_of(trial.outcome.step_dir)


def test_where_going_back_does_not_help_the_documents_are_named(train, split):
    with pytest.raises(GroundupError, match=r"going back to step \d+ did not help; their documents are"):
        train("run", batches=Poisoned(split, set(range(5, 99))), loss=poisonable, n_steps=40, max_skips=2, save_every=4)


class Poisoned(Windows):
    """Batches of which some make the loss no number: their first target says so to `poisonable`."""

    def __init__(self, split, steps):
        super().__init__(split, 16, 8, 0)
        self.steps = steps

    def batch(self, step, rows=slice(None)):
        batch = super().batch(step, rows)
        if step in self.steps:
            batch.targets[0, 0] = IGNORE
        return batch


def poisonable(model, batch):
    total, n, metrics = losses.next_token(model, batch)
    return (total * float("nan") if batch.targets[0, 0] == IGNORE else total), n, metrics


def test_patience_ends_a_run_that_gets_no_better(train):
    by_step = {0: 9.0, 2: 4.0, 4: 5.0, 6: 6.0, 8: 1.0}
    settings = {"evaluate": lambda model, step: {"val_loss": by_step[step]}, "eval_every": 2, "patience": 2}
    trial = train("run", **settings)
    assert trial.rows[-1]["step"] == 6
    assert train("run", **settings).rows == trial.rows  # called again, it stays ended
    assert (trial.outcome.step_dir.parent.parent / "best").read_text().strip().endswith("step-00000002")


def test_the_running_mean_is_what_is_validated_and_saved(train, tmp_path):
    seen = {}

    def evaluate(model, step):
        seen[step] = model.tok_embed.weight.clone()
        return {"val_loss": 1.0}

    settings = {"ema_decay": 0.9, "evaluate": evaluate, "eval_every": 12, "save_every": 6, "keep": 9}
    trial = train("run", **settings)
    from groundup.weights import checkpoint

    saved = checkpoint.load(trial.outcome.step_dir).model.tok_embed.weight
    assert torch.equal(seen[12], saved) and not torch.equal(trial.model.tok_embed.weight, saved)
    for later in step_dirs.all_of(tmp_path / "run")[1:]:
        artifact.remove(later)
    resumed = train("run", **settings)
    assert resumed.losses == trial.losses
    assert torch.equal(checkpoint.load(resumed.outcome.step_dir).model.tok_embed.weight, saved)


def test_recomputed_activations_give_the_same_losses_with_dropout(train):
    plain = train("plain", model=build(dropout=0.1))
    again = train("again", model=build(dropout=0.1), activation_checkpointing=True)
    assert again.losses == plain.losses


def test_short_memory_halves_the_micro_batch_and_keeps_the_batch(train, tmp_path):
    def greedy(model, batch):
        if len(batch.ids) > 2:
            raise MemoryError
        return losses.next_token(model, batch)

    settings = {"n_steps": 6, "save_every": 3, "keep": 9}
    short = train("short", loss=greedy, **settings)
    small = train("small", micro_batch_size=2, **settings)
    assert short.losses == small.losses
    assert "micro-batches of 2 sequences" in (tmp_path / "short" / "events.jsonl").read_text()
    with pytest.raises(EnvironmentFault, match="out of memory with micro-batches of 8"):
        train("refused", loss=greedy, auto_batch=False, **settings)


def test_fp16_learns_as_fp32_does_and_its_scale_survives(train):
    fp16, fp32 = (train(precision, precision=precision, n_steps=20) for precision in ("fp16", "fp32"))
    assert fp16.losses[-1] == pytest.approx(fp32.losses[-1], abs=0.05)


def test_the_loss_scale_follows_overflows():
    scale = LossScale(torch.float16, patience=3)
    for is_finite in (False, True, True, True, True):
        scale.update(is_finite)
    assert scale.value == 8.0 and scale.n_good == 1
    other = LossScale(torch.float16)
    other.load(scale.state())
    assert other.state() == scale.state()
    assert LossScale(torch.bfloat16).value == 1.0
