"""What this machine's programs answered when they were tried, kept in a file so that a start need not ask again.

``{"machine": […], "answers": {DIGEST: {"at": epoch s, "said": …}}}``. DIGEST is of a question and of the program's
path, size and time of change; ``machine`` is the kernel, the cards and their drivers. If that is another one now, or
the file can't be read, nothing is known.
"""

import contextlib
import hashlib
import json
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tools.runtime.files import create
from tools.runtime.owner import give_to_owner

ONE_DAY = 86400.0  # s
_MOST = 200  # answers; a start needs a dozen
_DRIVERS = ("/proc/driver/nvidia/version", "/sys/module/nvidia/version", "/sys/module/amdgpu/version")
_DRIVER_FOLDERS = ("/usr/lib/x86_64-linux-gnu/dri", "/usr/lib/aarch64-linux-gnu/dri", "/usr/lib64/dri", "/usr/lib/dri")
_CARDS = ("dri/*", "nvidia*", "kfd", "dxg")


def cards(root: Path = Path("/")) -> list[str]:
    """The devices of cards below ``/dev``, and whether we may use them."""
    found = sorted(path for pattern in _CARDS for path in (root / "dev").glob(pattern))
    return [f"{path.relative_to(root)} {os.access(path, os.R_OK | os.W_OK)}" for path in found if not path.is_dir()]


def machine_here(root: Path = Path("/")) -> list[str]:
    """What decides which cards can encode: the kernel, the cards, the drivers."""
    about = [os.uname().release, os.uname().machine, *cards(root)]
    for name in _DRIVERS:
        with contextlib.suppress(OSError):
            about.append((root / name[1:]).read_text(encoding="utf-8", errors="replace")[:500])
    for name in _DRIVER_FOLDERS:
        with contextlib.suppress(OSError):
            about.append(f"{name} {(root / name[1:]).stat().st_mtime_ns}")
    return about


class Memory:
    """Answers by question and program; ``path`` None: of this process alone. A file that can't be used does no harm."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._machine = machine_here()
        self._answers: dict[str, Any] = self._read()
        self._is_new = False

    def _read(self) -> dict[str, Any]:
        if self._path is None:
            return {}
        try:
            content = json.loads(self._path.read_bytes())
            answers = content["answers"] if content["machine"] == self._machine else {}
            return {key: value for key, value in answers.items() if isinstance(value["at"], int | float)}
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return {}

    def recall(self, program: Path, question: Sequence[str], lasts: float | None = None) -> dict[str, Any] | None:
        """The answer if there is one, not older than ``lasts`` s (None: however old)."""
        with self._lock:
            found = self._answers.get(_digest(program, question))
        if not found or not isinstance(found.get("said"), dict):
            return None
        age = time.time() - found["at"]
        return found["said"] if lasts is None or 0 <= age <= lasts else None

    def remember(self, program: Path, question: Sequence[str], answer: dict[str, Any]) -> None:
        with self._lock:
            self._answers[_digest(program, question)] = {"at": round(time.time(), 1), "said": answer}
            self._is_new = True

    def keep(self) -> None:
        """Write what is new; a file that can't be written is left alone."""
        with self._lock:
            if self._path is None or not self._is_new:
                return
            self._is_new = False
            newest = sorted(self._answers.items(), key=lambda item: float(item[1]["at"]))[-_MOST:]
            content = json.dumps({"machine": self._machine, "answers": dict(newest)}, indent=1)
            temporary = self._path.with_name(self._path.name + ".tmp")
            with contextlib.suppress(OSError):
                with create(temporary) as stream:
                    stream.write(content.encode())
                give_to_owner(temporary)
                temporary.replace(self._path)

    def forget(self) -> None:
        """Nothing is known any more: an answer was wrong."""
        with self._lock:
            self._answers.clear()
            if self._path is not None:
                with contextlib.suppress(OSError):
                    self._path.unlink(missing_ok=True)


def _digest(program: Path, question: Sequence[str]) -> str:
    try:
        about = program.stat()
        version = [about.st_size, about.st_mtime_ns]
    except OSError:
        version = []
    return hashlib.sha256(json.dumps([str(program), version, *question]).encode()).hexdigest()
