"""One of each program: who holds the lock, and what is left of a holder that died."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from config import ROOT
from tools.core.errors import AlreadyRunning, StateError
from tools.state.origin import Origin, start
from tools.state.singleton import Singleton

pytestmark = pytest.mark.another_user


def test_second_holder_is_told_who_holds_the_lock(tmp_path: Path) -> None:
    first = Singleton(tmp_path, "monitor")
    first.acquire()
    with pytest.raises(AlreadyRunning, match=f"pid {os.getpid()}"):
        Singleton(tmp_path, "monitor").acquire()
    Singleton(tmp_path, "processor").acquire()
    first.release()
    assert not (tmp_path / ".monitor.pid").exists(), "who ended in order is named no more"
    Singleton(tmp_path, "monitor").acquire()


@pytest.mark.parametrize("program", ["monitor", "processor"])
def test_lock_of_a_dead_process_is_free(tmp_path: Path, program: str) -> None:
    """Its holder was killed: the name plate still says who it was, the lock is gone with it."""
    code = (
        f"from pathlib import Path; from tools.state.singleton import Singleton; s = Singleton(Path({str(tmp_path)!r}),"
    )
    code += f" {program!r}); s.acquire(); print(flush=True); input()"
    holder = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdin is not None
    holder.stdout.readline()
    with pytest.raises(AlreadyRunning, match=f"pid {holder.pid}"):
        Singleton(tmp_path, program).acquire()
    holder.kill()
    assert holder.wait() == -signal.SIGKILL and (tmp_path / f".{program}.pid").exists()
    Singleton(tmp_path, program).acquire()
    assert json.loads((tmp_path / f".{program}.pid").read_bytes())["pid"] == os.getpid()
    holder.stdin.close()
    holder.stdout.close()


@pytest.mark.parametrize("answer", [errno.ENOLCK, None], ids=["refused", "keeps nobody out"])
def test_file_system_without_locks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: int | None
) -> None:
    """Such file systems can't be mounted here: flock fails as NFS without its lock service does, or takes all."""

    def flock(file: object, how: int) -> None:
        if answer is not None:
            raise OSError(answer, os.strerror(answer))

    monkeypatch.setattr(fcntl, "flock", flock)
    for begin in (Singleton(tmp_path, "monitor").acquire, lambda: start(tmp_path, "monitor", Origin("e", "i", "o"))):
        with pytest.raises(StateError, match=r"has no locks .*: set LOG_DIR to a folder on a local disk"):
            begin()
