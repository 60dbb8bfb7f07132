"""What the loop can be told. No torch here: the command line reads this file to print its help."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class TrainConfig:
    """Settings of one training run; the same for pretraining and for tuning."""

    n_steps: int = 1000
    """optimizer updates; with `minutes` the machine's speed decides instead"""
    minutes: float = 0.0
    """wall-clock budget: turned into a number of steps by a short calibration, then stored"""
    batch_size: int = 32
    """sequences per step over all micro-batches"""
    micro_batch_size: int = 0
    """sequences per forward pass; must divide the batch; 0 means all of it"""
    gradient_accumulation_steps: int = 0
    """another way to say micro_batch_size: batch_size divided by this"""
    optimizer: Literal["muon", "adamw"] = "muon"
    """muon (matrices) with adamw (the rest), or adamw for all"""
    lr: float = 3e-3
    """AdamW's learning rate"""
    matrix_lr: float = 0.02
    """Muon's learning rate"""
    min_lr_fraction: float = 0.0
    """where the schedule ends, as a fraction of the learning rates"""
    warmup_steps: int = 20
    """steps of linear rise from zero"""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """linear: constant, then a straight line down over the last 60 %; cosine; constant"""
    weight_decay: float = 0.0
    """decoupled decay of matrices and embeddings"""
    grad_clip: float = 1.0
    """largest norm of all gradients together; 0 never clips"""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """bf16 computes in bfloat16 with fp32 master weights; auto takes it where the machine has it"""
    kernels: Literal["fused", "textbook"] = "fused"
    """fused kernels, or the plain tensor operations they are tested against"""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps"""
    seed: int = 0
    """of initial weights, data order and dropout"""
    eval_every: int = 0
    """steps between validations; 0 means ten in the run"""
    save_every: int = 0
    """steps between checkpoints; 0 means at every validation"""
    save_minutes: float = 10.0
    """a checkpoint also after this many minutes without one"""
    keep: int = 2
    """newest checkpoints kept, besides the best"""

    def __post_init__(self) -> None:
        for name in ("batch_size", "keep"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)}: must be at least 1")
        for name in (
            "n_steps",
            "minutes",
            "warmup_steps",
            "lr",
            "matrix_lr",
            "weight_decay",
            "grad_clip",
            "eval_every",
        ):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} = {getattr(self, name)}: must not be negative")
        if self.n_steps == 0 and self.minutes == 0:
            raise ValueError("n_steps = 0 and minutes = 0: one of them must say how long to train")
        if self.batch_size % self.rows_per_micro_batch:
            raise ValueError(
                f"batch_size = {self.batch_size}: not a multiple of {self.rows_per_micro_batch} micro-batch rows"
            )

    @property
    def rows_per_micro_batch(self) -> int:
        """Sequences in one forward pass."""
        if self.gradient_accumulation_steps:
            if self.micro_batch_size or self.batch_size % self.gradient_accumulation_steps:
                raise ValueError(
                    f"gradient_accumulation_steps = {self.gradient_accumulation_steps}: must divide batch_size = "
                    f"{self.batch_size} and stand without micro_batch_size"
                )
            return self.batch_size // self.gradient_accumulation_steps
        return self.micro_batch_size or self.batch_size
