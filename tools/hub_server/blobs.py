"""Contents by sha256, each on disk once; those that no commit holds are removed after a while."""

import contextlib
import os
import re
import shutil
import stat
import threading
import time
from pathlib import Path

from tools.hub_server.below import stat_of
from tools.hub_server.history import Stat
from tools.runtime.files import sync_file, sync_folder

UNUSED_FOR = 30 * 86400.0  # s that a blob is kept for a commit to come; a batch of long videos takes days to encode
_DIGEST = re.compile(rb"[0-9a-f]{64}")


class Blobs:
    """``ROOT/.hub/blobs/ab/abcd…``. Threads may share it."""

    def __init__(self, about: Path) -> None:
        self._top = about / "blobs"
        self._repos = about / "repos"
        self._incoming = about / "incoming"
        self.lock = threading.RLock()
        """Whoever names blobs in a commit holds it from looking at them until the commit's line is written."""

    def prepare(self) -> None:
        """Make the folders, throw away what was received in part. Raises OSError."""
        self._incoming.mkdir(parents=True, exist_ok=True)
        for left in self._incoming.iterdir():
            left.unlink()

    def path(self, sha256: str) -> Path:
        return self._top / sha256[:2] / sha256

    def has(self, sha256: str, size: int) -> bool:
        try:
            return self.path(sha256).stat().st_size == size
        except FileNotFoundError:
            return False

    def wanted(self, sha256: str, size: int) -> bool:
        """``has``, for somebody who will name it in a commit: it is as new as one that was just received."""
        found = self.has(sha256, size)
        if found:
            with contextlib.suppress(OSError):  # the time of the last change of the file's inode alone
                self.path(sha256).chmod(stat.S_IMODE(self.path(sha256).stat().st_mode))
        return found

    def incoming(self) -> Path:
        """A new file name to receive into."""
        return self._incoming / f"{os.getpid()}-{threading.get_ident()}-{time.time_ns()}"

    def add(self, received: Path, sha256: str) -> None:
        """Take a received file whose content has this sha256, durably."""
        blob = self.path(sha256)
        blob.parent.mkdir(parents=True, exist_ok=True)
        sync_file(received)
        received.replace(blob)
        sync_folder(blob.parent)

    def link(self, path: Path, sha256: str, known: Stat) -> None:
        """Give a visible file's content a second name here. Raises OSError, also if it is not that file any more."""
        if self.wanted(sha256, known[0]):
            return
        blob = self.path(sha256)
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.unlink(missing_ok=True)
        try:
            os.link(path, blob, follow_symlinks=False)
        except OSError:
            shutil.copyfile(path, blob, follow_symlinks=False)  # a file system without hard links
            return
        if stat_of(blob.lstat()) != known:
            blob.unlink()
            raise OSError(f"{path} changed")

    def drop_edited(self, sha256: str, inode: int) -> None:
        """A visible file was edited in place, and with it the blob that is the same file on disk."""
        blob = self.path(sha256)
        with contextlib.suppress(FileNotFoundError):
            if blob.stat().st_ino == inode:
                blob.unlink()

    def collect(self, now: float) -> tuple[int, int]:
        """Remove the blobs that no commit of any dataset holds and that nobody stored or asked for since
        ``UNUSED_FOR``; (how many, bytes). ``now``: epoch s. Raises OSError if a history can't be read."""
        old = [path for path in self._top.glob("??/*") if _is_old(path, now)]
        if not old:
            return 0, 0
        count = size = 0
        with self.lock:
            held = self._held()
            for path in old:
                if _DIGEST.fullmatch(os.fsencode(path.name)) and path.name.encode() not in held and _is_old(path, now):
                    size += path.stat().st_size
                    path.unlink()
                    count += 1
        return count, size

    def _held(self) -> set[bytes]:
        """Every digest that any history mentions, those in its damaged lines too."""
        held: set[bytes] = set()
        for history in self._repos.glob("*/*/commits.jsonl*"):
            with history.open("rb") as stream:
                for line in stream:
                    held.update(_DIGEST.findall(line))
        return held


def _is_old(path: Path, now: float) -> bool:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISREG(found.st_mode) and now - max(found.st_ctime, found.st_mtime) > UNUSED_FOR
