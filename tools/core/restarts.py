"""Whether and when a program that ended is started again."""

import signal
from dataclasses import dataclass

_FIRST_WAIT, _LONGEST_WAIT = 1.0, 300.0  # s
_SETTLED = 60.0  # s; a program that ran for longer did not end because of its start
LOOP = 5
"""So many ends soon after a start, one after another, need a person."""
WRONG_SETTINGS = 2
"""The exit status of a program that a restart can't help, but a person."""


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
    return status in {0, WRONG_SETTINGS} or runs_elsewhere


_OWN_FAULT = {"SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE", "SIGABRT", "SIGSYS"}


def cause_of(status: int, *, said: str | None = None, killed_by_kernel: bool | None = None) -> str:
    """How a program ended, as a clause about it: "it was killed by SIGKILL: …".

    ``status``: below 0 the number of the signal, as ``subprocess`` has it. ``said``: what it logged as the reason.
    ``killed_by_kernel``: whether the kernel killed somebody for lack of memory just then; None: that can't be told.
    """
    if status >= 0:
        return _of_own_accord(status, said)
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    if name == "SIGKILL":
        return _KILLED[killed_by_kernel]
    if name in _OWN_FAULT:
        return f"it crashed ({name}): a bug in it or in a library that it uses, or bad memory"
    return f"it was ended by {name}, from a person or another program, before it could end in order"


_KILLED = {
    True: "the kernel killed it (SIGKILL), since memory ran out: add memory, or lower MAX_CONCURRENT",
    False: "it was killed by SIGKILL, from a person or another program; memory had not run out",
    None: "it was killed by SIGKILL, from a person, or from the kernel because memory ran out",
}


def _of_own_accord(status: int, said: str | None) -> str:
    if said is not None:
        return f"it gave up, as it logged: {said}"
    if status == WRONG_SETTINGS:
        return "a setting is wrong, its last line on the terminal says which"
    return "it gave up without a line in the log: a bug, or its installation is damaged; its terminal shows where"
