"""The one place that asks the hub again: jittered exponential backoff, the server's own wishes honoured.

A commit whose answer was lost is looked for before it is sent again, so no batch is committed twice.
"""

import hashlib
import logging
import random as _random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from tools.core.errors import HubError, HubUnavailable, IntegrityError, Stopped
from tools.core.folder import RemoteFile
from tools.hub.client import AddBlob, Head, HubClient, Operation, Progress
from tools.runtime.clock import Clock

log = logging.getLogger("animation.hub")
T = TypeVar("T")
_INTEGRITY_TRIES = 3
_LONGEST_RETRY_AFTER = (
    1800.0  # s that a server's Retry-After is waited for here; whoever asks for more is left alone instead
)
_STILL_UNDER_WAY = 30.0  # s after a lost answer within which the hub may yet make the commit


class Again(Protocol):
    """Makes a call until it succeeds or that is of no use."""

    def __call__(self, verb: str, call: Callable[[], T]) -> T: ...


def once(verb: str, call: Callable[[], T]) -> T:
    """Nothing is tried again."""
    return call()


class Backoff:
    """Asks again after errors that may pass. ``attempts`` in all; waits ``base``·2ⁿ s up to ``cap``, each halved at
    random, or what the server asks for where that is longer."""

    def __init__(
        self,
        clock: Clock,
        *,
        attempts: int = 6,
        base: float = 1.0,
        cap: float = 60.0,
        random: Callable[[], float] = _random.random,
    ) -> None:
        self._clock = clock
        self._attempts = attempts
        self._base = base
        self._cap = cap
        self._random = random

    def again(self, verb: str, call: Callable[[], T]) -> T:
        """The call's value. Raises its last error, marked as given up, and Stopped when a stop ends the wait."""
        for attempt in range(1, self._attempts + 1):
            try:
                return call()
            except (HubUnavailable, IntegrityError) as exc:
                wait = self._next_wait(exc, attempt)
                if wait is None:
                    if isinstance(exc, HubUnavailable):
                        exc.given_up = True
                    raise
                log.warning("the hub is asked again: verb=%s try=%d wait_s=%.1f cause=%s", verb, attempt + 1, wait, exc)
                if self._clock.sleep(wait):
                    raise Stopped(f"stopped while waiting to {verb} again") from exc
        raise AssertionError("unreachable")

    def _next_wait(self, exc: HubError, attempt: int) -> float | None:
        """Seconds to wait after the ``attempt``-th failure, None to give up."""
        if attempt >= (_INTEGRITY_TRIES if isinstance(exc, IntegrityError) else self._attempts):
            return None
        backoff = min(self._cap, self._base * 2.0 ** (attempt - 1)) * (0.5 + 0.5 * self._random())
        if not isinstance(exc, HubUnavailable):
            return backoff
        asked = exc.retry_after or 0.0
        return None if exc.given_up or asked > _LONGEST_RETRY_AFTER else max(backoff, asked)


