"""THE training loop: every stage hands it a model, batches and a loss, and it is the only one there is.

    for each step:   gradients of one global batch -> are they sound? -> update -> write down
    now and then:    validate, save, stop

How one update is made stands in step.py, what is written down in run_folder.py and saving.py. Whatever decides
something is a function of what is in a checkpoint, so a run that was killed at any instant and called again ends with
the same bytes as one that was not.
"""

import contextlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from groundup.errors import EnvironmentFault, Stopped
from groundup.tokenizer.protocol import Tokenizer
from groundup.train import devices, distributed, faulty_steps, step_dirs
from groundup.train.budget import N_PARTS, Budget, Pace
from groundup.train.config import TrainConfig
from groundup.train.diagnosis import Doctor, Finding
from groundup.train.guard import Guard
from groundup.train.progress import Progress
from groundup.train.reference import Reference
from groundup.train.run_folder import RunFolder
from groundup.train.saving import Saver
from groundup.train.step import Batches, Gradients, Loss, Stepper
from groundup.train.stopping import BrokenOff, StopRequest
from groundup.train.trackers import Trackers
from groundup.train.watch import Watch

__all__ = ["Batches", "Evaluate", "Loss", "Outcome", "train"]

Evaluate = Callable[[nn.Module, int], dict[str, float]]
"""evaluate(model, step) -> metrics such as `val_loss`."""


@dataclass
class Outcome:
    """What a run came to: its length, the last evaluation's metrics, and the last checkpoint."""

    n_steps: int
    seconds: float
    metrics: dict[str, float]
    step_dir: Path


def train(
    model: nn.Module,
    batches: Batches,
    loss: Loss,
    config: TrainConfig,
    *,
    run: RunFolder,
    watch: Watch,
    tokenizer: Tokenizer | None = None,
    evaluate: Evaluate | None = None,
    facts: Mapping[str, Any] | None = None,
    identity: Mapping[str, str] | None = None,
    resume_from: Path | str = "",
    reference: Reference = (),
    flops_per_token: float = 0.0,
    peak_flops: float = 0.0,
) -> Outcome:
    """Train until the last step, or go on where the run folder's newest checkpoint stands (or `resume_from`).

    `facts` are kept in each checkpoint; `identity` are hashes, as of the data, that must be the same when the run goes
    on; `reference` is a curve to compare with; with `flops_per_token` and the machine's `peak_flops` (per second and
    device) the rows say the share of it that is used (MFU). Raises `Stopped` (after saving) on SIGTERM or Ctrl-C, and
    `GroundupError` when the loss stays no number whatever is tried.
    """
    began = time.monotonic()
    world = distributed.world(config)
    model.to(world.device)
    doctor = Doctor(config, loss, reference)
    stepper = Stepper(model, batches, loss, config, world, doctor, watch.note)
    guard = Guard(config.max_skips, config.spike_sigmas)
    with (
        StopRequest() as stop,
        Saver(
            run, model, stepper.optimizers, keep=config.keep, tokenizer=tokenizer, facts=facts,
            on_error=config.on_save_error, identity=identity, notice=watch.note, is_main=world.is_main,
        ) as saver,
        Trackers(config.log if world.is_main else (), run.path, asdict(config), watch.note) as trackers,
    ):  # fmt: skip
        this = Training(stepper, guard, saver, run, watch, evaluate)
        this.resume(Path(resume_from) if resume_from else None)
        this.began = began - this.progress.seconds
        this.settle_the_length()
        watch.start(this.n_steps, this.progress.step)
        this.say(doctor.before(model, batches, this.progress.step))

        while True:
            with contextlib.suppress(BrokenOff):
                this.evaluate_if_due(stop)
            if world.any(stop.is_set) and not this.is_done:
                this.save()
                saver.wait()
                run.event("stopped", step=this.progress.step, signal=stop.name)
                raise Stopped(
                    f"stopped at step {this.progress.step} of {this.n_steps}"
                    + " with a checkpoint saved" * (saver.step_dir is not None and not saver.has_failed),
                    where=str(run.path),
                    hint="the same command goes on from here",
                )
            this.save_if_due()
            if this.is_over:
                break
            row = this.step()
            row |= this.speed(row, flops_per_token, peak_flops * world.world_size)
            run.metric(row)
            trackers.metric(row)
            watch.step(row)
            this.say(doctor.look(row, model))
            saver.check()
        saver.wait()
    if saver.step_dir is None or saver.has_failed:  # with on_save_error = "warn"
        what = f"the run is over, and its last step, {this.progress.step}, could not be saved"
        hint = "free some space there; the same command goes on from the last checkpoint"
        raise EnvironmentFault(what, where=str(run.path), hint=hint)
    return Outcome(this.progress.step, this.progress.seconds, this.progress.metrics, saver.step_dir)


