"""When a program that ended is started again."""

import re

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


CAUSES = [
    ((-9, None, True), "the kernel killed it (SIGKILL), since memory ran out"),
    ((-9, None, False), "killed by SIGKILL, from a person or another program; memory had not run out"),
    ((-9, None, None), "from a person, or from the kernel because memory ran out"),
    ((-11, None, True), "crashed (SIGSEGV): a bug"),
    ((-15, None, None), "ended by SIGTERM, from a person or another program"),
    ((-99, None, None), "ended by signal 99"),
    ((2, None, None), "a setting is wrong"),
    ((1, "needs attention: no disk", None), "it gave up, as it logged: needs attention: no disk"),
    ((1, None, True), "without a line in the log: a bug, or its installation is damaged"),
]


@pytest.mark.parametrize(("end", "expected"), CAUSES)
def test_cause_is_a_sentence_that_says_who_or_what(end: tuple[int, str | None, bool | None], expected: str) -> None:
    status, said, by_kernel = end
    cause = cause_of(status, said=said, killed_by_kernel=by_kernel)
    assert expected in cause and not re.search(r"status|-\d|exit", cause)
