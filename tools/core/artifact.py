"""What becomes of a source: its record, and its artifacts, each a file in an output repo.

A source may yield several files, in several repos. ``tools.core.planning`` fixes the targets; a job makes and stores an
artifact for each; the processor commits each artifact in its repo. Nobody else knows how many there are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import PurePosixPath
from typing import Any, cast

from tools.core.folder import RemoteFile
from tools.core.record import Record
from tools.core.titles import TOLD


class ArtifactKind(str, Enum):
    """What a file is to its source; at most one file of a kind per source."""

    VIDEO = "video"  # the MKV, which the record describes
    FRAMES = "frames"  # pictures of its scenes: an archive, empty if none could be made

    @property
    def extension(self) -> str:
        """Of its files, in the repo and on local disk."""
        return EXTENSIONS[self]


EXTENSIONS = {ArtifactKind.VIDEO: ".mkv", ArtifactKind.FRAMES: ".tar"}


@dataclass(frozen=True, slots=True)
class Target:
    """An artifact as it is planned."""

    kind: ArtifactKind
    repo: str
    path: str  # in the repo; in the folder that has the source's folder's name


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file that was made, by its content and its place."""

    kind: ArtifactKind
    repo: str  # "" in what an older version noted: the repo of its target
    path: str  # in the repo
    sha256: str  # hex
    size: int  # bytes
    about: str = ""  # what its maker tells of what is in it, JSON; "" if nothing

    def as_json(self) -> dict[str, Any]:
        told = {"about": self.about} if self.about else {}
        return {
            "kind": self.kind.value,
            "repo": self.repo,
            "path": self.path,
            "sha256": self.sha256,
            "size": self.size,
            **told,
        }


@dataclass(frozen=True, slots=True)
class VideoOutput:
    """What a source became: its line of ``metadata.jsonl``, and the artifacts to be committed with it."""

    record: Record
    artifacts: tuple[Artifact, ...]

    @property
    def path(self) -> str:
        """Of the MKV, in its repo."""
        return next(one.path for one in self.artifacts if one.kind is ArtifactKind.VIDEO)

    def as_json(self) -> dict[str, Any]:
        """``{"record": {…}, "artifacts": [{"kind", "repo", "path", "sha256", "size"}]}``"""
        return {"record": self.record, "artifacts": [artifact.as_json() for artifact in self.artifacts]}

    @classmethod
    def of_json(cls, values: Mapping[str, Any]) -> "VideoOutput":
        """From what ``as_json`` gave. Without ``artifacts`` an older version wrote it: there was the video alone.

        Raises KeyError, TypeError or ValueError for what says too little to be committed.
        """
        record = dict(values["record"])
        if not record.keys() >= _NEEDED:
            raise KeyError("a record that says too little to be committed")
        if "artifacts" in values:
            artifacts = tuple(_artifact(entry) for entry in values["artifacts"])
        else:
            name = str(record.get("file_name", ""))
            artifacts = (Artifact(ArtifactKind.VIDEO, "", name, str(record["sha256"]), int(record["size"])),)
        return cls(cast(Record, record), artifacts)

    @classmethod
    def of_published(cls, record: Record, targets: Sequence[Target], made: "Sequence[Artifact]") -> "VideoOutput":
        """A published MKV, and what was ``made`` beside it now, in the planned places. Raises ValueError if a target
        lacks its file."""
        video = Artifact(ArtifactKind.VIDEO, "", "", record["sha256"], record["size"])
        others = (one for one in made if one.kind is not ArtifactKind.VIDEO)
        placed = cls(record, (video, *others)).at(targets)
        if placed is None:
            raise ValueError("not all files are there")
        return placed

    def without_pictures(self) -> "VideoOutput":
        """The same files, of which those of pictures tell of none."""
        return replace(self, artifacts=tuple(replace(artifact, about="") for artifact in self.artifacts))

    def at_source(self, source: RemoteFile, repo: str) -> "VideoOutput":
        """The same files, whose record names this source, and themselves: whatever it said before."""
        record: dict[str, Any] = {
            "file_name": "",
            "source_path": source.path,
            "source_repo": repo,
            "source_sha256": source.sha256 or self.record.get("source_sha256", ""),
            "source_size": source.size,
        }
        for artifact in self.artifacts:
            if artifact.kind is ArtifactKind.VIDEO:
                record["file_name"] = PurePosixPath(artifact.path).name
                record["sha256"], record["size"] = artifact.sha256, artifact.size
        return VideoOutput(cast(Record, {**record, **_others(self.record, record)}), self.artifacts)

    def named(self, path: str) -> "VideoOutput":
        """The same files, the MKV at ``path`` and the others beside it as ever."""
        stem = path.removesuffix(ArtifactKind.VIDEO.extension)
        targets = [Target(one.kind, one.repo, stem + one.kind.extension) for one in self.artifacts]
        placed = self.at(targets)
        assert placed is not None  # these are its own kinds
        return placed

    def at(self, targets: Sequence[Target]) -> "VideoOutput | None":
        """The same content in the places planned now, which may have changed since; None if a target lacks its file."""
        made = {artifact.kind: artifact for artifact in self.artifacts}
        if any(target.kind not in made for target in targets):
            return None
        artifacts = [(target, made[target.kind]) for target in targets]
        record = self.record
        for target, _ in artifacts:
            if target.kind is ArtifactKind.VIDEO:
                record = cast(Record, {**record, "file_name": PurePosixPath(target.path).name})
        placed = (replace(one, repo=target.repo, path=target.path) for target, one in artifacts)
        return VideoOutput(record, tuple(placed))


def _others(record: Record, named: Mapping[str, Any]) -> dict[str, Any]:
    """What does not depend on the path."""
    return {key: value for key, value in record.items() if key not in named and key not in TOLD}


_NEEDED = {"source_path", "source_sha256", "source_size", "sha256", "size"}


def _artifact(entry: Mapping[str, Any]) -> Artifact:
    return Artifact(
        ArtifactKind(entry["kind"]),
        str(entry["repo"]),
        str(entry["path"]),
        str(entry["sha256"]),
        int(entry["size"]),
        str(entry.get("about") or ""),
    )
