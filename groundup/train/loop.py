"""THE training loop: every stage hands it a model, batches and a loss, and it is the only one there is.

A batch is a function of (seed, step, row), a learning rate of the step, dropout of (seed, step). So a run that was
killed and resumed makes the same updates as one that was not, and ends with the same bytes.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from groundup.data.batches import Batch
from groundup.errors import GroundupError, Stopped
from groundup.optim import groups
from groundup.optim.clipping import gradient_clip
from groundup.optim.schedules import SCHEDULES
from groundup.tokenizer.protocol import Tokenizer
from groundup.train import budget, saving
from groundup.train.config import TrainConfig
from groundup.train.precision import Masters, device_for, dtype_for
from groundup.train.run_folder import RunFolder
from groundup.train.saving import Progress
from groundup.train.stopping import StopRequest
from groundup.train.watch import Watch


@runtime_checkable
class Batches(Protocol):
    """Anything whose batches are a pure function of (step, rows of the global batch)."""

    def batch(self, step: int, rows: slice = slice(None)) -> Batch: ...


Loss = Callable[[Any, Batch], tuple[Tensor, int, dict[str, float]]]
Evaluate = Callable[[nn.Module, int], dict[str, float]]


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
    facts: dict[str, Any] | None = None,
) -> Outcome:
    """Train until the last step, or go on where the run folder's newest checkpoint stands.

    `evaluate(model, step)` returns metrics such as `val_loss`; `facts` are kept in each checkpoint. Raises `Stopped`
    (after saving) on SIGTERM or Ctrl-C, and `GroundupError` when the loss is no longer a number.
    """
    device = device_for(config.device)
    model.to(device)
    precise = Masters(model, dtype_for(config.precision, device))
    optimizers = build_optimizers(model, config)
    progress = saving.resume(run, model, optimizers)
    if not progress.n_steps:
        progress.n_steps = count_steps(precise, batches, loss, config, run, evaluate)
    eval_every = config.eval_every or math.ceil(progress.n_steps / 10)
    save_every = config.save_every or eval_every

    step_dir = next(iter(reversed(saving.step_dirs(run.path))), None)
    watch.start(progress.n_steps, progress.step)
    saved_at = time.monotonic()
    started = saved_at - progress.seconds
    with StopRequest() as stop:
        if evaluate is not None and progress.step == 0:
            record_evaluation(model, evaluate, progress, run, watch)
        while progress.step < progress.n_steps:
            metrics = update(precise, optimizers, batches, loss, config, progress)
            progress.seconds = time.monotonic() - started
            run.metric({**metrics, "seconds": round(progress.seconds, 3)})
            watch.step(metrics)

            is_last = progress.step == progress.n_steps
            if evaluate is not None and (is_last or progress.step % eval_every == 0):
                record_evaluation(model, evaluate, progress, run, watch)
            is_late = time.monotonic() - saved_at > 60 * config.save_minutes
            if is_last or stop.is_set or is_late or progress.step % save_every == 0:
                step_dir = saving.save(
                    run, model, optimizers, progress, keep=config.keep, tokenizer=tokenizer, facts=facts
                )
                saved_at = time.monotonic()
            if stop.is_set and not is_last:
                run.event("stopped", step=progress.step)
                raise Stopped(
                    f"stopped at step {progress.step} of {progress.n_steps} with a checkpoint saved",
                    where=str(run.path),
                    hint="the same command goes on from here",
                )
    assert step_dir is not None, "a run has at least one step, and its last step is saved"
    return Outcome(progress.n_steps, progress.seconds, progress.metrics, step_dir)


def build_optimizers(model: nn.Module, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """The optimizers of the config; each group remembers its full learning rate as `full_lr`."""
    rates = groups.Rates(lr=config.lr, matrix_lr=config.matrix_lr, weight_decay=config.weight_decay)
    optimizers = groups.OPTIMIZERS[config.optimizer](model, rates)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["full_lr"] = group["lr"]
    return optimizers


def update(
    precise: Masters,
    optimizers: list[torch.optim.Optimizer],
    batches: Batches,
    loss: Loss,
    config: TrainConfig,
    progress: Progress,
) -> dict[str, float]:
    """One optimizer update from one global batch; returns its metrics and moves `progress` one step on."""
    began = time.monotonic()
    precise.refresh()
    precise.working.train()
    torch.manual_seed(config.seed * 1_000_003 + progress.step)
    device = next(precise.working.parameters()).device
    loss_sum, n_targets, n_tokens = torch.zeros((), device=device), 0, 0
    for first in range(0, config.batch_size, config.rows_per_micro_batch):
        batch = batches.batch(progress.step, slice(first, first + config.rows_per_micro_batch)).to(device)
        micro_sum, n, _ = loss(precise.working, batch)
        micro_sum.backward()
        precise.collect()
        loss_sum += micro_sum.detach()
        n_targets += n
        n_tokens += batch.ids.numel()

    weights = groups.parameters(optimizers)
    gradients = [w.grad for w in weights if w.grad is not None]
    torch._foreach_mul_(gradients, 1.0 / max(1, n_targets))  # pyright: ignore[reportPrivateImportUsage]
    grad_norm = gradient_clip(weights, config.grad_clip or math.inf).item()
    mean_loss = loss_sum.item() / max(1, n_targets)
    if not math.isfinite(mean_loss + grad_norm):
        raise GroundupError(
            f"at step {progress.step} the loss is {mean_loss} and the gradient norm {grad_norm}",
            hint="lower --lr and --matrix-lr, or train with --precision fp32; earlier checkpoints are whole",
        )

    # The schedule is asked one step ahead, so that neither the first nor the last update has a rate of zero.
    factor = SCHEDULES[config.schedule](
        progress.step + 1,
        lr=1.0,
        min_lr=config.min_lr_fraction,
        warmup_steps=min(config.warmup_steps, progress.n_steps // 2),
        n_steps=progress.n_steps + 1,
    )
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = factor * group["full_lr"]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    progress.step += 1
    progress.n_tokens += n_tokens
    return {
        "step": progress.step,
        "train_loss": mean_loss,
        "lr": factor * config.lr,
        "grad_norm": grad_norm,
        "tokens": progress.n_tokens,
        "tokens_per_second": round(n_tokens / (time.monotonic() - began)),
    }


def record_evaluation(model: nn.Module, evaluate: Evaluate, progress: Progress, run: RunFolder, watch: Watch) -> None:
    """Validate with the fp32 weights, and remember whether this is the best step so far."""
    model.eval()
    with torch.no_grad():
        metrics = evaluate(model, progress.step)
    progress.metrics = metrics
    if metrics.get("val_loss", math.inf) < progress.best_val_loss:
        progress.best_val_loss, progress.best_step = metrics["val_loss"], progress.step
    row = {"step": progress.step, **metrics}
    run.metric(row)
    watch.evaluated(row)


def count_steps(
    precise: Masters, batches: Batches, loss: Loss, config: TrainConfig, run: RunFolder, evaluate: Evaluate | None
) -> int:
    """The length of the run: as configured, or as many steps as fit `minutes`, found by trying some on trial."""
    if not config.minutes:
        return config.n_steps
    model = precise.masters
    trial_optimizers = build_optimizers(model, config)
    trial = Progress(n_steps=budget.MOST_STEPS)
    kept = [parameter.detach().clone() for parameter in model.parameters()]

    def try_evaluation() -> None:
        if evaluate is not None:
            with torch.no_grad():
                evaluate(model.eval(), 0)

    n_steps = budget.steps_in(
        config.minutes,
        run,
        lambda: update(precise, trial_optimizers, batches, loss, config, trial),
        try_evaluation,
    )
    with torch.no_grad():
        torch._foreach_copy_(list(model.parameters()), kept)  # pyright: ignore[reportPrivateImportUsage]
    return n_steps
