"""How many tokens a second come out on the CPU, beside llama.cpp and transformers on the same weights.

    python benchmarks/inference.py                    every row, about five minutes on two cores
    python benchmarks/inference.py --write            into BENCHMARK.md
    python benchmarks/inference.py --only decode --quick

Llamas of 110 and 15 million parameters with random weights; a file of each for every side, made from the same numbers.
A published model of 135 million besides, if its file is there (inference_real.py).
llama.cpp is llama-cpp-python, built from its source (extra bench-llama-cpp), called token by token at its lowest level,
with as many threads. Greedy tokens of ours and llama.cpp's on the same F16 file must be equal before anything is timed.
On some virtual machines llama.cpp's kernels for repacked Q8_0 weights end the process; it then runs without them, and
the row says so.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import harness
import inference_drafts
import inference_real
import numpy as np
from harness import Row

SHAPES: dict[str, dict[str, Any]] = {
    "110M": {"vocab_size": 32000, "d_model": 768, "n_layers": 12, "n_heads": 12, "d_ff": 2048},
    "15M": {"vocab_size": 32000, "d_model": 288, "n_layers": 6, "n_heads": 6, "d_ff": 768},
}
START = {"vocab_size": 8192, "d_model": 288, "n_layers": 12, "n_heads": 6, "d_ff": 768}
"""For the command itself: 15M parameters, and no id that the tokenizer has no text for."""
CONTEXT = 1024
PROMPT = [7919 * i % 8000 + 200 for i in range(16)]
N_NEW, N_PREFILL = 48, 256
N_THREADS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
PEAK = """
import atexit, sys
def tell():
    [peak] = [line.split()[1] for line in open("/proc/self/status") if "VmHWM" in line]
    print(peak, "torch" in sys.modules, file=sys.stderr)
