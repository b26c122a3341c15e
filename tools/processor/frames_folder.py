"""One folder of the dataset of scene frames: archives that are joined of videos' own, and the table of their pictures.

An archive on this machine is joined from the files of its batch and sent once, in that form alone. One that a worker
made is on the hub already, by its own sha256, and is committed as it is: joining would move its bytes twice more.
"""

import hashlib
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tools.core.artifact import Artifact, ArtifactKind
from tools.core.card import CARD, frames_card, may_begin
from tools.core.errors import CommitsGone, HubError, HubForbidden, HubNotFound, HubRejected
from tools.core.folder import RemoteFile, inside
from tools.core.frames import (
    END,
    FRAME_COLUMNS,
    Origin,
    last_part,
    lines_of,
    may_have_pictures,
    new_names,
    packed,
    row_bytes,
    row_in,
    rows_of,
    rows_text,
    samples_in,
    told_of,
    with_rows,
)
from tools.core.message import plural
from tools.core.record import METADATA, Published
from tools.core.sidecar import Sidecar
from tools.hub.client import AddBlob, AddBytes, Head, HubClient, Operation
from tools.processor.output_folder import FileOf, OutputFolder, Outputs, _State
from tools.runtime.logs import fields

log = logging.getLogger("animation.processor")
_JOINED = "joined.tar"


Rows = Sequence[Mapping[str, object]]
_Sent = tuple[str, int, Rows]
"""sha256, size and rows of an archive."""


@dataclass(frozen=True, slots=True)
class _Rows(_State):
    """With its ``metadata.jsonl``."""

    content: bytes = b""
    told: Mapping[str, bytes] = field(default_factory=dict)  # by key a digest of each row whose archive is there
    scenes: Mapping[tuple[str, str], int] = field(default_factory=dict)  # the highest of them, by source and its sha256


@dataclass(frozen=True, slots=True)
class _Sample:
    """A picture with its JSON, in the file of a video."""

    file: Path
    offset: int
    size: int  # bytes
    row: Mapping[str, object]


