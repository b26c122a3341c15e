"""``commits.jsonl``, all that the embedded hub knows of a dataset: read with whatever damage it has, and appended to.

One line per commit: {"id", "time", "message", "author", "changes": {PATH: {"sha256", "size", "stat": [size, mtime_ns,
inode]} or null}}. A last line without its end never was a commit. Any other line that can't be read is set aside in
``commits.jsonl.damaged``, with a warning: what it changed shows up as a change on disk.
"""

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.runtime.files import replace_durably

log = logging.getLogger("animation.hub_server")

Stat = tuple[int, int, int]
"""Size in bytes, modification time in ns, inode."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file at some commit."""

    sha256: str
    size: int  # bytes
    stat: Stat  # of the visible file when it was read
    commit: str  # id of the commit that changed it last
    time: float  # epoch s of that commit


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit, as its line has it."""

    id: str
    time: float  # epoch s
    message: str
    author: str
    changes: Mapping[str, Mapping[str, Any] | None]  # by path; None: deleted


def entry_of(commit: Commit, change: Mapping[str, Any]) -> Entry:
    """A file as a commit made it."""
    size, mtime, inode = change["stat"]
    return Entry(change["sha256"], change["size"], (size, mtime, inode), commit.id, commit.time)


def apply(tree: dict[str, Entry], commit: Commit) -> None:
    """Change ``tree``, files by path, as the commit did."""
    for path, change in commit.changes.items():
        if change is None:
            tree.pop(path, None)
        else:
            tree[path] = entry_of(commit, change)


def read_history(path: Path) -> list[Commit]:
    """All commits, the oldest first; the file is left without damage. Raises OSError."""
    if not path.exists():
        return []
    found: list[Commit] = []
    kept: list[bytes] = []
    damaged: list[bytes] = []
    torn = False
    with path.open("rb") as stream:
        for line in stream:
            commit = _commit(line)
            torn = not line.endswith(b"\n")
            if commit is None and not torn:
                damaged.append(line)
                line, commit = _whole_end(line)
            if commit is not None:
                found.append(commit)
                kept.append(line.rstrip(b"\n") + b"\n")
    if damaged:
        _set_aside(path.with_name(path.name + ".damaged"), damaged)
    if damaged or torn:
        replace_durably(path, b"".join(kept))
    return found


def _set_aside(path: Path, lines: list[bytes]) -> None:
    with path.open("ab") as stream:
        stream.writelines(lines)
        stream.flush()
        os.fsync(stream.fileno())
    log.warning("damaged lines in the history of a dataset, set aside: lines=%d in %s", len(lines), path)


def _whole_end(line: bytes) -> tuple[bytes, Commit | None]:
    """A commit that was appended to half a line; in a text of JSON its beginning can't stand."""
    begin = line.rfind(b'{"id": "', 1)
    return (line[begin:], _commit(line[begin:])) if begin > 0 else (line, None)


def _commit(line: bytes) -> Commit | None:
    try:
        entry = json.loads(line)
        changes = {str(path): change for path, change in entry["changes"].items()}
        commit = Commit(str(entry["id"]), float(entry["time"]), str(entry["message"]), str(entry["author"]), changes)
        apply({}, commit)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return commit


def append(path: Path, line: bytes) -> None:
    """Add a commit's line, durably or not at all. Raises OSError."""
    with path.open("ab+", buffering=0) as stream:
        end = os.fstat(stream.fileno()).st_size
        if end and os.pread(stream.fileno(), 1, end - 1) != b"\n":
            line = b"\n" + line  # what could not be taken back ends here
        try:
            _write_whole(stream.fileno(), line)
            os.fsync(stream.fileno())
        except OSError:
            os.ftruncate(stream.fileno(), end)
            raise


def _write_whole(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]
