"""A batch of stored blobs → one commit with its ``metadata.jsonl``, read back.

Calling it again after a crash or a lost answer commits nothing twice: what is there already is found first.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.core.errors import BlobsLost, HubForbidden, HubNotFound, HubRejected, IntegrityError
from tools.core.folder import RemoteFile
from tools.core.planning import METADATA, Published
from tools.hub.client import AddBlob, AddBytes, Head, HubClient, Operation

Record = Mapping[str, Any]


class Shelf:
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

    def look(self, hub: HubClient) -> None:
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
    hub: HubClient, shelf: Shelf, records: Sequence[Record], result_of: Callable[[Record], Path | None], message: str
) -> str:
    """Make the records' files visible in one commit; returns its id. Afterwards the local results may go.

    ``result_of`` gives the local result of a record, which need not exist (None: it is on another machine): it is sent
    again where the hub lost its blob. Raises HubError; BlobsLost where that can't be done from here; IntegrityError
    when the read-back shows anything else than what was meant.
    """
    shelf.look(hub)
    if shelf.head is not None and _all_there(shelf, records):
        return shelf.head.commit_id
    published = shelf.published.with_records(records)
    metadata = published.encode()
    operations: list[Operation] = [AddBlob(f"{shelf.folder}/{r['file_name']}", r["sha256"], r["size"]) for r in records]
    operations.append(AddBytes(shelf.metadata, metadata))
    try:
        commit = hub.commit(shelf.repo, operations, message)
    except (HubForbidden, HubNotFound):
        raise
    except HubRejected as exc:
        if not _send_again(hub, shelf.repo, records, result_of):
            raise BlobsLost(str(exc)) from exc
        commit = hub.commit(shelf.repo, operations, message)
    shelf.expect(metadata, published)
    _read_back(hub, shelf, records)
    return commit


def _all_there(shelf: Shelf, records: Sequence[Record]) -> bool:
    for record in records:
        source = RemoteFile(record["source_path"], record["source_size"], record["source_sha256"])
        found = shelf.published.record_of(source)
        file = shelf.files.get(f"{shelf.folder}/{record['file_name']}")
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


def _read_back(hub: HubClient, shelf: Shelf, records: Sequence[Record]) -> None:
    shelf.look(hub)
    if shelf.head is None or not _all_there(shelf, records):
        names = ", ".join(str(record["file_name"]) for record in records[:3])
        raise IntegrityError(f"the hub took the commit, but {shelf.folder} does not show it as sent ({names} …)")
