"""Accidents that meet: a bad number at the end of a run, a signal while weights change places, a disk that refuses."""

import os
import signal
import time
from pathlib import Path

import pytest
import torch

from groundup.errors import EnvironmentFault, GroundupError, Stopped
from groundup.optim.ema import Ema
from groundup.train import losses, precision, repeated_rows, saving, step_writer
from groundup.train.devices import widest_dtype
from groundup.weights import checkpoint
from tests.train.test_loop import Poisoned, bytes_of, poisonable


@pytest.mark.parametrize("n_steps", [1, 12])
def test_a_last_step_that_is_left_out_is_saved_all_the_same(train, split, n_steps):
    trial = train("run", batches=Poisoned(split, {n_steps - 1}), loss=poisonable, n_steps=n_steps, save_every=5)
    assert trial.outcome.step_dir.name == f"step-{n_steps:08d}"
    saved = checkpoint.load(trial.outcome.step_dir).model.state_dict()
    assert all(torch.equal(saved[name], one) for name, one in trial.model.state_dict().items())


@pytest.mark.parametrize("n_th", [3, 4])  # before the second evaluation, and after it
def test_a_signal_while_the_running_mean_takes_its_place_harms_no_weights(train, monkeypatch, n_th):
    settings = {"ema_decay": 0.5, "eval_every": 6, "save_every": 6, "evaluate": lambda model, step: {"val_loss": 1.0}}
    whole = train("whole", **settings)
    exchange, n_calls = Ema._exchange, 0

    def interrupted(self):
        nonlocal n_calls
        n_calls += 1
        parameters = self._parameters
        for number, (name, parameter) in enumerate(parameters.items()):
            self._parameters = {name: parameter}
            exchange(self)
            if n_calls == n_th and number == 1:
                os.kill(os.getpid(), signal.SIGTERM)
        self._parameters = parameters

    monkeypatch.setattr(Ema, "_exchange", interrupted)
    with pytest.raises(Stopped):
        train("cut", **settings)
    cut = train("cut", **settings)
    assert cut.losses == whole.losses
    assert bytes_of(cut.outcome.step_dir) == bytes_of(whole.outcome.step_dir)


def test_rows_of_an_evaluation_that_no_checkpoint_knows_are_written_once(train, monkeypatch):
    """A signal breaks the evaluation off; the next attempt makes it, and dies before it is saved."""
    settings = {"eval_every": 6, "keep": 9}

    def evaluate(model, step):
        if step == 6:
            os.kill(os.getpid(), signal.SIGTERM)
        return {"val_loss": 9.0 - step}

    with pytest.raises(Stopped):
        train("cut", evaluate=evaluate, **settings)
    with monkeypatch.context() as context, pytest.raises(RuntimeError, match="killed"):
        context.setattr(saving.Saver, "save", _killed)
        train("cut", evaluate=lambda model, step: {"val_loss": 9.0 - step}, **settings)
    cut = train("cut", evaluate=lambda model, step: {"val_loss": 9.0 - step}, **settings)
    assert [row["step"] for row in cut.rows if "val_loss" in row] == [0, 6, 12]
    assert [row["step"] for row in cut.rows if "train_loss" in row] == list(range(1, 13))


def _killed(*args, **kwargs):
    raise RuntimeError("killed")


def test_a_run_whose_end_could_not_be_saved_says_so(train, monkeypatch):
    """And a later one, on a disk that takes it again, ends well."""
    with monkeypatch.context() as context:
        context.setattr(step_writer.checkpoint, "write", _full)
        with pytest.raises(EnvironmentFault, match="last step, 12, could not be saved"):
            train("run", on_save_error="warn")
    assert train("run", on_save_error="warn").outcome.step_dir.name == "step-00000012"


def _full(*args, **kwargs):
    raise EnvironmentFault("the disk is full")


def test_going_back_where_the_last_good_checkpoint_was_never_written(train, split, monkeypatch):
    write = checkpoint.write
    monkeypatch.setattr(
        step_writer.checkpoint,
        "write",
        lambda path, *a, **k: (_full if Path(path).name in bad else write)(path, *a, **k),
    )
    settings = {"save_every": 3, "n_steps": 20, "max_skips": 3, "on_save_error": "warn", "loss": poisonable}
    bad = {"step-00000006"}
    trial = train("run", batches=Poisoned(split, set(range(6, 13))), **settings)
    assert trial.outcome.n_steps == 20
    bad = {"step-00000003", "step-00000006"}  # none at all: never step 0 with weights that were trained
    with pytest.raises(GroundupError, match="there is no earlier checkpoint"):
        train("none", batches=Poisoned(split, set(range(6, 13))), **settings)


def test_evaluations_of_steps_that_are_passed_over_are_no_reason_to_stop(train, split):
    """Nothing is updated there, so nothing can get better; before and after, everything does."""
    settings = {"n_steps": 20, "max_skips": 3, "save_every": 3, "eval_every": 2, "patience": 2, "loss": poisonable}
    trial = train(
        "run",
        batches=Poisoned(split, set(range(6, 11))),
        evaluate=lambda model, step: {"val_loss": -model.tok_embed.weight.detach().double().square().sum().item()},
        **{**settings, "optimizer": "adamw", "weight_decay": 0.0, "lr": 1e-2},
    )
    assert trial.outcome.n_steps == 20


def test_gradients_that_overflow_at_any_scale_end_the_run(train, monkeypatch):
    monkeypatch.setattr(precision, "SMALLEST_SCALE", 1.0)

    class Broken(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient * float("inf")

    def loss(model, batch):
        total, n, metrics = losses.next_token(model, batch)
        return Broken.apply(total), n, metrics

    with pytest.raises(GroundupError, match="not a number"):
        train("run", loss=loss, n_steps=16, save_every=100, precision="fp16")


def test_a_clock_that_stands_still_during_a_step_stops_nothing(train, monkeypatch):
    """As Windows' monotonic one, which moves every 16 ms."""
    now = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: float(int(now())))
    assert train("steps", n_steps=3).outcome.n_steps == 3
    assert train("minutes", n_steps=0, minutes=0.005).outcome.n_steps >= 1


def test_steps_made_again_after_going_back_are_no_repeated_rows(split):
    batches, rows = Poisoned(split, set()), repeated_rows.RepeatedRows()
    rows.follow(batches)
    for step in [0, 1, 2, 3, 1, 2, 3, 1, 2, 3, 4]:
        rows.add(step, batches.batch(step))
    assert rows.finding() is None


def test_apple_gpus_add_up_in_what_they_have():
    assert widest_dtype(torch.device("mps")) == torch.float32
    assert widest_dtype(torch.device("cpu")) == widest_dtype(torch.device("cuda")) == torch.float64
