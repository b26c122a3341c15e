"""A batch of stored blobs → one commit with its ``metadata.jsonl``, read back.

Calling it again after a crash or a lost answer commits nothing twice: what is there already is found first.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.core.errors import BlobsLost, HubForbidden, HubRejected, IntegrityError
from tools.core.folder import RemoteFile
from tools.core.planning import METADATA, Published
from tools.hub.client import AddBlob, AddBytes, Head, HubClient, Operation

Record = Mapping[str, Any]


def read_published(hub: HubClient, repo: str, folder: str) -> tuple[Head | None, Published, dict[str, RemoteFile]]:
    """Head of the output repo, the folder's ``metadata.jsonl`` and its files by path. No commits = an empty repo."""
    head = hub.head(repo)
    if head is None:
        return None, Published.parse(None), {}
    files = {file.path: file for file in hub.list_folder(repo, head.commit_id, folder)}
    path = f"{folder}/{METADATA}"
    content = hub.read_file(repo, head.commit_id, path) if path in files else None
    return head, Published.parse(content), files


def publish(
    hub: HubClient,
    repo: str,
    folder: str,
    records: Sequence[Record],
    result_of: Callable[[Record], Path | None],
    message: str,
) -> str:
    """Make the records' files visible in one commit; returns its id. Afterwards the local results may go.

    ``result_of`` gives the local result of a record, which need not exist (None: it is on another machine): it is sent
    again where the hub lost its blob. Raises HubError; BlobsLost where that can't be done from here; IntegrityError
    when the read-back shows anything else than what was meant.
    """
    head, published, files = read_published(hub, repo, folder)
    if head is not None and _all_there(folder, records, published, files):
        return head.commit_id
    metadata = published.with_records(records).encode()
    operations: list[Operation] = [AddBlob(f"{folder}/{r['file_name']}", r["sha256"], r["size"]) for r in records]
    operations.append(AddBytes(f"{folder}/{METADATA}", metadata))
    try:
        commit = hub.commit(repo, operations, message)
    except HubForbidden:
        raise
    except HubRejected as exc:
        if not _send_again(hub, repo, records, result_of):
            raise BlobsLost(str(exc)) from exc
        commit = hub.commit(repo, operations, message)
    _read_back(hub, repo, folder, records)
    return commit


def _all_there(folder: str, records: Sequence[Record], published: Published, files: Mapping[str, RemoteFile]) -> bool:
    for record in records:
        source = RemoteFile(record["source_path"], record["source_size"], record["source_sha256"])
        found = published.record_of(source)
        file = files.get(f"{folder}/{record['file_name']}")
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


def _read_back(hub: HubClient, repo: str, folder: str, records: Sequence[Record]) -> None:
    head, published, files = read_published(hub, repo, folder)
    if head is None or not _all_there(folder, records, published, files):
        names = ", ".join(str(record["file_name"]) for record in records[:3])
        raise IntegrityError(f"the hub took the commit, but {folder} does not show it as sent ({names} …)")
