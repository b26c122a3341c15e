"""What the pipeline needs of a hub: about ten verbs, and one wrapper that retries them.

Every implementation raises the errors of ``tools.core.errors`` alone: ``HubUnavailable`` (try later), ``HubForbidden``
(401/403), ``HubNotFound`` (404), ``HubRejected`` (other refusals), ``IntegrityError`` (bytes differ).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tools.core.folder import RemoteFile

Progress = Callable[[int], None]
"""Called with the bytes moved since the last call; negative if a transfer starts again."""


@dataclass(frozen=True, slots=True)
class Head:
    """The newest commit of a repo. Times in epoch s: ``committed_at`` (whole seconds) and ``server_time``, both by
    the hub's own clock; None if the hub does not tell."""

    commit_id: str
    committed_at: float | None
    server_time: float | None


@dataclass(frozen=True, slots=True)
class AddBlob:
    """Commit operation: make a stored blob visible at ``path``. ``size`` in bytes."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class AddBytes:
    """Commit operation: a small text file, sent with the commit itself."""

    path: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Remove:
    """Commit operation: the repo has no file at ``path`` any more. Its content stays in earlier commits."""

    path: str


Operation = AddBlob | AddBytes | Remove


class HubClient(Protocol):
    """One dataset hub. ``repo`` is always ``owner/name``, ``path`` is relative to the repo's root."""

    def whoami(self) -> str:
        """The user's name that the token belongs to. HubForbidden without a valid token."""
        ...

    def repo_exists(self, repo: str) -> bool:
        """Whether the dataset exists and this token can see it."""
        ...

    def create_repo(self, repo: str) -> bool:
        """Create a private dataset; False if there is one already, seen by this token or not, which is left as it
        is."""
        ...

    def need_write(self, repo: str) -> None:
        """Ask whether this token may write there; sends nothing. HubForbidden, HubFull, HubNotFound if not."""
        ...

    def head(self, repo: str) -> Head | None:
        """The newest commit of the default branch; None for a repo that is known to have none.

        HubNotFound without the repo."""
        ...

    def recent(self, repo: str) -> list[str]:
        """Ids of the newest commits of the default branch, newest first, about a hundred at most."""
        ...

    def list_files(self, repo: str, commit: str) -> Iterator[RemoteFile]:
        """All files at a commit (full id), streamed page by page, each path once.

        Raises HubUnavailable if the listing broke off or came up short; what was yielded until then is worthless.
        """
        ...

    def list_folder(self, repo: str, commit: str, folder: str) -> list[RemoteFile]:
        """The files directly in one folder, by path; an empty list for a folder that is known not to be there at that
        commit. HubNotFound if the commit itself is unknown."""
        ...

    def read_file(self, repo: str, commit: str, path: str) -> bytes | None:
        """A small file's content; None if it does not exist."""
        ...

    def download(self, repo: str, commit: str, file: RemoteFile, target: Path, progress: Progress) -> str:
        """Fetch a file to ``target``; returns its sha256 (hex).

        A partial earlier download beside ``target`` is resumed. ``target`` appears only whole: size always checked,
        sha256 if the listing knows it (IntegrityError). A HubError says if not a byte came (``is_nothing_given``).
        """
        ...

    def glance(self, repo: str, commit: str, file: RemoteFile) -> None:
        """Whether the hub gives a file now: its first bytes (``LONGEST_GLANCE`` at most) come as a download does, or it
        raises HubError. Asked once, also by a client that repeats all else."""
        ...

    def store_blob(self, repo: str, source: Path, sha256: str, size: int, progress: Progress) -> None:
        """Store a local file's content by its sha256, invisible until a commit names it.

        Stored already: no transfer."""
        ...

    def lacks(self, repo: str, blobs: Sequence[tuple[str, int]]) -> set[str]:
        """Of these contents, each as (sha256, size in bytes), the sha256 of those that the hub does not hold."""
        ...

    def commit(self, repo: str, operations: Sequence[Operation], message: str) -> str:
        """Make all operations visible in one commit; returns its id.

        Raises HubUnavailable(may_have_happened=True) if the answer was lost: read back before sending again.
        """
        ...


def is_one_dataset(hub: HubClient, one: str, other: str) -> bool:
    """Whether two names that differ in upper and lower case alone mean one dataset to this hub. Raises HubError."""
    if one.casefold() != other.casefold():
        return False
    if one == other:
        return True
    if not (hub.repo_exists(one) and hub.repo_exists(other)):
        return False
    heads = [hub.head(name) for name in (one, other)]
    ids = {head.commit_id if head is not None else "" for head in heads}
    return len(ids) == 1


def same_dataset(hub: HubClient, repo: str, others: Mapping[str, str]) -> str:
    """Of the repos of other settings the one that is this dataset, as ``INPUT_REPO=me/in``; "" if none is. Raises
    HubError."""
    return next((f"{name}={other}" for name, other in others.items() if is_one_dataset(hub, other, repo)), "")
