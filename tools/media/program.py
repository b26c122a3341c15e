"""Starts ffmpeg and ffprobe on a file, and says of whom a bad end speaks: of the file, or of this machine."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence

from tools.core.blame import trouble_of_end
from tools.core.errors import DiskFull, MachineError, NoEncoder, Trouble
from tools.media.complaints import Complaints, bare
from tools.runtime.child import ChildLimits, Ended, run
from tools.runtime.spawn import Access

Command = Sequence[str | os.PathLike[str]]
_LONGEST_CAUSE = 200  # characters


def run_program(
    argv: Command,
    *,
    access: Access,
    limits: ChildLimits,
    stop: threading.Event | None,
    on_line: Callable[[str], bool | None] = lambda line: None,
    on_complaint: Callable[[str], bool | None] = lambda line: None,
    env: Mapping[str, str] | None = None,
) -> Ended:
    """``child.run``. Raises NoEncoder if the program can't be started, which no file is to blame for."""
    try:
        return run(argv, access=access, limits=limits, stop=stop, on_line=on_line, on_complaint=on_complaint, env=env)
    except OSError as exc:
        raise NoEncoder(f"{os.fspath(argv[0])} can't be started: {exc.strerror or exc}") from exc


def machine_fault(
    what: str, ended: Ended, complaints: Complaints, access: Access | None = None
) -> DiskFull | MachineError | None:
    """The error to raise if it was this machine that ended or hindered the program; None if the file is to blame,
    or nothing. ``what`` names the program in the message."""
    is_full = access is not None and _has_a_full_file(access)
    trouble = trouble_of_end(ended.status, complaints.errnos, is_full=is_full)
    if trouble is Trouble.DISK_FULL:
        return DiskFull(f"no space left for {what}: make room in WORK_DIR")
    if trouble is not Trouble.MACHINE:
        return None
    if ended.status < 0:
        by = _name_of(-ended.status)
        hint = "; is the machine short of memory?" if ended.status == -signal.SIGKILL else ""
        return MachineError(f"{what} was ended by {by}, which this program did not send{hint}", status=ended.status)
    said = bare(complaints.cause())[:_LONGEST_CAUSE]
    hindered = f"{what} was hindered by this machine{f': {said}' if said else ', and did not say how'}"
    return MachineError(hindered, status=ended.status, numbers=frozenset(complaints.errnos), said=said)


def _has_a_full_file(access: Access) -> bool:
    """Whether a file that the program made has as many bytes as it may have."""
    if not access.largest_file:
        return False
    for folder in access.writes:
        with contextlib.suppress(OSError):
            if any(entry.stat().st_size >= access.largest_file for entry in os.scandir(folder)):
                return True
    return False


def _name_of(signum: int) -> str:
    try:
        return signal.Signals(signum).name
    except ValueError:
        return f"signal {signum}"
