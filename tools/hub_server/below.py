"""Files below a dataset's folder, to which others may write: reached step by step, no link on the way is followed."""

import contextlib
import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from tools.core.folder import is_safe_path
from tools.hub_server.history import Stat

_OURS = ".hub-"  # names of files on their way to their place begin like this
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_WAY = frozenset({errno.ELOOP, errno.ENOTDIR, errno.EISDIR})


def is_in_the_way(exc: OSError) -> bool:
    """Whether a link, a file or a folder is where there should be none."""
    return exc.errno in _NO_WAY


def scan(top: Path) -> Iterator[tuple[str, Stat]]:
    """(path, stat) of every plain file; links and our own temporary files are skipped."""
    pending = [(top, "")]
    while pending:
        folder, prefix = pending.pop()
        try:
            entries = list(os.scandir(folder))
        except OSError:
            continue
        for entry in entries:
            path = f"{prefix}{entry.name}"
            if entry.is_symlink() or entry.name.startswith(_OURS) or not is_safe_path(path):
                continue
            if entry.is_dir():
                pending.append((Path(entry.path), path + "/"))
            elif entry.is_file():
                yield path, stat_of(entry.stat())


def stat_of(found: os.stat_result) -> Stat:
    return found.st_size, found.st_mtime_ns, found.st_ino


@contextlib.contextmanager
def _folder(top: Path, path: str, *, make: bool) -> Iterator[tuple[int, str]]:
    """(descriptor of the folder that a path is in, name). Raises OSError."""
    *above, name = path.split("/")
    descriptor = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in above:
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, dir_fd=descriptor)
            inner = os.open(part, _FOLDER, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        yield descriptor, name
    finally:
        os.close(descriptor)


def remove(top: Path, path: str) -> None:
    """A file is gone after this. Raises OSError."""
    with contextlib.suppress(FileNotFoundError), _folder(top, path, make=False) as (folder, name):
        os.unlink(name, dir_fd=folder)


def show(top: Path, path: str, content: Path, known: Stat) -> Stat:
    """Put a file in its place, as a second name of ``content`` or a copy; its stat. One that is there and is as
    ``known`` in size and time stays. Raises OSError."""
    with _folder(top, path, make=True) as (folder, name):
        with contextlib.suppress(FileNotFoundError):
            there = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISREG(there.st_mode) and stat_of(there)[:2] == known[:2]:
                return stat_of(there)
        temporary = _temporary(folder, content)
        try:
            try:
                os.link(content, temporary, dst_dir_fd=folder)
            except OSError:
                _copy(content, folder, temporary)
            os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=folder)
            raise
        return stat_of(os.stat(name, dir_fd=folder, follow_symlinks=False))


def _temporary(folder: int, content: Path) -> str:
    """A name that is free: what a crash left there is removed, what somebody else made is left alone."""
    name = f"{_OURS}{content.name[:16]}"
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        pass
    except OSError:
        return f"{name}-{secrets.token_hex(4)}"
    return name


def _copy(content: Path, folder: int, name: str) -> None:
    """Where there are no hard links."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with content.open("rb") as source, os.fdopen(os.open(name, flags, 0o644, dir_fd=folder), "wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
        target.flush()
        times = os.fstat(source.fileno())
        os.utime(target.fileno(), ns=(times.st_atime_ns, times.st_mtime_ns))
