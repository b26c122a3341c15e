"""One folder of the dataset of scene frames: archives that are joined of videos' own, and the table of their pictures.

An archive on this machine is joined from the files of its batch and sent once, in that form alone. One that a worker
made is on the hub already, by its own sha256, and is committed as it is: joining would move its bytes twice more.
"""

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.core.artifact import Artifact, ArtifactKind
from tools.core.card import CARD, frames_card, may_begin
from tools.core.errors import BlobsLost
from tools.core.folder import RemoteFile, inside
from tools.core.frames import END, About, archive_name, last_part, packed, row_in, rows_text, samples_in, with_rows
from tools.core.record import METADATA
from tools.core.sidecar import Sidecar
from tools.hub.client import AddBlob, AddBytes, Head, HubClient, Operation
from tools.processor.output_folder import FileOf, OutputFolder, Outputs, _State
from tools.runtime.logs import fields

log = logging.getLogger("animation.processor")
_JOINED = "joined.tar"


@dataclass(frozen=True, slots=True)
class _Rows(_State):
    """With the lines of ``metadata.jsonl``."""

    content: bytes = b""


@dataclass(frozen=True, slots=True)
class _Sample:
    """A picture with its JSON, in the file of a video."""

    file: Path
    offset: int
    size: int  # bytes
    row: Mapping[str, object]


class FramesFolder(OutputFolder):
    """Holds a picture of a video if its row is in the table and names an archive that is there."""

    def __init__(self, repo: str, folder: str, *, limit: int, input_repo: str, endpoint: str) -> None:
        """``limit`` bytes of one archive; ``batches`` is what a plan expects to be committed."""
        super().__init__(repo, folder, keeps_metadata=False, input_repo=input_repo)
        self.batches = 1
        self._limit = limit
        self._endpoint = endpoint
        self._file_of: FileOf = lambda source, kind: None
        self._contents: dict[str, bytes] = {}  # by sha256, the last one read or written
        self._first: int | None = None

    def use_files(self, file_of: FileOf) -> None:
        self._file_of = file_of

    def artifacts(self, outputs: Outputs) -> list[tuple[RemoteFile, Artifact]]:
        """Those with a picture. Of a result that is another video's the pictures are there by that one's name."""
        return [
            (source, artifact)
            for source, output in outputs.items()
            for artifact in output.artifacts
            if artifact.kind is ArtifactKind.FRAMES and _about(artifact).rows and not output.record.get("reused_from")
        ]

    def has(self, source: RemoteFile) -> bool:
        """Whether pictures of this content are there, as of ``head``."""
        rows = (row for row in _archived(self._state).values() if row["source_path"] == source.path)
        return any(not source.sha256 or row["source_sha256"] == source.sha256 for row in rows)

    def _state_at(self, hub: HubClient, commit: str) -> _State:
        state = super()._state_at(hub, commit)
        listed = state.files.get(inside(self.folder, METADATA))
        content = b""
        if listed is not None:
            content = self._contents.get(listed.sha256) or self._read(hub, commit, listed)
            self._contents = {listed.sha256: content}
        return _Rows(state.files, state.published, state.carried, content)

    def _is_in(self, state: _State, outputs: Outputs, sidecars: Sequence[Sidecar]) -> bool:
        there = _archived(state)
        return all(_is_told(there, artifact) for _, artifact in self.artifacts(outputs))

    def commit(
        self,
        hub: HubClient,
        outputs: Outputs,
        message: str,
        sidecars: Sequence[Sidecar] = (),
        more: Sequence[Operation] = (),
    ) -> None:
        """Join and send the archives of what is not there yet, then make them visible. Raises HubError."""
        there = _archived(self._state)
        lacking = {s: outputs[s] for s, artifact in self.artifacts(outputs) if not _is_told(there, artifact)}
        operations: list[Operation] = []
        added: list[tuple[str, list[Mapping[str, object]]]] = []
        for name, sha256, size, rows in self._archives(hub, lacking):
            operations.append(AddBlob(inside(self.folder, name), sha256, size))
            added.append((name, rows))
        before = self._state.content if isinstance(self._state, _Rows) else b""
        table = rows_text(with_rows(before, added))
        self._contents[hashlib.sha256(table).hexdigest()] = table
        operations.append(AddBytes(inside(self.folder, METADATA), table))
        operations += self._card(hub, self.head)
        said = f"Add {sum(len(rows) for _, rows in added)} pictures of scenes of {len(lacking)} videos"
        made = self.prepared({})
        commit = hub.commit(self.repo, [*operations, *more], said)
        self.committed(commit, type(made)(operations, outputs, (), made.published, made.carried))
        scenes = sum(_about(artifact).scenes for _, artifact in self.artifacts(lacking))
        pictures, repo = sum(len(rows) for _, rows in added), self.repo
        log.info("scene frames committed: %s", fields(repo=repo, videos=len(lacking), scenes=scenes, frames=pictures))

    def _archives(self, hub: HubClient, lacking: Outputs) -> Iterator[tuple[str, str, int, list[Mapping[str, object]]]]:
        """Name, sha256, size and rows of each archive, whose content the hub holds then."""
        names = self._names()
        here: list[tuple[Path, Artifact]] = []
        for source, artifact in self.artifacts(lacking):
            file = self._file_of(source, ArtifactKind.FRAMES)
            if file is None:  # a worker made it and stored it
                yield next(names), artifact.sha256, artifact.size, list(_about(artifact).rows)
            elif not file.exists():
                raise BlobsLost(f"the frames of {source.path} are gone from this machine")
            else:
                here.append((file, artifact))
        samples = [sample for file, artifact in here for sample in _samples(file, artifact)]
        for chosen in packed([sample.size for sample in samples], self._limit):
            parts = [samples[number] for number in chosen]
            joined = parts[0].file.with_name(_JOINED)
            try:
                sha256, size = _join(parts, joined)
                hub.store_blob(self.repo, joined, sha256, size, lambda moved: None)
            finally:
                joined.unlink(missing_ok=True)
            yield next(names), sha256, size, [part.row for part in parts]

    def _names(self) -> Iterator[str]:
        """Of the archives of the next batch."""
        last = last_part(self.folder, (path.rpartition("/")[2] for path in self.files))
        self._first = last if self._first is None else self._first
        piece = 1
        while True:
            yield archive_name(self.folder, last + 1, max(last + 1, self._first + self.batches), piece)
            piece += 1

    def _card(self, hub: HubClient, head: Head | None) -> list[Operation]:
        """The dataset card, where there is none."""
        if not self._endpoint:
            return []
        found = hub.read_file(self.repo, head.commit_id, CARD) if head else None
        return [AddBytes(CARD, frames_card(self.repo, self._input_repo, self._endpoint))] if may_begin(found) else []


