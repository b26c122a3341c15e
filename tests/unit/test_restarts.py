"""When a program that ended is started again."""

import signal

import pytest

from tools.core.restarts import LOOP, Restarts, cause_of, is_final


def test_waits_grow_up_to_a_limit_and_start_over_after_a_long_run() -> None:
    restarts, waits = Restarts(), []
    for _ in range(12):
        restarts = restarts.after(ran=0.5)
        waits.append(restarts.wait)
    assert waits[:4] == [1, 2, 4, 8] and waits[-2:] == [300, 300]
    assert restarts.after(ran=3600).wait == 1
    assert Restarts(10**6).wait == 300


def test_loop_is_told_once() -> None:
    restarts, told = Restarts(), 0
    for _ in range(50):
        restarts = restarts.after(ran=0)
        told += restarts.is_loop
    assert told == 1 and LOOP > 2


@pytest.mark.parametrize(
    ("status", "elsewhere", "final"),
    [(0, False, True), (2, False, True), (1, True, True), (1, False, False), (-9, False, False), (141, False, False)],
)
def test_only_what_a_restart_can_help_is_restarted(status: int, elsewhere: bool, final: bool) -> None:
    assert is_final(status, runs_elsewhere=elsewhere) is final


def test_cause_names_the_signal() -> None:
    assert "SIGKILL" in cause_of(-signal.SIGKILL) and "memory" in cause_of(-9)
    assert "status 1" in cause_of(1) and "99" in cause_of(-99)
