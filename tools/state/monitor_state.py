"""``log/monitor_state.json``: what the monitor remembers between polls and restarts.

::

    {"folders": {NAME: {"hash", "last_check_time", "file_count", "total_size", "last_modified",
                        "video_count", "has_marker", "quiet_from", "settled", "contents",
                        "settled_contents", "others", "partial", "told"}},
     "last_check": ISO, "last_check_epoch": s, "steady": s, "server_time": s, "head": commit id, "listed": epoch s,
     "repo": "OWNER/NAME", "interval": s, "stable_time": s}

``last_check_time`` epoch s at which this hash was first seen; it is known unchanged for ``steady`` - ``quiet_from`` s;
``settled`` the hash whose queue item is completed or failed; ``contents`` and ``settled_contents`` likewise, digests
over the contents of files where the hub tells their sha256. Of folders without a video alone: ``others`` extensions
there; of those that wait for half-uploaded files: ``partial``, the name of one; of both: ``told`` the hash of which the
log says so. All of it can be found again from the hub, at the cost of waiting.
"""

import json
import logging
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from tools.core.errors import CorruptState, StateError
from tools.core.folder import Folder
from tools.core.stability import Snapshot
from tools.runtime.files import read_end, read_plain
from tools.state.json_file import JsonFile

log = logging.getLogger("animation.state")
_Marks = tuple[str | None, str | None, str | None]  # what is remembered beside a snapshot: see ``_marks``
STATE_FILE = "monitor_state.json"
_NAME = re.compile(rb'^    ("(?:[^"\\]|\\.)*"): \{', re.MULTILINE)  # of a folder, as ``_encoded`` writes it
_WHOLE = b',\n  "last_check": '  # what is told of the whole begins so, and no name holds a line break
_TAIL = 2000  # bytes at the end, with what is told of the whole
_MOST = 10**30  # bytes or files of a folder, whatever a hub says of its files


@dataclass(slots=True)
class MonitorState:
    """What the monitor remembers; all but ``repo`` as of its last poll that succeeded."""

    folders: dict[str, Snapshot] = field(default_factory=dict)
    settled: dict[str, str] = field(default_factory=dict)  # by folder: the fingerprint whose item completed or failed
    settled_contents: dict[str, str] = field(default_factory=dict)  # likewise: the contents, where they are known
    told: dict[str, str] = field(default_factory=dict)  # likewise: of which the log says why it is not queued
    last_check: float | None = None  # epoch s by this machine; None: there was no poll
    steady: float = 0.0  # s that had certainly passed, over all processes, when the poll was answered
    server_time: float | None = None  # epoch s by the hub
    head: str | None = None  # commit id of the last listing; None: the repo had no commits
    listed: float = 0.0  # epoch s by this machine of the last whole listing
    repo: str = ""  # whose folders these are
    interval: float | None = None  # s between polls, from which readers judge the monitor's silence
    stable_time: float | None = None  # s of quiet after which the monitor queues a folder


def waiting_for_nothing(state: MonitorState) -> MonitorState:
    """The same, no folder of it kept back for its half-uploaded files; itself if none was."""
    halves = {name: snapshot for name, snapshot in state.folders.items() if snapshot.folder.partial}
    freed = {n: replace(s, folder=replace(s.folder, partial="")) for n, s in halves.items()}
    return replace(state, folders=state.folders | freed) if freed else state


