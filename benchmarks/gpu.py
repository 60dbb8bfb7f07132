"""What training and talking reach on one GPU, in one call of under nine minutes.

    python benchmarks/gpu.py --out gpu.json            every part; the table on stdout, all rows and facts in the file
    python benchmarks/gpu.py --smoke --out gpu.json    the same code with tiny shapes on a CPU, in seconds

Talking is measured as gpu_talking.py says. In training, steps are those of the loop (train/step.py): forward, backward,
clipping, schedule, optimizer, on random ids.
MFU is told against the bf16 matrix product that this GPU reaches in the same run; a token costs 6 FLOPs for each weight
that is multiplied, and 12 · layers · d_model · context for attention.

A part whose time has not come before `--minutes` are over is left out, one that fails is a row that says why, and the
file is written after every part: whatever happens, what was measured is there. Beside torch and numpy this needs
jaxtyping, msgspec, orjson, xxhash, zstandard; resuming also rich, regex and psutil, and talking transformers.
"""

import argparse
import gc
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import harness
from gpu_talking import talking
from harness import Row

PACKAGES = ("torch", "triton", "numpy", "transformers")
GRACE_SECONDS = 20.0  # after the last minute: a part that still hangs then is broken off
GOALS = {"gpt2 tokens/s": 600_000, "gpt2 MFU": 50, "llama MFU": 55}  # on an H200
NEAR = {"logits": 1e-3, "gradients": 1e-3}  # fused and textbook, relative, in fp32 without TF32


@dataclass(frozen=True)
class Plan:
    """What is run: on a GPU, or tiny on a CPU. Shapes are (family, size, fields of the Config)."""

    device: str
    gpt2: tuple[str, str, dict[str, Any]]
    llama: tuple[str, str, dict[str, Any]]
    small: tuple[str, str, dict[str, Any]]
    gpt2_rows: tuple[int, ...]
    """sizes of micro-batches to try, the usual one first"""
    llama_rows: int
    gemm: int
    n_steps: int
    dtypes: tuple[str, ...]


GPU = Plan(
    device="cuda",
    gpt2=("gpt2", "124m", {"vocab_size": 50304, "context_length": 1024, "dropout": 0.0}),
    llama=("llama", "xl", {
        "vocab_size": 32000, "context_length": 2048, "n_layers": 20, "d_model": 2048, "n_heads": 32, "n_kv_heads": 8,
    }),
    small=("llama", "nano", {"vocab_size": 512}),
    gpt2_rows=(32, 8, 16, 64),
    llama_rows=8,
    gemm=8192,
    n_steps=8,
    dtypes=("fp32", "tf32", "bf16"),
)  # fmt: skip
SMOKE = Plan(
    device="cpu",
    gpt2=("gpt2", "nano", {"vocab_size": 64, "context_length": 16, "n_layers": 2, "dropout": 0.0}),
    llama=("llama", "nano", {"vocab_size": 64, "context_length": 16, "n_layers": 2}),
    small=("llama", "nano", {"vocab_size": 64, "context_length": 16, "n_layers": 2}),
    gpt2_rows=(2, 1),
    llama_rows=2,
    gemm=64,
    n_steps=2,
    dtypes=("fp32",),
)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file with all rows and facts")
    parser.add_argument("--json", action="store_true", help="one object a row on stdout instead of a table")
    parser.add_argument("--write", action="store_true", help="put the table into BENCHMARK.md")
    parser.add_argument("--minutes", type=float, default=8.5, help="begin no part after so many (8.5)")
    parser.add_argument("--only", nargs="+", choices=PARTS, help="these parts")
    parser.add_argument("--smoke", action="store_true", help="tiny shapes on the CPU, to try the script itself")
    parser.add_argument("--no-compile", action="store_true", help="leave out what needs torch.compile")
    options = parser.parse_args(arguments)

    import torch

    if not options.smoke and not torch.cuda.is_available():
        print("error: there is no GPU here\nhint: --smoke tries the script on the CPU", file=sys.stderr)
        return 4
    bench = Bench(SMOKE if options.smoke else GPU, options.minutes, options.out, with_compile=not options.no_compile)
    with bench.watched():
        for part in options.only or PARTS:
            print(f"{part} ...", file=sys.stderr, flush=True)
            bench.part(part)
    if options.write:
        harness.write_section(
            "gpu", harness.section("Training and talking on one GPU", bench.rows, PACKAGES, bench.said())
        )
    harness.report(bench.rows, options.json)
    return int(any(row.failed and not row.failed.startswith("left out") for row in bench.rows))


