"""As whom tests and benches run: root's rights are taken off, so that what they start has those of an ordinary user.

Most of all the right to real-time threads (CAP_SYS_NICE): with it a single encode is a third faster and starves
everything else, without it SVT-AV1 complains once per thread. Users don't have it, so neither does the suite.

    .venv/bin/python3 -m tests.rights PROGRAM [argument …]     runs a program with none of root's rights
"""

import ctypes
import os
import pwd
import resource
import sys
from collections.abc import Iterable
from pathlib import Path

SYS_NICE = 23  # Source: linux/capability.h, as the two below
_SETPCAP = 8
_VERSION_3 = 0x20080522
_PR_CAPBSET_DROP = 24  # Source: linux/prctl.h

_libc = ctypes.CDLL(None, use_errno=True)


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def capabilities(which: str, pid: int | str = "self") -> set[int]:
    """Numbers in a set of a process' capabilities: ``Eff``, ``Prm``, ``Inh``, ``Bnd`` or ``Amb``."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    mask = int(next(line for line in lines if line.startswith(f"Cap{which}:")).split()[1], 16)
    return {number for number in range(mask.bit_length()) if mask >> number & 1}


def drop_real_time() -> None:
    """Nothing that this thread starts from here on gets real-time threads, be it root. Calling it twice is harmless.

    Raises OSError when root may not give the right away.
    """
    _drop({SYS_NICE})
    resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))  # the other way to them


def drop_all() -> None:
    """The same for every right that sets root apart: what is started is root by name alone."""
    _drop(capabilities("Bnd"))
    resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))


def whoami() -> str:
    """As whom this process runs, as a line of a table's head: user, and what of root's rights it has."""
    try:
        name = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        name = f"uid {os.geteuid()}"
    rights = "with root's rights" if capabilities("Eff") else "without root's rights"
    return f"{name}, {rights}, {'with' if _gets_real_time() else 'without'} real-time threads"


def _drop(numbers: Iterable[int]) -> None:
    """Out of the bounding set, which is what a program started by root would get again, then out of the others."""
    dropped = set(numbers) & (capabilities("Bnd") | capabilities("Prm"))
    if os.geteuid() == 0 or _SETPCAP in capabilities("Eff"):
        for number in dropped & capabilities("Bnd"):
            _check(_libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0), f"prctl(PR_CAPBSET_DROP, {number})")
    header, sets = _Header(_VERSION_3, 0), (_Sets * 2)()
    _check(_libc.capget(ctypes.byref(header), sets), "capget")
    for number in dropped:
        word, keep = sets[number // 32], ~(1 << number % 32)
        word.effective, word.permitted, word.inheritable = (
            word.effective & keep,
            word.permitted & keep,
            word.inheritable & keep,
        )
    _check(_libc.capset(ctypes.byref(header), sets), "capset")


def _check(result: int, call: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")


def _gets_real_time() -> bool:
    """By trial: a container may forbid what the capabilities allow."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        return False
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return True


if __name__ == "__main__":
    drop_all()
    os.execvp(sys.argv[1], sys.argv[1:])
