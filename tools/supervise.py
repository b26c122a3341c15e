"""Keeps programs running: starts them, restarts one that died, and ends all of them in order.

``start_monitoring.sh`` runs it: in each tmux window for one program, with ``--foreground`` for all. As the first
process of a container it takes care of orphans too. A program that was asked to end, has wrong settings, or finds
another one running stays ended. If the supervisor is killed, the kernel asks its programs to end.
"""

import os.path
import sys

if not __package__:
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))

from tools.core.message import message, plural
from tools.entry import enter_venv
from tools.runtime.language import both

enter_venv(__name__)

import argparse
import contextlib
import ctypes
import logging
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import config
from tools.core.restarts import WRONG_SETTINGS, Restarts, cause_of, is_final
from tools.flags import Parser
from tools.runtime import logs
from tools.runtime.limits import kills_for_memory
from tools.startup import port, read_settings, run_program
from tools.state.liveness import life_of

log = logging.getLogger("animation.supervisor")
_FILES = {
    "hub": "local_hub.py",
    "monitor": "modelscope_monitor.py",
    "processor": "queue_processor.py",
    "dashboard": "dashboard.py",
}
_STOPS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
_READY_WITHIN, _ASKED_EVERY = 20.0, 0.1  # s
_END_WITHIN = 9.5  # s; programs end within 8.5, the promise is 10
_LATELY = 60.0  # s before its end in which a program logs why it ends
_PR_SET_PDEATHSIG = 1  # Source: prctl(2)
_prctl = ctypes.CDLL(None).prctl


@dataclass(slots=True)
class _Kept:
    """One program that is kept running."""

    name: str
    command: list[str]
    lock_dir: Path
    process: "subprocess.Popen[bytes] | None" = None
    started: float = 0.0  # monotonic s
    due: float | None = 0.0  # monotonic s of its next start; None: it runs, or stays ended
    began: float = 0.0  # epoch s of the same
    restarts: Restarts = field(default_factory=Restarts)
    status: int = 0  # of its last end


