"""Files that go with a folder's videos: subtitles, fonts, images, whatever a person names. Which are carried over into
the output folder, and what that folder keeps of them in its ``sidecars.jsonl``.

A sidecar keeps its name and its content. One line for each says that the file is ours, so that a later version of it
may take its place, and no file of somebody else's is ever replaced::

    {"file_name", "source_path", "source_repo", "sha256": hex, "size": bytes}
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from tools.core.folder import (
    RemoteFile,
    as_disks_see,
    inside,
    is_half_uploaded,
    is_junk,
    is_safe_path,
    is_video,
    mark_of_partial,
)
from tools.core.record import METADATA, natural_order

SIDECARS = "sidecars.jsonl"
# Of a repo, not of a folder; a later commit of ours must not replace those of the output.
_OF_THE_REPO = frozenset({METADATA, SIDECARS, "readme.md", "dataset_infos.json", "configuration.json"})


@dataclass(frozen=True, slots=True)
class SidecarRules:
    """Which files are carried over. ``patterns`` lower case, of a shell; none = nothing is."""

    patterns: frozenset[str] = frozenset()
    largest: int = 0  # bytes

    def take(self, file: RemoteFile, names: Collection[str], extensions: frozenset[str]) -> bool:
        """Whether a file goes with its folder, whose files have these ``names``. ``extensions`` are those of videos."""
        name = file.name.lower()
        return (
            0 < file.size <= self.largest
            and any(fnmatchcase(name, pattern) for pattern in self.patterns)
            and not (is_video(file.name, extensions) or is_junk(file.name) or is_half_uploaded(file.name))
            and not (name in _OF_THE_REPO or mark_of_partial(file, names))
            and is_safe_path(file.path)
        )


@dataclass(frozen=True, slots=True)
class Sidecar:
    """A file to carry over. Its place in the output repo is the one that it has in the input repo."""

    source: RemoteFile

    @property
    def path(self) -> str:
        return self.source.path

    def is_at(self, file: RemoteFile | None) -> bool:
        """Whether that has its content, as far as the hub tells."""
        source = self.source
        return file is not None and file.size == source.size and file.sha256 in {"", source.sha256}


class Carried:
    """A folder's ``sidecars.jsonl``. Lines that are none of ours are kept as they are."""

    def __init__(self, entries: Mapping[str, Mapping[str, Any]], foreign: Sequence[bytes] = ()) -> None:
        self._entries = dict(entries)  # by path in the output repo
        self._foreign = tuple(foreign)

    @classmethod
    def parse(cls, content: bytes | None, folder: str) -> "Carried":
        """From the file's bytes, or None without a file."""
        entries: dict[str, Mapping[str, Any]] = {}
        foreign = []
        for line in (content or b"").split(b"\n"):
            entry = _entry_of(line)
            if entry is not None:
                entries[inside(folder, entry["file_name"])] = entry
            elif line.strip():
                foreign.append(line)
        return cls(entries, foreign)

    def paths(self, repo: str = "") -> dict[str, str]:
        """Path of each carried file → path of its source in that input repo ("" = in any)."""
        return {p: e["source_path"] for p, e in self._entries.items() if repo in {"", e.get("source_repo")}}

    def is_ours(self, file: RemoteFile, repo: str = "") -> bool:
        """Whether it is the file that was carried over from that input repo ("" = any), and not one that somebody put
        in its place."""
        entry = self._entries.get(file.path)
        if entry is None or ("" not in {repo, entry.get("source_repo") or ""} and entry["source_repo"] != repo):
            return False
        return entry["size"] == file.size and file.sha256 in {"", entry["sha256"]}

    def has(self, sidecar: Sidecar) -> bool:
        """Whether it was carried over in the content that it has now."""
        entry, source = self._entries.get(sidecar.path), sidecar.source
        return entry is not None and entry["size"] == source.size and source.sha256 in {"", entry["sha256"]}

    def with_files(self, sidecars: Iterable[Sidecar], repo: str) -> "Carried":
        """These added, each in the place of an older one. Each says its sha256."""
        new = {
            one.path: {
                "file_name": one.source.name,
                "source_path": one.source.path,
                "source_repo": repo,
                "sha256": one.source.sha256,
                "size": one.source.size,
            }
            for one in sidecars
        }
        return Carried(self._entries | new, self._foreign)

    def without(self, paths: Iterable[str]) -> "Carried":
        """Without what is said of the files at these paths."""
        gone = set(paths)
        return Carried({path: one for path, one in self._entries.items() if path not in gone}, self._foreign)

    def encode(self) -> bytes:
        """The file: foreign lines first, then ours by name."""
        ours = [json.dumps(self._entries[path], ensure_ascii=False).encode() for path in sorted(self._entries)]
        return b"".join(line + b"\n" for line in (*self._foreign, *ours))


def _entry_of(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line) if line.strip() else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict):
        return None
    try:
        json.dumps(entry, ensure_ascii=False).encode()
    except (ValueError, RecursionError):  # half of a surrogate pair: it stays as it is
        return None
    texts = all(isinstance(entry.get(name), str) for name in ("file_name", "source_path", "sha256"))
    if not texts or type(entry.get("size")) is not int or "/" in entry["file_name"]:
        return None
    return entry if is_safe_path(entry["file_name"]) and is_safe_path(entry["source_path"]) else None


def plan_sidecars(
    files: Sequence[RemoteFile],
    existing: Mapping[str, RemoteFile],
    carried: Carried,
    videos: Collection[str],
    rules: SidecarRules,
    extensions: frozenset[str],
    repo: str = "",
) -> tuple[list[Sidecar], list[str]]:
    """What is to be carried over now from the input repo ``repo``, and the paths of what can't be since their names are
    taken.

    ``files`` directly in a folder of the input repo, ``existing`` those of the output folder by path, ``videos`` paths
    that videos have there, or will have.
    """
    names = {file.name for file in files}
    taken = {as_disks_see(path) for path in videos}
    todo, refused = [], []
    for file in sorted(files, key=natural_order):
        if not rules.take(file, names, extensions):
            continue
        sidecar, there = Sidecar(file), existing.get(file.path)
        if there is not None and _is_done(sidecar, there, carried):
            continue
        if as_disks_see(file.path) in taken or (there is not None and not carried.is_ours(there, repo)):
            refused.append(file.path)
        else:
            todo.append(sidecar)
    return todo, refused


def _is_done(sidecar: Sidecar, there: RemoteFile, carried: Carried) -> bool:
    if sidecar.source.sha256 and there.sha256:
        return sidecar.is_at(there)
    return carried.has(sidecar) and carried.is_ours(there)


def with_sha256(sidecar: Sidecar, sha256: str) -> Sidecar:
    """As it is known after its download."""
    return replace(sidecar, source=sidecar.source._replace(sha256=sha256))
