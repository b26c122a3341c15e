"""One rate for any number of transfers."""

import threading

import pytest

from tools.core.errors import Stopped
from tools.runtime.throttle import Throttle


def test_pieces_of_all_threads_together_keep_to_the_rate() -> None:
    throttle = Throttle(1_000_000, monotonic=lambda: 100.0)
    waits: list[float] = []

    def move() -> None:
        waits.extend(throttle.wait_for(10_000) for _ in range(100))

    threads = [threading.Thread(target=move) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(waits) == 500 and max(waits) == pytest.approx(5 - 0.25), "5 MB, of which a quarter of a second at once"
    assert sorted(waits)[25] == pytest.approx(0.01), "each piece has its turn after the one before"


def test_rest_saves_up_no_more_than_a_burst_and_what_is_not_limited_never_waits() -> None:
    now = [0.0]
    throttle = Throttle(1000, monotonic=lambda: now[0])
    throttle.wait_for(1000)
    now[0] = 1e6
    assert throttle.wait_for(250) == 0.0 and throttle.wait_for(1000) == pytest.approx(1.0)
    assert throttle.wait_for(-5000) == 0.0, "a transfer that starts again gives nothing back"
    assert Throttle(0).wait_for(10**12) == 0.0


def test_stop_ends_the_wait() -> None:
    def stop() -> None:
        raise Stopped("asked to end")

    with pytest.raises(Stopped):
        Throttle(1000).pass_by(10**9, stop)
