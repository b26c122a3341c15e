"""A person's order to make published videos again: which, and with what instead of the settings in force.

It is a part of the queue item, so it outlives restarts, and of each job, so it reaches the workers of a cluster. What
was published stays until the commit of the new result replaces it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tools.core.options import Option, Options, Wanted, options_of

if TYPE_CHECKING:  # --status must not wait for what it does not use
    from tools.core.folder import RemoteFile
    from tools.core.record import Published


@dataclass(frozen=True, slots=True)
class Redo:
    """``options``: names (see ``tools.core.options``) and values, sorted. ``videos``: paths of sources; () = all.
    ``order``: new for each, so that what an earlier one made, with whatever options, is not taken for its result."""

    options: tuple[tuple[str, Option], ...] = ()
    videos: tuple[str, ...] = ()
    order: str = ""

    def wants(self, source: str) -> bool:
        """Whether this source is to be made again."""
        return not self.videos or source in self.videos

    def left(self, videos: Collection[str]) -> "Redo | None":
        """The same for these alone, of those that it wants; None if it wants none of them."""
        wanted = tuple(sorted(video for video in videos if self.wants(video)))
        return Redo(self.options, wanted, self.order) if wanted else None

    def as_json(self) -> dict[str, Any]:
        more = {"videos": list(self.videos), "order": self.order}
        return {"options": dict(self.options)} | {name: value for name, value in more.items() if value}

    def text(self) -> str:
        """For people: ``crf=22 preset=4``, "" with the settings in force."""
        return " ".join(f"{name}={value}" for name, value in self.options)


def redo_of_json(value: object) -> Redo | None:
    """From what ``as_json`` gave. Raises TypeError or ValueError."""
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise TypeError("redo must be an object")
    options, videos = value.get("options") or {}, value.get("videos") or []
    if not isinstance(options, Mapping) or not isinstance(videos, list):
        raise TypeError("redo needs options as an object, videos as a list")
    if not all(isinstance(one, str | int | float) and not isinstance(one, bool) for one in options.values()):
        raise ValueError("options of redo must be texts or numbers")
    return redo_with(options, [str(video) for video in videos], str(value.get("order") or ""))


def redo_with(options: Options, videos: Sequence[str] = (), order: str = "") -> Redo:
    return Redo(tuple(sorted(options.items())), tuple(sorted(videos)), order)


@dataclass(frozen=True, slots=True)
class Difference:
    """What of a folder was made otherwise than wanted. Paths of sources."""

    videos: Mapping[str, tuple[str, ...]]  # with the names of the options
    untold: tuple[str, ...]  # whose records, of an earlier version, do not tell by what they were made
    published: tuple[str, ...]  # all that are published in the content that they have now


def compare(sources: "Sequence[RemoteFile]", published: "Published", wanted: Wanted) -> Difference:
    """The published videos of a folder against the options wanted now."""
    differing: dict[str, tuple[str, ...]] = {}
    untold, found = [], []
    for source in sources:
        record = published.record_of(source)
        if record is None:
            continue
        found.append(source.path)
        made = options_of(record.get("options"))
        if made is None:
            untold.append(source.path)
        elif names := wanted.differs(made):
            differing[source.path] = tuple(names)
    return Difference(differing, tuple(untold), tuple(found))
