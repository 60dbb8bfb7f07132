"""Whether other threads are a help. On a busy machine those that wait for each other can be slower than one alone.

It changes no number: every row is summed up by one thread, whichever that is.
"""

from collections import deque

RECENT, TRIAL = 8, 4
"""Passes that are remembered, and that the other way is tried for: helpers that slept miss the first of them."""
AGAIN = 64
"""Passes alone until help is tried again."""
PAUSE = 0.2
"""Seconds without a pass, after which the machine may have become another: help is taken again."""
SUSPICIOUS = 1.5
"""Helped passes that all take so many times the shortest one of before are a reason to try without."""


class Helping:
    """Looks at how long passes over one id take. `alone` says which way to take next."""

    def __init__(self) -> None:
        self.is_alone = False
        """The quicker way, as far as is known."""
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._trial: list[float] | None = None
        self._best = 0.0
        self._n_passes = 0
        self._ended = 0.0

    def alone(self, now: float) -> bool:
        """The quicker way, or the other one while it is tried, for a pass that begins `now`, in seconds."""
        if now - self._ended > PAUSE:
            self.is_alone, self._trial, self._n_passes = False, None, 0
            self._recent.clear()
        return self.is_alone == (self._trial is None)

    def took(self, seconds: float, now: float) -> None:
        """A pass is over."""
        self._ended = now
        if self._trial is None:
            self._recent.append(seconds)
            self._n_passes += 1
            if self._is_trial_due():
                self._trial = []
            return
        self._trial.append(seconds)
        if len(self._trial) == TRIAL:
            if min(self._trial) < min(self._recent):
                self.is_alone = not self.is_alone
                self._recent = deque(self._trial, RECENT)
            self._best, self._n_passes, self._trial = min(self._recent), 0, None

    def _is_trial_due(self) -> bool:
        if self.is_alone:
            return self._n_passes >= AGAIN
        return self._n_passes >= RECENT and min(self._recent) > SUSPICIOUS * self._best
