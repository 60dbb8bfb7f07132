"""Which way is taken, for machines that are quiet, busy, and busy for a while."""

from groundup.inference.compiled.helping import AGAIN, PAUSE, RECENT, TRIAL, Helping


def passes(helping: Helping, n: int, alone: float, helped: float) -> list[bool]:
    taken = []
    for _ in range(n):
        taken.append(helping.alone(now=0.0))
        helping.took(alone if taken[-1] else helped, now=0.0)
    return taken


def test_on_a_quiet_machine_one_alone_is_tried_once():
    helping = Helping()
    taken = passes(helping, 1000, alone=2.0, helped=1.0)
    assert sum(taken) == TRIAL and all(taken[RECENT : RECENT + TRIAL])


def test_passes_that_grow_slowly_longer_are_no_reason():
    helping = Helping()
    taken = [passes(helping, 1, alone=2 * (1 + i / 1000), helped=1 + i / 1000)[0] for i in range(1000)]
    assert sum(taken) <= 2 * TRIAL


def test_on_a_busy_machine_one_goes_on_alone_and_helpers_are_asked_again():
    helping = Helping()
    passes(helping, RECENT + TRIAL, alone=2.0, helped=10.0)
    assert helping.is_alone
    taken = passes(helping, 10 * (AGAIN + TRIAL), alone=2.0, helped=10.0)
    assert taken.count(False) == 10 * TRIAL


def test_when_it_becomes_quiet_again_helpers_come_back_though_they_sleep_at_first():
    helping = Helping()
    passes(helping, RECENT + TRIAL, alone=2.0, helped=10.0)
    passes(helping, AGAIN, alone=2.0, helped=1.0)
    for seconds in (5.0, 1.0, 1.0, 1.0):
        assert not helping.alone(now=0.0)
        helping.took(seconds, now=0.0)
    assert not helping.is_alone


def test_when_it_becomes_busy_one_alone_is_tried():
    helping = Helping()
    passes(helping, 100, alone=2.0, helped=1.0)
    taken = passes(helping, 100, alone=2.0, helped=9.0)
    assert helping.is_alone and taken.count(False) <= 2 * RECENT + TRIAL


def test_after_a_pause_helpers_are_asked_first():
    helping = Helping()
    passes(helping, RECENT + TRIAL, alone=2.0, helped=10.0)
    assert helping.alone(now=PAUSE / 2) and not helping.alone(now=2 * PAUSE)
    taken = passes(helping, 100, alone=2.0, helped=1.0)
    assert not any(taken), "the quickest pass of before is still known"
