"""Files of a listing → folders and their fingerprints.

A folder is a directory that directly holds files; the root of a repo is one if it directly holds videos. The listing is
folded file by file, so a repo of a million files needs memory for its folders only.
"""

import hashlib
import math
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

ROOT = "."
"""The name of a repo's root as a folder. No path has such a part, so no other folder can have it."""


def inside(folder: str, name: str) -> str:
    """The path of a file in a folder."""
    return name if folder in {"", ROOT} else f"{folder}/{name}"


def path_of(folder: str) -> str:
    """The path of a folder; "" of the root."""
    return "" if folder == ROOT else folder


class RemoteFile(NamedTuple):  # a million are made for one listing, and a frozen dataclass takes three times as long
    """A file of a repo at some commit."""

    path: str  # in the repo
    size: int  # bytes
    sha256: str  # hex; "" if the hub does not tell
    committed_at: float | None = None  # epoch s; None if the hub does not tell

    @property
    def folder(self) -> str:
        """The path of the directory that directly holds the file; "" at the root."""
        return self.path.rpartition("/")[0]

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder at one commit: what the monitor remembers and the queue carries."""

    name: str
    fingerprint: str  # hex, over the sorted (path, size) of its direct files
    file_count: int
    video_count: int
    total_size: int  # bytes
    last_modified: float | None  # epoch s, newest commit time of its files; None if the hub does not tell
    has_marker: bool  # the file that says that it is complete is there
    others: tuple[str, ...] = ()  # of a folder without a video: extensions of its files, a few
    partial: str = ""  # name of a half-uploaded file that keeps it from being complete; "" = none does
    contents: str = ""  # hex, over the (path, sha256) of its direct files; "" if the hub tells none
    # All files of the listing before are there as they were, and newer ones; a fact of a listing, not remembered.
    only_added: bool = field(default=False, compare=False)


def is_replaced(before: str, now: str) -> bool:
    """Whether two digests over contents differ; where one is not known nothing is replaced as far as anybody knows."""
    return bool(before and now) and before != now


def as_disks_see(path: str) -> str:
    """The same for names that a case-insensitive disk takes for one."""
    return unicodedata.normalize("NFC", path).casefold()


# A path on the hub is a stranger's text. It becomes a local name and a command argument, so what could leave
# the work folder, or hide in a log line, is refused before anything else sees it.
_NO_NAME = re.compile(r"(?<![^/])\.{0,2}(?![^/])")  # a part that is empty, ``.`` or ``..``
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]")
_LONGEST_PART, _LONGEST_PATH = 255, 3000  # bytes of UTF-8; a system call takes 4096 with all that we put before it


def is_safe_path(path: str) -> bool:
    """Whether a path from a listing is relative and plain: no ``.``, ``..`` or empty parts, no control characters,
    and no longer than a disk can hold."""
    if _NO_NAME.search(path) or (not path.isprintable() and _CONTROLS.search(path)):  # the latter is slow, and rare
        return False
    if 4 * len(path) <= _LONGEST_PART:
        return True
    parts = path.encode().split(b"/")
    return sum(map(len, parts)) + len(parts) <= _LONGEST_PATH and max(map(len, parts)) <= _LONGEST_PART


def is_video(name: str, extensions: frozenset[str]) -> bool:
    """Whether a file name carries a video extension, in any case. ``extensions`` lower case without the dot.

    ``._ep 01.mp4`` is none: macOS puts such a file beside each one where its file system is not its own.
    """
    stem, _, extension = name.rpartition(".")
    return bool(stem) and extension.lower() in extensions and not name.startswith("._")


# By which downloaders name what is not whole, or the file that says so: aria2, Firefox, Chrome, qBittorrent, uTorrent,
# Safari, Thunder (.td, .xltd), Baidu Netdisk (.downloading), Opera, BitComet (.bc!).
_PARTIAL = (
    *(".aria2", ".part", ".crdownload", ".!qB", ".!ut", ".download", ".tmp", ".td", ".xltd", ".downloading"),
    *(".partial", ".opdownload", ".bc!", ".incomplete"),
)
_PARTIAL_LOWER = tuple(mark.lower() for mark in _PARTIAL)


def is_half_uploaded(name: str) -> bool:
    """Whether a file's name says that it, or the file that it belongs to, is not whole."""
    return name.lower().endswith(_PARTIAL_LOWER) and not is_junk(name)


def is_junk(name: str) -> bool:
    """Whether it is a file that a system or an office program leaves behind, of no use to anybody else."""
    return name.startswith((".", "~$", "~WRL")) or name.lower() in {"thumbs.db", "desktop.ini", "ehthumbs.db"}


def mark_of_partial(file: RemoteFile, names: Collection[str]) -> str:
    """The name of the file, among those of its folder, by which a downloader marks it as not whole; "" if none does."""
    return next((file.name + mark for mark in _PARTIAL if file.name + mark in names), "")


