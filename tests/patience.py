"""How long a test waits for what must come to pass: one setting for all of them.

It is no claim about speed. A machine that is busy with other things must get there, too; only a test that fails, or a
change of the code that has something never happen, costs the whole wait. ``TEST_PATIENCE=20`` makes that one shorter.
"""

import os
import time
from collections.abc import Callable

PATIENCE = float(os.environ.get("TEST_PATIENCE") or 120)  # s


def _rest() -> None:
    time.sleep(0.02)


def until(
    condition: Callable[[], object],
    what: str | Callable[[], object] = "",
    meanwhile: Callable[[], object] = _rest,
    *,
    patience: float = PATIENCE,
    moving: Callable[[], object] = lambda: None,
) -> None:
    """Wait for a condition, doing something short meanwhile. ``what`` is said if it never holds.

    ``moving``: what changes as long as something gets on, a log say; patience begins again with each change.
    """
    deadline, seen = time.monotonic() + patience, moving()
    while not condition():
        if time.monotonic() >= deadline:
            now = moving()
            if now == seen:
                raise AssertionError(f"not within {patience:.0f} s: {what() if callable(what) else what}")
            deadline, seen = time.monotonic() + patience, now
        meanwhile()
