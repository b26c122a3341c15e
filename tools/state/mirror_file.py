"""``log/mirror.json``: what ``MIRROR=1`` has seen leave the input, what it is about to take out, and what it took out.

::

    {"gone": {PATH: epoch s}, "taken": [[epoch s, videos, files]],
     "intent": {"base": commit id, "files": [[FOLDER, PATH, sha256, SOURCE, is a video]]} or null,
     "held": {"videos", "files", "of_videos", "of_files": n, "percent": limit, "digest"} or null,
     "waits": text}

``gone``: files of the output repo whose sources are gone, since when that is known; ``intent``: the commit that is
being made, so that a start after a crash looks at what became of it; ``held``: too much at once, which waits for a
person.
One writer, the processor.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tools.core.errors import CorruptState, StateError
from tools.core.message import message, plural
from tools.state.json_file import JsonFile

MIRROR_FILE = "mirror.json"


class Taken(NamedTuple):
    """One file that is taken out, or was."""

    folder: str
    path: str  # in the output repo
    sha256: str  # of the file
    source: str  # path in the input repo
    is_video: bool


class Held(NamedTuple):
    """More than may go without a person."""

    videos: int
    files: int
    of_videos: int
    of_files: int
    percent: float  # the limit
    digest: str  # of the files

    def text(self) -> str:
        """For people: what it is, and what to do."""
        videos, files = plural(self.of_videos, "video"), plural(self.of_files, "file")
        return message(
            f"{self.videos} of {videos} and {self.files} of {files} left the input, more "
            f"than MIRROR_MAX_PERCENT={self.percent:g} allows at once: look with --mirror, then --mirror --yes"
        )


@dataclass(slots=True)
class MirrorState:
    """All that the file says."""

    gone: dict[str, float] = field(default_factory=dict)
    taken: list[tuple[float, int, int]] = field(default_factory=list)
    base: str = ""  # of the intent; "" = there is none
    intent: tuple[Taken, ...] = ()
    held: Held | None = None
    waits: str = ""  # why nothing is taken out now; "" = nothing keeps it


class MirrorFile:
    """Reads and writes it. The constructor touches nothing."""

    def __init__(self, log_dir: Path) -> None:
        self._file = JsonFile(log_dir / MIRROR_FILE)
        self._read: tuple[tuple[int, int, int] | None, MirrorState] = None, MirrorState()

    def read(self) -> MirrorState:
        """As it is now; of a file that can't be read nothing, so that whatever is gone waits anew."""
        stamp = self._file.stamp()
        if stamp != self._read[0]:
            try:
                self._read = stamp, self._file.read(_from_json) or MirrorState()
            except StateError:
                self._read = stamp, MirrorState()
        return self._read[1] if stamp is not None else MirrorState()

    def load(self) -> MirrorState:
        """The same for the writer: a damaged file is set aside for the one before it. Raises StateError."""
        with self._file.locked():
            try:
                return self._file.read_or_restore(_from_json) or MirrorState()
            except CorruptState:
                self._file.start_over()
                return MirrorState()

    def save(self, state: MirrorState) -> None:
        """Durably. Raises StateError and DiskFull."""
        content = {
            "gone": state.gone,
            "taken": state.taken,
            "intent": {"base": state.base, "files": state.intent} if state.base else None,
            "held": state.held and state.held._asdict(),
            "waits": state.waits,
        }
        with self._file.locked():
            self._file.write(json.dumps(content, ensure_ascii=True, indent=1).encode() + b"\n")


def _taken(folder: object, path: object, sha256: object, source: object, is_video: object) -> Taken:
    return Taken(str(folder), str(path), str(sha256), str(source), bool(is_video))


def _from_json(content: Any) -> MirrorState:
    try:
        intent, held = content.get("intent") or {"base": "", "files": ()}, content.get("held")
        return MirrorState(
            gone={str(path): float(since) for path, since in content["gone"].items()},
            taken=[(float(when), int(videos), int(files)) for when, videos, files in content["taken"]],
            base=str(intent["base"]),
            intent=tuple(_taken(*one) for one in intent["files"]),
            held=held and Held(**{name: kind(held[name]) for name, kind in Held.__annotations__.items()}),
            waits=str(content["waits"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as exc:
        raise CorruptState(f"no state of MIRROR: unexpected {type(exc).__name__}") from exc