def _about(artifact: Artifact) -> About:
    try:
        return About.of_text(artifact.about)
    except ValueError:
        return About()


def _archived(state: _State) -> dict[str, dict[str, object]]:
    """By key the rows whose archive is there."""
    found: dict[str, dict[str, object]] = {}
    there = {path.rpartition("/")[2] for path in state.files}
    for line in (state.content if isinstance(state, _Rows) else b"").decode("utf-8", "surrogateescape").splitlines():
        row = row_in(line)
        if row is not None and row["archive"] in there:
            found[str(row["key"])] = row
    return found


def _is_told(there: Mapping[str, Mapping[str, object]], artifact: Artifact) -> bool:
    """Whether the table has every picture of it as it is."""
    return all(row["key"] in there and row.items() <= there[str(row["key"])].items() for row in _about(artifact).rows)


def _samples(file: Path, artifact: Artifact) -> list[_Sample]:
    with file.open("rb") as stream:

        def head(offset: int) -> bytes:
            stream.seek(offset)
            return stream.read(512)

        try:
            places = list(samples_in(head, file.stat().st_size))
            return [
                _Sample(file, offset, size, row)
                for (offset, size), row in zip(places, _about(artifact).rows, strict=True)
            ]
        except ValueError as exc:
            raise BlobsLost(f"the archive of frames on this machine is damaged: {exc}") from exc


def _join(parts: Sequence[_Sample], target: Path) -> tuple[str, int]:
    """One archive of these samples; its sha256 and size."""
    digest, size = hashlib.sha256(), 0
    with target.open("wb") as out:
        for part in parts:
            with part.file.open("rb") as stream:
                stream.seek(part.offset)
                content = stream.read(part.size)
            out.write(content)
            digest.update(content)
            size += len(content)
        out.write(END)
        digest.update(END)
    return digest.hexdigest(), size + len(END)