class RetryingHub:
    """A hub client around another, each verb with a ``Backoff``. ``still_under_way`` s: see ``commit``."""

    def __init__(
        self,
        hub: HubClient,
        clock: Clock,
        *,
        attempts: int = 6,
        base: float = 1.0,
        cap: float = 60.0,
        random: Callable[[], float] = _random.random,
        still_under_way: float = _STILL_UNDER_WAY,
    ) -> None:
        self._hub = hub
        self._clock = clock
        self._again = Backoff(clock, attempts=attempts, base=base, cap=cap, random=random).again
        self._base = base
        self._still_under_way = still_under_way

    def whoami(self) -> str:
        return self._again("whoami", self._hub.whoami)

    def repo_exists(self, repo: str) -> bool:
        return self._again("repo_exists", lambda: self._hub.repo_exists(repo))

    def create_repo(self, repo: str) -> None:
        self._again("create_repo", lambda: self._hub.create_repo(repo))

    def head(self, repo: str) -> Head | None:
        return self._again("head", lambda: self._hub.head(repo))

    def list_files(self, repo: str, commit: str) -> Iterator[RemoteFile]:
        """Single pages are tried again inside the client; a listing that broke after its first file is the caller's."""
        files = self._again("list_files", lambda: _begun(self._hub.list_files(repo, commit)))
        return iter(files)

    def list_folder(self, repo: str, commit: str, folder: str) -> list[RemoteFile]:
        return self._again("list_folder", lambda: self._hub.list_folder(repo, commit, folder))

    def read_file(self, repo: str, commit: str, path: str) -> bytes | None:
        return self._again("read_file", lambda: self._hub.read_file(repo, commit, path))

    def download(self, repo: str, commit: str, file: RemoteFile, target: Path, progress: Progress) -> str:
        return self._transfer("download", progress, lambda p: self._hub.download(repo, commit, file, target, p))

    def store_blob(self, repo: str, source: Path, sha256: str, size: int, progress: Progress) -> None:
        self._transfer("store_blob", progress, lambda p: self._hub.store_blob(repo, source, sha256, size, p))

    def _transfer(self, verb: str, progress: Progress, transfer: Callable[[Progress], T]) -> T:
        """A transfer that counts what it moved anew with each try."""

        def send() -> T:
            moved = 0

            def count(piece: int) -> None:
                nonlocal moved
                moved += piece
                progress(piece)

            try:
                return transfer(count)
            except HubError:
                progress(-moved)
                raise

        return self._again(verb, send)

    def commit(self, repo: str, operations: Sequence[Operation], message: str) -> str:
        """A commit whose answer was lost may come to pass a while later: it is waited for before it is sent again."""
        doubtful = False

        def send() -> str:
            nonlocal doubtful
            if doubtful and (found := self._appears(repo, operations)):
                return found
            doubtful = False
            try:
                return self._hub.commit(repo, operations, message)
            except HubUnavailable as exc:
                doubtful = exc.may_have_happened
                raise

        return self._again("commit", send)

    def _appears(self, repo: str, operations: Sequence[Operation]) -> str | None:
        """The commit, as soon as it is there; None when it can't be under way any more."""
        waited, wait = 0.0, self._base
        while not (found := self._found(repo, operations)) and waited < self._still_under_way:
            wait = min(2 * wait, self._still_under_way - waited)
            if self._clock.sleep(wait):
                raise Stopped("stopped while a commit may be under way")
            waited += wait
        return found

    def _found(self, repo: str, operations: Sequence[Operation]) -> str | None:
        """The head commit where everything of a commit with a lost answer is there already."""
        head = self._hub.head(repo)
        if head is None:
            return None
        wanted = {operation.path: _identity(operation) for operation in operations}
        shown: dict[str, tuple[int, str]] = {}
        for folder in {path.rpartition("/")[0] for path in wanted}:
            shown |= {f.path: (f.size, f.sha256) for f in self._hub.list_folder(repo, head.commit_id, folder)}
        same = all(path in shown and _same(shown[path], identity) for path, identity in wanted.items())
        return head.commit_id if same else None


def _begun(files: Iterator[RemoteFile]) -> Iterator[RemoteFile]:
    """The same stream, its first file fetched already: what fails until then can be tried again."""
    try:
        first = next(files)
    except StopIteration:
        return iter(())
    return _rest(first, files)


def _rest(first: RemoteFile, files: Iterator[RemoteFile]) -> Iterator[RemoteFile]:
    yield first
    yield from files


def _identity(operation: Operation) -> tuple[int, str]:
    if isinstance(operation, AddBlob):
        return operation.size, operation.sha256
    return len(operation.content), hashlib.sha256(operation.content).hexdigest()


def _same(shown: tuple[int, str], wanted: tuple[int, str]) -> bool:
    return shown[0] == wanted[0] and shown[1] in {"", wanted[1]}
