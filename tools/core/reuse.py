"""May a published result stand for another source of the same bytes, and its record under the new names. Pure.

Whoever can write to the output repo can write records. So one counts only if everything in it that can be compared
agrees; whether the file is there, with these bytes, is asked of the hub (``tools.processor.reuse``).
"""

import re
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import cast

from tools.core.artifact import Artifact, ArtifactKind, Target, VideoOutput
from tools.core.folder import RemoteFile
from tools.core.frames import EMPTY
from tools.core.message import message
from tools.core.options import Wanted, options_of
from tools.core.record import Record

_SHA256 = re.compile("[0-9a-f]{64}")
_OF_NAMES = frozenset({"path", "series", "season", "episode"})  # columns that are told by the source's name
_SAME_BYTES = "same bytes as "


class Rule(str, Enum):
    """Which results may be used again."""

    SAME_SETTINGS = "same-settings"  # made with the settings in force, by whatever build of the programs
    ANY_AV1 = "any-av1"  # whatever they were made with
    OFF = "off"  # none: each video is made by itself


def is_whole(record: Record) -> bool:
    """Whether a record tells of a result as ours do: both contents, and what was measured."""
    digests = record.get("source_sha256"), record.get("sha256")
    numbers = record.get("source_size"), record.get("size"), record.get("frames"), record.get("duration_s")
    return all(isinstance(one, str) and _SHA256.fullmatch(one) for one in digests) and all(one for one in numbers)


def may_stand_for(record: Record, source: RemoteFile, wanted: Wanted, rule: Rule) -> bool:
    """Whether a published record is of this very content, and its result as good as one made now."""
    if rule is Rule.OFF or not source.sha256 or not is_whole(record):
        return False
    if (record.get("source_sha256"), record.get("source_size")) != (source.sha256, source.size):
        return False
    if any(isinstance(one, dict) and one.get("index") == -1 for one in record.get("streams", ())):
        return False  # it has subtitles of files beside the other source
    return rule is Rule.ANY_AV1 or is_as_wanted(record.get("options"), wanted)


def is_as_wanted(options: object, wanted: Wanted) -> bool:
    """Whether a record's options are those in force; one that does not tell them is of an older version, and is not."""
    made = options_of(options)
    return made is not None and not wanted.differs(made)


def reused(
    record: Record,
    path: str,
    source: RemoteFile,
    input_repo: str,
    targets: Sequence[Target],
    others: Mapping[ArtifactKind, RemoteFile],
) -> VideoOutput | None:
    """The result at ``path`` as that of another source: its record under the new names, its files in the planned
    places. ``others``: the files beside it of further kinds; None if one that is wanted is not among them."""
    artifacts = []
    for target in targets:
        if target.kind is ArtifactKind.VIDEO:
            sha256, size = str(record.get("sha256")), int(record.get("size") or 0)
        elif target.kind is ArtifactKind.FRAMES:
            sha256, size = EMPTY  # its pictures are there, or will be, by the name of the other source
        elif (other := others.get(target.kind)) is not None and other.sha256:
            sha256, size = other.sha256, other.size
        else:
            return None
        artifacts.append(Artifact(target.kind, target.repo, target.path, sha256, size))
    renamed = {key: value for key, value in record.items() if key not in _OF_NAMES} | {"reused_from": path}
    return VideoOutput(cast(Record, renamed), tuple(artifacts)).at_source(source, input_repo)


def taken_over(
    output: VideoOutput, source: RemoteFile, input_repo: str, targets: Sequence[Target]
) -> VideoOutput | None:
    """What a source of the same bytes became a moment ago, for this one; None if a wanted file is not among it."""
    placed = output.at(targets)
    if placed is None:
        return None
    origin = output.record.get("reused_from") or output.path
    renamed = cast(Record, {**placed.record, "reused_from": origin})
    return VideoOutput(renamed, placed.artifacts).at_source(source, input_repo)


def same_bytes(path: str, cause: str) -> str:
    """The cause of a video that is quarantined for what one at ``path`` is."""
    return cause if cause.startswith(_SAME_BYTES) else message(f"same bytes as {path}: {cause}")


def seconds_saved(record: Record) -> float:
    """What making the result took when it was made; 0 for one that was made, or of which that is not known."""
    return float(record.get("conversion_s") or 0.0) if record.get("reused_from") else 0.0
