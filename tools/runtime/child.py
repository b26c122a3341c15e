"""argv → exit status, progress lines, complaints. The child never outlives us and never hangs for ever.

One that is patient (see ``Access``) can be made to stand still for a while: ``suspend_patient``.

It runs in its own session without a terminal, without our secrets in its environment, confined to what it was given
(see ``spawn``), tied to our life by the kernel, and is ended as a group: SIGTERM, then SIGKILL.

What is looked for in its standard error is looked for in every line as it passes (``on_complaint``). What is kept of
it (``Ended.stderr``) is for people: a program that says much can push anything out of it.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tools.core.errors import PipelineError, Stopped
from tools.runtime.folded import Folded
from tools.runtime.spawn import Access, Spawned, spawn

_FIRST_LINES, _LAST_LINES = 20, 40  # of standard error: different lines kept of its beginning and its end
_LONGEST_LINE = 1 << 16  # bytes; what is longer passes in parts
_POLL = 0.1  # s between two checks of the child
_LONGEST_STEP = 1.0  # s that pass between two checks at most: in what is longer we did not run, nor did the child
_GRACE = 3.0  # s between SIGTERM and SIGKILL
_BUSY_LIMITS = 4  # a child that burns CPU without progress is given this many stall limits
_IDLE = 0.01  # of the stall limit: who had less CPU than this meanwhile sleeps


_standstill = threading.Event()


def suspend_patient(wanted: bool) -> None:
    """Whether the patient children of this process stand still from now on; no limit counts meanwhile."""
    if wanted:
        _standstill.set()
    else:
        _standstill.clear()


class ChildOutgrew(PipelineError):
    """The child's memory passed its limit; ``rss`` bytes."""

    def __init__(self, rss: int) -> None:
        super().__init__(f"used {rss / 1e9:.1f} GB of memory")
        self.rss = rss


class ChildTimeout(PipelineError):
    """The child did not end in time."""


