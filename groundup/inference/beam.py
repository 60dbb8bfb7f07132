"""Beam search: the likeliest text, looked for on several paths at once, in place of drawing one token after another.

At each step every path is continued by its likeliest ids, and the best of all continuations go on. It suits short
answers of which one is right; long free text turns flat and repeats itself (arXiv:1904.09751, section 3).

The text and its score are those of transformers with the same number of beams: at each step the best
`n_beams` · max(2, 1 + number of stop ids) continuations are looked at; those among the first `n_beams` that end are
kept; the search is over when no path that goes on scores better, at its present length, than all that ended. A text
may also end because of what it says, as with a stop string.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from groundup.errors import UsageError
from groundup.inference import sampling
from groundup.inference.generation import Generation
from groundup.inference.history import History
from groundup.inference.prompt import checked_prompt
from groundup.inference.runner import Runner, State, Work
from groundup.inference.settings import Settings


@dataclass(eq=False)
class _Path:
    """One text on its way: its state, the ids that the state has yet to run, and the sum of its log-probabilities."""

    state: State
    fresh: Sequence[int]
    history: History
    total: float = 0.0
    logprobs: list[float] = field(default_factory=list)

    def ended(self, reason: str, score: float, stop_ids: Sequence[int]) -> Generation:
        ids = self.history.ids
        n_prompt = self.history.n_prompt
        return Generation(
            ids[:n_prompt],
            ids[n_prompt:],
            self.logprobs,
            finish_reason=reason,
            ends_with_stop_id=ids[-1] in stop_ids,
            score=score,
        )


@dataclass(frozen=True, eq=False)
class _Step:
    """A path and the id that continues it."""

    path: _Path
    id: int
    total: float
    logprob: float

    @property
    def new(self) -> list[int]:
        """The ids after the prompt."""
        return [*self.path.history.new, self.id]

    def taken(self, state: State) -> _Path:
        history = self.path.history.copy()
        history.add(self.id)
        return _Path(state, [self.id], history, self.total, [*self.path.logprobs, self.logprob])


def search(
    runner: Runner,
    prompt: Sequence[int],
    settings: Settings,
    *,
    n_beams: int = 4,
    length_penalty: float = 1.0,
    n_best: int = 1,
    is_over: Callable[[Sequence[int]], bool] = lambda new_ids: False,
) -> list[Generation]:
    """The `n_best` best texts, best first, with their scores.

    settings: the maximum, the stop ids, the bias, the penalties and no_repeat_ngram count; nothing is drawn, so
    temperature, seed and what belongs to them do not.
    length_penalty: a text of n new ids scores its log-probability divided by n to this power: 0 favours short texts,
    1 compares their means, more favours long ones.
    is_over: does a text with these new ids end here? Asked beside the stop ids.
    Raises UsageError for a prompt that is empty, does not fit in the context or has ids the model does not know.
    """
    if not 1 <= n_best <= n_beams:
        raise UsageError(f"n_best is {n_best} of {n_beams} beams, and both have to be at least 1", where="n_beams")
    if not math.isfinite(length_penalty):
        raise UsageError(
            f"length_penalty is {length_penalty}, and it has to be a finite number", where="length_penalty"
        )
    settings.check_vocabulary(runner.vocab_size)
    ids = checked_prompt(prompt, runner.vocab_size, runner.context_length)
    n_new = min(settings.max_new_tokens, runner.context_length - len(ids))
    n_looked_at = n_beams * max(2, 1 + len(settings.stop_ids))

    paths = [_Path(runner.open(), ids, History(ids))]
    ended: list[tuple[float, Generation]] = []
    try:
        for n in range(1, n_new + 1):
            steps = _best_steps(runner, paths, settings, n_looked_at)
            stops = {step for step in steps if step.id in settings.stop_ids or is_over(step.new)}
            for step in steps[:n_beams]:
                if step in stops or n == n_new:
                    reason, score = "stop" if step in stops else "length", step.total / n**length_penalty
                    text = step.taken(step.path.state).ended(reason, score, settings.stop_ids)
                    ended.append((score, text))
            ended = sorted(ended, key=lambda scored: -scored[0])[:n_beams]

            going = [step for step in steps if step not in stops][:n_beams]
            if n == n_new or not going:
                break
            paths = _take(going, paths)
            if len(ended) == n_beams and paths[0].total / n**length_penalty <= ended[-1][0]:
                break
    finally:
        for path in paths:
            path.state.close()
    return [text for _, text in ended[:n_best]]


def _best_steps(runner: Runner, paths: list[_Path], settings: Settings, n: int) -> list[_Step]:
    """The n best continuations of all paths, best first."""
    steps = []
    rows = runner.run([Work(path.state, path.fresh) for path in paths])
    for path, logits in zip(paths, rows, strict=True):
        logprobs = sampling.log_probabilities(sampling.checked(logits))
        scores = sampling.penalise(logprobs, settings, path.history)
        for id_ in sampling.likeliest(scores, n).tolist():
            if scores[id_] > sampling.RULED_OUT:
                steps.append(_Step(path, id_, path.total + float(scores[id_]), float(logprobs[id_])))
    return sorted(steps, key=lambda step: -step.total)[:n]


def _take(steps: list[_Step], paths: list[_Path]) -> list[_Path]:
    """The paths after these steps. The first to continue a path takes over its state, others fork it."""
    continued: set[_Path] = set()
    taken = []
    for step in steps:
        taken.append(step.taken(step.path.state.fork() if step.path in continued else step.path.state))
        continued.add(step.path)
    for path in paths:
        if path not in continued:
            path.state.close()
    return taken
