"""A training loop in twenty lines, to inject faults into: what the doctor sees of it, and what it says."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from groundup import models
from groundup.data.batches import Batch, Windows
from groundup.data.shards import Split
from groundup.optim import groups
from groundup.train import losses
from groundup.train.config import TrainConfig
from groundup.train.diagnosis import Doctor

SHAPE = {"vocab_size": 32, "context_length": 16, "n_layers": 2, "d_model": 16, "n_heads": 2}


def text(n_documents: int = 400, n_ids: int = 32) -> Split:
    """Documents with a pattern to learn: each id is one or two more than the last, modulo 29."""
    rng = np.random.default_rng(0)
    documents = [np.cumsum(rng.integers(1, 3, 30)) % (n_ids - 3) + 1 for _ in range(n_documents)]
    return Split.of_documents([document.astype(np.uint16) for document in documents], eos_id=0)


def build(family: str = "llama", **fields: Any) -> torch.nn.Module:
    return models.build(family, "nano", {**SHAPE, **fields}, seed=0)


class Bigram(torch.nn.Module):
    """Guesses from the last id alone: enough where only the curve is looked at, and ten times as fast."""

    kernels, softcap = "fused", 0.0

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.tok_embed = torch.nn.Embedding(32, 16)
        self.lm_head_weight = torch.nn.Parameter(torch.randn(32, 16) * 0.02)
        self.config = SimpleNamespace(vocab_size=32)

    def hidden(self, ids: torch.Tensor, **_: Any) -> torch.Tensor:
        return torch.nn.functional.layer_norm(self.tok_embed(ids), (16,))


def findings(
    model: torch.nn.Module | None = None,
    batches: Any = None,
    *,
    n_steps: int = 120,
    loss: Any = losses.next_token,
    evaluate: Callable[[int], float] | None = None,
    after_backward: Callable[[torch.nn.Module], None] | None = None,
    reference: Any = (),
    **settings: Any,
) -> dict[str, str]:
    """Train, and return evidence by kind of finding."""
    config = TrainConfig(**{"batch_size": 8, "warmup_steps": 10, "optimizer": "adamw", "lr": 1e-2, **settings})
    model = model or build()
    batches = batches or Windows(text(), 16, 8)
    rates = groups.Rates(lr=config.lr, matrix_lr=config.matrix_lr, weight_decay=config.weight_decay)
    optimizers = groups.OPTIMIZERS[config.optimizer](model, rates)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["full_lr"] = group["lr"]
    doctor = Doctor(config, loss, reference)
    found = doctor.before(model, batches)
    n_tokens = 0
    for step in range(n_steps):
        batch: Batch = batches.batch(step)
        doctor.saw(step, batch)
        model.train()
        total, n, _ = loss(model, batch)
        mean = total / max(1, int(n))
        mean.backward()
        if after_backward:
            after_backward(model)
        doctor.gradients(step, model)
        gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
        grad_norm = torch.stack([gradient.norm() for gradient in gradients]).norm().item()
        for gradient in gradients:
            gradient.mul_(min(1.0, 1.0 / (grad_norm + 1e-6)))
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = min(1.0, (step + 1) / config.warmup_steps) * group["full_lr"]
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        n_tokens += batch.ids.numel()
        epoch = batches.epoch(step + 1) if hasattr(batches, "epoch") else None
        row = {"step": step + 1, "train_loss": mean.item(), "grad_norm": grad_norm, "tokens": n_tokens, "epoch": epoch}
        found += doctor.look(row, model)
        if (step + 1) % 50 == 0:
            found += doctor.examine(model, step + 1)
            if evaluate:
                found += doctor.look({"step": step + 1, "val_loss": evaluate(step + 1)})
    return {finding.kind: finding.evidence for finding in found}
