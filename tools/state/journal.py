"""``log/journal/``: one append-only file of JSON lines per item under way; the processor's memory across crashes.

Each line is one event of one video, keyed by source path and source sha256, fsynced before anything relies on it::

    {"event": see ``Event``, "path", "sha256", "time": epoch s, …}

"stored" carries what the source became, ready to be committed (see ``VideoOutput.as_json``)::

    {"event": "stored", …, "record": {…}, "artifacts": [{"kind", "repo", "path", "sha256", "size"}]}

A torn last line (a crash while writing) is as if it were not there. The file goes when its item is settled.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from tools.core.artifact import VideoOutput
from tools.core.folder import RemoteFile
from tools.runtime.files import read_plain, replace_durably, sync_folder, write_failure
from tools.runtime.owner import give_to_owner, make_folder

_AT_ONCE = 1000  # lines parsed together
_DIGITS = 16  # of a digest in a file name


class Event(str, Enum):
    ENCODING = "encoding"  # it is in the encoder: if nothing follows, the program died meanwhile
    SEARCHED = "searched"  # a CRF was found for it, with the "answer"; it is still in the encoder
    CONVERTED = "converted"  # its verified result is on the local disk; with the sha256 of its files as "results"
    STORED = "stored"  # its blobs are on the hub
    FAILED = "failed"  # an attempt failed, another one may work; with the "cause"
    REFUSED = "refused"  # it can never work; with the "cause"
    RELEASED = "released"  # an attempt ended without counting as one
    COMMITTED = "committed"  # its batch is over
    CRASHED = "crashed"  # a worker of a cluster died while it encoded the video
    LOST = "lost"  # the hub lost its blobs, and they can't be sent again from here


@dataclass(slots=True)
class VideoHistory:
    """What the journal knows of one source content."""

    stored: VideoOutput | None = None  # its blobs are on the hub, ready to be committed
    refused: str | None = None  # why it can never work
    failures: int = 0  # that may pass
    crashes: int = 0  # in a row, while it was being encoded
    last_cause: str = ""  # of its latest failure
    is_committed: bool = False  # its batch was published since the journal was begun
    answer: Mapping[str, Any] | None = None  # of the search for its CRF, see ``tools.media.aim``
    results: frozenset[str] = frozenset()  # sha256 of the files that it was converted to here, each verified, ever


class Journal:
    """The journal of one folder. Any number of them, in any thread, may write at the same time."""

    def __init__(self, log_dir: Path, folder: str) -> None:
        self.path = log_dir / "journal" / _name_of(folder)

    def note(self, event: Event, *sources: RemoteFile, **facts: Any) -> None:
        """Append one event of each source, durably and in one write. Raises DiskFull or StateError."""
        now = round(time.time(), 3)
        entries = [{"event": event.value, "path": s.path, "sha256": s.sha256, "time": now, **facts} for s in sources]
        if not entries:
            return
        lines = "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)
        try:
            self._append(lines.encode("utf-8", "surrogatepass"))
        except OSError as exc:
            raise write_failure(self.path, exc) from exc

    def _append(self, line: bytes) -> None:
        new = not self.path.exists()
        make_folder(self.path.parent)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # whoever writes half a line does so before the next one looks
            size = os.fstat(descriptor).st_size
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            payload = b"\n" + line if torn else line  # a torn line must not swallow this one
            if os.write(descriptor, payload) != len(payload):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if new:
            give_to_owner(self.path)
            sync_folder(self.path.parent)

    def history(self) -> dict[tuple[str, str], VideoHistory]:
        """Everything noted so far, by (source path, source sha256)."""
        found: dict[tuple[str, str], VideoHistory] = {}
        for entry in self._read():
            try:
                video = found.setdefault((str(entry["path"]), str(entry["sha256"])), VideoHistory())
                _apply(video, entry)
            except (ValueError, KeyError, TypeError):
                continue  # nothing of ours
        return found

    def _read(self) -> Iterator[Any]:
        try:
            content = read_plain(self.path)
        except FileNotFoundError:
            return iter(())
        return _entries(content)

    def of(self, source: RemoteFile) -> VideoHistory:
        """Everything noted so far of one source."""
        return self.history().get((source.path, source.sha256), VideoHistory())

    def keep_results(self) -> None:
        """The item is settled, but results wait for ``--retry``: which they are stays, and what of a redo is published
        already; all else goes. On a full disk all goes, and they will be made again."""
        found = (entry for entry in self._read() if isinstance(entry, dict))
        kept = [entry for entry in found if entry.get("event") in (Event.CONVERTED.value, Event.COMMITTED.value)]
        if not kept:
            self.remove()
            return
        lines = "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in kept)
        try:
            replace_durably(self.path, lines.encode("utf-8", "surrogatepass"), prepare=give_to_owner)
        except OSError:
            self.remove()

    def remove(self) -> None:
        """The item is settled; what counts is in ``metadata.jsonl`` and in the queue now."""
        self.path.unlink(missing_ok=True)

    def discard(self) -> None:
        """Like ``remove``, durably: what it tells must not come back after a power cut. Raises OSError."""
        if self.path.exists():
            self.remove()
            sync_folder(self.path.parent)


def _entries(content: bytes) -> Iterator[Any]:
    """What the lines say; one torn by a crash is skipped: nothing relied on it yet."""
    lines = [line for line in content.split(b"\n") if line]
    for start in range(0, len(lines), _AT_ONCE):
        block = lines[start : start + _AT_ONCE]
        with contextlib.suppress(ValueError, RecursionError):
            together = json.loads(b"[%b]" % b",".join(block))  # three times as fast as line by line
            if len(together) == len(block):
                yield from together
                continue
        for line in block:
            with contextlib.suppress(ValueError, RecursionError):
                yield json.loads(line)


def _name_of(folder: str) -> str:
    readable = re.sub(r"[^\w-]+", "_", folder)[:40]
    return f"{readable}-{digest_of(folder)[:_DIGITS]}.jsonl"


def digest_of(folder: str) -> str:
    """What journals are told apart by."""
    return hashlib.sha256(folder.encode("utf-8", "surrogatepass")).hexdigest()


def sweep(log_dir: Path, keep: Iterable[str]) -> None:
    """Delete all journals but those of these folders: left by a crash between an item's end and its journal's."""
    sweep_all_but(log_dir, map(digest_of, keep))


def sweep_all_but(log_dir: Path, digests: Iterable[str]) -> None:
    """The same for whoever has the digests of the folders alone (see ``digest_of``), or their first 20 digits."""
    kept = {digest[:_DIGITS] for digest in digests}
    for path in (log_dir / "journal").glob("*.jsonl"):
        if path.stem[-_DIGITS:] not in kept:
            path.unlink(missing_ok=True)


def _apply(video: VideoHistory, entry: Mapping[str, Any]) -> None:
    event = entry["event"]
    if event in _IN_ENCODER:
        video.crashes += 1  # stands until the encode is heard of again
    elif event != Event.SEARCHED:
        video.crashes = 0
    if event in _MEANINGS:
        _MEANINGS[event](video, entry)


def _stored(video: VideoHistory, entry: Mapping[str, Any]) -> None:
    video.stored = VideoOutput.of_json(entry)


def _converted(video: VideoHistory, entry: Mapping[str, Any]) -> None:
    # An older version noted the video's alone.
    video.results |= {str(sha256) for sha256 in entry.get("results", [entry.get("result_sha256", "")])}


def _searched(video: VideoHistory, entry: Mapping[str, Any]) -> None:
    answer = entry.get("answer")
    video.answer = answer if isinstance(answer, dict) else None


def _committed(video: VideoHistory, entry: Mapping[str, Any]) -> None:
    video.is_committed = video.is_committed or entry.get("commit") is not None


def _failed(video: VideoHistory, entry: Mapping[str, Any]) -> None:
    video.failures += 1
    video.last_cause = str(entry.get("cause", ""))


def _refused(video: VideoHistory, entry: Mapping[str, Any]) -> None:
    video.refused = str(entry.get("cause", ""))


def _lost(video: VideoHistory, entry: Mapping[str, Any]) -> None:
    video.stored = None


_IN_ENCODER = frozenset((Event.ENCODING, Event.CRASHED))
_MEANINGS = {
    Event.SEARCHED: _searched,
    Event.CONVERTED: _converted,
    Event.STORED: _stored,
    Event.COMMITTED: _committed,
    Event.FAILED: _failed,
    Event.REFUSED: _refused,
    Event.LOST: _lost,
}
