"""A batch of stored blobs → one commit per output repo, with its ``metadata.jsonl``, read back.

Calling it again after a crash or a lost answer commits nothing twice: what is there already is found first.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tools.core.artifact import Artifact, ArtifactKind, VideoOutput
from tools.core.errors import BlobsLost, HubForbidden, HubNotFound, HubRejected, IntegrityError
from tools.core.folder import RemoteFile
from tools.core.record import METADATA, Published
from tools.hub.client import AddBlob, AddBytes, Head, HubClient, Operation

Outputs = Mapping[RemoteFile, VideoOutput]
"""What the sources of a batch became."""
FileOf = Callable[[RemoteFile, ArtifactKind], Path | None]
"""The local file of what a source became, which need not exist; None if it is on another machine."""


class OutputFolder:
    """One folder of an output repo: its ``files`` by path, and its ``metadata.jsonl`` if it keeps one, as of ``head``.

    It is read again only when the repo moved, and the metadata only if their sha256 is another than before: the
    next batch of a long folder need not read what the one before it wrote. No commits = an empty repo.
    """

    def __init__(self, repo: str, folder: str, *, keeps_metadata: bool = True) -> None:
        self.repo = repo
        self.folder = folder
        self.head: Head | None = None
        self.published = Published.parse(None)
        self.files: dict[str, RemoteFile] = {}
        self._keeps_metadata = keeps_metadata
        self._metadata_sha256 = ""

    @property
    def _metadata(self) -> str:
        return f"{self.folder}/{METADATA}"

    def refresh(self, hub: HubClient) -> None:
        """Bring it up to date. Raises HubError."""
        head = hub.head(self.repo)
        if head is not None and self.head is not None and head.commit_id == self.head.commit_id:
            return
        files = [] if head is None else hub.list_folder(self.repo, head.commit_id, self.folder)
        self.files = {file.path: file for file in files}
        listed = self.files.get(self._metadata) if self._keeps_metadata else None
        if head is None or listed is None:
            self._expect(None, Published.parse(None))
        elif not listed.sha256 or listed.sha256 != self._metadata_sha256:
            metadata = hub.read_file(self.repo, head.commit_id, self._metadata)
            self._expect(metadata, Published.parse(metadata))
        self.head = head

    def _expect(self, metadata: bytes | None, published: Published) -> None:
        """These are the metadata, or will be with the next commit."""
        self.published = published
        self._metadata_sha256 = hashlib.sha256(metadata).hexdigest() if metadata else ""

    def artifacts(self, outputs: Outputs) -> list[tuple[RemoteFile, Artifact]]:
        """Those that belong here, each with its source."""
        return [
            (source, artifact)
            for source, output in outputs.items()
            for artifact in output.artifacts
            if artifact.repo == self.repo
        ]

    def shows(self, outputs: Outputs) -> bool:
        """Whether all that belongs here is there, as of ``head``."""
        files = all(self._has(artifact) for _, artifact in self.artifacts(outputs))
        return files and (not self._keeps_metadata or all(map(self._tells_of, outputs.values())))

    def _has(self, artifact: Artifact) -> bool:
        file = self.files.get(artifact.path)
        return file is not None and file.size == artifact.size and file.sha256 in {"", artifact.sha256}

    def _tells_of(self, output: VideoOutput) -> bool:
        record = output.record
        source = RemoteFile(record["source_path"], record["source_size"], record["source_sha256"])
        found = self.published.record_of(source)
        return found is not None and found.get("sha256") == record["sha256"]

    def commit(self, hub: HubClient, outputs: Outputs, message: str) -> str:
        """Make visible what belongs here, in one commit; returns its id. Raises HubError."""
        operations: list[Operation] = [
            AddBlob(artifact.path, artifact.sha256, artifact.size) for _, artifact in self.artifacts(outputs)
        ]
        if not self._keeps_metadata:
            return hub.commit(self.repo, operations, message)
        published = self.published.with_records(output.record for output in outputs.values())
        metadata = published.encode()
        commit = hub.commit(self.repo, [*operations, AddBytes(self._metadata, metadata)], message)
        self._expect(metadata, published)
        return commit


def publish(hub: HubClient, folders: Sequence[OutputFolder], outputs: Outputs, file_of: FileOf, message: str) -> str:
    """Make a batch's artifacts visible, one commit per repo; returns the id of the last. Then local files may go.

    ``folders`` in order: the one that keeps the metadata comes last, so that what it shows as done is done everywhere.
    What the hub lost of the blobs is sent again. Raises HubError; BlobsLost if that can't be done from here;
    IntegrityError when the read-back shows anything else than what was meant.
    """
    commits = [_publish_in(hub, folder, outputs, file_of, message) for folder in folders if folder.artifacts(outputs)]
    return commits[-1]


def _publish_in(hub: HubClient, folder: OutputFolder, outputs: Outputs, file_of: FileOf, message: str) -> str:
    folder.refresh(hub)
    if folder.head is not None and folder.shows(outputs):
        return folder.head.commit_id
    try:
        commit = folder.commit(hub, outputs, message)
    except (HubForbidden, HubNotFound):
        raise
    except HubRejected as exc:
        if not _send_again(hub, folder, outputs, file_of):
            raise BlobsLost(str(exc)) from exc
        commit = folder.commit(hub, outputs, message)
    _read_back(hub, folder, outputs)
    return commit


def _send_again(hub: HubClient, folder: OutputFolder, outputs: Outputs, file_of: FileOf) -> bool:
    """A hub may drop blobs that no commit named for long; whether all of them could be sent once more."""
    wanted = [(artifact, file_of(source, artifact.kind)) for source, artifact in folder.artifacts(outputs)]
    found = [(artifact, path) for artifact, path in wanted if path is not None and path.exists()]
    if len(found) < len(wanted):
        return False
    for artifact, path in found:
        hub.store_blob(folder.repo, path, artifact.sha256, artifact.size, lambda moved: None)
    return True


def _read_back(hub: HubClient, folder: OutputFolder, outputs: Outputs) -> None:
    folder.refresh(hub)
    if folder.head is None or not folder.shows(outputs):
        names = ", ".join(artifact.path.rpartition("/")[2] for _, artifact in folder.artifacts(outputs)[:3])
        raise IntegrityError(f"the hub took the commit, but {folder.folder} does not show it as sent ({names} …)")
