"""How long to wait before work is tried again (the hub's own retries live in its wrapper)."""

from dataclasses import dataclass

from tools.core.errors import HubUnavailable, PipelineError

LONGEST = 3600.0
"""Seconds: an hour keeps a forgotten machine from giving up during an outage that lasts a night, and a server that
asks for weeks by mistake from ending the work."""
_TOO_MANY = 429  # HTTP


@dataclass(frozen=True, slots=True)
class AskedToWait:
    """That a hub wants to be left alone for a while."""

    seconds: float
    is_of_account: bool  # too many requests: speaks of the account, never of what was asked for


def asked_to_wait(exc: PipelineError) -> AskedToWait | None:
    """What an error says of that; None if it says nothing."""
    if not isinstance(exc, HubUnavailable) or exc.retry_after is None or exc.retry_after <= 0:
        return None
    return AskedToWait(min(exc.retry_after, LONGEST), exc.status == _TOO_MANY)


def next_attempt(failures: int, max_attempts: int, interval: float) -> float | None:
    """Seconds to wait after the ``failures``-th failure in a row, None to give up.

    Starts at the processor's check interval and doubles, so a retry is never immediate.
    """
    if failures >= max_attempts:
        return None
    return min(LONGEST, interval * 2.0 ** (failures - 1))