class Bench:
    """The rows so far, the peak that MFU is told against, and the time that is left."""

    def __init__(self, plan: Plan, minutes: float, out: Path | None, with_compile: bool = True):
        self.plan = plan
        self.rows: list[Row] = []
        self.facts: dict[str, Any] = {}
        self.peak: dict[str, float] = {}
        self.with_compile = with_compile
        self.doing = ""
        self._out = out
        self._end = time.monotonic() + 60 * minutes

    def part(self, name: str) -> None:
        """Run one part; what it raises becomes a row."""
        self.doing = name
        try:
            for row in PARTS[name](self):
                self.add(row)
        except Exception as error:
            self.add(Row(name, "", failed=failure(error)))
        self.clean()

    def attempt(self, row: Row, least_seconds: float, work: Callable[[Row], None]) -> Row:
        """Fill a row by `work`, or say why not."""
        if self.seconds_left < least_seconds:
            row.failed = f"left out: {self.seconds_left:.0f} s were left of the {least_seconds:.0f} it takes"
            return row
        self.doing = row.row
        try:
            work(row)
        except Exception as error:
            row.failed = failure(error)
        self.clean()
        return row

    def add(self, row: Row) -> None:
        self.rows.append(row)
        self.write()

    def write(self) -> None:
        if self._out is not None:
            rows = [row.as_json() for row in self.rows]
            self._out.write_text(json.dumps({"facts": self.facts, "rows": rows}, indent=1) + "\n", encoding="utf-8")

    @property
    def seconds_left(self) -> float:
        return self._end - time.monotonic()

    def watched(self) -> "Watchdog":
        """Within, the process ends with what it has if a part hangs: a compiler cannot be asked to stop."""
        return Watchdog(self)

    def clean(self) -> None:
        """Give the memory of a part back, also after it ran out of it."""
        import torch

        gc.collect()
        if self.plan.device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def said(self) -> list[str]:
        return [f"{name}: {value}" for name, value in self.facts.items()]


class Watchdog:
    def __init__(self, bench: Bench):
        self._bench = bench
        self._timer = threading.Timer(max(0.0, bench.seconds_left) + GRACE_SECONDS, self._end)
        self._timer.daemon = True

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def _end(self) -> None:
        self._bench.add(Row(self._bench.doing, "", failed="broken off: the time was over"))
        print(harness.table(self._bench.rows), flush=True)
        os._exit(1)


def failure(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:120] if lines else ''}".replace("|", "/")


# --- the steps of the training loop on random ids ---


class RandomIds:
    """Batches of random ids, the same ones for a step every time, on the device."""

    def __init__(self, vocab_size: int, context_length: int, rows: int, device: str):
        import torch

        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(vocab_size, (4, rows, context_length + 1), generator=generator)
        self._ids = ids.to(device)

    def batch(self, step: int, rows: slice = slice(None)) -> Any:
        from groundup.data.batches import Batch

        ids = self._ids[step % len(self._ids)][rows]
        return Batch(ids[:, :-1].contiguous(), ids[:, 1:].contiguous(), None, ids[:, 1:].numel())


@dataclass(frozen=True)
class Speed:
    seconds: float
    """the median step"""
    tokens_per_second: float
    flops: float
    """per second"""
    memory_gb: float
    first_seconds: float
    """until the second step was over: with compile, the wait for it"""
    loss: float


def speed(plan: Plan, shape: tuple[str, str, dict[str, Any]], n_steps: int, **settings: Any) -> Speed:
    """Make steps of a TrainConfig with these settings; `batch_size` sequences each. The first two do not count."""
    import torch

    from groundup import models
    from groundup.train import losses
    from groundup.train.config import TrainConfig
    from groundup.train.distributed import World, joined
    from groundup.train.launch import is_started
    from groundup.train.step import Stepper

    family, size, fields = shape
    config = TrainConfig(**{"auto_batch": False, "device": plan.device, "warmup_steps": 0, "lr": 1e-4, **settings})
    model = models.build(family, size, fields, seed=0, kernels=config.kernels).to(plan.device)
    shape_of = models.shape_of(model)
    batches = RandomIds(shape_of.vocab_size, shape_of.context_length, config.batch_size, plan.device)

    def run(world: Any) -> Speed:
        stepper = Stepper(model, batches, losses.next_token, config, world)
        seconds, loss, began = [], 0.0, time.perf_counter()
        for step in range(n_steps + 2):
            step_began = time.perf_counter()
            loss = stepper.gradients(step).loss
            stepper.update(float(step), n_steps + 2)
            wait(plan.device)
            seconds.append(time.perf_counter() - step_began)
            if step == 1:
                first = time.perf_counter() - began
        median = statistics.median(seconds[2:])
        rate = config.batch_size * shape_of.context_length / median
        memory = torch.cuda.max_memory_allocated() if plan.device == "cuda" else 0
        return Speed(median, rate, rate * flops_per_token(model), memory / 1e9, first, loss)

    if is_started():
        with joined(config) as world:
            return run(world)
    return run(World(torch.device(plan.device)))


