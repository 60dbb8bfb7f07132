"""What the loop can be told. No torch here: the command line reads this file to print its help."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal


def how(default: Any) -> Any:
    """A field that says how and where a run is made, and not what comes out: it may change when the run goes on."""
    return field(default=default, metadata={"affects_run": False})


@dataclass(frozen=True)
class TrainConfig:
    """Settings of one training run; the same for pretraining and for tuning."""

    n_steps: int = 1000
    """optimizer updates; with `minutes` the machine's speed decides instead"""
    minutes: float = 0.0
    """wall-clock budget: turned into a number of steps by a short calibration, and kept to by looking again"""
    batch_size: int = 32
    """sequences per step over all micro-batches and devices"""
    micro_batch_size: int = how(0)
    """sequences per forward pass on one device; must divide its share of the batch; 0 means all of it"""
    gradient_accumulation_steps: int = how(0)
    """another way to say micro_batch_size: each device's share of the batch divided by this"""
    auto_batch: bool = how(True)
    """where memory is short, halve the micro-batch and go on with the same batch"""
    optimizer: Literal["muon", "adamw", "sgd", "sgd_decay"] = "muon"
    """muon (matrices) with adamw (the rest); adamw for all; sgd with momentum; sgd_decay, which falls as 1/sqrt(t)"""
    lr: float = 3e-3
    """AdamW's and SGD's learning rate"""
    matrix_lr: float = 0.02
    """Muon's learning rate"""
    beta1: float = 0.9
    """AdamW: decay of the running mean of the gradient; momentum of sgd"""
    beta2: float = 0.95
    """AdamW: decay of the running mean of its square"""
    momentum: float = 0.95
    """of Muon"""
    schedule: Literal["linear", "cosine", "wsd", "inverse_sqrt", "constant"] = "linear"
    """linear: a straight line down over the last part; cosine; wsd: as linear, 20 % and along 1 - sqrt; 1/sqrt(t)"""
    warmup_steps: int = 20
    """steps of linear rise from zero"""
    cooldown_fraction: float = 0.0
    """share of the steps on which linear and wsd fall; 0 takes the schedule's own, 0.6 and 0.2"""
    min_lr_fraction: float = 0.0
    """where the schedule ends, as a fraction of the learning rates"""
    weight_decay: float = 0.0
    """decoupled decay of matrices and embeddings"""
    grad_clip: float = 1.0
    """largest norm of all gradients together; 0 never clips"""
    z_loss: float = 0.0
    """each target costs z_loss · log(sum(exp(logits)))² more, which keeps logits small; 1e-4 where it is used"""
    ema_decay: float = 0.0
    """validate and save the running mean of the weights, as 0.999; 0 takes the weights as they are"""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """what is computed in, beside fp32 master weights; auto: bf16 where the hardware has it, else fp16 on a GPU"""
    kernels: Literal["fused", "textbook"] = "fused"
    """fused kernels, or the plain tensor operations they are tested against"""
    compile: bool = False
    """torch.compile: faster steps for half a minute of waiting; it is kept for the next run"""
    activation_checkpointing: bool = False
    """compute activations again in the backward pass: less memory, a third more work"""
    device: str = how("auto")
    """auto, cpu, cuda, cuda:1, mps"""
    devices: int = how(1)
    """processes that share every batch, one for each GPU (or part of the CPU)"""
    parallel: Literal["ddp", "fsdp"] = how("ddp")
    """with several devices: ddp, each holds the model; fsdp, each holds a part of it"""
    hang_timeout: float = how(600.0)
    """seconds after which a device that does not answer ends the attempt"""
    max_restarts: int = how(3)
    """attempts after the first, with several devices, when one of them died"""
    seed: int = 0
    """of initial weights, data order and dropout"""
    eval_every: int = 0
    """steps between validations; 0 means ten in the run"""
    patience: int = 0
    """stop after so many validations in a row without a better one; 0 never does"""
    save_every: int = 0
    """steps between checkpoints; 0 means at every validation"""
    save_minutes: float = how(10.0)
    """a checkpoint also after this many minutes without one; 0: only when it is due"""
    keep: int = how(2)
    """newest checkpoints kept, besides the best"""
    on_save_error: Literal["stop", "warn"] = how("stop")
    """where a checkpoint cannot be written: stop, or warn and train on"""
    max_skips: int = 5
    """steps in a row that are passed over because a number was not finite; one more, and the run goes back"""
    spike_sigmas: float = 0.0
    """a loss this many standard deviations above the last ones is passed over too; 0 only notes it, from 8 on"""
    log: tuple[str, ...] = how(())
    """also log to tensorboard, swanlab, wandb, trackio; offline, and never in the way of the run"""

    def __post_init__(self) -> None:
        for is_right, what, names in RANGES:
            for name in names:
                if not is_right(getattr(self, name)):  # NaN never is
                    raise ValueError(f"{name} = {getattr(self, name)}: must {what}")
        if self.n_steps == 0 and self.minutes == 0:
            raise ValueError("n_steps = 0 and minutes = 0: one of them must say how long to train")
        if self.batch_size % self.devices:
            raise ValueError(f"batch_size = {self.batch_size}: not a multiple of devices = {self.devices}")
        if self.rows_per_device % self.rows_per_micro_batch:
            raise ValueError(
                f"micro_batch_size = {self.rows_per_micro_batch}: does not divide the {self.rows_per_device} sequences "
                "that each device has of a batch"
            )

    @property
    def rows_per_device(self) -> int:
        """Sequences of each batch that one device sees."""
        return self.batch_size // self.devices

    @property
    def rows_per_micro_batch(self) -> int:
        """Sequences in one forward pass."""
        if self.gradient_accumulation_steps:
            if self.micro_batch_size or self.rows_per_device % self.gradient_accumulation_steps:
                raise ValueError(
                    f"gradient_accumulation_steps = {self.gradient_accumulation_steps}: must divide the "
                    f"{self.rows_per_device} sequences of a device and stand without micro_batch_size"
                )
            return self.rows_per_device // self.gradient_accumulation_steps
        return min(self.micro_batch_size or self.rows_per_device, self.rows_per_device)


RANGES: tuple[tuple[Callable[[float], bool], str, tuple[str, ...]], ...] = (
    (lambda value: value >= 1, "be at least 1", ("batch_size", "keep", "devices", "max_skips")),
    (
        lambda value: value >= 0,
        "not be negative",
        ("n_steps", "minutes", "micro_batch_size", "gradient_accumulation_steps", "warmup_steps", "lr", "matrix_lr",
         "weight_decay", "grad_clip", "z_loss", "eval_every", "save_every", "save_minutes", "patience", "spike_sigmas",
         "hang_timeout", "max_restarts"),
    ),
    (lambda value: 0 <= value < 1, "be from 0 to below 1", ("beta1", "beta2", "momentum", "ema_decay")),
    (lambda value: 0 <= value <= 1, "be from 0 to 1", ("cooldown_fraction", "min_lr_fraction")),
)  # fmt: skip
"""What values may be: a test, how it reads in an error, and the fields it is for."""