atexit.register(tell)
"""
"""Says at its end the most memory that this process ever held, in KiB, and whether it took torch."""
COMMAND = """
import runpy
sys.argv = ["groundup", *sys.argv[1:]]
runpy.run_module("groundup", run_name="__main__")
"""
PACKAGES = ("numba", "llama-cpp-python", "transformers", "torch")


# --- the models, each in the files that the sides read ---


def make(shape: dict[str, Any], folder: Path) -> None:
    """bf16 numbers in a Hugging Face folder; the same in GGUF as F16 and Q8_0."""
    import torch

    from groundup import models
    from groundup.tokenizer.protocol import Tokenizer
    from groundup.weights import gguf, huggingface, portable

    family = models.family("llama")
    model = models.fresh(family.Config(**shape, context_length=CONTEXT), seed=0).eval()
    with torch.no_grad():
        for weight in model.parameters():  # larger than they start, so that one token is clearly the likeliest
            weight.copy_((3 * weight if weight.ndim == 2 else weight).bfloat16())
    tokenizer = Tokenizer.load("en-zh-8k")
    source = portable.of(model, tokenizer)
    (folder / "hf").mkdir()
    huggingface.write(folder / "hf", source, torch.bfloat16)
    for dtype in ("F16", "Q8_0"):
        gguf.write(folder / f"{dtype}.gguf", source, dtype)


# --- the sides: each gives decode(n) -> ids, prefill(ids), and batch(n_sequences, n_steps) ---


class Ours:
    def __init__(self, path: Path, weights: str = "auto"):
        from groundup.inference.compiled import load

        self.runner: Any = load.load(path, weights, wait=True).runner

    def decode(self, n_new: int, prompt: Sequence[int] = PROMPT) -> list[int]:
        from groundup.inference.runner import Work

        state, ids = self.runner.open(), []
        row = self.runner.run([Work(state, prompt)])[0]
        for _ in range(n_new):
            ids.append(int(row.argmax()))
            row = self.runner.run([Work(state, ids[-1:])])[0]
        state.close()
        return ids

    def prefill(self, ids: list[int]) -> None:
        from groundup.inference.runner import Work

        state = self.runner.open()
        self.runner.run([Work(state, ids)])
        state.close()

    def batch(self, n_sequences: int, n_steps: int) -> None:
        from groundup.inference.runner import Work

        states = [self.runner.open() for _ in range(n_sequences)]
        rows = self.runner.run([Work(state, PROMPT[i % 8 :]) for i, state in enumerate(states)])
        for _ in range(n_steps):
            rows = self.runner.run([Work(state, [int(row.argmax())]) for state, row in zip(states, rows, strict=True)])
        for state in states:
            state.close()


class LlamaCpp:
    def __init__(self, path: Path, repacks: bool = True):
        import llama_cpp  # pyright: ignore[reportMissingImports]

        self.api = llama_cpp
        parameters = llama_cpp.llama_model_default_params()
        parameters.use_extra_bufts = repacks
        self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), parameters)
        options = llama_cpp.llama_context_default_params()
        options.n_ctx, options.n_batch, options.n_ubatch, options.n_seq_max = 16 * CONTEXT, 512, 512, 32
        options.n_threads = options.n_threads_batch = N_THREADS
        self.context = llama_cpp.llama_init_from_model(self.model, options)
        self.n_vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.model))

    def run(self, items: list[tuple[int, int, int, bool]]) -> list[np.ndarray]:
        """(id, position, sequence, whether its logits are wanted) of each; those logits."""
        batch = self.api.llama_batch_init(len(items), 0, 1)
        batch.n_tokens = len(items)
        for i, (id_, position, sequence, is_wanted) in enumerate(items):
            batch.token[i], batch.pos[i], batch.n_seq_id[i] = id_, position, 1
            batch.seq_id[i][0], batch.logits[i] = sequence, is_wanted
        if self.api.llama_decode(self.context, batch):
            raise RuntimeError("llama_decode failed")
        rows = [
            np.ctypeslib.as_array(self.api.llama_get_logits_ith(self.context, i), (self.n_vocab,))
            for i, item in enumerate(items)
            if item[3]
        ]
        self.api.llama_batch_free(batch)
        return rows

    def clear(self) -> None:
        self.api.llama_memory_clear(self.api.llama_get_memory(self.context), True)

    def decode(self, n_new: int, prompt: Sequence[int] = PROMPT) -> list[int]:
        self.clear()
        ids: list[int] = []
        [row] = self.run([(id_, i, 0, i + 1 == len(prompt)) for i, id_ in enumerate(prompt)])
        for i in range(n_new):
            ids.append(int(row.argmax()))
            [row] = self.run([(ids[-1], len(prompt) + i, 0, True)])
        return ids

    def likeliest(self, ids: Sequence[int]) -> list[int]:
        """What comes next after each."""
        self.clear()
        return [int(row.argmax()) for row in self.run([(id_, i, 0, True) for i, id_ in enumerate(ids)])]

    def prefill(self, ids: list[int]) -> None:
        self.clear()
        self.run([(id_, i, 0, i + 1 == len(ids)) for i, id_ in enumerate(ids)])

    def batch(self, n_sequences: int, n_steps: int) -> None:
        self.clear()
        prompts = [PROMPT[i % 8 :] for i in range(n_sequences)]
        rows = []
        for sequence, prompt in enumerate(prompts):
            rows += self.run([(id_, i, sequence, i + 1 == len(prompt)) for i, id_ in enumerate(prompt)])
        ends = [len(prompt) for prompt in prompts]
        for step in range(n_steps):
            rows = self.run([(int(row.argmax()), ends[s] + step, s, True) for s, row in enumerate(rows)])


class Transformers:
    def __init__(self, path: Path):
        import torch
        from transformers import AutoModelForCausalLM

        torch.set_num_threads(N_THREADS)
        self.model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.bfloat16).eval()

    def generate(self, prompts: list[list[int]], n_new: int) -> list[list[int]]:
        import torch

        width = max(map(len, prompts))
        ids = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in prompts])
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        made = self.model.generate(
            ids, attention_mask=mask, max_new_tokens=n_new, min_new_tokens=n_new, do_sample=False, pad_token_id=0
        )
        return made[:, width:].tolist()

    def decode(self, n_new: int) -> list[int]:
        return self.generate([PROMPT], n_new)[0]

    def batch(self, n_sequences: int, n_steps: int) -> None:
        self.generate([PROMPT[i % 8 :] for i in range(n_sequences)], n_steps)


def can_repack(path: Path) -> bool:
    """Does llama.cpp live through its kernels for repacked weights here? Tried in a process of its own."""
    try:
        harness.in_child("inference:try_repacked", str(path))
    except RuntimeError:
        return False
    return True


def try_repacked(path: str) -> bool:
    LlamaCpp(Path(path)).prefill(PROMPT)
    return True


# --- measuring ---


def best_of(sides: dict[str, Callable[[], Any]], repetitions: int) -> dict[str, float]:
    """The shortest time of each side, in turns."""
    return {name: min(times) for name, times in harness.in_turns(sides, repetitions).items()}


def measure(size: str, repetitions: int, what: list[str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make(SHAPES[size], folder)
        repacks = can_repack(folder / "Q8_0.gguf")
        ours = {"bf16": Ours(folder / "hf"), "int8": Ours(folder / "Q8_0.gguf")}
        theirs = {"F16": LlamaCpp(folder / "F16.gguf"), "Q8_0": LlamaCpp(folder / "Q8_0.gguf", repacks)}
        found: dict[str, Any] = {"repacks": repacks}
        same = Ours(folder / "F16.gguf").decode(N_NEW), theirs["F16"].decode(N_NEW)
        if difference := harness.first_difference(*same):
            raise RuntimeError(f"greedy tokens on the F16 file: {difference}")
        near = ours["int8"].decode(N_NEW), theirs["Q8_0"].decode(N_NEW)
        found["same_q8"] = sum(a == b for a, b in zip(*near, strict=True))
        transformers = Transformers(folder / "hf") if size == "110M" else None
        sides: dict[str, Any] = {f"ours {k}": v for k, v in ours.items()} | {
            f"llama.cpp {k}": v for k, v in theirs.items()
        }
        if transformers is not None:
            sides["transformers"] = transformers
        if "decode" in what:
            for side in sides.values():
                side.decode(4)
            found["decode"] = best_of({name: partial(side.decode, N_NEW) for name, side in sides.items()}, repetitions)
        if "prefill" in what:
            ids = [i * 31 % 8000 for i in range(N_PREFILL)]
            able = {name: side for name, side in sides.items() if name != "transformers"}
            for side in able.values():
                side.prefill(ids)
            found["prefill"] = best_of({name: partial(side.prefill, ids) for name, side in able.items()}, repetitions)
        if "batch" in what:
            for n in (8, 32):
                n_steps = 64 // n * 4
                runs = {name: partial(side.batch, n, n_steps) for name, side in sides.items()}
                bare = {name: partial(side.batch, n, 1) for name, side in sides.items()}
                longer, shorter = best_of(runs, repetitions), best_of(bare, repetitions)
                found[f"batch {n}"] = {k: (longer[k] - shorter[k]) / (n_steps - 1) for k in longer}
        return found


def measure_real(path: str, repetitions: int) -> dict[str, Any]:
    """See inference_real.py."""
    ours, theirs = Ours(Path(path)), LlamaCpp(Path(path), can_repack(Path(path)))
    found = inference_real.seconds(ours, theirs, inference_real.prompt_ids(Path(path)), repetitions)
    return found | {"kept": ours.runner.kept_as}


def measure_start(repetitions: int) -> dict[str, Any]:
    """Seconds until the command has printed its first token, and the most memory it held, with a warm cache."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make(START, folder)
        Ours(folder / "hf")  # compiled by now
        command = [sys.executable, "-m", "groundup", "generate", str(folder / "hf"), "Once", "--engine", "compiled"]
        seconds: list[float] = []
        for _ in range(repetitions):
            began = time.perf_counter()
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            assert process.stdout is not None
            is_text = process.stdout.read(1)
            seconds.append(time.perf_counter() - began)
            if not is_text:
                raise RuntimeError("the command printed no text")
            process.kill()
            process.wait()
        (peak, torch), (libraries, _) = most_memory(COMMAND, *command[3:]), most_memory("import numba")
        weights = (folder / "hf" / "model.safetensors").stat().st_size / 1e6
        return {"seconds": seconds, "peak": peak, "libraries": libraries, "torch": torch, "weights": weights}


