"""``WORK_DIR``: one folder per video on local disk, space reserved in bytes, swept of what no item needs.

Local names are digests, so nothing of a hub's path reaches the disk. What a crash leaves in a video's folder (a partial
download, a converted file) is found again under the same name by the next attempt. Nothing is used, and nothing
deleted, in a folder that is not ours, or through a link.
"""

import contextlib
import hashlib
import os
import shutil
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from tools.core.artifact import ArtifactKind
from tools.core.errors import DiskFull, WorkspaceError
from tools.core.folder import RemoteFile
from tools.core.planning import VideoJob
from tools.runtime.private import delete, is_own_folder, take_folder, take_own_folder

_VIDEOS = "videos"
HUB_CACHE = "hub_cache"
"""The folder for what the hub's client keeps on disk."""
_NOTE = "converted.json"


class Workspace:
    """The work folder of one process. ``min_free`` bytes stay free on its disk. The constructor touches nothing."""

    def __init__(self, root: Path, min_free: int) -> None:
        self.root = root
        self._min_free = min_free
        self._reserved: dict[Path, int] = {}
        self._lock = threading.Lock()

    def prepare(self) -> None:
        """Make the folder. Raises WorkspaceError, which says what to do."""
        try:
            take_folder(self.root)
            for folder in (self._videos, self.root / HUB_CACHE):  # another user's, from an earlier run
                if os.path.lexists(folder):
                    take_own_folder(folder)
        except OSError as exc:
            raise WorkspaceError(f"can't use WORK_DIR={self.root}: {exc.strerror}; give another one") from exc

    def video_folder(self, job: VideoJob) -> Path:
        """The folder of this source content, made when missing. Raises OSError."""
        return self.file_folder(job.folder, job.source)

    def file_folder(self, item: str, source: RemoteFile) -> Path:
        """The same for any file of a queue item."""
        folder = self._video_folder(item, source)
        if not folder.is_dir() or folder.is_symlink():
            take_folder(self.root)
            for made in (self._videos, folder.parent, folder):
                take_own_folder(made)
        return folder

    def source_file(self, job: VideoJob) -> Path:
        """Where the download goes; with the source's extension, for demuxers that ask for it."""
        extension = PurePosixPath(job.source.name).suffix.lower()
        plain = extension if extension[1:].isascii() and extension[1:].isalnum() else ""
        return self.video_folder(job) / f"source{plain}"

    def artifact_file(self, folder: str, source: RemoteFile, kind: ArtifactKind) -> Path:
        """The file of an artifact of a source; its folder need not exist."""
        return self._video_folder(folder, source) / f"result{kind.extension}"

    def note_file(self, folder: str, source: RemoteFile) -> Path:
        """The file that says that all artifacts of a source are whole (see ``VideoOutput.as_json``)."""
        return self._video_folder(folder, source) / _NOTE

    @contextlib.contextmanager
    def reserved(self, folder: Path, needed: int) -> Iterator[None]:
        """Hold ``needed`` bytes for what will be written into ``folder``. Raises DiskFull when they are not there."""
        with self._lock:
            outstanding = sum(max(0, size - _used(path)) for path, size in self._reserved.items())
            there = shutil.disk_usage(self.root).free
            free = there - self._min_free - outstanding
            missing = max(0, needed - _used(folder))
            if missing > free:
                others = f", {_gb(outstanding)} GB are reserved for other videos" if outstanding else ""
                place = f"{_gb(missing)} GB needed in {self.root}"
                floor = f"{_gb(self._min_free)} GB must stay free"
                raise DiskFull(
                    f"{place}: {_gb(there)} GB free, {floor}{others}: make room",
                    needed=missing,
                    free=max(0, free),
                )
            self._reserved[folder] = needed
        try:
            yield
        finally:
            with self._lock:
                self._reserved.pop(folder, None)

    def remove_video(self, folder: str, source: RemoteFile) -> None:
        """Delete everything of one video."""
        self._delete(self._video_folder(folder, source))

    def remove_item(self, folder: str) -> None:
        """Delete everything of one queue item."""
        self._delete(self._item_folder(folder))

    def remove(self, key: str) -> None:
        """Delete everything of a video by its key, which anybody may have sent: one that is none of ``held`` is
        ignored."""
        if key in self.held():
            self._delete(self._videos / key)

    def sweep(self, keep: Iterable[str]) -> None:
        """Delete what belongs to none of these queue folders: what an earlier run left."""
        keep = list(keep)
        if not keep:
            self.clear()
            return
        kept = {item_key(name) for name in keep}
        for found in _inside(self._videos):
            if found.name not in kept:
                delete(found)

    def rest(self) -> None:
        """Nothing is under way: leave nothing behind, except what waiting items will resume from."""
        if not _inside(self._videos):
            self.clear()

    def clear(self) -> None:
        """Nothing of ours stays, not even caches and locks. The rest is not ours."""
        for name in (_VIDEOS, HUB_CACHE):
            if is_own_folder(self.root / name):
                delete(self.root / name)

    def held(self) -> dict[str, bool]:
        """Keys (see ``video_key``) of the videos that have something here, and whether they are converted."""
        found = (path for item in _inside(self._videos) for path in _inside(item))
        return {f"{path.parent.name}/{path.name}": (path / _NOTE).exists() for path in found}

    @property
    def _videos(self) -> Path:
        return self.root / _VIDEOS

    def _video_folder(self, folder: str, source: RemoteFile) -> Path:
        return self._videos / video_key(folder, source)

    def _item_folder(self, folder: str) -> Path:
        return self._videos / item_key(folder)

    def _delete(self, path: Path) -> None:
        """What one of our folders holds, at any depth below them."""
        if is_own_folder(self._videos) and (path.parent == self._videos or is_own_folder(path.parent)):
            delete(path)


def item_key(folder: str) -> str:
    """The name of a queue item's folder, the same on every machine."""
    return _digest(folder)


def video_key(folder: str, source: RemoteFile) -> str:
    """The place of a video's folder below all others, the same on every machine; begins with ``item_key``."""
    content = "\0".join((source.path, source.sha256, str(source.size)))
    return f"{item_key(folder)}/{_digest(content)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:20]


def _inside(folder: Path) -> list[Path]:
    """What is in a folder; nothing if it is not ours, or gone."""
    with contextlib.suppress(FileNotFoundError):
        return list(folder.iterdir()) if is_own_folder(folder) else []
    return []


def _used(folder: Path) -> int:
    """Bytes of the files in a folder and below it now; files that vanish meanwhile count as nothing."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += (Path(place) / name).lstat().st_size
    return total


def _gb(size: int) -> str:
    return f"{size / 1e9:.0f}" if size >= 10e9 else f"{size / 1e9:.2f}"
