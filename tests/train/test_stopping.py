"""T4: what each signal does, and what a second one does."""

import os
import signal
import time

import pytest

from groundup.train import stopping
from groundup.train.stopping import StopRequest

SIGNALS = [getattr(signal, name) for name in stopping.NAMES if hasattr(signal, name)]


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_the_first_is_noted_and_the_second_ends_at_once(number):
    before = signal.getsignal(number)
    with StopRequest() as stop:
        assert not stop.is_set
        signal.raise_signal(number)
        assert stop.is_set and stop.name == number.name
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert signal.getsignal(number) is before


def test_ctrl_c_after_another_ends_at_once_and_sigterm_after_another_does_not():
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        assert stop.name == "SIGINT"


def test_what_torchrun_hands_on_is_no_second_request(monkeypatch):
    monkeypatch.setitem(os.environ, "TORCHELASTIC_RUN_ID", "x")
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        assert stop.is_set
        later = time.monotonic() + stopping.ECHO_SECONDS + 1
        monkeypatch.setattr(stopping.time, "monotonic", lambda: later)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