class Training:
    """A run between two steps: where it stands, and what is due there."""

    def __init__(
        self, stepper: Stepper, guard: Guard, saver: Saver, run: RunFolder, watch: Watch, evaluate: Evaluate | None
    ):
        self.stepper, self.guard, self.saver, self.run, self.watch, self.evaluate = (
            stepper, guard, saver, run, watch, evaluate,
        )  # fmt: skip
        self.config, self.world = stepper.config, stepper.world
        self.progress = Progress()
        self.pace = Pace(self.config.n_steps)
        self.budget = Budget(self.config.minutes, run.path, self.config.eval_every)
        self.began = self.saved_at = time.monotonic()
        self.saved_step = 0
        self._window = (0.0, 0)  # seconds and number of the steps since the budget was looked at

    # --- where it stands ---

    @property
    def n_steps(self) -> int:
        """The length of the run, as far as is known now."""
        return self.pace.last_step(self.progress.step)

    @property
    def is_over(self) -> bool:
        """Was this the last step, or did validation stop getting better?"""
        is_stuck = bool(self.config.patience) and self.progress.n_bad_evaluations >= self.config.patience
        return is_stuck or self.progress.step >= self.n_steps

    @property
    def is_done(self) -> bool:
        """Is the run over, and validated?"""
        return self.is_over and (self.evaluate is None or self.progress.evaluated_step == self.progress.step)

    def resume(self, step_dir: Path | None = None) -> None:
        """Take everything from a checkpoint, by default from the newest that is whole, or begin at step 0."""
        found = self.saver.find(step_dir) if self.world.is_main else None
        found = self.world.from_main(found and str(found))
        self.progress = self.saver.load(Path(found) if found else None)
        self.saved_step = self.progress.step
        self.guard.load(self.progress.guard)
        self.stepper.load(self.progress.micro_rows, self.progress.loss_scale, self.saver.extra)

    def settle_the_length(self) -> None:
        """How many steps there are: as configured, or as many as fit the minutes, found by trying some."""
        if self.config.minutes:
            known = self.world.from_main(self.budget.stored())
            self.pace = Pace.of(known) if known else self._calibrate()
        self.saver.preflight(n_saves=min(self.config.keep + 1, self.n_steps))

    def _calibrate(self) -> Pace:
        evaluate = self.evaluate
        with self.stepper.on_trial() as try_step:

            def try_evaluation() -> None:
                if evaluate is not None:
                    with self.stepper.evaluating() as model:
                        evaluate(model, 0)

            return self.budget.calibrate(self.run, self.world, try_step, try_evaluation)

    # --- one step ---

    def step(self) -> dict[str, Any]:
        """Make one update, or leave it out where its numbers are wrong; returns the row for metrics.jsonl."""
        began, step = time.perf_counter(), self.progress.step  # Windows' monotonic clock takes a short step for none
        self.world.beat(step)
        if self.guard.passes_over(step):
            return self._row(step, None, 0.0)
        found = self.stepper.gradients(step)
        if not found.is_finite and self.stepper.scale.can_fall and math.isfinite(found.loss):
            verdict = "skip"  # fp16 overflowed, which tells its scale something and the guard nothing
        else:
            verdict = self.guard.judge(step, found.loss, found.norm)
            self._note_judgement(step, found)
        self.stepper.scale.update(found.is_finite)
        if verdict == "roll_back":
            self._go_back()
            return self.step()

        factor = 0.0
        if verdict == "go":
            factor = self.stepper.update(self.pace.place(step), self.pace.n_steps)
        else:
            self.stepper.drop()
            self.progress.n_skips += 1
        self.progress.n_tokens += found.n_tokens
        seconds = time.perf_counter() - began
        self._window = (self._window[0] + seconds, self._window[1] + 1)
        row = self._row(step, found, factor)
        return row | {"tokens_per_second": round(found.n_tokens / seconds)}

    def _row(self, step: int, found: Gradients | None, factor: float) -> dict[str, Any]:
        self.progress.step = step + 1
        self.progress.seconds = time.monotonic() - self.began
        row: dict[str, Any] = {"step": step + 1}
        if found is not None:
            row |= {"train_loss": found.loss, "lr": factor * self.config.lr, "grad_norm": found.norm}
        row |= {"tokens": self.progress.n_tokens}
        if hasattr(self.stepper.batches, "epoch"):
            row["epoch"] = round(self.stepper.batches.epoch(step + 1), 4)  # pyright: ignore[reportAttributeAccessIssue]
        if self.progress.n_skips:
            row["skipped"] = self.progress.n_skips
        if found is not None and self.config.grad_clip and found.norm > self.config.grad_clip:
            row["clipped"] = True
        return row

    def speed(self, row: Mapping[str, Any], flops_per_token: float, peak_flops: float) -> dict[str, Any]:
        """What a row says of the machine: seconds so far, memory, and the share of its peak that is used."""
        told: dict[str, Any] = {"seconds": round(self.progress.seconds, 3)}
        told["memory_mb"] = round(devices.memory_mb(self.world.device), 1)
        if flops_per_token and peak_flops and "tokens_per_second" in row:
            told["mfu"] = round(row["tokens_per_second"] * flops_per_token / peak_flops, 4)
        return told

    def _note_judgement(self, step: int, found: Gradients) -> None:
        event = self.guard.event()
        if event is None:
            return
        self.run.event(**event)
        if event["verdict"] == "go":
            return
        self.watch.note(
            f"step {step + 1}: the loss is {found.loss:.4g} and the gradient norm {found.norm:.4g}; left out"
        )
        if self.world.is_main and not found.is_finite:
            faulty_steps.save(self.run.path, step, self.stepper.batches, self.config, found.loss, found.norm)

    def _go_back(self) -> None:
        """To the last good checkpoint; the steps that led here are passed over from now on."""
        self.stepper.drop()
        self.saver.wait()
        there = self.world.from_main([step_dirs.step_of(step_dir) for step_dir in step_dirs.all_of(self.run.path)])
        good = self.guard.last_good if there else None
        if good is None or not self.guard.can_go_back:
            raise faulty_steps.given_up(self.stepper.batches, self.guard.bad_steps, self.run.path, good)
        good = good if good in there else there[-1]  # a disk that refused it, and was forgiven, has one before it
        broken = self.guard.state()
        self.resume(step_dirs.path_of(self.run.path, good))
        saved = self.progress.guard
        self.guard.load(broken)
        passed = self.guard.go_back(saved)
        self.run.event("went_back", step=self.progress.step, passed_over=[step + 1 for step in passed])
        self.watch.note(f"went back to step {self.progress.step}; passing over {len(passed)} steps that led astray")

    def say(self, findings: Sequence[Finding]) -> None:
        """What the doctor found, for people and for events.jsonl."""
        for finding in findings:
            self.run.event("finding", fault=finding.kind, evidence=finding.evidence, hint=finding.hint)
            self.watch.note(f"{finding.kind}? {finding.evidence}. {finding.hint}")

    # --- now and then ---

    def is_tenth(self) -> bool:
        """Do the steps so far end a tenth of the run?"""
        return self.pace.begins_part(self.progress.step, 10)

    def evaluate_if_due(self, stop: StopRequest) -> None:
        """Validate with the fp32 weights (their running mean, if there is one); remember the best step.

        Raises `BrokenOff` where somebody asks to stop meanwhile; but several ranks would not all be at the same point.
        """
        progress, every = self.progress, self.config.eval_every
        is_due = progress.step == 0 or self.is_tenth()
        if every:  # a run shorter than that is validated at its end only
            is_due = progress.step % every == 0 and (progress.step > 0 or every <= self.n_steps)
        if self.evaluate is None or progress.evaluated_step == progress.step or not (is_due or self.is_over):
            return
        breaking_off = stop.breaking_off() if self.world.world_size == 1 else contextlib.nullcontext()
        with self.stepper.evaluating() as model, breaking_off:  # in this order: changing weights must not be broken off
            metrics = self.world.from_main(self.evaluate(model, progress.step))
        progress.metrics, progress.evaluated_step = metrics, progress.step
        self.saved_step = -1  # what a stopped run saved at this step did not know them
        if "val_loss" in metrics:
            if metrics["val_loss"] < progress.best_val_loss:
                progress.best_val_loss, progress.best_step = metrics["val_loss"], progress.step
                progress.n_bad_evaluations = 0
            elif not self.guard.passes_over(progress.step - 1):  # of weights that had no step to get better in
                progress.n_bad_evaluations += 1
        row = {"step": progress.step, **metrics}
        self.run.metric(row)
        self.watch.evaluated(row)
        if (doctor := self.stepper.doctor) is not None:
            self.say([*doctor.look(row), *doctor.examine(self.stepper.model, progress.step)])

    def save_if_due(self) -> None:
        """Save as often as the configuration says, at the best step, at the last, and where the clock says so."""
        step, every = self.progress.step, self.config.save_every or self.config.eval_every
        is_due = step % every == 0 if every else self.is_tenth()
        is_due |= self.progress.best_step == step
        if step and (self.is_over or (is_due and self.guard.is_calm)):
            self.guard.note_checkpoint(step)
            self.save()
        elif self.config.save_minutes and self.world.any(
            time.monotonic() - self.saved_at > 60 * self.config.save_minutes
        ):
            self.save()
        if self.config.minutes and self.pace.begins_part(step, N_PARTS):
            self._look_at_the_clock()

    def save(self) -> None:
        """Save everything that decides something."""
        if self.saved_step == self.progress.step or not self.progress.step:
            return
        self.progress.n_steps = self.n_steps
        self.progress.guard = self.guard.state()
        self.progress.loss_scale = self.stepper.scale.state() if self.stepper.scale.is_used else []
        self.progress.micro_rows = self.stepper.smaller_rows
        ema = self.stepper.ema
        self.saver.save(self.progress, {} if ema is None else ema.tensors())
        self.saved_at, self.saved_step = time.monotonic(), self.progress.step

    def _look_at_the_clock(self) -> None:
        seconds, n = self._window
        self._window = (0.0, 0)
        if n and self.world.is_main:
            self.budget.look_again(self.pace, self.progress.step, time.monotonic() - self.began, seconds / n)
        self.pace = Pace.of(self.world.from_main(self.pace.facts()))
        self.watch.n_steps = self.n_steps
