"""A rate that transfers of a process share, whatever number of them and of their threads there is."""

import threading
import time
from collections.abc import Callable

_BURST = 0.25  # s worth of bytes that may pass at once after a rest
_POLL = 0.2  # s between two looks whether to go on


class Throttle:
    """A token bucket. Who comes first is served first, so nobody starves beside others.

    Each piece gets the moment at which the rate allows it, and its sender waits for that: the same as a bucket that
    fills steadily. Source: ITU-T I.371, generic cell rate algorithm (virtual scheduling).
    """

    def __init__(self, rate: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        """``rate`` bytes/s; 0 = no limit."""
        self._rate = rate
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._due = 0.0  # monotonic s at which all that was let pass so far has passed at that rate

    def wait_for(self, count: int) -> float:
        """Take note of ``count`` bytes that are moved; for how many s their sender has to wait."""
        if not self._rate or count <= 0:
            return 0.0
        with self._lock:
            now = self._monotonic()
            self._due = max(self._due, now - _BURST) + count / self._rate
            return max(0.0, self._due - now)

    def pass_by(self, count: int, go_on: Callable[[], object]) -> None:
        """``count`` bytes are moved: return when that keeps to the rate. ``go_on`` is called meanwhile, and ends the
        wait by what it raises."""
        left = self.wait_for(count)
        while left > 0:
            step = min(left, _POLL)
            time.sleep(step)
            left -= step
            go_on()


UNLIMITED = Throttle(0)
