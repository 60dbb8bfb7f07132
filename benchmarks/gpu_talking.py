"""Talking on a GPU: tokens a second of Llamas in bf16, one sequence and many, beside transformers. A part of gpu.py.

A step of decoding reads every weight once, so the memory's bandwidth is the limit: the weights' bytes times steps a
second is told as a share of what a copy reaches in the same run. Ours are the steps of the torch engine's runner
(inference/torch_runner.py), logits brought to the CPU and the likeliest id taken there; transformers' are those of its
`generate`, not compiled, which stay on the GPU. Neither counts the prompt.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import harness
from harness import Row

N_PROMPT, REPETITIONS = 16, 3
NEARLY = 0.05
"""Of the distance between the largest and the smallest logit: two ways to compute in bf16 round differently, so that an
id that the other side finds as likely as its likeliest, but for this, is as good."""
LEAST_EQUAL = 0.95


@dataclass(frozen=True)
class Talking:
    """What is measured: Llamas (size, fields of the Config), how many sequences, ids made of each, bytes of a copy."""

    llamas: dict[str, tuple[str, dict[str, Any]]]
    n_sequences: tuple[int, ...]
    n_new: int
    copied: int


ON_GPU = Talking(
    llamas={
        "110M": ("nano", {
            "vocab_size": 32000, "context_length": 2048, "n_layers": 12, "d_model": 768, "n_heads": 12,
            "n_kv_heads": 12, "d_ff": 2048,
        }),
        "1B": ("xl", {
            "vocab_size": 32000, "context_length": 2048, "n_layers": 20, "d_model": 2048, "n_heads": 32,
            "n_kv_heads": 8,
        }),
    },
    n_sequences=(1, 64),
    n_new=128,
    copied=1 << 32,
)  # fmt: skip
SMOKE = Talking(
    llamas={"tiny": ("nano", {"vocab_size": 64, "context_length": 64, "n_layers": 2})},
    n_sequences=(1, 3),
    n_new=4,
    copied=1 << 20,
)
LEAST_RATIO = 3.0
GOALS = {("1B", 1): 60.0}
"""Per cent of the bandwidth, by size and number of sequences."""


def talking(bench: Any) -> Iterator[Row]:
    """The bandwidth, and for each size and number of sequences tokens a second and the share of the bandwidth."""
    device = bench.plan.device
    plan = ON_GPU if device == "cuda" else SMOKE
    copy = bench.attempt(Row("copying in memory, read and written", "GB/s"), 5, partial(bandwidth, plan, device))
    yield copy
    for size, shape in plan.llamas.items():
        rates = [
            Row(f"Llama {size}, bf16, {n} sequence{'s' * (n > 1)}: tokens/s", "tokens/s",
                peer_name="transformers eager", least_ratio=LEAST_RATIO if device == "cuda" else None)
            for n in plan.n_sequences
        ]  # fmt: skip
        n_bytes: list[int] = []

        def measure(row: Row, shape: Any = shape, rates: list[Row] = rates, n_bytes: list[int] = n_bytes) -> None:
            n_bytes.append(compare(plan, shape, device, rates))

        bench.attempt(rates[0], 60, measure)
        for n, rate in zip(plan.n_sequences, rates, strict=True):
            rate.failed = rate.failed or rates[0].failed
            yield rate
            share = Row(rate.row.replace("tokens/s", "share of the bandwidth"), "%", note="of the copy above")
            share.limit = GOALS.get((size, n))
            if rate.ours and n_bytes and copy.ours:
                share.ours = 100 * n_bytes[0] * rate.ours / n / (1e9 * copy.ours)
            else:
                share.failed = rate.failed or copy.failed or "left out: nothing was measured"
            yield share


def bandwidth(plan: Talking, device: str, row: Row) -> None:
    import torch

    source = torch.ones(plan.copied // 2, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    row.ours = plan.copied / best(device, lambda: target.copy_(source), 10) / 1e9


def compare(plan: Talking, shape: tuple[str, dict[str, Any]], device: str, rows: list[Row]) -> int:
    """Fill the rows, one for each number of sequences; how many bytes of weights a step reads."""
    import torch

    from groundup import models
    from groundup.weights import huggingface, portable

    model = models.build("llama", *shape, seed=0).eval()
    with torch.no_grad():
        for weight in model.parameters():  # larger than they start, so that one token is clearly the likeliest
            weight.copy_((3 * weight if weight.ndim == 2 else weight).bfloat16())
    with tempfile.TemporaryDirectory() as folder:
        huggingface.write(Path(folder), portable.of(model), torch.bfloat16)
        theirs = Transformers(folder, device)
    ours = Ours(model.to(device, torch.bfloat16))
    for n, row in zip(plan.n_sequences, rows, strict=True):
        prompts = [[(7919 * i + 31 * s) % ours.runner.vocab_size for i in range(N_PROMPT)] for s in range(n)]
        go_on = ours.began(prompts)
        answers = go_on(plan.n_new)
        texts = [[*prompt, *answer] for prompt, answer in zip(prompts, answers, strict=True)]
        n_equal, n_made = sum(map(theirs.n_agreed, texts)), n * plan.n_new
        row.note = f"{n_equal} of {n_made} tokens as good as likeliest to both"
        if n_equal < LEAST_EQUAL * n_made:
            row.failed = f"only {row.note}"
            continue
        sides = {"ours": partial(go_on, plan.n_new), "longer": partial(theirs.generate, prompts, plan.n_new + 1),
                 "prompt": partial(theirs.generate, prompts, 1)}  # fmt: skip
        for side in sides.values():
            side()
        seconds = {name: min(times) for name, times in harness.in_turns(sides, REPETITIONS).items()}
        row.ours = n_made / seconds["ours"]
        row.peer = n_made / max(1e-9, seconds["longer"] - seconds["prompt"])
    return bytes_of_a_step(model)


class Ours:
    def __init__(self, model: Any):
        from groundup.inference.torch_runner import TorchRunner

        self.runner: Any = TorchRunner(model)
        self._states: list[Any] = []

    def began(self, prompts: list[list[int]]) -> Callable[[int], list[list[int]]]:
        """Reads the prompts; what is returned makes so many ids for each of them, and each time anew."""
        from groundup.inference.runner import Work

        for state in self._states:
            state.close()
        self._states = states = [self.runner.open() for _ in prompts]
        first = self.runner.run([Work(state, prompt) for state, prompt in zip(states, prompts, strict=True)])

        def go_on(n_new: int) -> list[list[int]]:
            for state, prompt in zip(states, prompts, strict=True):
                state.truncate(len(prompt))
            ids = [[int(row.argmax())] for row in first]
            for _ in range(n_new):
                work = [Work(state, each[-1:]) for state, each in zip(states, ids, strict=True)]
                for each, row in zip(ids, self.runner.run(work), strict=True):
                    each.append(int(row.argmax()))
            return [each[:-1] for each in ids]

        return go_on


class Transformers:
    def __init__(self, folder: str, device: str):
        import torch
        from transformers import AutoModelForCausalLM

        self.device = device
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
        self.model = model.eval().to(device)

    def generate(self, prompts: list[list[int]], n_new: int) -> None:
        """Greedily, so many ids for each; over when the GPU is done."""
        import torch

        ids = torch.tensor(prompts, device=self.device)
        options = {"max_new_tokens": n_new, "min_new_tokens": n_new, "do_sample": False, "pad_token_id": 0}
        self.model.generate(ids, attention_mask=torch.ones_like(ids), **options).cpu()

    def n_agreed(self, text: list[int]) -> int:
        """How many ids after the prompt this side finds the likeliest, too, or nearly."""
        import torch

        ids = torch.tensor([text], device=self.device)
        with torch.no_grad():
            logits = self.model(ids).logits[0, N_PROMPT - 1 : -1].float()
        least = torch.lerp(logits.amax(-1), logits.amin(-1), NEARLY)
        return int((logits.gather(-1, ids[0, N_PROMPT:, None])[:, 0] >= least).sum())


def bytes_of_a_step(model: Any) -> int:
    """Of all weights but a table from which only the rows of ids are taken."""
    looked_up = "tok_embed" if model.lm_head is not None else None
    return sum(
        weight.numel() * weight.element_size()
        for name, weight in model.named_parameters()
        if looked_up not in name.split(".")
    )


def best(device: str, work: Callable[[], Any], repetitions: int) -> float:
    """The shortest seconds of a call, after one that does not count."""
    import torch

    seconds = []
    for _ in range(repetitions + 1):
        began = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    return min(seconds[1:])
