"""A folder that is ours alone, wherever it is: below ``/tmp`` somebody else may have made it first.

Who can write into a folder decides what it holds, so one is only used if nobody but us, and root, can: checked on the
folder itself, not on where a link leads.
"""

import contextlib
import errno
import fcntl
import os
import shutil
import stat
from pathlib import Path

from tools.core.errors import AlreadyRunning
from tools.runtime.owner import make_folder, whose

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def take_folder(folder: Path) -> None:
    """Make a folder (mode 0700) or take the one that is there, if it can be trusted; a second call checks it again.

    It belongs to us or to root, and so does a link in its place. What is ours loses the right of others to write.
    Raises OSError, whose ``strerror`` says what is wrong.
    """
    _make(folder)
    if why := distrust(folder):
        raise PermissionError(errno.EACCES, why, str(folder))
    status = folder.stat()
    if status.st_uid == os.geteuid() and status.st_mode & _OTHERS_WRITE and not status.st_mode & stat.S_ISVTX:
        folder.chmod(stat.S_IMODE(status.st_mode) & ~_OTHERS_WRITE)


def distrust(folder: Path) -> str:
    """Why ``take_folder`` would refuse a folder that is there; "" if it would not. Raises OSError without it."""
    status = folder.lstat()
    if stat.S_ISLNK(status.st_mode):
        if status.st_uid not in {os.geteuid(), 0}:
            return f"it is a link: {whose(folder, follow=False)}"
        status = folder.stat()
    if not stat.S_ISDIR(status.st_mode):
        return "it is no folder"
    if status.st_uid not in {os.geteuid(), 0}:
        return whose(folder)
    if status.st_uid != os.geteuid() and status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
        return "everybody may write into it"
    return _lacks_access(folder)


def take_own_folder(folder: Path) -> None:
    """Like ``take_folder`` for one inside such a folder: it is no link, ours, and nobody else can see into it."""
    _make(folder)
    if why := distrust_own(folder):
        raise PermissionError(errno.EACCES, why, str(folder))
    mode = stat.S_IMODE(folder.lstat().st_mode)
    if mode & 0o077:
        folder.chmod(mode & 0o700)


def distrust_own(folder: Path) -> str:
    """Why ``take_own_folder`` would refuse a folder that is there; "" if it would not."""
    if not _is_plain(folder):
        return f"{folder} is a link or a file, {whose(folder, follow=False)}"
    return _lacks_access(folder) if is_own_folder(folder) else whose(folder)


def is_own_folder(folder: Path) -> bool:
    """Whether this is a folder, not a link to one, and ours."""
    return _is_plain(folder) and folder.lstat().st_uid == os.geteuid()


def delete(path: Path) -> None:
    """Delete a file, a link (not what it leads to) or a whole folder, as far as that is possible."""
    with contextlib.suppress(OSError):
        if _is_plain(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def _is_plain(folder: Path) -> bool:
    try:
        return stat.S_ISDIR(folder.lstat().st_mode)
    except OSError:
        return False


def _make(folder: Path) -> None:
    if not os.path.lexists(folder):
        make_folder(folder.parent)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(0o700)


def _lacks_access(folder: Path) -> str:
    return "" if os.access(folder, os.R_OK | os.W_OK | os.X_OK) else f"can't write into it, {whose(folder)}"


class FolderLock:
    """One holder of a folder, until its process ends; leaves nothing in the folder. The constructor touches nothing."""

    def __init__(self, folder: Path, program: str) -> None:
        self._folder = folder
        self._program = program
        self._held: int | None = None

    def acquire(self) -> None:
        """Hold the folder; again if another one has taken its place. Raises AlreadyRunning, which says who holds it,
        and OSError without the folder. A file system without such locks is used without one."""
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        if self._held is not None and os.path.samestat(os.fstat(descriptor), os.fstat(self._held)):
            os.close(descriptor)
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder_of(os.fstat(descriptor))
            os.close(descriptor)
            raise AlreadyRunning(
                f"another {self._program} ({holder}) works in WORK_DIR={self._folder}: end that one first, "
                f"or give this one another WORK_DIR"
            ) from None
        except OSError:  # some network file systems lock no folders
            pass
        self.release()
        self._held = descriptor

    def release(self) -> None:
        """Let go of it (a process that ends does so anyway)."""
        if self._held is not None:
            os.close(self._held)
            self._held = None


def _holder_of(folder: os.stat_result) -> str:
    """By the kernel's table. Source: proc_locks(5); the major and minor number are hexadecimal."""
    place = f"{os.major(folder.st_dev):02x}:{os.minor(folder.st_dev):02x}:{folder.st_ino}"
    with contextlib.suppress(OSError):
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            words = line.split()
            if len(words) > 5 and words[1] == "FLOCK" and words[5] == place and int(words[4]) > 0:
                return f"pid {words[4]}"
    return "its pid is unknown"