class MonitorStateFile:
    """Loads and saves the state; one writer, the monitor. A folder's line is encoded again only if it changed."""

    def __init__(self, log_dir: Path) -> None:
        self._file = JsonFile(log_dir / STATE_FILE)
        self._lines: dict[str, tuple[Snapshot, _Marks, bytes]] = {}

    def load(self) -> MonitorState:
        """The state as saved, or a new one. A damaged file is set aside; the version before it is used, if any."""
        with self._file.locked():
            try:
                return self._file.read_or_restore(_from_json) or MonitorState()
            except CorruptState as exc:
                # Unlike the queue nothing here is beyond finding again.
                self._file.start_over()
                log.error("starting over, folders are found again after their stable time: %s", exc)
                return MonitorState()

    def read(self) -> MonitorState:
        """The state as saved, without the lock; a new one if there is none that can be read."""
        try:
            return self._file.read(_from_json) or MonitorState()
        except StateError:
            return MonitorState()

    def names(self) -> set[str] | None:
        """The folders of the input dataset as it was listed last, without reading more; None if it never was."""
        try:
            content = read_plain(self._file.path)
        except OSError:
            return None
        if b'"head": "' not in content[-_TAIL:]:
            return None
        return {json.loads(name) if b"\\" in name else name[1:-1].decode() for name in _NAME.findall(content)}

    def about(self) -> dict[str, Any]:
        """What is told of the whole, such as ``last_check`` and ``interval``: without reading the folders, of which
        there may be many. {} without a file that can be read."""
        try:
            end = read_end(self._file.path, _TAIL)
            place = end.rfind(_WHOLE)
            found = json.loads(b"{" + end[place + 1 :] if place >= 0 else read_plain(self._file.path))
        except (OSError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def save(self, state: MonitorState) -> None:
        """Write the state durably. Raises DiskFull or StateError."""
        lines = {name: self._line(name, snapshot, _marks(state, name)) for name, snapshot in state.folders.items()}
        self._lines = lines
        with self._file.locked():
            self._file.write(_encoded(state, [text for _, _, text in lines.values()]))

    def _line(self, name: str, snapshot: Snapshot, marks: _Marks) -> tuple[Snapshot, _Marks, bytes]:
        before = self._lines.get(name)
        if before is not None and before[0] is snapshot and before[1] == marks:
            return before
        text = f"    {json.dumps(name, ensure_ascii=False)}: {json.dumps(_entry(snapshot, *marks))}"
        return snapshot, marks, text.encode("utf-8", "surrogatepass")


def _encoded(state: MonitorState, lines: list[bytes]) -> bytes:
    """The whole file, one line per folder."""
    when = None if state.last_check is None else datetime.fromtimestamp(state.last_check).isoformat(timespec="seconds")
    rest = {
        "last_check": when,
        "last_check_epoch": state.last_check,
        "steady": round(state.steady, 3),
        "server_time": state.server_time,
        "head": state.head,
        "listed": state.listed,
        "repo": state.repo,
        "interval": state.interval,
        "stable_time": state.stable_time,
    }
    tail = "".join(f",\n  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in rest.items())
    body = b"\n" + b",\n".join(lines) + b"\n  " if lines else b""
    return b'{\n  "folders": {%b}%b\n}\n' % (body, tail.encode())


def _marks(state: MonitorState, name: str) -> _Marks:
    return state.settled.get(name), state.settled_contents.get(name), state.told.get(name)


def _entry(snapshot: Snapshot, settled: str | None, replaced: str | None, told: str | None) -> dict[str, Any]:
    folder = snapshot.folder
    kept_out: dict[str, Any] = {"others": folder.others, "told": told} if not folder.video_count else {}
    kept_out |= {"partial": folder.partial, "told": told} if folder.partial else {}
    return {
        "hash": folder.fingerprint,
        "last_check_time": round(snapshot.first_seen, 3),
        "file_count": folder.file_count,
        "total_size": folder.total_size,
        "last_modified": folder.last_modified,
        "video_count": folder.video_count,
        "has_marker": folder.has_marker,
        "quiet_from": round(snapshot.quiet_from, 3),
        "settled": settled,
        **({"contents": folder.contents} if folder.contents else {}),
        **({"settled_contents": replaced} if replaced else {}),
        **kept_out,
    }


def _from_json(content: Any) -> MonitorState:
    try:
        steady = _finite(content.get("steady") or 0.0)
        folders = {str(name): _snapshot(str(name), entry, steady) for name, entry in content["folders"].items()}
        settled = {str(n): str(e["settled"]) for n, e in content["folders"].items() if e.get("settled")}
        replaced = {
            str(n): str(e["settled_contents"]) for n, e in content["folders"].items() if e.get("settled_contents")
        }
        told = {str(n): str(e["told"]) for n, e in content["folders"].items() if e.get("told")}
        return MonitorState(
            folders=folders,
            settled=settled,
            settled_contents=replaced,
            told=told,
            last_check=_finite_or_none(content.get("last_check_epoch")),
            steady=steady,
            server_time=_finite_or_none(content.get("server_time")),
            head=content.get("head"),
            listed=_finite(content.get("listed") or 0.0),
            repo=str(content.get("repo") or ""),
            interval=_finite_or_none(content.get("interval")),
            stable_time=_finite_or_none(content.get("stable_time")),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as exc:
        raise CorruptState("not a monitor state: something in it is missing, or of another kind") from exc


def _snapshot(name: str, entry: Mapping[str, Any], steady: float) -> Snapshot:
    folder = Folder(
        name=name,
        fingerprint=str(entry["hash"]),
        file_count=_count(entry["file_count"]),
        video_count=_count(entry.get("video_count") or 0),
        total_size=_count(entry["total_size"]),
        last_modified=_finite_or_none(entry.get("last_modified")),
        has_marker=bool(entry.get("has_marker")),
        others=tuple(str(kind) for kind in entry.get("others") or ()),
        partial=str(entry.get("partial") or ""),
        contents=str(entry.get("contents") or ""),
    )
    return Snapshot(folder, _finite(entry["last_check_time"]), min(steady, _finite(entry.get("quiet_from", steady))))


def _count(value: Any) -> int:
    """Raises ValueError for what nothing has so many of."""
    number = int(value)
    if not 0 <= number < _MOST:
        raise ValueError(value)
    return number


def _finite_or_none(value: Any) -> float | None:
    return None if value is None else _finite(value)


def _finite(value: Any) -> float:
    """Raises ValueError for what JSON lets through but no calculation survives: NaN makes every folder stable."""
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value} is no time")
    return number
