"""How long to wait before work is tried again (the hub's own retries live in its wrapper)."""

_LONGEST = 3600.0  # s; an hour keeps a forgotten machine from giving up during an outage that lasts a night


def next_attempt(failures: int, max_attempts: int, interval: float) -> float | None:
    """Seconds to wait after the ``failures``-th failure in a row, None to give up.

    Starts at the processor's check interval and doubles, so a retry is never immediate.
    """
    if failures >= max_attempts:
        return None
    return min(_LONGEST, interval * 2.0 ** (failures - 1))