class FramesFolder(OutputFolder):
    """Holds a picture of a video if its row is in the table and names an archive that is there.

    No video waits, and none is made again, for pictures: those that are lost, or that the hub refuses, are given up,
    and said to be.
    """

    makes_files = True

    def __init__(self, repo: str, folder: str, *, limit: int, input_repo: str, endpoint: str) -> None:
        """``limit`` bytes of one archive; ``batches`` is what a plan expects to be committed."""
        super().__init__(repo, folder, keeps_metadata=False, input_repo=input_repo)
        self.batches = 1
        self._limit = limit
        self._endpoint = endpoint
        self._file_of: FileOf = lambda source, kind: None
        self._contents: dict[str, bytes] = {}  # by sha256, the last one read or written
        self._first: int | None = None
        self._was_gone = False  # all of the dataset, at the last look

    def refresh(self, hub: HubClient) -> None:
        """A dataset that was deleted and made anew meanwhile is empty; that is believed at the second look."""
        try:
            super().refresh(hub)
        except CommitsGone:
            if not self._was_gone:
                self._was_gone = True
                raise
            self.give_up_waiting()
            self._state = _Rows({}, self.published, self.carried)
        self._was_gone = False

    def use_files(self, file_of: FileOf) -> None:
        self._file_of = file_of

    def artifacts(self, outputs: Outputs) -> list[tuple[RemoteFile, Artifact]]:
        """Those with a picture. Of a result that is another video's the pictures are there by that one's name."""
        return [
            (source, artifact)
            for source, output in outputs.items()
            for artifact in output.artifacts
            if artifact.kind is ArtifactKind.FRAMES and artifact.about and not output.record.get("reused_from")
        ]

    def lacking(self, files: Iterable[RemoteFile], published: Published) -> frozenset[str]:
        """Paths of the sources that are published and have no picture here, as of ``head``, though some could have."""
        there = self._rows.scenes
        found = ((file.path, published.record_of(file)) for file in files)
        return frozenset(
            path
            for path, record in found
            if record and (path, record.get("source_sha256")) not in there and may_have_pictures(record)
        )

    def counted(self) -> tuple[int, int]:
        """By the table: a scene without a picture at the end of a video does not count."""
        return sum(self._rows.scenes.values()), len(self._rows.told)

    @property
    def _rows(self) -> _Rows:
        return self._state if isinstance(self._state, _Rows) else _Rows({}, self.published, self.carried)

    def _state_at(self, hub: HubClient, commit: str) -> _State:
        state = super()._state_at(hub, commit)
        listed = state.files.get(inside(self.folder, METADATA))
        content = b""
        if listed is not None:
            content = self._contents.get(listed.sha256) or self._read(hub, commit, listed)
            self._contents = {listed.sha256: content}
        return _Rows(state.files, state.published, state.carried, content, *_told(state.files, content))

    def _is_in(self, state: _State, outputs: Outputs, sidecars: Sequence[Sidecar]) -> bool:
        there = state.told if isinstance(state, _Rows) else {}
        return all(_has(there, rows) for rows in self._rows_of(outputs).values())

    def _rows_of(self, outputs: Outputs) -> dict[RemoteFile, Rows]:
        """The rows of the pictures that belong here. Where they come from is told by the record alone."""
        return {
            source: rows_of(
                Origin(source.path, outputs[source].record["source_sha256"]), told_of(artifact.about).frames
            )
            for source, artifact in self.artifacts(outputs)
        }

    def usable(self, hub: HubClient, outputs: Outputs) -> Outputs:
        there = self._rows.told
        rows = self._rows_of(outputs)
        missing = {
            source: (artifact.sha256, artifact.size)
            for source, artifact in self.artifacts(outputs)
            if not _has(there, rows[source]) and not self._is_whole(source, artifact, rows[source])
        }
        gone = hub.lacks(self.repo, list(missing.values())) if missing else set()
        lost = [source for source, (sha256, _) in missing.items() if sha256 in gone]
        return self._without(outputs, lost, "they are neither on this machine nor on the hub any more")

    def _is_whole(self, source: RemoteFile, artifact: Artifact, rows: Rows) -> bool:
        """Whether the archive of a video is here, or for a worker to have stored."""
        file = self._file_of(source, ArtifactKind.FRAMES)
        return file is None or _samples(file, artifact, rows) is not None

    def without_refused(self, hub: HubClient, outputs: Outputs, error: HubError) -> Outputs:
        stored = {
            source: (artifact.sha256, artifact.size)
            for source, artifact in self.artifacts(outputs)
            if self._file_of(source, ArtifactKind.FRAMES) is None
        }
        try:
            gone = hub.lacks(self.repo, list(stored.values())) if stored else set()
        except (HubForbidden, HubNotFound):
            raise
        except HubRejected:
            gone = set()
        refused = [source for source, (sha256, _) in stored.items() if sha256 in gone]
        return self._without(outputs, refused, str(error)) if refused else self.given_up(outputs, error)

    def given_up(self, outputs: Outputs, error: HubError) -> Outputs:
        return self._without(outputs, [source for source, _ in self.artifacts(outputs)], str(error))

    def _without(self, outputs: Outputs, sources: Sequence[RemoteFile], cause: str) -> Outputs:
        """Without the pictures of these."""
        if not sources:
            return outputs
        about = fields(folder=self.folder, videos=len(sources), first=sources[0].path, cause=cause)
        log.warning("videos are published without their scene frames; --frames-only makes them: %s", about)
        return {**outputs, **{source: outputs[source].without_pictures() for source in sources}}

    def commit(
        self,
        hub: HubClient,
        outputs: Outputs,
        message: str,
        sidecars: Sequence[Sidecar] = (),
        more: Sequence[Operation] = (),
    ) -> None:
        """Join and send the archives of what is not there yet, then make them visible. Raises HubError."""
        there = self._rows.told
        lacking = {source: rows for source, rows in self._rows_of(outputs).items() if not _has(there, rows)}
        artifacts = {source: artifact for source, artifact in self.artifacts(outputs) if source in lacking}
        operations: list[Operation] = []
        added: list[tuple[str, Rows]] = []
        for name, (sha256, size, rows) in zip(self._names(), self._archives(hub, artifacts, lacking), strict=False):
            operations.append(AddBlob(inside(self.folder, name), sha256, size))
            added.append((name, rows))
        table = rows_text(with_rows(self._rows.content, added))
        self._contents[hashlib.sha256(table).hexdigest()] = table
        operations.append(AddBytes(inside(self.folder, METADATA), table))
        operations += self._card(hub, self.head)
        pictures = sum(len(rows) for _, rows in added)
        made = self.prepared({})
        commit = hub.commit(
            self.repo,
            [*operations, *more],
            f"Add {plural(pictures, 'picture')} of scenes of {plural(len(lacking), 'video')}",
        )
        self.committed(commit, type(made)(operations, outputs, (), made.published, made.carried))
        scenes = sum(told_of(artifact.about).scenes for artifact in artifacts.values())
        about = fields(repo=self.repo, folder=self.folder, videos=len(lacking), scenes=scenes, frames=pictures)
        log.info("scene frames committed: %s", about)

    def _archives(
        self, hub: HubClient, artifacts: Mapping[RemoteFile, Artifact], rows: Mapping[RemoteFile, Rows]
    ) -> Iterator[_Sent]:
        """The archives, whose content the hub holds then."""
        here: list[tuple[Artifact, list[_Sample]]] = []
        for source, artifact in artifacts.items():
            file = self._file_of(source, ArtifactKind.FRAMES)
            samples = None if file is None else _samples(file, artifact, rows[source])
            if samples is None:  # a worker made it and stored it
                yield artifact.sha256, artifact.size, rows[source]
            else:
                here.append((artifact, samples))
        try:
            made = list(self._joined(hub, here))
        except OSError as exc:  # a full disk; no video waits for that
            about = fields(folder=self.folder, videos=len(here), cause=exc.strerror or str(exc))
            log.warning("archives of scene frames can't be joined on this machine, each video keeps its own: %s", about)
            made = [self._sent_alone(hub, *one) for one in here]
        yield from made

    def _joined(self, hub: HubClient, here: Sequence[tuple[Artifact, list[_Sample]]]) -> Iterator[_Sent]:
        if len(here) == 1 and here[0][0].size <= self._limit:
            yield self._sent_alone(hub, *here[0])
            return
        samples = [sample for _, found in here for sample in found]
        for chosen in packed([sample.size for sample in samples], self._limit):
            parts = [samples[number] for number in chosen]
            joined = parts[0].file.with_name(_JOINED)
            try:
                sha256, size = _join(parts, joined)
                hub.store_blob(self.repo, joined, sha256, size, lambda moved: None)
            finally:
                joined.unlink(missing_ok=True)
            yield sha256, size, [part.row for part in parts]

    def _sent_alone(self, hub: HubClient, artifact: Artifact, samples: Sequence[_Sample]) -> _Sent:
        """The archive of one video as it is."""
        hub.store_blob(self.repo, samples[0].file, artifact.sha256, artifact.size, lambda moved: None)
        return artifact.sha256, artifact.size, [sample.row for sample in samples]

    def _names(self) -> Iterator[str]:
        """Of the archives of the next batch."""
        there = {path.rpartition("/")[2] for path in self.files}
        last = last_part(self.folder, there)
        self._first = last if self._first is None else self._first
        return new_names(self.folder, last + 1, self._first + self.batches, there)

    def _card(self, hub: HubClient, head: Head | None) -> list[Operation]:
        """The dataset card, where there is none."""
        if not self._endpoint:
            return []
        found = hub.read_file(self.repo, head.commit_id, CARD) if head else None
        return [AddBytes(CARD, frames_card(self.repo, self._input_repo, self._endpoint))] if may_begin(found) else []


