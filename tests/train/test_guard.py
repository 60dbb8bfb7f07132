"""The guard: what is left out, when it goes back, what counts as a spike; and that its state is all there is of it."""

import json
import math
import random

import pytest

from groundup.train.guard import FEWEST_LOSSES, N_LOSSES, Guard

NAN, INF = math.nan, math.inf


def calm(guard: Guard, n: int = 2 * FEWEST_LOSSES, first: int = 0) -> int:
    """n ordinary steps around 2.0; returns the next step."""
    for step in range(first, first + n):
        assert guard.judge(step, 2.0 + 0.1 * math.sin(step), 1.0) == "go" and guard.event() is None
    return first + n


@pytest.mark.parametrize(("loss", "norm"), [(NAN, 1.0), (2.0, NAN), (INF, 1.0), (2.0, INF), (-INF, 1.0), (NAN, NAN)])
def test_a_number_that_is_not_finite_is_left_out(loss, norm):
    guard = Guard(max_skips=5)
    assert guard.judge(11, loss, norm) == "skip"
    event = guard.event()
    assert event is not None and event["kind"] == "not_finite" and event["step"] == 12
    json.dumps(event, allow_nan=False)
    assert guard.skipped == guard.bad_steps == [11] and not guard.is_calm
    assert guard.judge(12, 2.0, 1.0) == "go" and guard.is_calm and guard.skipped == [11]


def test_one_more_than_max_skips_in_a_row_goes_back():
    guard = Guard(max_skips=2)
    verdicts = [guard.judge(step, loss, 1.0) for step, loss in enumerate([NAN, NAN, 2.0, NAN, NAN, NAN])]
    assert verdicts == ["skip", "skip", "go", "skip", "skip", "roll_back"]
    assert guard.bad_steps == [3, 4, 5]


def test_going_back_passes_over_what_led_there_and_only_once_to_the_same_place():
    guard = Guard(max_skips=2)
    assert not guard.can_go_back
    calm(guard, 40)
    guard.note_checkpoint(40)
    saved = json.loads(json.dumps(guard.state()))
    calm(guard, 10, first=40)
    assert [guard.judge(step, NAN, 1.0) for step in (50, 51, 52)] == ["skip", "skip", "roll_back"]
    guard.note_checkpoint(53)
    assert guard.last_good == 40, "a checkpoint of a run in trouble is none to go back to"
    assert guard.can_go_back and guard.go_back(saved) == [47, 48, 49, 50, 51, 52]
    assert guard.is_calm and guard.skipped == [] and guard.state()["losses"] == saved["losses"]
    assert [step for step in range(40, 60) if guard.passes_over(step)] == [47, 48, 49, 50, 51, 52]

    for step in (53, 54, 55):
        verdict = guard.judge(step, NAN, 1.0)
    assert verdict == "roll_back" and not guard.can_go_back and guard.bad_steps == [53, 54, 55]
    guard.judge(56, 2.0, 1.0)
    guard.note_checkpoint(60)
    assert guard.can_go_back


def test_steps_before_the_checkpoint_are_not_passed_over():
    guard = Guard(max_skips=3)
    guard.note_checkpoint(9)
    for step in (10, 11, 12, 13):
        guard.judge(step, NAN, 1.0)
    assert guard.go_back({}) == [9, 10, 11, 12, 13]


def test_spikes_are_noted_and_left_out_only_where_that_is_asked_for():
    noted, skipping = Guard(), Guard(spike_sigmas=6.0)
    assert calm(noted) == calm(skipping) == 64
    sigma = noted.sigmas_above(3.0)
    assert sigma > 8 and sigma == pytest.approx((3.0 - 2.0) / 0.1, rel=0.2)
    assert noted.judge(64, 3.0, 5.0) == "go" and noted.event()["kind"] == "spike" and noted.skipped == []
    assert skipping.judge(64, 3.0, 5.0) == "skip" and skipping.event()["verdict"] == "skip"
    assert skipping.judge(65, 2.0, 1.0) == "go" and skipping.skipped == [64]
    assert skipping.judge(66, 1.0, 1.0) == "go", "downwards is no spike"


def test_a_loss_that_stays_high_is_no_spike_and_is_never_gone_back_from():
    guard = Guard(max_skips=3, spike_sigmas=6.0)
    calm(guard)
    verdicts = [guard.judge(step, 4.0 + 0.01 * step, 1.0) for step in range(64, 74)]
    assert verdicts == ["skip"] * 3 + ["go"] * 7
    assert guard.is_calm


def test_few_and_equal_losses_raise_no_alarm():
    guard = Guard(spike_sigmas=6.0)
    assert [guard.judge(step, loss, 1.0) for step, loss in enumerate([9.0, 1.0, 50.0, 2.0])] == ["go"] * 4
    flat = Guard(spike_sigmas=6.0)
    assert {flat.judge(step, 2.0, 1.0) for step in range(100)} == {"go"}
    assert flat.judge(100, 2.005, 1.0) == "go"
    zero = Guard(spike_sigmas=6.0)
    assert {zero.judge(step, 0.0, 0.0) for step in range(100)} == {"go"}


def test_an_ordinary_run_has_no_events():
    generator = random.Random(0)
    guard = Guard(spike_sigmas=8.0)
    for step in range(3000):
        loss = 3 + 6 * math.exp(-step / 300) + generator.gauss(0, 0.08)
        assert guard.judge(step, loss, 1.0) == "go" and guard.event() is None
    assert len(guard.state()["losses"]) == N_LOSSES


def test_cut_in_pieces_and_resumed_it_judges_the_same():
    generator = random.Random(1)
    losses = [generator.choice([2.0, 2.1, 2.2, 3.9, NAN]) + generator.gauss(0, 0.05) for _ in range(400)]

    def verdicts(pieces: int) -> list[str]:
        guard, found = Guard(2, 5.0), []
        for step, loss in enumerate(losses):
            if pieces and step % pieces == 0:
                kept = json.dumps(guard.state(), allow_nan=False)
                guard = Guard(2, 5.0)
                guard.load(json.loads(kept))
            if step % 20 == 0:
                guard.note_checkpoint(step)
            found.append(guard.judge(step, loss, 1.0))
            if found[-1] == "roll_back" and guard.can_go_back:
                guard.go_back(guard.state())
        return [*found, json.dumps(guard.state())]

    assert verdicts(0) == verdicts(1) == verdicts(7)
    assert {"go", "skip", "roll_back"} <= set(verdicts(0))
