"""What guessing ahead gains in tokens a second: prompt look-up, and a draft of 15M parameters for a model of 110M.

Random weights write nothing that could be guessed, and whether guesses are right decides everything. So the models
here compute all that models of their size compute, and then write a text that is given: look-up meets the repetitions
of that text, and of a draft model's guesses a given share is right.
"""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import harness
import numpy as np

DOCS = Path(__file__).parent.parent / "docs"
N_PROMPT, N_NEW = 160, 128
SHARES = (0.6, 0.8)
"""Of guesses that are right, each by itself; see docs/generation.md for what trained models reach."""


class Scripted:
    """A Runner that runs, and then finds that the next id of its text is the likeliest."""

    def __init__(self, runner: Any, script: Sequence[int]):
        self.runner, self.script = runner, script
        self.name, self.vocab_size = runner.name, runner.vocab_size
        self.context_length, self.bytes_per_position = runner.context_length, runner.bytes_per_position

    def open(self) -> Any:
        return self.runner.open()

    def run(self, work: Sequence[Any]) -> list[np.ndarray]:
        found = self.runner.run(work)
        for one, rows in zip(work, found, strict=True):
            each = rows if one.every else rows[None]
            for row, place in zip(each, range(one.state.length - len(each), one.state.length), strict=True):
                row[self.script[place + 1]] = 1000.0
        return found


def texts() -> dict[str, list[int]]:
    """Ids of N_PROMPT and N_NEW more. One goes on freely; one says its prompt again with a word changed here and there,
    as who corrects a text does."""
    from groundup.tokenizer.protocol import Tokenizer

    ids = Tokenizer.load("en-zh-8k").encode((DOCS / "reliability.md").read_text("utf-8")).tolist()
    prompt, free = ids[:N_PROMPT], ids[: N_PROMPT + N_NEW + 1]
    changed = [id_ if i % 20 else 300 + i for i, id_ in enumerate(prompt, 1)]
    return {"free text": free, "a text that copies its prompt": [*prompt, *changed[: N_NEW + 1]]}


def wrong_at_times(script: Sequence[int], share: float) -> list[int]:
    """The script with other ids in it; `share` of the places are as they were."""
    dice = random.Random(0)
    return [id_ if dice.random() < share else id_ + 1 for id_ in script]


def seconds_by_way(big: Any, small: Any, repetitions: int) -> dict[str, dict[str, Any]]:
    """For each text: seconds without a draft and with each, in turns, and how many guesses were right."""
    from groundup.inference.engine import Engine
    from groundup.inference.settings import Settings
    from groundup.inference.speculative import DraftModel, PromptLookup

    found: dict[str, dict[str, Any]] = {}
    for name, script in texts().items():
        target, right = Scripted(big, script), {}

        def once(way: str, draft: Any, target: Any = target, right: dict = right, script: list = script) -> None:
            engine = Engine(target, draft=draft, n_kept=0)
            made = engine.submit(script[:N_PROMPT], Settings(max_new_tokens=N_NEW, temperature=0.0))
            while not engine.is_idle:
                engine.step()
            if made.ids != script[N_PROMPT : N_PROMPT + N_NEW]:
                raise RuntimeError(f"{way} changed the text")
            right[way] = f"{engine.n_accepted} of {engine.n_drafted} guesses right"

        ways: dict[str, Any] = {"none": lambda: None, "look-up": PromptLookup}
        if name == "free text":
            for share in SHARES:
                guesses = Scripted(small, wrong_at_times(script, share))
                ways[f"15M, {share:.0%} right"] = lambda guesses=guesses: DraftModel(guesses)
        runs = {way: (lambda way=way, make=make: once(way, make())) for way, make in ways.items()}
        for run in runs.values():
            run()
        times = {way: min(each) for way, each in harness.in_turns(runs, repetitions).items()}
        found[name] = {"seconds": times, "right": right}
    return found