def _told(files: Mapping[str, RemoteFile], content: bytes) -> tuple[dict[str, bytes], dict[tuple[str, str], int]]:
    """What is kept of the rows of a ``metadata.jsonl`` whose archive is there: they may be a hundred thousand."""
    there = {path.rpartition("/")[2] for path in files}
    told: dict[str, bytes] = {}
    scenes: dict[tuple[str, str], int] = {}
    for row in map(row_in, lines_of(content)):
        if row is not None and row["archive"] in there:
            source, number = (row["source_path"], row["source_sha256"]), row.get("scene")
            scenes[source] = max(scenes.get(source, 0), number if isinstance(number, int) else 0)
            told[row["key"]] = _digest(row)
    return told, scenes


def _digest(row: Mapping[str, object]) -> bytes:
    """Of what it tells of a picture, wherever that is."""
    told = {one.name: row.get(one.name) for one in FRAME_COLUMNS}
    return hashlib.blake2b(row_bytes(told), digest_size=16).digest()


def _has(there: Mapping[str, bytes], rows: Rows) -> bool:
    """Whether the table has every picture as it is."""
    return all(there.get(str(row["key"])) == _digest(row) for row in rows)


def _samples(file: Path, artifact: Artifact, rows: Rows) -> list[_Sample] | None:
    """The pictures in a video's archive on this machine; None if it is not there whole."""
    try:
        with file.open("rb") as stream:

            def head(offset: int) -> bytes:
                stream.seek(offset)
                return stream.read(512)

            places = list(samples_in(head, artifact.size))
            is_whole = os.fstat(stream.fileno()).st_size == artifact.size
        pairs = zip(places, rows, strict=True)
        samples = [_Sample(file, offset, size, row) for (offset, size), row in pairs]
    except (OSError, ValueError):
        return None
    return samples if is_whole else None


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
