"""What to do with a step whose numbers are wrong: make the update, leave it out, or go back to a checkpoint.

A loss or a gradient norm that is not finite never reaches the weights: the step is skipped. Where that happens too
often in a row the fault lies in the weights, so the run goes back to its last good checkpoint and passes over the steps
that led there, as PaLM's authors did by hand (Chowdhery et al. 2022, arXiv 2204.02311, section 5.1). A second time back
to the same checkpoint would end the same, so there the run ends (see `faulty_steps`).

Pure logic, and all of it in `state`: a run that was killed judges every step as one that was not. Steps are counted as
`batches.batch(step)` counts them, from 0, except in `event`, which is for people and says what metrics.jsonl says.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

Verdict = Literal["go", "skip", "roll_back"]

NOTED_FROM = 8.0
"""Standard deviations from which a loss above the last ones is an event, also where it is not passed over."""
N_LOSSES = 128
"""Losses that a new one is compared with."""
FEWEST_LOSSES = 32
SMALLEST_SIGMA = 1e-3
"""Of the losses' median: losses that hardly differ must not turn a hair's breadth into a spike."""


class Guard:
    """Judges each step by its numbers.

    `skipped`    steps whose update was left out
    `pass_over`  steps that are not even tried: they led to a state that the run went back from
    `last_good`  the checkpoint to go back to, None before there is one: see `note_checkpoint`
    `bad_steps`  the steps in a row, up to the last one, whose numbers were not finite
    """

    def __init__(self, max_skips: int = 5, spike_sigmas: float = 0.0):
        self.max_skips, self.spike_sigmas = max_skips, spike_sigmas
        self.skipped: list[int] = []
        self.pass_over: list[int] = []
        self.bad_steps: list[int] = []
        self.last_good: int | None = None
        self._went_back_to: list[int] = []
        self._losses: list[float] = []
        self._n_spikes = 0  # skipped in a row
        self._event: dict[str, Any] | None = None

    def judge(self, step: int, loss: float, grad_norm: float) -> Verdict:
        """What to do with the update of `step`, whose mean loss and gradient norm (before clipping) are known.

        All ranks must ask with the same numbers, those of the whole batch.
        """
        self._event = None
        if not (math.isfinite(loss) and math.isfinite(grad_norm)):
            self.bad_steps.append(step)
            verdict: Verdict = "skip" if len(self.bad_steps) <= self.max_skips else "roll_back"
            return self._verdict(verdict, "not_finite", step, loss, grad_norm)
        self.bad_steps = []

        sigmas = self.sigmas_above(loss)
        if self.spike_sigmas and sigmas > self.spike_sigmas:
            self._n_spikes += 1
            if self._n_spikes <= self.max_skips:
                return self._verdict("skip", "spike", step, loss, grad_norm, sigmas=round(sigmas, 1))
            # What stays is no spike but where the loss now is: measure from here.
            self._losses = []
        self._n_spikes = 0
        self._losses = [*self._losses[-N_LOSSES + 1 :], loss]
        if sigmas > NOTED_FROM:
            return self._verdict("go", "spike", step, loss, grad_norm, sigmas=round(sigmas, 1))
        return "go"

    def _verdict(self, verdict: Verdict, kind: str, step: int, loss: float, grad_norm: float, **more: float) -> Verdict:
        if verdict != "go":
            self.skipped.append(step)
        # JSON has no NaN; its name tells more than a null.
        numbers = {"loss": loss, "grad_norm": grad_norm, **more}
        shown = {name: value if math.isfinite(value) else str(value) for name, value in numbers.items()}
        self._event = {"kind": kind, "step": step + 1, "verdict": verdict, **shown}
        return verdict

    def event(self) -> dict[str, Any] | None:
        """What was remarkable about the step judged last, for `run.event(**event)`; None for an ordinary one."""
        return self._event

    def sigmas_above(self, loss: float) -> float:
        """By how many standard deviations a loss lies above the median of the last ones; 0 while they are few.

        The deviation is 1.4826 times the median distance from the median: what it is for a normal distribution, and a
        few spikes among the last losses do not widen it.
        """
        if len(self._losses) < FEWEST_LOSSES:
            return 0.0
        middle = _median(self._losses)
        sigma = 1.4826 * _median([abs(known - middle) for known in self._losses])
        return (loss - middle) / max(sigma, SMALLEST_SIGMA * abs(middle), 1e-12)

    # --- going back ---

    @property
    def is_calm(self) -> bool:
        """Was the last step's loss a number? Only then is a checkpoint worth going back to."""
        return not self.bad_steps

    def note_checkpoint(self, step: int) -> None:
        """A checkpoint after `step` updates is about to be saved, at a step that the config says.

        Not for one that the clock or a signal asked for: where a run goes back to must not depend on when it was
        interrupted.
        """
        if self.is_calm:
            self.last_good = step

    @property
    def can_go_back(self) -> bool:
        """Is there a checkpoint that the run did not go back to before?"""
        return self.last_good is not None and self.last_good not in self._went_back_to

    def go_back(self, saved: Mapping[str, Any]) -> list[int]:
        """The run stands at `last_good` again, where the state was `saved`: returns the steps it now passes over.

        These are the bad ones and as many before them, whose updates may have been the cause.
        """
        assert self.last_good is not None and self.bad_steps
        first = max(self.last_good, self.bad_steps[0] - len(self.bad_steps))
        found = list(range(first, self.bad_steps[-1] + 1))
        kept = {
            "pass_over": sorted({*self.pass_over, *found}),
            "went_back_to": [*self._went_back_to, self.last_good],
            "last_good": self.last_good,
        }
        self.load({**saved, **kept})
        return found

    def passes_over(self, step: int) -> bool:
        """Is this step to be counted and not computed?"""
        return step in self.pass_over

    # --- what a checkpoint keeps ---

    def state(self) -> dict[str, Any]:
        """All that `judge` looks at, as JSON; floats come back from JSON as they were."""
        return {
            "skipped": list(self.skipped),
            "pass_over": list(self.pass_over),
            "bad_steps": list(self.bad_steps),
            "last_good": self.last_good,
            "went_back_to": list(self._went_back_to),
            "losses": list(self._losses),
            "n_spikes": self._n_spikes,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`; an empty one is a run that begins."""
        self.skipped = list(state.get("skipped", []))
        self.pass_over = list(state.get("pass_over", []))
        self.bad_steps = list(state.get("bad_steps", []))
        self.last_good = state.get("last_good")
        self._went_back_to = list(state.get("went_back_to", []))
        self._losses = list(state.get("losses", []))
        self._n_spikes = state.get("n_spikes", 0)
        self._event = None


def _median(values: list[float]) -> float:
    """The upper one of the two in the middle; several times as fast as the standard library's, and asked every step."""
    return sorted(values)[len(values) // 2]
