"""How many tokens a training step takes in a second on the CPU, beside the loops that people train with.

    python benchmarks/training.py                     every row, about six minutes on two cores
    python benchmarks/training.py --write             into BENCHMARK.md
    python benchmarks/training.py --quick --json      the same rows from two steps of each side

Shape A: 6 layers, d_model 384, 6 heads, context 256, 32 sequences per step, a vocabulary of 4096. A step of ours is the
loop's own (train/step.py): forward, backward, adding up, clipping, AdamW, in bf16 where the processor has it, compiled.
What the others do is in training_peers.py. Random ids; each group of sides runs in a process of its own, in turns.
"""

import argparse
import math
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
from harness import Row

B, T, VOCAB_SIZE = 32, 256, 4096
SHAPE = {"vocab_size": VOCAB_SIZE, "context_length": T, "n_layers": 6, "d_model": 384, "n_heads": 6}
N_STEPS = 1000
"""Of the schedule that our steps are taken from."""

OURS: dict[str, tuple[str, dict[str, Any]]] = {
    "free": ("lab", {**SHAPE, "n_heads": 3, "activation": "relu_squared"}),
    "nanoGPT": ("gpt2", {**SHAPE, "activation": "gelu"}),
    "Llama": ("llama", {**SHAPE, "d_ff": 1024}),
}
"""A family and its fields. "free" has the layers, the width and the parameters of shape A, and parts of its own."""
SAME_LOSS = 1e-2
PACKAGES = ("torch", "transformers", "litgpt")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one object a row instead of a table")
    parser.add_argument("--write", action="store_true", help="put the table into BENCHMARK.md")
    parser.add_argument("--quick", action="store_true", help="two steps of each side, which shows that all of it runs")
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=list(GROUPS), help="these groups of rows")
    parser.add_argument("--repetitions", type=int, default=8, metavar="N", help="steps of each side, in turns (8)")
    options = parser.parse_args(arguments)
    rows = []
    for group in options.only:
        print(f"training, {group} ...", file=sys.stderr)
        rows += GROUPS[group](2 if options.quick else options.repetitions)
    code = harness.report(rows, options.json)
    if options.write:
        facts = [f"Shape A: {B} sequences of {T} ids a step, 6 layers, d_model 384, vocabulary {VOCAB_SIZE}; AdamW"]
        harness.write_section("training", harness.section("Training step on the CPU", rows, PACKAGES, facts))
    return code


# --- rows ---


def shape_a(repetitions: int) -> list[Row]:
    """Ours with parts of its own choice: against nanoGPT as it ships, the best tuned peer, and the processor."""
    name = "shape A"
    note = "ours: RMSNorm, RoPE, ReLU², 3 heads of 128, bf16, compiled"
    slow = Row(name, "tokens/s", peer_name="nanoGPT, fp32, eager, as it ships", least_ratio=2.0, note=note)
    tuned = Row(name, "tokens/s", peer_name="best of the tuned", least_ratio=1.05)
    share = Row("share of the measured bf16 product rate (MFU), shape A", "%", limit=70)
    rows = [slow, tuned, share]
    try:
        found = harness.in_child("training:measure_shape_a", repetitions)
    except RuntimeError as error:
        for row in rows:
            row.failed = str(error)
        return rows
    rates = {side: B * T / min(times) for side, times in found["times"].items()}
    best = max((side for side in rates if side not in ("ours", "nanoGPT")), key=lambda side: rates[side])
    slow.ours = tuned.ours = rates["ours"]
    slow.peer, tuned.peer = rates["nanoGPT"], rates[best]
    tuned.peer_name = f"{best}, bf16, compiled"
    others = [f"{side} {harness.number(rate)}" for side, rate in rates.items() if side not in ("ours", best, "nanoGPT")]
    tuned.note = "the best of " + ", ".join([best, *others, *(f"{absent} absent" for absent in found["absent"])])
    slow.times = tuned.times = found["times"]
    share.ours = 100 * rates["ours"] * found["flops_per_token"] / found["peak"]
    share.note = f"{harness.number(found['peak'] / 1e9)} GFLOPS in a square product of 2048"
    return rows


def exact_nano_gpt(repetitions: int) -> list[Row]:
    """nanoGPT's block to the letter (with biases, as our GPT-2 has them), the same weights, the same losses."""
    return paired("nanoGPT's exact block", "nanoGPT", {"fp32, eager": None, "bf16, compiled": None}, repetitions)