def most_memory(code: str, *arguments: str) -> tuple[float, str]:
    """Of a fresh process that runs this code, in MB; and whether it took torch."""
    done = subprocess.run([sys.executable, "-c", PEAK + code, *arguments], capture_output=True, text=True, check=True)
    peak, torch = done.stderr.strip().splitlines()[-1].split()
    return int(peak) * 1024 / 1e6, torch


def measure_drafts(repetitions: int) -> dict[str, Any]:
    """See inference_drafts.py."""
    runners = []
    with tempfile.TemporaryDirectory() as place:
        for size, shape in SHAPES.items():
            folder = Path(place) / size
            folder.mkdir()
            make(shape, folder)
            runners.append(Ours(folder / "hf").runner)
        return inference_drafts.seconds_by_way(*runners, repetitions)


def draft_rows(repetitions: int) -> Iterator[Row]:
    print("inference, drafts ...", file=sys.stderr)
    for text, found in harness.in_child("inference:measure_drafts", repetitions).items():
        rate = {way: inference_drafts.N_NEW / seconds for way, seconds in found["seconds"].items()}
        for way in list(rate)[1:]:
            name = f"110M bf16, {text}, draft: {way}"
            yield Row(name, "tokens/s", rate[way], rate["none"], "no draft", note=found["right"][way])


