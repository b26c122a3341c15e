"""A batch of stored blobs → one commit with its ``metadata.jsonl``, read back.

Calling it again after a crash or a lost answer commits nothing twice: what is there already is found first.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.core.errors import BlobsLost, HubForbidden, HubNotFound, HubRejected, IntegrityError
from tools.core.folder import RemoteFile
from tools.core.record import METADATA, Published
from tools.hub.client import AddBlob, AddBytes, Head, HubClient, Operation

Record = Mapping[str, Any]


class OutputFolder:
    """One folder of the output repo: its ``metadata.jsonl`` and its ``files`` by path, as of ``head``.

    It is read again only when the repo moved, and the metadata only where their sha256 is another than before: the
    next batch of a long folder need not read what the one before it wrote. No commits = an empty repo.
    """

    def __init__(self, repo: str, folder: str) -> None:
        self.repo = repo
        self.folder = folder
        self.head: Head | None = None
        self.published = Published.parse(None)
        self.files: dict[str, RemoteFile] = {}
        self._metadata_sha256 = ""

    @property
    def metadata(self) -> str:
        """The path of its ``metadata.jsonl``."""
        return f"{self.folder}/{METADATA}"

    def refresh(self, hub: HubClient) -> None:
        """Bring it up to date. Raises HubError."""
        head = hub.head(self.repo)
        if head is not None and self.head is not None and head.commit_id == self.head.commit_id:
            return
        files = [] if head is None else hub.list_folder(self.repo, head.commit_id, self.folder)
        self.files = {file.path: file for file in files}
        listed = self.files.get(self.metadata)
        if head is None or listed is None:
            self.expect(None)
        elif not listed.sha256 or listed.sha256 != self._metadata_sha256:
            self.expect(hub.read_file(self.repo, head.commit_id, self.metadata))
        self.head = head

    def expect(self, metadata: bytes | None, published: Published | None = None) -> None:
        """These are the metadata, or will be with the next commit; ``published`` where they are parsed already."""
        self.published = Published.parse(metadata) if published is None else published
        self._metadata_sha256 = hashlib.sha256(metadata).hexdigest() if metadata else ""


def publish(
    hub: HubClient,
    output: OutputFolder,
    records: Sequence[Record],
    result_of: Callable[[Record], Path | None],
    message: str,
) -> str:
    """Make the records' files visible in one commit; returns its id. Afterwards the local results may go.

    ``result_of`` gives the local result of a record, which need not exist (None: it is on another machine): it is sent
    again where the hub lost its blob. Raises HubError; BlobsLost where that can't be done from here; IntegrityError
    when the read-back shows anything else than what was meant.
    """
    output.refresh(hub)
    if output.head is not None and _all_there(output, records):
        return output.head.commit_id
    published = output.published.with_records(records)
    metadata = published.encode()
    operations: list[Operation] = [
        AddBlob(f"{output.folder}/{r['file_name']}", r["sha256"], r["size"]) for r in records
    ]
    operations.append(AddBytes(output.metadata, metadata))
    try:
        commit = hub.commit(output.repo, operations, message)
    except (HubForbidden, HubNotFound):
        raise
    except HubRejected as exc:
        if not _send_again(hub, output.repo, records, result_of):
            raise BlobsLost(str(exc)) from exc
        commit = hub.commit(output.repo, operations, message)
    output.expect(metadata, published)
    _read_back(hub, output, records)
    return commit


def _all_there(output: OutputFolder, records: Sequence[Record]) -> bool:
    for record in records:
        source = RemoteFile(record["source_path"], record["source_size"], record["source_sha256"])
        found = output.published.record_of(source)
        file = output.files.get(f"{output.folder}/{record['file_name']}")
        same = found is not None and found.get("sha256") == record["sha256"]
        if not same or file is None or file.size != record["size"] or file.sha256 not in {"", record["sha256"]}:
            return False
    return True


def _send_again(
    hub: HubClient, repo: str, records: Sequence[Record], result_of: Callable[[Record], Path | None]
) -> bool:
    """A hub may drop blobs that no commit named for long; whether all of them could be sent once more."""
    results = [(record, path) for record in records if (path := result_of(record)) is not None and path.exists()]
    if len(results) < len(records):
        return False
    for record, path in results:
        hub.store_blob(repo, path, record["sha256"], record["size"], lambda moved: None)
    return True


def _read_back(hub: HubClient, output: OutputFolder, records: Sequence[Record]) -> None:
    output.refresh(hub)
    if output.head is None or not _all_there(output, records):
        names = ", ".join(str(record["file_name"]) for record in records[:3])
        raise IntegrityError(f"the hub took the commit, but {output.folder} does not show it as sent ({names} …)")
