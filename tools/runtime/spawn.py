"""Our side of the spawner: starts children through it, each with what it may touch and nothing else.

There is no other way to start a child. See ``spawner`` for what happens on the other side.
"""

import atexit
import contextlib
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_SPAWNER = Path(__file__).with_name("spawner.py")
# Names of variables that may hold something secret: ours, and what others call theirs.
_SECRET = re.compile(r"^MODELSCOPE|TOKEN|SECRET|PASSW|CREDENTIAL|_KEY$|_URLS$", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What a child may touch besides the system's programs and libraries, its own program's folder, and GPUs."""

    reads: tuple[Path, ...] = ()  # files, and folders with all that is in them
    writes: tuple[Path, ...] = ()  # folders in which it makes, changes and removes files
    largest_file: int = 0  # bytes that a file of its may have; 0 = no limit
    is_patient: bool = False  # everything else on the machine goes first


NOTHING = Access()
"""For a child that opens no file of anybody."""


class Spawned:
    """A running child, the leader of its own session and process group."""

    def __init__(self, pid: int, stdout: IO[bytes], stderr: IO[bytes], report: int) -> None:
        self.pid = pid
        self.stdout = stdout
        self.stderr = stderr
        self.returncode: int | None = None
        self._report = report
        self._said = b""

    def wait(self, timeout: float | None = None) -> int | None:
        """Its exit status (negative: ended by that signal), or None if it still runs after ``timeout`` s."""
        deadline = None if timeout is None else time.monotonic() + timeout
        news = select.poll()  # select() refuses the descriptors of a process that has 1024 files open
        news.register(self._report, select.POLLIN)
        while self.returncode is None:
            left = None if deadline is None else 1000 * max(0.0, deadline - time.monotonic())
            if not news.poll(left):
                return None
            said = os.read(self._report, 100)
            self._said += said
            if not said:
                self._over(-signal.SIGKILL)  # its watcher was killed, and the kernel killed it with it
            elif self._said.endswith(b"\n") and self._said.startswith(b"status "):
                self._over(int(self._said.split()[1]))
        return self.returncode

    def _over(self, status: int) -> None:
        self.returncode = status
        os.close(self._report)


class _Spawner:
    """The process that starts our children; begins with the first and is replaced if it died."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def ask(self, request: bytes, descriptors: Sequence[int]) -> None:
        """Send a request. Raises OSError."""
        with self._lock:
            if self._socket is None or self._owner != os.getpid():  # a fork of ours has none of its own
                self._begin()
            assert self._socket is not None
            try:
                socket.send_fds(self._socket, [request], descriptors)
            except (BrokenPipeError, ConnectionResetError):
                self._begin()
                socket.send_fds(self._socket, [request], descriptors)

    def _begin(self) -> None:
        if self._socket is not None:
            self._socket.close()
        if self._process is not None:
            self._process.poll()  # reaped, if it ended
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        with theirs:
            number = theirs.fileno()
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_SPAWNER), str(number)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[number],
                start_new_session=True,  # a terminal's signals are for us to deal with
                env=harmless(os.environ),
            )
        self._socket, self._owner = ours, os.getpid()
        atexit.register(self._close, os.getpid())

    def _close(self, owner: int) -> None:
        """At the end of our program; after a kill the kernel closes the socket, which has the same effect."""
        if owner == os.getpid() and self._socket is not None and self._process is not None:
            self._socket.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(1)


_spawner = _Spawner()
_is_caged = True
_patience = {"nice": 10, "io": 0}


def set_caged(caged: bool) -> None:
    """Whether children are confined from now on, in this whole process."""
    global _is_caged
    _is_caged = caged


def set_patience(nice: int, io_class: str) -> None:
    """How far patient children step back from now on, in this whole process: niceness, and their place at the disk,
    ``auto``, ``0`` to ``7`` or ``idle`` as IONICE has it. Source: ioprio_set(2), class in the upper bits."""
    io = 0 if io_class == "auto" else 3 << 13 if io_class == "idle" else 2 << 13 | int(io_class)
    _patience.update(nice=nice, io=io)


def spawn(argv: Sequence[str | os.PathLike[str]], access: Access, env: Mapping[str, str]) -> Spawned:
    """Start a program whose standard input is empty. Raises OSError if that can't be done."""
    program = shutil.which(os.fspath(argv[0]))
    if program is None:
        raise FileNotFoundError(2, os.strerror(2), str(argv[0]))
    request = {
        "argv": [program, *(os.fsdecode(part) for part in argv[1:])],
        "env": {**harmless(os.environ), **env},
        "reads": [str(path.resolve()) for path in access.reads],
        "writes": [str(path.resolve()) for path in access.writes],
        "most": access.largest_file,
        "cage": _is_caged,
        "patient": _patience if access.is_patient else None,
    }
    with contextlib.ExitStack() as theirs:
        pipes = [os.pipe() for _ in range(4)]
        for _, write_end in pipes:
            theirs.callback(os.close, write_end)
        out, err, started, report = (read_end for read_end, _ in pipes)
        try:
            _spawner.ask(json.dumps(request).encode(), [write for _, write in pipes])
            theirs.close()
            pid = _started(started, report)
        except BaseException:
            for descriptor in (out, err, report):
                os.close(descriptor)
            raise
        finally:
            os.close(started)
    return Spawned(pid, os.fdopen(out, "rb"), os.fdopen(err, "rb"), report)


def _started(started: int, report: int) -> int:
    """The process id of a child that has just been started. Raises OSError if it was not."""
    said = b""
    while piece := os.read(started, 100):
        said += piece
    if said:
        number = int(said.split()[1])
        raise OSError(number, os.strerror(number))
    line = b""
    while not line.endswith(b"\n"):
        if not (byte := os.read(report, 1)):
            raise OSError(11, "no process could be started")
        line += byte
    return int(line.split()[1])


def harmless(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without what may be secret, ours or another program's."""
    return {key: value for key, value in environ.items() if not _SECRET.search(key)}