class Supervisor:
    """The loop, over programs by name: the command of each, and the folder that has its lock."""

    def __init__(
        self,
        programs: Mapping[str, tuple[list[str], Path]],
        log_dir: Path,
        is_ready: Callable[[], bool] = lambda: True,
    ) -> None:
        """``is_ready``: whether the first of the programs does its work, for which the others wait a while."""
        self._log_dir = log_dir
        self._memory_kills = kills_for_memory()
        self._kept = [_Kept(name, *program) for name, program in programs.items()]
        self._is_ready = is_ready
        self._ready_by = time.monotonic() + _READY_WITHIN
        self._stop_until: float | None = None

    def run(self) -> int:
        """Until all programs have ended for good; returns the highest of their exit statuses, 0 if asked to stop."""
        watched = {*_STOPS, signal.SIGCHLD}
        signal.pthread_sigmask(signal.SIG_BLOCK, watched)
        while True:
            self._start_those_due()
            if not any(kept.process or kept.due is not None for kept in self._kept):
                return 0 if self._stop_until is not None else max(abs(kept.status) for kept in self._kept)
            self._memory_kills = kills_for_memory()
            caught = signal.sigtimedwait(watched, self._until_next())
            if caught is not None and caught.si_signo in _STOPS:
                self._ask_to_end()
            self._collect()
            if self._stop_until is not None and time.monotonic() > self._stop_until:
                self._signal(signal.SIGKILL)

    def _until_next(self) -> float:
        if self._others_wait():
            return _ASKED_EVERY
        moments = [kept.due for kept in self._kept if kept.due is not None]
        if self._stop_until is not None:
            moments.append(self._stop_until + 0.1)
        return min(60.0, max(0.0, min(moments, default=float("inf")) - time.monotonic()))

    def _others_wait(self) -> bool:
        waits = time.monotonic() < self._ready_by and self._stop_until is None and not self._is_ready()
        if not waits:
            self._ready_by = 0.0  # is asked for only once
        return waits

    def _start_those_due(self) -> None:
        for kept in self._kept[:1] if self._others_wait() else self._kept:
            if kept.due is not None and kept.due <= time.monotonic():
                kept.due, kept.started, kept.began = None, time.monotonic(), time.time()
                # A session of its own: Ctrl-C reaches us alone, and we ask each program once.
                kept.process = subprocess.Popen(kept.command, start_new_session=True, preexec_fn=_as_our_child)

    def _collect(self) -> None:
        """All children that have ended, also those that are not ours but were left to us as the first process."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for kept in self._kept:
                if kept.process is not None and kept.process.pid == pid:
                    kept.process.returncode = kept.status = os.waitstatus_to_exitcode(status)
                    kept.process = None
                    self._ended(kept)

    def _ended(self, kept: _Kept) -> None:
        if self._stop_until is not None:
            return
        runs_elsewhere = kept.status == 1 and life_of(kept.lock_dir, kept.name).running is True
        said = logs.last_error(self._log_dir, kept.name, max(kept.began, time.time() - _LATELY))
        cause = cause_of(kept.status, said=said, killed_by_kernel=self._was_killed_by_kernel())
        if is_final(kept.status, runs_elsewhere=runs_elsewhere):
            if kept.status == WRONG_SETTINGS and said is None:
                log.error("%s", both(message(f"{kept.name} stays ended: {cause}")))
            return
        kept.restarts = kept.restarts.after(time.monotonic() - kept.started)
        kept.due = time.monotonic() + kept.restarts.wait
        facts = logs.fields(wait_s=kept.restarts.wait, cause=cause)
        log.warning("%s died, restarting: %s", kept.name, facts)
        if kept.restarts.is_loop:
            times = kept.restarts.quick
            told = f"{kept.name} died {plural(times, 'time')} soon after its start, see its lines above"
            log.error("%s", both(message(f"{told}; restarts continue")))

    def _was_killed_by_kernel(self) -> bool | None:
        """Whether the kernel killed for lack of memory since the last look, a minute ago at most."""
        before, now = self._memory_kills, kills_for_memory()
        return None if before is None or now is None else now > before

    def _ask_to_end(self) -> None:
        if self._stop_until is None:
            self._stop_until = time.monotonic() + _END_WITHIN
        for kept in self._kept:
            kept.due = None
        self._signal(signal.SIGTERM)  # a second one ends a program at once, as a second Ctrl-C should

    def _signal(self, signum: int) -> None:
        for kept in self._kept:
            if kept.process is not None:
                kept.process.send_signal(signum)


def _as_our_child() -> None:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_SETMASK, set())


def main(argv: list[str] | None = None) -> int:
    """The program; returns the highest exit status of its programs, 0 if it was asked to stop."""
    parser = Parser(prog="supervise.py", description="Keep programs running.")
    parser.add_argument("program", nargs="+", choices=list(_FILES), help="what to run")
    parser.add_argument("--port", type=port, default=8020, help="port of the hub")
    return run_program(parser, argv, _run)


def _run(parsed: argparse.Namespace) -> int:
    settings = read_settings(parsed)
    logs.set_up("supervisor", settings.paths.log_dir, [settings.hub.token or ""])
    log_dir, hub_dir = settings.paths.log_dir, settings.paths.hub_dir
    programs = {name: ([sys.executable, str(config.ROOT / "tools" / _FILES[name])], log_dir) for name in parsed.program}
    if "hub" in programs:
        programs["hub"] = ([*programs["hub"][0], "--port", str(parsed.port)], hub_dir / ".hub")
        return Supervisor(programs, log_dir, lambda: _answers(parsed.port)).run()
    return Supervisor(programs, log_dir).run()


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


if __name__ == "__main__":
    sys.exit(main())
