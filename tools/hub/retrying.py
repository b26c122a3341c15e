"""The one place that retries requests to the hub: jittered exponential backoff, a server's ``Retry-After`` honoured.

A commit whose answer was lost is looked up before it is sent again, so no batch is committed twice.
"""

import hashlib
import logging
import random as _random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from tools.core.errors import HubError, HubUnavailable, IntegrityError, Stopped
from tools.core.folder import RemoteFile
from tools.hub.client import AddBlob, AddBytes, Head, HubClient, Operation, Progress, Remove
from tools.runtime.clock import Clock

log = logging.getLogger("animation.hub")
T = TypeVar("T")
_INTEGRITY_TRIES = 3
_PATIENCE = 35.0  # s of waits in one call: longer ones belong to the caller, who has other work meanwhile
_LATE_COMMIT = 30.0  # s after a lost answer within which the hub may yet make the commit


class Retry(Protocol):
    """Makes a call until it succeeds, or until another attempt is of no use."""

    def __call__(self, verb: str, call: Callable[[], T]) -> T: ...


def no_retry(verb: str, call: Callable[[], T]) -> T:
    """One attempt."""
    return call()


class Backoff:
    """Retries after transient errors, ``attempts`` in all. Waits ``base``·2ⁿ s up to ``cap``, each shortened by up to
    half at random, or as long as the server asks for if that is longer. A wait that would make it more than
    ``patience`` s in all is left to the caller: the call is given up at once."""

    def __init__(
        self,
        clock: Clock,
        *,
        attempts: int = 6,
        base: float = 1.0,
        cap: float = 60.0,
        patience: float = _PATIENCE,
        random: Callable[[], float] = _random.random,
    ) -> None:
        self._clock = clock
        self._patience = patience
        self._attempts = attempts
        self._base = base
        self._cap = cap
        self._random = random

    def retry(self, verb: str, call: Callable[[], T]) -> T:
        """The call's value. Raises its last error, marked as given up, and Stopped when a stop ends the wait."""
        waited = 0.0
        for attempt in range(1, self._attempts + 1):
            try:
                return call()
            except (HubUnavailable, IntegrityError) as exc:
                wait = self._next_wait(exc, attempt)
                if wait is None or waited + wait > self._patience:
                    if isinstance(exc, HubUnavailable):
                        exc.given_up = True
                    raise
                log.warning("retrying hub request: verb=%s try=%d wait_s=%.1f cause=%s", verb, attempt + 1, wait, exc)
                waited += wait
                if self._clock.sleep(wait):
                    raise Stopped(f"stopped while waiting to retry {verb}") from exc
        raise AssertionError("unreachable")

    def _next_wait(self, exc: HubError, attempt: int) -> float | None:
        """Seconds to wait after the ``attempt``-th failure, None to give up."""
        if attempt >= (_INTEGRITY_TRIES if isinstance(exc, IntegrityError) else self._attempts):
            return None
        backoff = min(self._cap, self._base * 2.0 ** (attempt - 1)) * (0.5 + 0.5 * self._random())
        if not isinstance(exc, HubUnavailable):
            return backoff
        return None if exc.given_up else max(backoff, exc.retry_after or 0.0)


