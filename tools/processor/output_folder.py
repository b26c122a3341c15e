"""One folder of an output repo: what is there, what our files in it say, and what is committed to it."""

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tools.core.artifact import Artifact, ArtifactKind, VideoOutput
from tools.core.errors import CommitsGone, HubError, HubNotFound, HubUnavailable
from tools.core.folder import RemoteFile, inside, path_of
from tools.core.frames import lacked, says_of_none
from tools.core.planning import not_ours, output_names
from tools.core.record import METADATA, Published
from tools.core.sidecar import SIDECARS, Carried, Sidecar
from tools.hub.client import AddBlob, AddBytes, Head, HubClient, Operation
from tools.runtime.logs import fields

log = logging.getLogger("animation.processor")
T = TypeVar("T")
FileOf = Callable[[RemoteFile, ArtifactKind], Path | None]
"""The local file of what a source became, which need not exist; None if it is on another machine."""
Outputs = Mapping[RemoteFile, VideoOutput]
"""What the sources of a batch became."""


_RESTORES = f"Restore lines of {METADATA} that were added meanwhile"


@dataclass(frozen=True, slots=True)
class _State:
    """An output folder at a commit: its files by path, and what its ``metadata.jsonl`` and ``sidecars.jsonl`` say."""

    files: Mapping[str, RemoteFile]
    published: Published
    carried: Carried


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A commit that is to be made."""

    operations: list[Operation]
    outputs: Outputs
    sidecars: Sequence[Sidecar]
    published: Published  # as they are after it
    carried: Carried


@dataclass(frozen=True, slots=True)
class _Sent:
    """A commit of ours."""

    commit: str
    outputs: Outputs  # under the names that they have in it
    sidecars: Sequence[Sidecar]


class OutputFolder:
    """One folder of an output repo: its ``files`` by path, and its ``metadata.jsonl`` if it keeps one, as of ``head``.

    It is read again only when the repo moved, and the metadata only if their sha256 is another than before: the
    next batch of a long folder need not read what the one before it wrote. No commits = an empty repo. A head that
    lacks a commit of ours is an older one (of a replica that lags): it changes nothing.
    """

    makes_files = False
    """Whether it commits other files than the artifacts, which it makes of them and sends itself."""

    def __init__(self, repo: str, folder: str, *, keeps_metadata: bool = True, input_repo: str = "") -> None:
        """``input_repo``: the one that is published here, perhaps beside others ("" = whatever is here)."""
        self.repo = repo
        self.folder = folder
        self.head: Head | None = None
        self._input_repo = input_repo
        self._state = _State({}, Published.parse(None), Carried({}))
        self._keeps_metadata = keeps_metadata
        self._known: dict[str, Published] = {}  # by the sha256 of their metadata
        self._known_carried: dict[str, Carried] = {}  # likewise
        self._own = ""  # our newest commit
        self._base = ""  # the commit that it was built on
        self._follows_base = False  # nobody else committed in between
        self._unshown: dict[frozenset[str], _Sent] = {}  # commits that were not seen yet, by what they publish

    @property
    def published(self) -> Published:
        return self._state.published

    @property
    def carried(self) -> Carried:
        return self._state.carried

    @property
    def files(self) -> Mapping[str, RemoteFile]:
        return self._state.files

    @property
    def step(self) -> tuple[str, str] | None:
        """Our newest commit and the one before it, if that is the one that we had built on."""
        is_shown = self._own and self.head is not None and self.head.commit_id == self._own
        return (self._own, self._base) if is_shown and self._follows_base else None

    def read(self, hub: HubClient, head: Head) -> None:
        """Take it as it is at this commit. Raises HubError."""
        self._take(self._state_at(hub, head.commit_id), head)

    @property
    def _metadata(self) -> str:
        return inside(self.folder, METADATA)

    @property
    def _list(self) -> str:
        return inside(self.folder, SIDECARS)

    def refresh(self, hub: HubClient) -> None:
        """Bring it up to date. Raises HubError."""
        head = hub.head(self.repo)
        if head is None and self.head is not None:
            raise CommitsGone(f"the hub lists no commits of {self.repo} any more")
        if head is None or (self.head is not None and head.commit_id == self.head.commit_id):
            return
        if not self._own or not self._is_older(hub, head):
            self.read(hub, head)

    def _is_older(self, hub: HubClient, head: Head) -> bool:
        """Whether a head lacks our own newest commit."""
        recent = hub.recent(self.repo)
        return self._own not in recent or head.commit_id in recent[recent.index(self._own) + 1 :]

    def _take(self, state: _State, head: Head) -> None:
        self._state, self.head = state, head

    def _state_at(self, hub: HubClient, commit: str) -> _State:
        files = {file.path: file for file in hub.list_folder(self.repo, commit, path_of(self.folder))}
        published = self._kept(hub, commit, files.get(self._metadata), self._known, self._parsed)
        carried = self._kept(hub, commit, files.get(self._list), self._known_carried, self._parsed_list)
        return _State(files, published, carried)

    def _kept(
        self, hub: HubClient, commit: str, listed: RemoteFile | None, known: dict[str, T], parse: Callable[[bytes], T]
    ) -> T:
        """What a file of ours says; it is read only if it is another one than before."""
        if listed is None or not self._keeps_metadata:
            return parse(b"")
        found = known.get(listed.sha256) or parse(self._read(hub, commit, listed))
        known.clear()
        if listed.sha256:
            known[listed.sha256] = found
        return found

    def _parsed(self, content: bytes) -> Published:
        published = Published.parse(content, self._input_repo)
        if published.doubled:
            about = fields(repo=self.repo, file=self._metadata, sources=", ".join(published.doubled))
            log.warning("several records of one source that differ; the last of each counts: %s", about)
        return published

    def _parsed_list(self, content: bytes) -> Carried:
        return Carried.parse(content, self.folder)

    def _read(self, hub: HubClient, commit: str, listed: RemoteFile) -> bytes:
        """As listed. Raises HubUnavailable otherwise: what was not read would be overwritten by the next commit."""
        content = hub.read_file(self.repo, commit, listed.path)
        if content is None or len(content) != listed.size:
            raise HubUnavailable(f"{listed.path} of {self.repo} is listed, but can't be read whole")
        if listed.sha256 not in {"", hashlib.sha256(content).hexdigest()}:
            raise HubUnavailable(f"{listed.path} of {self.repo} was read with another content than listed")
        return content

    def artifacts(self, outputs: Outputs) -> list[tuple[RemoteFile, Artifact]]:
        """Those that belong here, each with its source."""
        return [
            (source, artifact)
            for source, output in outputs.items()
            for artifact in output.artifacts
            if artifact.repo == self.repo
        ]

    def placed(self, outputs: Outputs) -> Outputs:
        """Under the names that they may have here as of ``head``: that of their record, else the one that was planned,
        else, if a file that is not ours has come to be there since, another one."""
        names = self.published.names()
        owners = {name: source for source, name in names.items()}
        taken = not_ours(self.published, self.files)
        planned = {source: output.path for source, output in outputs.items()}
        for source, output in outputs.items():
            record = self.published.record_of(source)
            if record is not None and record.get("sha256") == output.record["sha256"] and source.path in names:
                planned[source] = names[source.path]
            elif planned[source] in taken or owners.get(planned[source], source.path) != source.path:
                fixed = {one.path: path for one, path in planned.items() if one != source} | names
                fixed.pop(source.path, None)
                planned[source] = output_names([source.path], fixed, taken)[source.path]
                evaded(self.repo, output.path, planned[source])
        return {source: output.named(planned[source]) for source, output in outputs.items()}

    def shows(self, outputs: Outputs, sidecars: Sequence[Sidecar] = ()) -> bool:
        """Whether all that belongs here is there, as of ``head``."""
        return self._is_in(self._state, outputs, sidecars)

    def _is_in(self, state: _State, outputs: Outputs, sidecars: Sequence[Sidecar]) -> bool:
        for _, artifact in self.artifacts(outputs):
            file = state.files.get(artifact.path)
            if file is None or file.size != artifact.size or file.sha256 not in {"", artifact.sha256}:
                return False
        return not self._keeps_metadata or (
            all(_tells_of(state.published, output) for output in outputs.values())
            and all(one.is_at(state.files.get(one.path)) and state.carried.has(one) for one in sidecars)
        )

    def use_files(self, file_of: FileOf) -> None:
        """Where the files of what is committed next are, for a folder that makes others of them."""

    def usable(self, hub: HubClient, outputs: Outputs) -> Outputs:
        """Those that are to be committed, without what of them is lost and nobody waits for. Raises HubError."""
        return outputs

    def without_refused(self, hub: HubClient, outputs: Outputs, error: HubError) -> Outputs:
        """Without what of them the hub refused, if nobody waits for that. Raises ``error`` otherwise, HubError."""
        raise error

    def given_up(self, outputs: Outputs, error: HubError) -> Outputs:
        """Without what belongs here, if nobody waits for that. Raises ``error`` otherwise, HubError."""
        raise error

    def counted(self) -> tuple[int, int]:
        """Scenes of videos, and pictures of them, that are here as of ``head``."""
        return 0, 0

    def awaits(self, outputs: Outputs, sidecars: Sequence[Sidecar] = ()) -> bool:
        """Whether these were committed and not seen since."""
        return _key(outputs, sidecars) in self._unshown

    def commit(
        self,
        hub: HubClient,
        outputs: Outputs,
        message: str,
        sidecars: Sequence[Sidecar] = (),
        more: Sequence[Operation] = (),
    ) -> None:
        """Make visible what belongs here, and ``more`` of the repo, in one commit. Raises HubError."""
        prepared = self.prepared(outputs, sidecars)
        self.committed(hub.commit(self.repo, [*prepared.operations, *more], message), prepared)

    def prepared(self, outputs: Outputs, sidecars: Sequence[Sidecar] = ()) -> _Prepared:
        """What a commit that makes these visible consists of."""
        operations: list[Operation] = [
            AddBlob(artifact.path, artifact.sha256, artifact.size) for _, artifact in self.artifacts(outputs)
        ]
        published, carried = self.published, self.carried
        if outputs and self._keeps_metadata:
            published = published.with_records(output.record for output in outputs.values())
            operations.append(AddBytes(self._metadata, published.encode()))
        if sidecars and self._keeps_metadata:
            carried = carried.with_files(sidecars, self._input_repo)
            operations += [AddBlob(one.path, one.source.sha256, one.source.size) for one in sidecars]
            operations.append(AddBytes(self._list, carried.encode()))
        return _Prepared(operations, outputs, sidecars, published, carried)

    def committed(self, commit: str, made: _Prepared) -> None:
        """The hub took it, alone or among others. Until it is seen, the next commit builds on it all the same."""
        if self._keeps_metadata:
            self._base = self._own if self._unshown or self.head is None else self.head.commit_id
            texts = {one.path: one.content for one in made.operations if isinstance(one, AddBytes)}
            if self._metadata in texts:
                self._known[hashlib.sha256(texts[self._metadata]).hexdigest()] = made.published
            if self._list in texts:
                self._known_carried[hashlib.sha256(texts[self._list]).hexdigest()] = made.carried
            self._state = _State(self._state.files, made.published, made.carried)
        self._own = commit
        sidecars = made.sidecars if self._keeps_metadata else ()
        self._unshown[_key(made.outputs, sidecars)] = _Sent(commit, made.outputs, sidecars)

    def read_back(self, hub: HubClient, outputs: Outputs, sidecars: Sequence[Sidecar] = ()) -> str | None:
        """The commit that shows these as they were meant: the one that was made, or the head; None if neither does.

        Raises HubError."""
        sent = self._unshown[_key(outputs, sidecars)]
        commit = sent.commit
        head = Head(commit, None, None)
        state = self._shown_at(hub, commit, sent)
        if state is None:
            found = hub.head(self.repo)
            state = self._shown_at(hub, found.commit_id, sent) if found and found.commit_id != commit else None
            if found is None or state is None:
                return None
            head = found
        del self._unshown[_key(outputs, sidecars)]
        if commit == self._own:  # else a later one of ours is on its way
            self._take(state, head)
        return head.commit_id

    def _shown_at(self, hub: HubClient, commit: str, sent: _Sent) -> _State | None:
        try:
            state = self._state_at(hub, commit)
        except HubNotFound:
            return None  # a replica that does not know it yet
        return state if self._is_in(state, sent.outputs, sent.sidecars) else None

    def restore(self, hub: HubClient, outputs: Outputs) -> str | None:
        """Put back what somebody else wrote into the metadata between our reading and our commit; the id of the commit
        that does, None if there was nothing. A commit names no parent, so ours replaced it. Raises HubError."""
        recent = hub.recent(self.repo) if self._keeps_metadata else []
        before = recent[recent.index(self._own) + 1 :][:1] if self._own in recent else []
        self._follows_base = self._own in recent and before == [self._base] * bool(self._base)
        if not before or before == [self._base]:
            return None
        theirs, ours = self._state_at(hub, before[0]).published, self.published
        sources = {source.path for source in outputs}
        kept = (r for path, r in ours.records.items() if path in sources or path not in theirs.records)
        merged = theirs.with_records(kept)
        metadata = merged.encode()
        if metadata == ours.encode():
            return None
        self._base, self._own = self._own, hub.commit(self.repo, [AddBytes(self._metadata, metadata)], _RESTORES)
        self._state = _State(self._state.files, merged, self._state.carried)
        self._known[hashlib.sha256(metadata).hexdigest()] = merged
        return self._own

    def give_up_waiting(self) -> None:
        """Take what the hub shows as it is: commits that it never came to show will be made again."""
        self._own, self.head = "", None
        self._unshown.clear()


def _key(outputs: Outputs, sidecars: Sequence[Sidecar]) -> frozenset[str]:
    return frozenset((*(source.path for source in outputs), *(one.path for one in sidecars)))


def _tells_of(published: Published, output: VideoOutput) -> bool:
    record = output.record
    source = RemoteFile(record["source_path"], record["source_size"], record["source_sha256"])
    found = published.record_of(source)
    if found is None or found.get("sha256") != record["sha256"]:
        return False
    # What is published may have come to say so since.
    return says_of_none(found) or (not says_of_none(record) and lacked(found) == lacked(record))


def evaded(repo: str, path: str, instead: str) -> None:
    """Say that a file which is not ours keeps its name."""
    about = fields(repo=repo, file=path, published_as=instead)
    log.warning("a file that is not ours has the name of a result, which gets another one: %s", about)


def kept_back(repo: str, paths: Sequence[str]) -> None:
    """Say that sidecars are not carried over since files that are not ours, or videos, have their names."""
    about = fields(repo=repo, files=len(paths), first=paths[0])
    log.warning(
        "a file with the name of a sidecar is in the output already, the sidecar is not carried over: %s", about
    )