GOALS = {
    "110M": (("bf16", "F16", 1.0), ("int8", "Q8_0", 1.4)),
    "15M": (("bf16", "F16", 2.5), ("int8", "Q8_0", 1.0)),
}
"""Of one sequence: how ours are kept, llama.cpp's, and how many times as fast we should be."""


def rows(repetitions: int, only: list[str]) -> list[Row]:
    made: list[Row] = []
    what = [each for each in ("decode", "prefill", "batch") if each in only]
    for size in SHAPES if what else ():
        made += size_rows(size, repetitions, what if size == "110M" else ["decode"])
    if "real" in only:
        made.append(inference_real.row(repetitions))
    if "drafts" in only:
        made += draft_rows(max(3, repetitions // 2))
    if "start" in only:
        made += start_rows(max(3, repetitions // 2))
    return made


def size_rows(size: str, repetitions: int, what: list[str]) -> Iterator[Row]:
    print(f"inference, {size} ...", file=sys.stderr)
    try:
        found = harness.in_child("inference:measure", size, repetitions, what)
    except RuntimeError as error:
        yield Row(size, "tokens/s", failed=str(error))
        return
    note = None if found["repacks"] else "llama.cpp without repacking"

    def row(name: str, rate: dict[str, float], ours: str, theirs: str, least: float | None, note: str | None) -> Row:
        peer = "transformers bf16" if theirs == "transformers" else theirs
        return Row(f"{size}, {name}", "tokens/s", rate[ours], rate[theirs], peer, least, note=note)

    if "decode" in what:
        rate = {name: N_NEW / seconds for name, seconds in found["decode"].items()}
        for ours, theirs, least in GOALS[size]:
            about = [f"{found['same_q8']} of {N_NEW} tokens equal", *([note] if note else [])]
            about = "; ".join(about) if theirs == "Q8_0" else None
            yield row(f"one sequence, {ours}", rate, f"ours {ours}", f"llama.cpp {theirs}", least, about)
            if "transformers" in rate and ours == "bf16":
                yield row("one sequence, bf16", rate, "ours bf16", "transformers", 4.0, None)
    if "prefill" in what:
        rate = {name: N_PREFILL / seconds for name, seconds in found["prefill"].items()}
        yield row(f"prompt of {N_PREFILL}, bf16", rate, "ours bf16", "llama.cpp F16", 1.2, None)
        yield row(f"prompt of {N_PREFILL}, int8", rate, "ours int8", "llama.cpp Q8_0", None, note)
    for n in (8, 32) if "batch" in what else ():
        rate = {name: n / seconds for name, seconds in found[f"batch {n}"].items()}
        best = max(("ours bf16", "ours int8"), key=rate.__getitem__)
        yield row(f"{n} sequences, our best", rate, best, "llama.cpp Q8_0", 1.2, note)
        yield row(f"{n} sequences, bf16", rate, "ours bf16", "transformers", 1.5, None)


def start_rows(repetitions: int) -> Iterator[Row]:
    print("inference, start ...", file=sys.stderr)
    found = harness.in_child("inference:measure_start", repetitions)
    note = f"median {statistics.median(found['seconds']):.2f} s, torch imported: {found['torch']}"
    yield Row("15M, first token of the command, warm cache", "s", min(found["seconds"]), limit=1.0, note=note)
    beyond = found["peak"] - found["weights"] - found["libraries"]
    note = f"in all {found['peak']:.0f}: {found['weights']:.0f} weights, {found['libraries']:.0f} Python and numba"
    yield Row("15M, most memory beyond weights, Python and numba", "MB", beyond, limit=60, note=note)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one object a row instead of a table")
    parser.add_argument("--write", action="store_true", help="put the table into BENCHMARK.md")
    parser.add_argument("--quick", action="store_true", help="two repetitions, which shows that all of it runs")
    parts = ["decode", "prefill", "batch", "real", "drafts", "start"]
    parser.add_argument("--only", nargs="+", choices=parts, default=parts, help="these rows")
    parser.add_argument("--repetitions", type=int, default=8, metavar="N", help="of each side, in turns (8)")
    options = parser.parse_args()
    measured = rows(2 if options.quick else options.repetitions, options.only)
    code = harness.report(measured, options.json)
    if options.write:
        facts = [
            f"{N_THREADS} threads on both sides; the best of {options.repetitions}, in turns; greedy, {N_NEW} tokens"
        ]
        harness.write_section("inference", harness.section("Talking, on the CPU", measured, PACKAGES, facts))
    return code


if __name__ == "__main__":
    raise SystemExit(main())
