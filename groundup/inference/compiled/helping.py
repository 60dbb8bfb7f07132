"""Whether other threads are a help. On a busy machine those that wait for each other can be slower than one alone.

It changes no number: every row is summed up by one thread, whichever that is.
"""

AGAIN = 64
"""Passes until what was slower is tried again."""
MEMORY = 0.8
"""Weight of what is known of a way when it is timed once more."""
SUSPICIOUS = 1.5
"""Helped passes that take so many times the shortest one are a reason to try without."""


class Helping:
    """Looks at how long passes over one id take, alone and helped. `alone` says which way to take next."""

    def __init__(self) -> None:
        self.is_alone = False
        self._seconds: dict[bool, float] = {}
        """Of a pass, lately, by whether it was alone."""
        self._best = float("inf")
        self._n_since = 0
        """Passes since the other way was tried."""

    def alone(self) -> bool:
        """The way to take now: the quicker one, and now and then the other."""
        self._n_since += 1
        is_due = self._n_since >= AGAIN or True not in self._seconds
        if is_due and False in self._seconds and (self.is_alone or self._is_slow()):
            self._n_since = 0
            return not self.is_alone
        return self.is_alone

    def took(self, was_alone: bool, seconds: float) -> None:
        """A pass is over."""
        known = self._seconds.get(was_alone, seconds)
        self._seconds[was_alone] = MEMORY * known + (1 - MEMORY) * seconds
        if was_alone != self.is_alone:  # it was tried, and what is remembered of it may be long ago
            self._seconds[was_alone] = seconds
        if not was_alone:
            self._best = min(self._best, seconds)
        if len(self._seconds) == 2:
            self.is_alone = self._seconds[True] < self._seconds[False]

    def _is_slow(self) -> bool:
        return True not in self._seconds or self._seconds[False] > SUSPICIOUS * self._best