def is_placeholder(file: RemoteFile, names: Collection[str]) -> bool:
    """Whether it only holds the place of a download that lies beside it, among ``names``; nobody misses it."""
    return not file.size and bool(mark_of_partial(file, names))


MACOS = "__MACOSX"  # what macOS adds to archives: no file of anybody's


_NAMED = 4  # extensions of files that are no videos
_LONGEST_EXTENSION = 12  # characters


def _kind_of(name: str) -> str:
    """What is said of a file that is no video: its extension."""
    stem, dot, extension = name.rpartition(".")
    return dot + extension[:_LONGEST_EXTENSION].lower() if stem else ""


class _Tally:
    """One folder while its files stream by."""

    __slots__ = (
        *(
            "added",
            "before",
            "contents",
            "digests",
            "last_modified",
            "marker",
            "newer_than",
            "others",
            "partial",
            "size",
        ),
        "videos",
    )

    def __init__(self, before: Folder | None) -> None:
        self.before = before
        self.newer_than = math.inf if before is None or before.last_modified is None else before.last_modified
        # Fixed 24 bytes per file, one after the other, instead of its path: a folder may hold a million.
        self.digests = bytearray()  # of files that ``before`` may have
        self.added = bytearray()  # of newer ones
        self.contents = 0  # the sum of a number for each file, whatever their order
        self.size = 0
        self.videos = 0
        self.others: set[str] = set()  # as long as there is no video
        self.marker = False
        self.partial = ""
        self.last_modified: float | None = None


def group_folders(
    files: Iterable[RemoteFile],
    extensions: frozenset[str],
    marker: str = "",
    before: Mapping[str, Folder] = MappingProxyType({}),
    on_unsafe: Callable[[str], object] = str,
    *,
    waits: bool = False,
) -> dict[str, Folder]:
    """Fold a listing into its folders, by name. Unsafe paths are skipped, and so are files at the root without a video.

    ``marker`` is the file name whose presence says that a folder is complete ("" = off); ``before`` the folders of an
    earlier listing, for ``only_added``; ``on_unsafe`` is called with each unsafe path; ``waits``: a folder with a
    half-uploaded file is not complete.
    """
    tallies: dict[str, _Tally] = {}
    for file in files:
        path = file.path
        if not is_safe_path(path):
            on_unsafe(path)
            continue
        folder, _, name = path.rpartition("/")
        folder = folder or ROOT
        tally = tallies.get(folder)
        if tally is None:
            tally = tallies[folder] = _Tally(before.get(folder))
        digest = hashlib.blake2b(f"{path}\0{file.size}".encode(), digest_size=_DIGEST).digest()
        if file.sha256:
            content = hashlib.blake2b(file.sha256.encode(), digest_size=_CONTENT, key=digest).digest()
            tally.contents += int.from_bytes(content, "big")
        tally.size += file.size
        if is_video(name, extensions) and MACOS not in folder.split("/"):
            tally.videos += 1
        else:
            if not tally.videos and len(tally.others) < _NAMED:
                tally.others.add(_kind_of(name))
            if waits and not tally.partial and is_half_uploaded(name):
                tally.partial = name
        tally.marker |= bool(marker) and name == marker
        committed_at = file.committed_at
        if committed_at is None or committed_at <= tally.newer_than:
            tally.digests += digest
        else:
            tally.added += digest
        if committed_at is not None and (tally.last_modified is None or committed_at > tally.last_modified):
            tally.last_modified = committed_at
    if ROOT in tallies and not tallies[ROOT].videos:  # a card and settings, which every repo has
        del tallies[ROOT]
    return {name: _finish(name, tally) for name, tally in tallies.items()}


_DIGEST = 24  # bytes
_CONTENT = 16  # likewise


def _finish(name: str, tally: _Tally) -> Folder:
    fingerprint = _fingerprint(tally.digests)
    only_added = tally.before is not None and fingerprint == tally.before.fingerprint
    if tally.added:
        fingerprint = _fingerprint(tally.digests + tally.added)
    return Folder(
        name=name,
        fingerprint=fingerprint,
        file_count=(len(tally.digests) + len(tally.added)) // _DIGEST,
        video_count=tally.videos,
        total_size=tally.size,
        last_modified=tally.last_modified,
        has_marker=tally.marker,
        others=() if tally.videos else tuple(sorted(tally.others - {""})),
        only_added=only_added,
        partial="" if tally.marker else tally.partial,
        contents=f"{tally.contents % (1 << 8 * _CONTENT):0{2 * _CONTENT}x}" if tally.contents else "",
    )


def _fingerprint(digests: bytes | bytearray) -> str:
    ordered = sorted(digests[start : start + _DIGEST] for start in range(0, len(digests), _DIGEST))
    return hashlib.sha256(b"".join(ordered)).hexdigest()