class ChildStalled(PipelineError):
    """The child made no progress for the stall limit; ``stderr`` as in ``Ended``."""

    def __init__(self, message: str, stderr: str) -> None:
        super().__init__(message)
        self.stderr = stderr


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended."""

    status: int  # exit status; below 0 the signal that ended it
    stderr: str  # standard error for people: repeated lines folded, the first and the last of the others


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildLimits:
    """What a child may take until it is ended."""

    timeout: float | None = None  # s for the whole run, None = no limit
    stall: float | None = None  # s without progress, None = no limit
    rss: int = 0  # bytes of memory, 0 = no limit


def run(
    argv: Sequence[str | os.PathLike[str]],
    *,
    access: Access,
    limits: ChildLimits,
    stop: threading.Event | None = None,
    on_line: Callable[[str], bool | None] = lambda line: None,
    on_complaint: Callable[[str], bool | None] = lambda line: None,
    env: Mapping[str, str] | None = None,
) -> Ended:
    """Run to the end, confined to ``access``. ``on_line`` gets each line of standard output and returns True
    if it means progress; ``on_complaint`` gets each line of standard error and returns False if it is none that
    people should see. Both are called in threads of their own.

    Raises Stopped, ChildStalled, ChildTimeout, ChildOutgrew after the child's whole group is gone, and OSError
    if the program can't be started.
    """
    process = spawn(argv, access, env or {})
    watch = _Watch(process, limits, on_line, on_complaint, is_patient=access.is_patient)
    try:
        while not watch.is_over():
            watch.check()
            if stop is not None and stop.is_set():
                raise Stopped("stopped")
    finally:
        _end(process)
        watch.join()
    assert process.returncode is not None
    return Ended(process.returncode, watch.stderr())


@dataclass(frozen=True, slots=True)
class CpuTime:
    """What a process had of the CPU, and how long it was ready to run and had to wait for one."""

    ran: float = 0.0  # s, all threads
    waited: float = 0.0  # s, all threads that live


def is_stalled(quiet: float, limit: float, used: CpuTime) -> bool:
    """Whether a child that made no progress for ``quiet`` s, and had ``used`` of the CPU meanwhile, hangs.

    Time in which it was ready to run and got no CPU does not count: on a busy machine it is slow and does not hang.
    One that sleeps has the limit (s), one that is at work four of them.
    """
    wanted = used.ran + used.waited
    starved = min(used.waited, quiet * used.waited / wanted) if wanted else 0.0  # threads may wait side by side
    return quiet - starved > limit * (1 if used.ran < _IDLE * limit else _BUSY_LIMITS)


class _Watch:
    """The readers of one child's pipes, and the limits that it must keep."""

    def __init__(
        self,
        process: Spawned,
        limits: ChildLimits,
        on_line: Callable[[str], bool | None],
        on_complaint: Callable[[str], bool | None],
        *,
        is_patient: bool,
    ) -> None:
        self._process = process
        self._is_patient = is_patient
        self._is_suspended = False
        self._limits = limits
        self._on_line = on_line
        self._on_complaint = on_complaint
        self._checked = time.monotonic()
        self._age = self._quiet = 0.0  # s since it began, and since its latest progress, in which we ran
        self._moved = threading.Event()
        self._cpu_then = CpuTime()
        self._stderr = Folded(_FIRST_LINES, _LAST_LINES)
        self._threads = [
            threading.Thread(target=self._read_stdout, args=(process.stdout,), daemon=True),
            threading.Thread(target=self._read_stderr, args=(process.stderr,), daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def _read_stdout(self, pipe: IO[bytes]) -> None:
        for line in pipe:
            if self._on_line(line.decode("utf-8", "replace").rstrip("\r\n")):
                self._moved.set()

    def _read_stderr(self, pipe: IO[bytes]) -> None:
        while line := pipe.readline(_LONGEST_LINE):
            text = line.decode("utf-8", "replace").rstrip()
            if self._on_complaint(text) is not False:
                self._stderr.add(text)

    def is_over(self) -> bool:
        return self._process.wait(_POLL) is not None

    def check(self) -> None:
        self._suspend_or_continue()
        self._tick()
        limits = self._limits
        if limits.timeout is not None and self._age > limits.timeout:
            raise ChildTimeout(f"did not end within {limits.timeout:g} s")
        if limits.rss and (rss := _rss(self._process.pid)) > limits.rss:
            raise ChildOutgrew(rss)
        if limits.stall is not None and self._quiet > limits.stall:
            now, then = _cpu_time(self._process.pid), self._cpu_then
            used = CpuTime(max(0.0, now.ran - then.ran), max(0.0, now.waited - then.waited))
            if is_stalled(self._quiet, limits.stall, used):
                raise ChildStalled(f"no progress for {self._quiet:.0f} s", self.stderr())

    def _tick(self) -> None:
        """Let time pass, as far as we ran: a machine that was frozen, or had no CPU for us, had none for the child."""
        now = time.monotonic()
        step = min(_LONGEST_STEP, now - self._checked)
        self._checked = now
        if self._is_suspended:
            return
        self._age += step
        self._quiet += step
        if self._moved.is_set():
            self._moved.clear()
            self._quiet = 0.0
            if self._limits.stall is not None:
                self._cpu_then = _cpu_time(self._process.pid)

    def _suspend_or_continue(self) -> None:
        wanted = self._is_patient and _standstill.is_set()
        if wanted != self._is_suspended:
            _signal_group(self._process.pid, signal.SIGSTOP if wanted else signal.SIGCONT)
            self._is_suspended = wanted

    def stderr(self) -> str:
        return self._stderr.text()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(_GRACE)  # a grandchild that left the group could hold the pipes
        for pipe in (self._process.stdout, self._process.stderr):
            if not any(thread.is_alive() for thread in self._threads):
                pipe.close()


def _end(process: Spawned) -> None:
    """No process of the child's group is left after this."""
    if process.wait(0) is None:
        _signal_group(process.pid, signal.SIGTERM)
        _signal_group(process.pid, signal.SIGCONT)  # or one that stands still would not see it
        process.wait(_GRACE)
    _signal_group(process.pid, signal.SIGKILL)
    process.wait()


def _signal_group(pid: int, signum: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signum)


def _rss(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0


def _cpu_time(pid: int) -> CpuTime:
    """So far. Source: proc_pid_stat(5), fields 14 and 15 (the name may hold blanks); Documentation/scheduler/
    sched-stats.rst, the second field of schedstat in ns (a kernel without it leaves 0)."""
    ran = waited = 0.0
    with contextlib.suppress(OSError, IndexError, ValueError):
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ran = (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError, IndexError, ValueError):
                waited += int((thread / "schedstat").read_text().split()[1]) / 1e9
    return CpuTime(ran, waited)
