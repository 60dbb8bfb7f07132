"""A budget in minutes becomes a number of steps, by arithmetic that can be checked."""

from types import SimpleNamespace

import pytest
import torch

from groundup import artifact
from groundup.train import budget
from groundup.train.budget import Budget, Pace, Turn
from groundup.train.distributed import World
from groundup.train.run_folder import RunFolder

ALONE = World(torch.device("cpu"))


@pytest.fixture
def run(tmp_path):
    with RunFolder.open(tmp_path, verb="t", config_toml="", config_hash="", facts={}, resume=True) as folder:
        yield folder


class Clock:
    """Time that passes only when somebody works."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(budget, "time", SimpleNamespace(monotonic=lambda: self.now, perf_counter=lambda: self.now))

    def work(self, seconds):
        def do():
            self.now += seconds

        return do


def test_steps_fill_what_calibration_and_evaluations_leave(run, tmp_path, monkeypatch):
    clock = Clock(monkeypatch)
    pace = Budget(2.0, tmp_path).calibrate(run, ALONE, clock.work(0.5), clock.work(1.0))
    spent_before = 12 * 0.5 + 1.0
    assert pace.n_steps == int((120 - spent_before - budget.N_EVALUATIONS * 1.0) / 0.5)
    stored = artifact.read_json(tmp_path / "budget.json")
    assert Pace.of(stored) == pace and stored["seconds_per_evaluation"] == 1.0
    assert "calibrated" in (tmp_path / "events.jsonl").read_text()


def test_a_budget_too_small_for_one_step_is_one_step(run, tmp_path, monkeypatch):
    clock = Clock(monkeypatch)
    assert Budget(0.001, tmp_path).calibrate(run, ALONE, clock.work(5.0), clock.work(5.0)).n_steps == 1


def test_without_a_budget_a_step_lies_at_its_own_number():
    pace = Pace(37)
    assert [pace.place(step) for step in range(38)] == list(map(float, range(38)))
    assert [step for step in range(38) if pace.begins_part(step, 10)] == [4, 8, 12, 15, 19, 23, 26, 30, 34, 37]


@pytest.mark.parametrize("n_steps", [1, 3, 7, 10, 33])
def test_the_last_step_ends_the_last_part(n_steps):
    pace = Pace(n_steps)
    assert pace.begins_part(n_steps, 10) and pace.part(n_steps, 10) == 10


def test_a_machine_that_slows_down_gets_fewer_steps_and_the_whole_schedule(run, tmp_path, monkeypatch):
    """100 s at 1 s a step were planned; from step 50 on, a step takes 2 s: 25 more fit."""
    clock = Clock(monkeypatch)
    minutes = Budget(100 / 60, tmp_path)
    pace = minutes.calibrate(run, ALONE, clock.work(1.0), clock.work(0.0))
    n_steps = pace.n_steps
    seconds = clock.now + 50
    minutes.look_again(pace, 50, seconds, 2.0)
    n_left = round((100 - seconds) / 2.0)
    assert pace.last_step(50) == 50 + n_left and pace.last_step(49) == n_steps
    assert pace.place(50) == 50.0 and pace.place(50 + n_left) == pytest.approx(n_steps)
    places = [pace.place(step) for step in range(50 + n_left + 1)]
    assert places == sorted(places)


def test_an_earlier_attempt_decides(run, tmp_path, monkeypatch):
    """Killed and called again, the run takes the steps it would have taken, however quick the machine is now."""
    clock = Clock(monkeypatch)
    minutes = Budget(1.0, tmp_path)
    pace = minutes.calibrate(run, ALONE, clock.work(0.1), clock.work(0.0))
    minutes.look_again(pace, 30, 10.0, 0.2)
    again = Pace.of(Budget(1.0, tmp_path).stored())
    assert again == pace
    Budget(1.0, tmp_path).look_again(again, 30, 10.0, 99.0)
    assert again == pace


def test_late_is_not_never(run, tmp_path):
    """Where the minutes are over already, one step more ends the run."""
    pace = Pace(100, [Turn(0, 0.0, 100)])
    Budget(1.0, tmp_path).look_again(pace, 40, 500.0, 1.0)
    assert pace.last_step(40) == 41


def test_evaluations_every_so_many_steps_cost_so_much_a_step(run, tmp_path, monkeypatch):
    """100 s, 1 s a step, 5 s an evaluation after every 10 steps: one more at the end leaves (100 - 5) / 1.5."""
    clock = Clock(monkeypatch)
    pace = Budget(100 / 60, tmp_path, eval_every=10).calibrate(run, ALONE, clock.work(1.0), clock.work(5.0))
    assert pace.n_steps == int((100 - clock.now - 5) / 1.5)
