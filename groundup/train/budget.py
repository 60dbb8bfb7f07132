"""A wall-clock budget as a number of steps: estimated by some steps on trial, and looked at again on the way.

A run of `--minutes` should end when they are over, also on a machine that slows down when somebody else comes; and yet
be repeatable. So what is decided is written down: `budget.json` holds the estimate made before step 0, and every
correction with the step from which it holds. A run that is killed finds them there and takes the same steps again.

A correction changes how many steps are left, not the curve of the learning rate: `Pace.place` says how far along that
curve a step lies, and walks the rest of it a little faster or slower.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from groundup import artifact
from groundup.train.distributed import World
from groundup.train.run_folder import RunFolder

FILE = "budget.json"
CALIBRATION_SECONDS = 6.0
FEWEST_STEPS, MOST_STEPS = 3, 200
N_PARTS = 20
"""How often in a run the budget is looked at."""
N_EVALUATIONS = 11  # ten in the run, and one at step 0


@dataclass(frozen=True)
class Turn:
    """From step `step` on, which lies at `place` of the schedule, the run is to have `n_steps` steps in all."""

    step: int
    place: float
    n_steps: int


@dataclass
class Pace:
    """Where on a schedule of `n_steps` each step lies. Without a budget the step's own number says it.

    >>> pace = Pace(100)
    >>> pace.turns.append(Turn(step=40, place=40.0, n_steps=70))  # slower than thought: 30 steps for the last 60
    >>> [pace.place(step) for step in (10, 40, 41, 70)]
    [10.0, 40.0, 42.0, 100.0]
    """

    n_steps: int
    turns: list[Turn] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.turns = self.turns or [Turn(0, 0.0, self.n_steps)]

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> "Pace":
        """The pace that `facts` were told of."""
        return cls(facts["n_steps"], [Turn(**turn) for turn in facts["turns"]])

    def facts(self) -> dict[str, Any]:
        """As plain values, for a file."""
        return {"n_steps": self.n_steps, "turns": [asdict(turn) for turn in self.turns]}

    def _turn(self, step: int) -> Turn:
        return next(turn for turn in reversed(self.turns) if turn.step <= step)

    def place(self, step: int) -> float:
        """From 0.0 at the first step to `n_steps` behind the last."""
        turn = self._turn(step)
        left = self.n_steps - turn.place
        return turn.place + (step - turn.step) * left / max(1, turn.n_steps - turn.step)

    def last_step(self, step: int) -> int:
        """How many steps the run has in all, as far as is known at `step`."""
        return self._turn(step).n_steps

    def part(self, step: int, n_parts: int) -> int:
        """In which of so many equal parts of the schedule a step lies: 0 to n_parts."""
        return int(n_parts * self.place(step) / self.n_steps)

    def begins_part(self, step: int, n_parts: int) -> bool:
        """Is it the first step of one of the parts, or the end of the last?"""
        return step > 0 and self.part(step, n_parts) > self.part(step - 1, n_parts)


class Budget:
    """The minutes of a run, and what was decided about them in its folder."""

    def __init__(self, minutes: float, run_dir: Path, eval_every: int = 0):
        self.seconds = 60 * minutes
        self._eval_every = eval_every
        self._file = run_dir / FILE

    def stored(self) -> dict[str, Any] | None:
        """What an earlier attempt of this run decided, as `Pace.facts`; None if there was none."""
        return artifact.read_json(self._file) if self._file.exists() else None

    def calibrate(
        self, run: RunFolder, world: World, try_step: Callable[[], object], try_evaluation: Callable[[], object]
    ) -> Pace:
        """How many steps fit, by making some with `try_step` (the caller takes their effect back)."""
        began = time.monotonic()
        patience = min(CALIBRATION_SECONDS, self.seconds / 15)
        times: list[float] = []
        while world.any(len(times) < FEWEST_STEPS or (time.monotonic() - began < patience and len(times) < MOST_STEPS)):
            step_began = time.perf_counter()
            try_step()
            times.append(time.perf_counter() - step_began)
        evaluation_began = time.perf_counter()
        try_evaluation()
        seconds_per_evaluation = time.perf_counter() - evaluation_began

        # The first steps warm caches up; the mean of the later half is what the run will see.
        later = times[len(times) // 2 :]
        seconds_per_step = sum(later) / len(later)
        seconds_left = self.seconds - (time.monotonic() - began)
        n_steps = self._n_steps(seconds_left, seconds_per_step, N_EVALUATIONS, seconds_per_evaluation)
        pace = Pace(world.from_main(max(1, int(n_steps))))
        if world.is_main:
            artifact.write_json(self._file, pace.facts() | {"seconds_per_evaluation": seconds_per_evaluation})
            run.event("calibrated", n_steps=pace.n_steps, seconds_per_step=seconds_per_step)
        return pace

    def look_again(self, pace: Pace, step: int, seconds: float, seconds_per_step: float) -> None:
        """Before `step`, `seconds` after the start: how many steps fit now? An earlier attempt's answer stands."""
        stored = self.stored() or {"seconds_per_evaluation": 0.0}
        if any(turn.step == step for turn in pace.turns) or step >= pace.last_step(step):
            return
        n_evaluations = 10 - pace.part(step, 10)
        seconds_left = self.seconds - seconds
        n_steps = self._n_steps(seconds_left, seconds_per_step, n_evaluations, stored["seconds_per_evaluation"])
        n_left = max(1, round(n_steps))
        pace.turns.append(Turn(step, pace.place(step), step + n_left))
        artifact.write_json(self._file, stored | pace.facts())

    def _n_steps(self, seconds: float, per_step: float, n_evaluations: int, per_evaluation: float) -> float:
        """Steps that fit beside so many evaluations, or, with `eval_every`, one after so many steps and a last one."""
        if self._eval_every:
            return (seconds - per_evaluation) / (per_step + per_evaluation / self._eval_every)
        return (seconds - n_evaluations * per_evaluation) / per_step