def exact_llama(repetitions: int) -> list[Row]:
    return paired("Llama's exact block", "Llama", {"fp32, eager": 2.5, "bf16, compiled": 1.15}, repetitions)


def paired(name: str, kind: str, goals: dict[str, float | None], repetitions: int) -> list[Row]:
    """Ours in bf16 and compiled, against one peer in two ways."""
    peer = "transformers" if kind == "Llama" else kind
    rows = [
        Row(f"{name}, ours in bf16, compiled", "tokens/s", peer_name=f"{peer}, {way}", least_ratio=goal)
        for way, goal in goals.items()
    ]
    try:
        times = harness.in_child("training:measure_pair", kind, repetitions)
    except RuntimeError as error:
        for row in rows:
            row.failed = str(error)
        return rows
    for row, side in zip(rows, ("peer", "peer tuned"), strict=True):
        row.ours, row.peer, row.times = B * T / min(times["ours"]), B * T / min(times[side]), times
    return rows


def overhead(repetitions: int) -> list[Row]:
    """What the loop adds to forward, backward and optimizer."""
    row = Row("time of the loop around forward, backward and optimizer, shape A", "ms")
    try:
        times = harness.in_child("training:measure_overhead", repetitions)
    except RuntimeError as error:
        row.failed = str(error)
        return [row]
    bare = statistics.median(times["bare"])
    around = statistics.median(step - inside for step, inside in zip(times["loop"], times["bare"], strict=True))
    row.ours, row.limit, row.times = 1000 * around, 1000 * 0.02 * bare, times
    row.note = f"2 % of {1000 * bare:.0f} ms"
    return [row]


GROUPS: dict[str, Callable[[int], list[Row]]] = {
    "shape-a": shape_a, "nanogpt": exact_nano_gpt, "llama": exact_llama, "overhead": overhead,
}  # fmt: skip


# --- measuring, each in a child process ---


def measure_shape_a(repetitions: int) -> dict[str, Any]:
    import torch
    import training_peers as peers

    ids = start()
    with tempfile.TemporaryDirectory() as folder:
        ours, n_parameters = our_step("free", ids)
        sides = {"ours": ours, "nanoGPT": peers.nano_gpt(SHAPE, ids, bias=False, tuned=False)}
        sides["plain torch"] = peers.nano_gpt(SHAPE, ids, bias=False, tuned=True)
        sides["transformers"] = peers.transformers_llama(saved("Llama", Path(folder)), ids, tuned=True)
        if peers.has_litgpt():
            sides["litgpt"] = peers.litgpt(SHAPE, ids)
        for side, step in sides.items():
            n_theirs = n_parameters if side == "ours" else step.n_parameters  # pyright: ignore[reportFunctionMemberAccess]
            if abs(n_theirs / n_parameters - 1) > 0.02:
                raise RuntimeError(f"{side} has {n_theirs:,} parameters, and ours {n_parameters:,}")
            first, later = step(), [step() for _ in range(3)][-1]
            if abs(first - math.log(VOCAB_SIZE)) > 0.3 or not later < first:
                raise RuntimeError(f"{side} starts at a loss of {first:.3f} and is at {later:.3f} after three steps")
        peak, times = 0.0, {side: [] for side in sides}
        for _ in range(repetitions):
            for side, seconds in harness.in_turns(sides, 1).items():
                times[side] += seconds
            peak = max(peak, product_rate(torch.bfloat16))
    matrices = 6 * 12 * SHAPE["d_model"] ** 2 + VOCAB_SIZE * SHAPE["d_model"]
    flops_per_token = 6 * matrices + 12 * SHAPE["n_layers"] * SHAPE["d_model"] * T
    absent = [] if peers.has_litgpt() else ["litgpt"]
    return {"times": times, "peak": peak, "flops_per_token": flops_per_token, "absent": absent}


