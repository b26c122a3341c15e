"""Whether and when a program that ended is started again."""

import signal
from dataclasses import dataclass

_FIRST_WAIT, _LONGEST_WAIT = 1.0, 300.0  # s
_SETTLED = 60.0  # s; a program that ran for longer did not end because of its start
LOOP = 5
"""So many ends soon after a start, one after another, need a person."""


@dataclass(frozen=True, slots=True)
class Restarts:
    """How often in a row a program has ended soon after its start."""

    quick: int = 0

    def after(self, ran: float) -> "Restarts":
        """One more end, ``ran`` s after its start."""
        return Restarts(1 if ran >= _SETTLED else self.quick + 1)

    @property
    def wait(self) -> float:
        """Seconds until the next start."""
        return float(min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** min(self.quick - 1, 30)))

    @property
    def is_loop(self) -> bool:
        """Whether this end is the one that shows that restarts alone do not help."""
        return self.quick == LOOP


def is_final(status: int, *, runs_elsewhere: bool) -> bool:
    """Whether a restart makes no sense: it was asked to end (0), has wrong settings (2), or another one runs."""
    return status in {0, 2} or runs_elsewhere


def cause_of(status: int) -> str:
    """An exit status in words; a negative one is a signal's number, as ``subprocess`` has it."""
    if status >= 0:
        return f"it ended with status {status}, its last lines on the terminal say why"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = str(-status)
    return f"killed by {name}" + (", by a person or for lack of memory" if name == "SIGKILL" else "")