class RetryingHub:
    """A hub client around another, each verb with a ``Backoff``, see there. ``late_commit`` s: see ``commit``."""

    def __init__(
        self,
        hub: HubClient,
        clock: Clock,
        *,
        attempts: int = 6,
        base: float = 1.0,
        cap: float = 60.0,
        patience: float = _PATIENCE,
        random: Callable[[], float] = _random.random,
        late_commit: float = _LATE_COMMIT,
    ) -> None:
        self._hub = hub
        self._clock = clock
        self._retry = Backoff(clock, attempts=attempts, base=base, cap=cap, patience=patience, random=random).retry
        self._base = base
        self._late_commit = late_commit

    def whoami(self) -> str:
        return self._retry("whoami", self._hub.whoami)

    def repo_exists(self, repo: str) -> bool:
        return self._retry("repo_exists", lambda: self._hub.repo_exists(repo))

    def create_repo(self, repo: str) -> bool:
        return self._retry("create_repo", lambda: self._hub.create_repo(repo))

    def need_write(self, repo: str) -> None:
        self._retry("need_write", lambda: self._hub.need_write(repo))

    def head(self, repo: str) -> Head | None:
        return self._retry("head", lambda: self._hub.head(repo))

    def recent(self, repo: str) -> list[str]:
        return self._retry("recent", lambda: self._hub.recent(repo))

    def list_files(self, repo: str, commit: str) -> Iterator[RemoteFile]:
        """Single pages are retried inside the client; a listing that broke off after its first file is the caller's."""
        files = self._retry("list_files", lambda: _first_fetched(self._hub.list_files(repo, commit)))
        return iter(files)

    def list_folder(self, repo: str, commit: str, folder: str) -> list[RemoteFile]:
        return self._retry("list_folder", lambda: self._hub.list_folder(repo, commit, folder))

    def read_file(self, repo: str, commit: str, path: str) -> bytes | None:
        return self._retry("read_file", lambda: self._hub.read_file(repo, commit, path))

    def download(self, repo: str, commit: str, file: RemoteFile, target: Path, progress: Progress) -> str:
        return self._transfer("download", progress, lambda p: self._hub.download(repo, commit, file, target, p))

    def glance(self, repo: str, commit: str, file: RemoteFile) -> None:
        self._hub.glance(repo, commit, file)

    def store_blob(self, repo: str, source: Path, sha256: str, size: int, progress: Progress) -> None:
        self._transfer("store_blob", progress, lambda p: self._hub.store_blob(repo, source, sha256, size, p))

    def lacks(self, repo: str, blobs: Sequence[tuple[str, int]]) -> set[str]:
        return self._retry("lacks", lambda: self._hub.lacks(repo, blobs))

    def _transfer(self, verb: str, progress: Progress, transfer: Callable[[Progress], T]) -> T:
        """A transfer whose progress starts from nothing with each attempt."""

        def send() -> T:
            moved = 0

            def count(piece: int) -> None:
                nonlocal moved
                moved += piece
                progress(piece)

            count(0)  # raises if nobody wants it any more, before the hub is asked
            try:
                return transfer(count)
            except HubError:
                progress(-moved)
                raise

        return self._retry(verb, send)

    def commit(self, repo: str, operations: Sequence[Operation], message: str) -> str:
        """A commit whose answer was lost may be made up to ``late_commit`` s later: that is awaited before it is sent
        again."""
        doubtful = False

        def send() -> str:
            nonlocal doubtful
            if doubtful and (found := self._awaited(repo, operations)):
                return found
            doubtful = False
            try:
                return self._hub.commit(repo, operations, message)
            except HubUnavailable as exc:
                doubtful = exc.may_have_happened
                raise

        return self._retry("commit", send)

    def _awaited(self, repo: str, operations: Sequence[Operation]) -> str | None:
        """The commit, as soon as it is there; None once the hub can't be making it any more."""
        waited, wait = 0.0, self._base
        while not (found := self._found(repo, operations)) and waited < self._late_commit:
            wait = min(2 * wait, self._late_commit - waited)
            if self._clock.sleep(wait):
                raise Stopped("stopped while a commit may be in progress")
            waited += wait
        return found

    def _found(self, repo: str, operations: Sequence[Operation]) -> str | None:
        """The head commit, if it shows everything of the commit whose answer was lost."""
        head = self._hub.head(repo)
        if head is None:
            return None
        gone = {operation.path for operation in operations if isinstance(operation, Remove)}
        wanted = {one.path: _identity(one) for one in operations if not isinstance(one, Remove)}
        shown: dict[str, tuple[int, str]] = {}
        for folder in {path.rpartition("/")[0] for path in (*wanted, *gone)}:
            shown |= {f.path: (f.size, f.sha256) for f in self._hub.list_folder(repo, head.commit_id, folder)}
        same = all(path in shown and _same(shown[path], identity) for path, identity in wanted.items())
        return head.commit_id if same and not gone & shown.keys() else None


def _first_fetched(files: Iterator[RemoteFile]) -> Iterator[RemoteFile]:
    """The same stream, its first file fetched already: what fails until then can be retried."""
    try:
        first = next(files)
    except StopIteration:
        return iter(())
    return _rest(first, files)


def _rest(first: RemoteFile, files: Iterator[RemoteFile]) -> Iterator[RemoteFile]:
    yield first
    yield from files


def _identity(operation: AddBlob | AddBytes) -> tuple[int, str]:
    if isinstance(operation, AddBlob):
        return operation.size, operation.sha256
    return len(operation.content), hashlib.sha256(operation.content).hexdigest()


def _same(shown: tuple[int, str], wanted: tuple[int, str]) -> bool:
    return shown[0] == wanted[0] and shown[1] in {"", wanted[1]}
