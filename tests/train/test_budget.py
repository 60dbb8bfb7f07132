"""A budget in minutes becomes a number of steps, by arithmetic that can be checked."""

from types import SimpleNamespace

import pytest

from groundup import artifact
from groundup.train import budget
from groundup.train.run_folder import RunFolder


@pytest.fixture
def run(tmp_path):
    with RunFolder.open(tmp_path, verb="t", config_toml="", config_hash="", facts={}, resume=True) as folder:
        yield folder


class Clock:
    """Time that passes only when somebody works."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(budget, "time", SimpleNamespace(monotonic=lambda: self.now))

    def work(self, seconds):
        def do():
            self.now += seconds

        return do


def test_steps_fill_what_calibration_and_evaluations_leave(run, tmp_path, monkeypatch):
    clock = Clock(monkeypatch)
    n_steps = budget.steps_in(2.0, run, clock.work(0.5), clock.work(1.0))
    spent_before = 12 * 0.5 + 1.0
    assert n_steps == int((120 - spent_before - budget.N_EVALUATIONS * 1.0) / 0.5)
    assert artifact.read_json(tmp_path / "budget.json")["seconds_per_step"] == pytest.approx(0.5)
    assert "calibrated" in (tmp_path / "events.jsonl").read_text()


def test_the_stored_answer_is_kept_whatever_the_machine_does_now(run, monkeypatch):
    clock = Clock(monkeypatch)
    first = budget.steps_in(1.0, run, clock.work(0.1), clock.work(0.0))
    assert budget.steps_in(1.0, run, clock.work(9.0), clock.work(0.0)) == first


def test_a_budget_too_small_for_one_step_is_one_step(run, monkeypatch):
    clock = Clock(monkeypatch)
    assert budget.steps_in(0.001, run, clock.work(5.0), clock.work(5.0)) == 1
