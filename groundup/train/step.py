"""One update of the weights from one global batch: forward, backward, add up, clip, schedule, optimizer.

A batch is a function of (seed, step, row), a learning rate of the step, dropout of (seed, step). So a run that was
killed and resumed makes the same updates as one that was not, and ends with the same bytes.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from groundup.data.batches import Batch
from groundup.optim import groups
from groundup.optim.clipping import gradient_clip
from groundup.optim.ema import Ema
from groundup.optim.schedules import SCHEDULES
from groundup.train import compiling, memory
from groundup.train.config import TrainConfig
from groundup.train.devices import dtype_for, widest_dtype
from groundup.train.diagnosis import Doctor
from groundup.train.distributed import World
from groundup.train.precision import LossScale, Masters
from groundup.train.recompute import recompute_activations


@runtime_checkable
class Batches(Protocol):
    """Anything whose batches are a pure function of (step, rows of the global batch)."""

    def batch(self, step: int, rows: slice = slice(None)) -> Batch: ...


Loss = Callable[[Any, Batch], tuple[Tensor, int, dict[str, float]]]
"""loss(model, batch) -> (sum over the targets, their number, further metrics)."""


@dataclass(frozen=True)
class Gradients:
    """What is known of a step before its update: the mean loss in nats, the norm of all gradients before clipping."""

    loss: float
    norm: float
    n_targets: int
    n_tokens: int

    @property
    def is_finite(self) -> bool:
        return math.isfinite(self.loss + self.norm)


class Stepper:
    """A model with all that updates it. `model` keeps the fp32 weights throughout.

    Each step is `gradients(step)`, then `update(place, n_steps)` to use them or `drop()` to forget them.
    """

    def __init__(
        self,
        model: nn.Module,
        batches: Batches,
        loss: Loss,
        config: TrainConfig,
        world: World,
        doctor: Doctor | None = None,
        notice: Callable[[str], object] = lambda text: None,
    ):
        self.model, self.batches, self.config, self.world = model, batches, config, world
        self.doctor, self.notice = doctor, notice
        dtype = dtype_for(config.precision, world.device)
        self.precise = Masters(model, torch.float32 if world.is_sharded else dtype)
        self.scale = LossScale(dtype)
        if config.activation_checkpointing:
            recompute_activations(self.precise.working)
        if config.compile:
            compiling.compile_model(self.precise.working, notice)
        self.shared = world.share(self.precise, loss, dtype)
        self.optimizers = groups.OPTIMIZERS[config.optimizer](model, groups.Rates.of(config))
        self.ema = Ema(model, config.ema_decay) if config.ema_decay else None
        self.micro_rows = config.rows_per_micro_batch

    def gradients(self, step: int) -> Gradients:
        """The mean gradients over all targets of the step's batch, clipped, in `.grad` of the fp32 weights."""
        self.precise.refresh()
        self.precise.working.train()
        while True:
            torch.manual_seed(self.world.seed(self.config.seed * 1_000_003 + step))
            try:
                return self._gradients(step)
            except Exception as error:
                if not memory.is_out_of_memory(error):
                    raise
                self._take_smaller_micro_batches(error)

    def _gradients(self, step: int) -> Gradients:
        world, mine = self.world, self.world.rows(self.config.batch_size)
        sums = torch.zeros(3, dtype=widest_dtype(world.device), device=world.device)  # of losses, targets and tokens
        for first in range(mine.start, mine.stop, self.micro_rows):
            rows = slice(first, min(first + self.micro_rows, mine.stop))
            batch = self.batches.batch(step, rows)
            if self.doctor is not None:
                self.doctor.saw(step, batch)
            batch = batch.to(world.device)
            with self.shared.adding(is_last=rows.stop == mine.stop):
                loss_sum, n_targets, _ = self.shared(batch)
                (loss_sum * self.scale.value if self.scale.is_used else loss_sum).backward()
            self.precise.collect()
            sums += torch.stack([loss_sum.detach().to(sums.dtype), *sums.new_tensor([n_targets, batch.ids.numel()])])
        loss_sum, n_targets, n_tokens = world.sum(sums).tolist()

        if self.doctor is not None:
            self.doctor.gradients(step, self.model)

        # One division by all targets of the step: a mean of means would weigh a target by how lonely it was.
        share = 1.0 / (max(1, n_targets) * self.scale.value)
        weights = groups.parameters(self.optimizers)
        norm = gradient_clip(weights, self.config.grad_clip or math.inf, share).item()
        return Gradients(loss_sum / max(1, n_targets), norm, int(n_targets), int(n_tokens))

    def _take_smaller_micro_batches(self, error: Exception) -> None:
        """Memory was short: the same batch in smaller parts, which gives the same sums."""
        self.precise.drop_gradients()
        smaller = memory.smaller_micro_batch(self.micro_rows, self.config.rows_per_device)
        if smaller is None or not self.config.auto_batch or self.world.world_size > 1:
            raise memory.explained(error, self.micro_rows, smaller) from error
        self.micro_rows = smaller
        self.notice(f"memory is short: micro-batches of {smaller} sequences from here on, the batch stays the same")

    def update(self, place: float, n_steps: int) -> float:
        """Move the weights; returns the learning rate as a fraction of the full one. See `rate` for `place`."""
        factor = rate(self.config, place, n_steps)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = factor * group["full_lr"]
            optimizer.step()
        if self.ema is not None:
            self.ema.update()
        self.drop()
        return factor

    @contextmanager
    def evaluating(self) -> Iterator[nn.Module]:
        """The model to validate: the fp32 weights, or their running mean if there is one, without gradients."""
        self.model.eval()
        with torch.no_grad(), self.shared.evaluating(), self.ema.applied() if self.ema else nullcontext():
            yield self.model

    def drop(self) -> None:
        """Forget the gradients."""
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)

    @property
    def smaller_rows(self) -> int:
        """The rows of a micro-batch, where memory was too short for what was asked; else 0."""
        return self.micro_rows if self.micro_rows != self.config.rows_per_micro_batch else 0

    def load(self, smaller_rows: int, loss_scale: list[float], extra: Mapping[str, Tensor]) -> None:
        """What a checkpoint remembers besides weights and optimizers."""
        self.micro_rows = smaller_rows or self.config.rows_per_micro_batch
        self.scale.load(loss_scale)
        if self.ema is not None and extra:
            self.ema.load(extra)

    @contextmanager
    def on_trial(self) -> Iterator[Callable[[], object]]:
        """A function that makes a step, to see how long one takes. All of its effects are taken back afterwards."""
        weights = [parameter.detach().clone() for parameter in self.model.parameters()]
        optimizers, ema, doctor = self.optimizers, self.ema, self.doctor
        self.optimizers = groups.OPTIMIZERS[self.config.optimizer](self.model, groups.Rates.of(self.config))
        self.ema = self.doctor = None
        step = 0

        def try_step() -> None:
            nonlocal step
            self.gradients(step)
            self.update(step, 1000)
            step += 1

        try:
            yield try_step
        finally:
            self.drop()
            self.optimizers, self.ema, self.doctor = optimizers, ema, doctor
            with torch.no_grad():
                torch._foreach_copy_(list(self.model.parameters()), weights)  # pyright: ignore[reportPrivateImportUsage]


def rate(config: TrainConfig, place: float, n_steps: int) -> float:
    """The learning rate of an update as a fraction of the full one.

    `place` is where it lies on a schedule of `n_steps`, 0.0 at the first update; see `budget.Pace`. The schedule is
    asked one step ahead, so that neither the first nor the last update has a rate of zero.
    """
    return SCHEDULES[config.schedule](
        place + 1,
        lr=1.0,
        min_lr=config.min_lr_fraction,
        warmup_steps=min(config.warmup_steps, n_steps // 2),
        n_steps=n_steps + 1,
        cooldown_fraction=config.cooldown_fraction,
    )
