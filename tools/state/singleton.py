"""One monitor and one processor: each holds an OS lock for life, which its death frees."""

import contextlib
import json
import os
import socket
from pathlib import Path

from filelock import FileLock, Timeout

from tools.core.errors import AlreadyRunning
from tools.runtime.files import create
from tools.runtime.owner import give_to_owner, make_folder


class Singleton:
    """The lock of one program in a log folder; its holder is written beside it for whoever comes second."""

    def __init__(self, log_dir: Path, program: str) -> None:
        self._program = program
        self._path = log_dir / f".{program}.lock"
        self._lock = FileLock(self._path, timeout=0, thread_local=False)
        self._holder = log_dir / f".{program}.pid"

    def acquire(self) -> None:
        """Hold the lock until the process ends. Raises AlreadyRunning, which says who holds it."""
        make_folder(self._holder.parent)
        try:
            self._lock.acquire()
        except Timeout:
            raise AlreadyRunning(f"a {self._program} runs here already ({self._who()}): end that one first") from None
        give_to_owner(self._path)
        with contextlib.suppress(OSError):  # a full disk: the lock itself holds, only its name plate is missing
            with create(self._holder) as stream:
                stream.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode())
            give_to_owner(self._holder)

    def release(self) -> None:
        """Let go of it (a process that ends does so anyway)."""
        self._holder.unlink(missing_ok=True)
        self._lock.release()

    def _who(self) -> str:
        try:
            holder = json.loads(self._holder.read_text(encoding="utf-8"))
            return f"pid {int(holder['pid'])} on {holder['host']}"
        except (OSError, ValueError, KeyError, TypeError):
            return "its pid is unknown"
