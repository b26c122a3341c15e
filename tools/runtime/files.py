"""Files that must survive a power cut, and what their content is: the one place for durable writes and digests."""

import errno
import hashlib
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from tools.core.errors import DiskFull, StateError, Stopped
from tools.runtime.owner import give_to_owner

MOST_READ = 1 << 28
"""Bytes of a state file that is read at once: what 400,000 folders take."""
_CHUNK = 1 << 20  # bytes per read
_NO_LINKS = frozenset({errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV})
_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def is_disk_full(exc: OSError) -> bool:
    """Whether the system had no room left: on the disk, or in somebody's quota."""
    return exc.errno in _DISK_FULL


def write_failure(path: Path, exc: OSError) -> DiskFull | StateError:
    """What to raise for a write of a state file that the system refused."""
    if is_disk_full(exc):
        return DiskFull(f"no space left to write {path}: free some; nothing is lost, the old content stays")
    return StateError(f"can't write {path}: {exc.strerror}")


def sync_folder(folder: Path) -> None:
    """Make a rename or a new file in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Make the content of a file durable, whoever wrote it."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def create(path: Path) -> BinaryIO:
    """A new file to write; one that is there goes, and a link is not followed, whoever made it. Raises OSError.

    Others may read it, nobody but its owner write. So a file that somebody else put there beforehand, in a folder that
    both may write, does no harm.
    """
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644), "wb")


def open_plain(path: Path) -> BinaryIO:
    """A regular file to read, not through a link, whoever made it. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # the latter: a pipe would be waited for
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return os.fdopen(descriptor, "rb")


def size_plain(path: Path, most: int) -> int:
    """Bytes of a regular file of at most ``most``, which is not opened: any other lets go of locks that this process
    holds on it. Raises OSError."""
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    if found.st_size > most:
        raise _too_large(path, most)
    return found.st_size


def read_plain(path: Path, most: int = MOST_READ) -> bytes:
    """The content of a regular file of at most ``most`` bytes, not through a link. Raises OSError."""
    with open_plain(path) as stream:
        if os.fstat(stream.fileno()).st_size > most:
            raise _too_large(path, most)
        return stream.read(most)


def read_end(path: Path, most: int) -> bytes:
    """The last ``most`` bytes of a regular file, all if it has fewer, not through a link. Raises OSError."""
    with open_plain(path) as stream:
        stream.seek(max(0, os.fstat(stream.fileno()).st_size - most))
        return stream.read(most)


def _too_large(path: Path, most: int) -> OSError:
    return OSError(errno.EFBIG, f"it has more than {most} bytes", str(path))


def replace_durably(path: Path, content: bytes, *, prepare: Callable[[Path], None] = lambda temporary: None) -> None:
    """Give ``path`` a new content: after a crash at any instant it has the whole old or the whole new one.

    ``prepare`` is called with the temporary file beside it, whole and on disk, before that takes the place. Raises
    OSError; the old content stays then, and no temporary file.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        with create(temporary) as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        prepare(temporary)
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def second_name(path: Path, other: Path) -> None:
    """Give a small file a second name, which is free; a durable copy where links are forbidden (FAT, some mounts).

    Raises OSError.
    """
    try:
        os.link(path, other)
    except OSError as exc:
        if exc.errno not in _NO_LINKS:
            raise
        replace_durably(other, path.read_bytes(), prepare=give_to_owner)


def sha256_of(path: Path, stop: threading.Event | None = None, *, on_piece: Callable[[], None] = lambda: None) -> str:
    """Of a file's content, hex. Raises OSError, Stopped once ``stop`` is set, and what ``on_piece`` raises."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            if stop is not None and stop.is_set():
                raise Stopped(f"stopped while reading {path.name}")
            on_piece()
            digest.update(chunk)
    return digest.hexdigest()


def copy_file(source: Path, target: Path, stop: threading.Event) -> None:
    """Copy a file's content. Raises OSError, and Stopped once ``stop`` is set; ``target`` may be there in part then."""
    with source.open("rb") as reading, target.open("wb") as writing:
        while chunk := reading.read(_CHUNK):
            if stop.is_set():
                raise Stopped(f"stopped while copying {source.name}")
            writing.write(chunk)
