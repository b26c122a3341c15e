"""One monitor and one processor: each holds an OS lock for life, which its death frees."""

import contextlib
import fcntl
import json
import os
import socket
import time
from pathlib import Path

from filelock import FileLock, Timeout

from tools.core.errors import AlreadyRunning, StateError
from tools.core.message import message
from tools.runtime.files import create
from tools.runtime.owner import give_to_owner, make_folder
from tools.state.liveness import life_of, lock_path, plate_path

_ASKED_WITHIN = 0.3  # s; whoever asks whether a program runs holds the lock for an instant


class Singleton:
    """The lock of one program in a log folder; its holder is written beside it for whoever comes second."""

    def __init__(self, log_dir: Path, program: str, version: str | None = None) -> None:
        """``version`` of the program, for whoever orders something of it."""
        self._program, self._version = program, version
        self._log_dir = log_dir
        self._path = lock_path(log_dir, program)
        self._lock = FileLock(self._path, timeout=_ASKED_WITHIN, poll_interval=0.02, thread_local=False)
        self._holder = plate_path(log_dir, program)

    def acquire(self) -> None:
        """Hold the lock until the process ends. Raises AlreadyRunning, which says who holds it, and StateError."""
        make_folder(self._holder.parent)
        need_locks(self._path)
        try:
            self._lock.acquire()
        except Timeout:
            holder = life_of(self._log_dir, self._program).holder
            raise AlreadyRunning(f"a {self._program} runs here already ({holder}): end that one first") from None
        give_to_owner(self._path)
        with contextlib.suppress(OSError):  # a full disk: the lock itself holds, only its name plate is missing
            plate: dict[str, object] = {"pid": os.getpid(), "host": socket.gethostname()}
            plate |= {"since": round(time.time(), 3), "version": self._version}
            with create(self._holder) as stream:
                stream.write(json.dumps(plate).encode())
            give_to_owner(self._holder)

    def release(self) -> None:
        """Let go of it (a process that ends does so anyway)."""
        self._holder.unlink(missing_ok=True)
        self._lock.release()


def need_locks(path: Path) -> None:
    """Make sure that a lock on this file keeps others out; leaves it unlocked. Raises StateError.

    Without it two programs of a kind would work side by side and never know. NFS has locks only through a service of
    its server (Source: flock(2), NOTES), and some file systems of clouds take them and keep nobody out.
    """
    flags, cause = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, message("it keeps nobody out")
    with os.fdopen(os.open(path, flags, 0o644), "rb") as mine, os.fdopen(os.open(path, flags), "rb") as other:
        try:
            fcntl.flock(mine, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # here, or by the one who holds it
            return
        except OSError as exc:
            cause = exc.strerror or str(exc)
    raise StateError(
        f"the file system of {path.parent} has no locks ({cause}), so two programs would not know of each other: set "
        "LOG_DIR to a folder on a local disk, or mount it with locks"
    )