def flops_per_token(model: Any) -> float:
    """Forward and backward: 6 for each weight of a product, and both products of attention over the whole context."""
    looked_up = {"pos_embed"} | ({"tok_embed"} if model.lm_head is not None else set())
    multiplied = sum(
        weight.numel()
        for name, weight in model.named_parameters()
        if weight.ndim == 2 and not looked_up & set(name.split("."))
    )
    c = model.config
    return 6 * multiplied + 12 * c.n_layers * c.n_heads * c.head_dim * c.context_length


def wait(device: str) -> None:
    if device == "cuda":
        import torch

        torch.cuda.synchronize()


def timed(device: str, work: Callable[[], Any], repetitions: int) -> float:
    """The median seconds of a call, after two that do not count."""
    seconds = []
    for _ in range(repetitions + 2):
        wait(device)
        began = time.perf_counter()
        work()
        wait(device)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[2:])


# --- the parts: each gives rows ---


def peak(bench: Bench) -> Iterator[Row]:
    """What a large matrix product reaches on random numbers (zeros would run faster)."""
    import torch

    n, device = bench.plan.gemm, bench.plan.device
    if device == "cuda":
        bench.facts["GPU"] = (
            f"{torch.cuda.get_device_name()}, {torch.cuda.get_device_properties(0).total_memory / 1e9:.0f} GB"
        )
        bench.facts["CUDA"] = torch.version.cuda
    bench.facts["versions"] = harness.versions(PACKAGES)
    for name in dict.fromkeys((*bench.plan.dtypes, "bf16")):
        row = Row(f"matrix product {n}³, {name}", "TFLOP/s")

        def measure(row: Row, name: str = name) -> None:
            dtype = torch.bfloat16 if name == "bf16" else torch.float32
            with tf32(name == "tf32"):
                a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
                seconds = timed(device, lambda: a @ b, 10)
            bench.peak[name] = 2 * n**3 / seconds
            row.ours = bench.peak[name] / 1e12

        yield bench.attempt(row, 5, measure)


class tf32:  # noqa: N801 (used as a word in a with statement)
    """Within, products of fp32 matrices may use TF32, or may not."""

    def __init__(self, is_allowed: bool):
        self._wanted = "high" if is_allowed else "highest"

    def __enter__(self) -> None:
        import torch

        self._before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision(self._wanted)

    def __exit__(self, *_: object) -> None:
        import torch

        torch.set_float32_matmul_precision(self._before)


def usual(bench: Bench, **changes: Any) -> dict[str, Any]:
    """The settings of GPT-2's rows: bf16, AdamW, two micro-batches a step."""
    rows = bench.plan.gpt2_rows[0]
    return {"batch_size": 2 * rows, "micro_batch_size": rows, "optimizer": "adamw", "precision": "bf16", **changes}


def speed_rows(
    bench: Bench, name: str, shape: tuple[str, str, dict[str, Any]], least_seconds: float,
    goals: tuple[float | None, float | None], **settings: Any,
) -> Iterator[Row]:  # fmt: skip
    """Tokens per second and MFU of one configuration: two rows, from one measurement."""
    found: list[Speed] = []
    rate = Row(f"{name}: tokens/s", "tokens/s", limit=goals[0])

    def measure(row: Row) -> None:
        found.append(speed(bench.plan, shape, bench.plan.n_steps, **settings))
        row.ours = found[0].tokens_per_second
        row.note = f"{found[0].memory_gb:.1f} GB, first two steps {found[0].first_seconds:.0f} s"

    yield bench.attempt(rate, least_seconds, measure)
    share = Row(f"{name}: MFU", "%", limit=goals[1], note="of the bf16 product above")
    if found and "bf16" in bench.peak:
        share.ours = 100 * found[0].flops / bench.peak["bf16"]
    else:
        share.failed = rate.failed or "left out: the peak was not measured"
    yield share


