"""A wall-clock budget becomes a number of steps, once, before step 0: from then on all is a function of the step."""

import time
from collections.abc import Callable

from groundup import artifact
from groundup.train.run_folder import RunFolder

CALIBRATION_SECONDS = 6.0
FEWEST_STEPS, MOST_STEPS = 3, 200
N_EVALUATIONS = 11  # ten in the run, and one at step 0


def steps_in(
    minutes: float, run: RunFolder, try_step: Callable[[], object], try_evaluation: Callable[[], object]
) -> int:
    """How many steps fit: by making some with `try_step` (the caller takes their effect back) and timing an evaluation.

    The answer is kept in the run folder, so that a run killed before its first checkpoint keeps its length.
    """
    stored = run.path / "budget.json"
    if stored.exists():
        return int(artifact.read_json(stored)["n_steps"])
    began = time.monotonic()
    patience = min(CALIBRATION_SECONDS, 4 * minutes)
    times: list[float] = []
    while len(times) < FEWEST_STEPS or (time.monotonic() - began < patience and len(times) < MOST_STEPS):
        step_began = time.monotonic()
        try_step()
        times.append(time.monotonic() - step_began)
    evaluation_began = time.monotonic()
    try_evaluation()
    evaluation_seconds = time.monotonic() - evaluation_began

    # The first steps warm caches up; the mean of the later half is what the run will see.
    later = times[len(times) // 2 :]
    seconds_per_step = sum(later) / len(later)
    seconds_left = 60 * minutes - (time.monotonic() - began) - N_EVALUATIONS * evaluation_seconds
    n_steps = max(1, int(seconds_left / seconds_per_step))
    artifact.write_json(stored, {"n_steps": n_steps, "seconds_per_step": seconds_per_step})
    run.event("calibrated", n_steps=n_steps, seconds_per_step=seconds_per_step)
    return n_steps
