"""How many tokens a training step takes in a second, beside transformers' Llama of the same shape and weights.

A step is forward, backward and AdamW over 16 sequences of 256 ids. In bf16, theirs is autocast, as their users train,
and ours a bf16 copy of fp32 masters. Each configuration runs in a process of its own, both sides in turns.
"""

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
from harness import Row

B, T, VOCAB_SIZE = 16, 256, 4096
SHAPE = {"vocab_size": VOCAB_SIZE, "context_length": T, "n_layers": 6, "d_model": 384, "n_heads": 6, "d_ff": 1024}
SAME_LOSS = {"fp32": 1e-4, "bf16": 1e-2}


def rows(repetitions: int) -> list[Row]:
    configurations = [(dtype, compiled) for dtype in ("fp32", "bf16") for compiled in (False, True)]
    return [row(dtype, compiled, repetitions) for dtype, compiled in configurations]


def row(dtype: str, compiled: bool, repetitions: int) -> Row:
    name = f"training step, {dtype}, {'compiled' if compiled else 'eager'}"
    result = Row(name, "tokens/s", peer_name="transformers", least_ratio=1)
    try:
        measured = harness.in_child(
            "models_training:measure", dtype, compiled, repetitions, environment={"GOMP_SPINCOUNT": "20000"}
        )
    except RuntimeError as error:
        result.failed = str(error)
        return result
    result.times = measured
    result.ours, result.peer = (B * T / min(measured[side]) for side in ("ours", "transformers"))
    return result


def measure(dtype: str, compiled: bool, repetitions: int) -> dict[str, list[float]]:
    """Seconds per step of both sides, after their losses were found to be the same before and after three steps."""
    import torch

    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    ids = torch.randint(VOCAB_SIZE, (B, T + 1))
    ours, theirs = sides(dtype, compiled, ids)
    for step in range(3):
        one, other = ours(), theirs()
        if abs(one - other) > SAME_LOSS[dtype] * other:
            raise RuntimeError(f"the losses of step {step} differ: {one:.6f} here, {other:.6f} there")
    return harness.in_turns({"ours": ours, "transformers": theirs}, repetitions)


def sides(dtype: str, compiled: bool, ids: Any) -> tuple[Callable[[], float], Callable[[], float]]:
    import torch
    import transformers

    from groundup import models
    from groundup.data.batches import Batch
    from groundup.optim.adamw import AdamW
    from groundup.train import losses
    from groundup.train.precision import Masters
    from groundup.weights import checkpoint

    our_model = models.build("llama", "nano", SHAPE, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint.save(Path(folder, "model"), our_model)
        their_model = transformers.AutoModelForCausalLM.from_pretrained(Path(folder, "model"))
    is_bf16 = dtype == "bf16"

    masters = Masters(our_model.train(), torch.bfloat16 if is_bf16 else torch.float32)
    our_optimizer = AdamW(our_model.parameters(), lr=1e-4)
    batch = Batch(ids[:, :-1], ids[:, 1:].contiguous(), segments=None, n_targets=B * T)
    if compiled:
        masters.working.hidden = torch.compile(masters.working.hidden)

    def ours() -> float:
        total, n_targets, _ = losses.next_token(masters.working, batch)
        (total / n_targets).backward()
        masters.collect()
        our_optimizer.step()
        our_optimizer.zero_grad()
        masters.refresh()
        return total.item() / n_targets

    their_model.train()
    their_optimizer = torch.optim.AdamW(their_model.parameters(), lr=1e-4, fused=True)
    called = torch.compile(their_model) if compiled else their_model

    def theirs() -> float:
        with torch.autocast("cpu", torch.bfloat16, enabled=is_bf16):
            logits = called(ids[:, :-1]).logits
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten())
        loss.backward()
        their_optimizer.step()
        their_optimizer.zero_grad()
        return loss.item()

    return ours, theirs