def gpt2(bench: Bench) -> Iterator[Row]:
    """The whole of it: compiled where that is wanted."""
    name = f"GPT-2 {bench.plan.gpt2[1]}, context {bench.plan.gpt2[2]['context_length']}, bf16"
    compiled = bench.with_compile
    goals = (GOALS["gpt2 tokens/s"], GOALS["gpt2 MFU"]) if bench.plan is GPU else (None, None)
    yield from speed_rows(
        bench, f"{name}{', compiled' * compiled}", bench.plan.gpt2, 75, goals, **usual(bench, compile=compiled)
    )


def llama(bench: Bench) -> Iterator[Row]:
    compiled, rows = bench.with_compile, bench.plan.llama_rows
    goals = (None, GOALS["llama MFU"]) if bench.plan is GPU else (None, None)
    settings = {"batch_size": 2 * rows, "micro_batch_size": rows, "optimizer": "adamw", "precision": "bf16"}
    fields = bench.plan.llama[2]
    name = f"Llama of the 1B class, context {fields['context_length']}, bf16{', compiled' * compiled}"
    yield from speed_rows(bench, name, bench.plan.llama, 100, goals, **settings, compile=compiled)


def options(bench: Bench) -> Iterator[Row]:
    """One thing changed at a time, beside the plain configuration: bf16, fused, not compiled."""
    plan, found = bench.plan, {}

    def row_of(name: str, least_seconds: float, uses_tf32: bool = False, **changes: Any) -> Row:
        row = Row(f"GPT-2, {name}", "tokens/s", peer_name="plain" if name != "plain" else None)

        def measure(row: Row) -> None:
            with tf32(uses_tf32):
                found[name] = one = speed(plan, plan.gpt2, max(2, plan.n_steps // 2), **usual(bench, **changes))
            row.ours = one.tokens_per_second
            if name != "plain" and "plain" in found:
                row.peer = found["plain"].tokens_per_second
            row.note = f"{one.memory_gb:.1f} GB, loss {one.loss:.4f}"

        return bench.attempt(row, least_seconds, measure)

    yield row_of("plain", 25)
    yield row_of("textbook kernels", 30, kernels="textbook", batch_size=2 * plan.gpt2_rows[1],
                 micro_batch_size=plan.gpt2_rows[1])  # fmt: skip
    yield row_of("activation checkpointing", 25, activation_checkpointing=True)
    yield row_of("Muon", 25, optimizer="muon")
    for rows in plan.gpt2_rows[1:]:
        yield row_of(f"micro-batches of {rows}", 25, batch_size=2 * rows, micro_batch_size=rows)
    yield row_of("fp32", 40, precision="fp32")
    yield row_of("fp32 with TF32", 30, uses_tf32=True, precision="fp32")


def optimizers(bench: Bench) -> Iterator[Row]:
    """A step of the optimizer alone, fused beside textbook, on the weights of GPT-2."""
    import torch

    from groundup import models
    from groundup.optim import groups

    family, size, fields = bench.plan.gpt2
    for name in ("adamw", "muon"):
        row = Row(f"a step of {name} on GPT-2's weights, fused", "ms", peer_name="textbook")

        def measure(row: Row, name: str = name) -> None:
            for kernels in ("textbook", "fused"):
                model = models.build(family, size, fields, seed=0).to(bench.plan.device)
                built = groups.OPTIMIZERS[name](model, groups.Rates(kernels=kernels))
                for weight in model.parameters():
                    weight.grad = torch.randn_like(weight)
                seconds = timed(bench.plan.device, lambda built=built: [one.step() for one in built], 8)
                row.ours, row.peer = 1e3 * seconds, row.ours

        yield bench.attempt(row, 15, measure)


def parity(bench: Bench) -> Iterator[Row]:
    """How far fused and textbook are apart, in fp32, relative to the largest number."""
    import torch

    from groundup import models
    from groundup.train import losses

    for label, (family, size, fields) in (("GPT-2", bench.plan.gpt2), ("Llama", bench.plan.small)):
        logits_row = Row(f"{label}: logits of fused and textbook", "apart", limit=NEAR["logits"])
        gradients_row = Row(f"{label}: gradients of fused and textbook", "apart", limit=NEAR["gradients"])
        sides: dict[str, tuple[Any, list[Any]]] = {}

        def measure(row: Row, shape: Any = (family, size, fields), sides: dict = sides) -> None:
            for kernels in ("fused", "textbook"):
                model = models.build(*shape, seed=0, kernels=kernels).to(bench.plan.device)
                c = models.shape_of(model)
                batch = RandomIds(c.vocab_size, c.context_length, 2, bench.plan.device).batch(0)
                with tf32(False):
                    with torch.no_grad():
                        logits = model(batch.ids)
                    total, n_targets, _ = losses.next_token(model, batch)
                    (total / n_targets).backward()
                sides[kernels] = (logits, [weight.grad for weight in model.parameters()])
            row.ours = apart(sides["fused"][0], sides["textbook"][0])

        yield bench.attempt(logits_row, 20, measure)
        if len(sides) == 2:
            # As one long vector: the gradient of a key's bias is zero, so beside itself its rounding would look large.
            fused, textbook = (torch.cat([gradient.flatten() for gradient in side[1]]) for side in sides.values())
            gradients_row.ours = apart(fused, textbook)
        else:
            gradients_row.failed = logits_row.failed
        yield gradients_row


def apart(one: Any, other: Any) -> float:
    return ((one - other).abs().max() / other.abs().max().clamp(min=1e-12)).item()


def resume(bench: Bench) -> Iterator[Row]:
    """Ten steps at once, and five, an accident, and five more: are the last weights the same bytes?"""
    for precision in ("fp32", "bf16")[: 1 if bench.plan is SMOKE else 2]:
        row = Row(f"weights of 10 steps, and of 5 + 5 resumed, {precision}", "apart", limit=0.0)

        def measure(row: Row, precision: str = precision) -> None:
            with tempfile.TemporaryDirectory() as folder:
                whole = train(bench.plan, Path(folder, "whole"), precision)
                train(bench.plan, Path(folder, "parts"), precision, fails_at=5)
                again = train(bench.plan, Path(folder, "again"), precision)
                parts = train(bench.plan, Path(folder, "parts"), precision)
            row.ours = max(apart(parts[name], whole[name]) for name in whole)
            noise = max(apart(again[name], whole[name]) for name in whole)
            row.note = "the same bytes" if row.ours == 0 else f"two whole runs are {noise:.2g} apart"

        yield bench.attempt(row, 30, measure)


class Accident(Exception):
    pass


def train(plan: Plan, run_dir: Path, precision: str, fails_at: int = -1) -> dict[str, Any]:
    """The weights after ten steps of the whole loop, saved every five. With `fails_at` it dies before that step."""
    from groundup import models
    from groundup.train import losses
    from groundup.train.config import TrainConfig
    from groundup.train.loop import train as run_loop
    from groundup.train.run_folder import RunFolder
    from groundup.train.watch import Watch

    model = models.build(*plan.small, seed=0)
    c = models.shape_of(model)
    ids = RandomIds(c.vocab_size, c.context_length, 8, plan.device)

    class Batches:
        def batch(self, step: int, rows: slice = slice(None)) -> Any:
            if step == fails_at:
                raise Accident
            return ids.batch(step, rows)

    config = TrainConfig(n_steps=10, batch_size=8, save_every=5, precision=precision, device=plan.device)  # pyright: ignore[reportArgumentType]
    facts = {"verb": "benchmark", "config_toml": "", "config_hash": "same", "facts": {}, "resume": True}
    try:
        with RunFolder.open(run_dir, **facts) as folder:
            watch = Watch(folder, config.n_steps, quiet=True)
            run_loop(model, Batches(), losses.next_token, config, run=folder, watch=watch)
    except Accident:
        pass
    return {name: weight.detach().float().cpu() for name, weight in model.named_parameters()}


def ddp(bench: Bench) -> Iterator[Row]:
    """The path of several ranks, with one: what the exchange costs when there is nobody to exchange with."""
    row = Row("GPT-2, DDP on one rank", "tokens/s")

    def measure(row: Row) -> None:
        rank = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1",
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29531"}  # fmt: skip
        is_smoke = bench.plan is SMOKE
        row.ours = harness.in_child("gpu:as_one_rank", is_smoke, environment=rank, timeout=max(30, bench.seconds_left))

    yield bench.attempt(row, 45, measure)


def as_one_rank(is_smoke: bool) -> float:
    bench = Bench(SMOKE if is_smoke else GPU, 5, None)
    return speed(bench.plan, bench.plan.gpt2, max(2, bench.plan.n_steps // 2), **usual(bench)).tokens_per_second


PARTS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "peak": peak,
    "gpt2": gpt2,
    "llama": llama,
    "parity": parity,
    "resume": resume,
    "ddp": ddp,
    "optimizers": optimizers,
    "talking": talking,
    "options": options,
}


if __name__ == "__main__":
    sys.exit(main())
