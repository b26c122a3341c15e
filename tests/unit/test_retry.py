"""How long work waits before its next attempt."""

from tools.core.retry import next_attempt


def test_retry_is_never_immediate_and_ends() -> None:
    assert [next_attempt(n, 4, 60.0) for n in (1, 2, 3, 4)] == [60.0, 120.0, 240.0, None]
    assert next_attempt(30, 100, 60.0) == 3600.0