def measure_pair(kind: str, repetitions: int) -> dict[str, list[float]]:
    import training_peers as peers

    ids = start()
    with tempfile.TemporaryDirectory() as folder:
        made: dict[str, Callable[[], float]] = {"ours": our_step(kind, ids)[0]}
        if kind == "Llama":
            path = saved(kind, Path(folder))
            made["peer"] = peers.transformers_llama(path, ids, tuned=False)
            made["peer tuned"] = peers.transformers_llama(path, ids, tuned=True)
        else:
            for side, tuned in (("peer", False), ("peer tuned", True)):
                made[side] = peers.nano_gpt(SHAPE, ids, bias=True, tuned=tuned, ours=our_model(kind))
    for step in range(3):
        losses = {side: work() for side, work in made.items()}
        if max(losses.values()) - min(losses.values()) > SAME_LOSS * losses["ours"]:
            raise RuntimeError(f"the losses of step {step} differ: {losses}")
    return harness.in_turns(made, repetitions)


def measure_overhead(repetitions: int) -> dict[str, list[float]]:
    """The loop's steps, and what of each was forward, backward and optimizer, with the casts they need.

    Taken inside one and the same step: between two steps of a shared machine lies more than what is to be measured.
    """
    import torch

    stepper, inside = our_stepper("free", start()), 0.0

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal inside
            began = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                inside += time.perf_counter() - began

        return call

    stepper.shared._loss = timed(stepper.shared._loss)
    torch.Tensor.backward = timed(torch.Tensor.backward)
    stepper.precise.collect, stepper.precise.refresh = timed(stepper.precise.collect), timed(stepper.precise.refresh)
    for optimizer in stepper.optimizers:
        optimizer.step, optimizer.zero_grad = timed(optimizer.step), timed(optimizer.zero_grad)
    times: dict[str, list[float]] = {"loop": [], "bare": []}
    for number in range(2 + 2 * repetitions):
        inside, began = 0.0, time.perf_counter()
        stepper.gradients(number)
        stepper.update(0.0, N_STEPS)
        if number >= 2:  # the first ones compile
            times["loop"].append(time.perf_counter() - began)
            times["bare"].append(inside)
    return times


# --- what is trained ---


def start() -> Any:
    """The ids of the one batch, in a process that is ready to measure."""
    import torch

    warnings.simplefilter("ignore")
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(Path(tempfile.gettempdir(), "groundup-benchmark-compiled")))
    torch.manual_seed(0)
    return torch.randint(VOCAB_SIZE, (B, T + 1))


def our_model(kind: str) -> Any:
    from groundup import models

    family, fields = OURS[kind]
    given = {**fields, "dropout": 0.0}
    return models.fresh(models.family(family).Config(**given), seed=0)


def our_stepper(kind: str, ids: Any) -> Any:
    import torch

    from groundup.data.batches import Batch
    from groundup.train import distributed, losses
    from groundup.train.config import TrainConfig
    from groundup.train.step import Stepper

    class Same:
        """The same batch in every step."""

        def batch(self, step: int, rows: slice = slice(None)) -> Batch:
            inputs, targets = ids[rows, :-1], ids[rows, 1:].contiguous()
            return Batch(inputs, targets, segments=None, n_targets=targets.numel())

    config = TrainConfig(
        n_steps=N_STEPS, batch_size=B, optimizer="adamw", lr=1e-4, weight_decay=0.1, schedule="constant",
        warmup_steps=0, compile=True, device="cpu",
    )  # fmt: skip
    return Stepper(our_model(kind), Same(), losses.next_token, config, distributed.World(torch.device("cpu")))


def our_step(kind: str, ids: Any) -> tuple[Callable[[], float], int]:
    """The loop's own step over the batch, and how many parameters it trains."""
    stepper = our_stepper(kind, ids)

    def step() -> float:
        loss = stepper.gradients(0).loss
        stepper.update(0.0, N_STEPS)
        return loss

    return step, sum(parameter.numel() for parameter in stepper.model.parameters())


def saved(kind: str, folder: Path) -> Path:
    """Our starting weights as a folder that transformers opens."""
    from groundup.weights import checkpoint

    checkpoint.save(folder / "model", our_model(kind))
    return folder / "model"


def product_rate(dtype: Any) -> float:
    """FLOP/s of a square product, the best of ten."""
    import torch

    n = 2048
    a, b = torch.randn(n, n).to(dtype), torch.randn(n, n).to(dtype)
    times = []
    for _ in range(10):
        began = time.perf_counter()
        _ = a @ b
        times.append(time.perf_counter() - began)
    return 2 * n**3 / min(times)


if __name__ == "__main__":
    sys.exit(main())
