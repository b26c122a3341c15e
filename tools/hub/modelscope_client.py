"""The ModelScope hub over its official SDK, which this module and ``modelscope_sdk`` alone know.

The SDK does what it does well (who am I, download with resume). Listings go over plain HTTP, pinned to a commit and
streamed, since the SDK's stop silently at a bad page; blobs and commits over its ``legacy`` calls, since its upload
functions create missing repos in public and make one commit per file.
"""

import base64
import contextlib
import hashlib
import io
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import cached_property, partial
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from tools.core.errors import (
    HubError,
    HubForbidden,
    HubRejected,
    HubUnavailable,
    IntegrityError,
    PipelineError,
)
from tools.core.folder import RemoteFile, is_safe_path
from tools.core.witness import LONGEST_GLANCE
from tools.hub.answers import commit_id_of
from tools.hub.client import AddBlob, Head, Operation, Progress, Remove
from tools.hub.lfs import upload_url
from tools.hub.listing import Listing
from tools.hub.modelscope_sdk import LOW_SPEED_WINDOW, configure, in_order, refuse_page, saved_login, translating
from tools.hub.retrying import Retry, no_retry
from tools.hub.upload import Upload
from tools.runtime import logs
from tools.runtime.files import sha256_of
from tools.runtime.throttle import UNLIMITED, Throttle

_DATASET = "dataset"
_SITES = frozenset(f"{www}modelscope.{site}" for www in ("", "www.") for site in ("cn", "ai"))
_PRIVATE = 1  # Source: modelscope_hub, visibility of a dataset: 1 private, 3 internal, 5 public
_CONNECT_TIMEOUT = 30.0  # s
_NO_BLOB = hashlib.sha256(b"whether this may be written").hexdigest()  # asked about, never sent
_MOST_BLOBS = 64  # in one question. Source: modelscope_hub, validate_blobs
_LONGEST_INLINE = 64 << 10  # bytes of a text inside a commit. Source: modelscope_hub, UPLOAD_LFS_FORCE_THRESHOLD


class ModelScopeHub:
    """One hub for one token. The constructor sends and imports nothing; threads may share it.

    ``token`` None = the login that ``modelscope login`` saved for this hub. ``cache_dir`` holds the SDK's locks and
    caches; ``retry`` makes the requests for single pages of a listing, all else is attempted once. Transfers share the
    rates of ``downloads`` and ``uploads`` with all else that is given the same.
    """

    def __init__(
        self,
        endpoint: str,
        token: str | None,
        *,
        cache_dir: Path,
        stall_timeout: float = 300.0,
        retry: Retry = no_retry,
        downloads: Throttle = UNLIMITED,
        uploads: Throttle = UNLIMITED,
    ) -> None:
        logs.keep_secret(token)
        self._endpoint = endpoint.rstrip("/")
        self._token = token
        self._cache_dir = cache_dir
        self._stall = stall_timeout
        self._retry_page = retry
        self._downloads, self._uploads = downloads, uploads
        self._sdk_lock = threading.Lock()

    @cached_property
    def _sdk(self) -> Any:
        """The SDK's entry point."""
        with self._sdk_lock:
            os.environ.setdefault("MODELSCOPE_DOWNLOAD_INTRA_CLOUD", "false")
            from modelscope_hub import HubApi
            from modelscope_hub.config import HubConfig

            configure(self._stall)
            sdk = HubApi(HubConfig(endpoint=self._endpoint, cache_dir=self._cache_dir, token=self._secret))
            sdk.legacy._timeout = (_CONNECT_TIMEOUT, self._stall)
            sdk.openapi._max_retries = 1
            for session in (sdk.legacy._session, sdk.legacy._read_session):
                session.hooks["response"].append(refuse_page)
            return sdk

    @cached_property
    def _listing(self) -> Listing:
        return Listing(self._endpoint, self._secret, self._stall, self._retry_page)

    @cached_property
    def _secret(self) -> str:
        """The token in use, "" without one. The SDK itself would take a login that was saved for any hub."""
        if self._token is not None:
            return self._token
        saved = saved_login(self._endpoint)
        return saved.token if saved is not None else ""

    def whoami(self) -> str:
        if not self._secret:
            raise HubForbidden("no token: set MODELSCOPE_API_TOKEN (in .env), or run `modelscope login`", status=401)
        try:
            with self._request("verify the token"):
                name = self._sdk.whoami().username
        except HubForbidden as exc:
            said = "the hub refused the token: put a new one into .env (MODELSCOPE_API_TOKEN)"
            if urlsplit(self._endpoint).hostname in _SITES:
                said += "; modelscope.cn and modelscope.ai have different accounts and tokens (MODELSCOPE_ENDPOINT)"
            raise HubForbidden(said, status=exc.status) from exc
        if not isinstance(name, str) or not name:
            raise HubUnavailable("the hub does not say who the token belongs to")
        return name

    def repo_exists(self, repo: str) -> bool:
        with self._request(f"check whether {repo} exists"):
            return bool(self._sdk.repo_exists(repo, _DATASET))

    def create_repo(self, repo: str) -> bool:
        owner, name = repo.split("/")
        body = {"Owner": owner, "Name": name, "Visibility": _PRIVATE, "License": "other"}
        try:
            with self._request(f"create {repo}"):
                self._sdk.legacy.create_repo(_DATASET, body)
        except HubRejected as exc:
            if exc.status != 409:
                raise
            return False
        return True

    def need_write(self, repo: str) -> None:
        self._upload_url(repo, _NO_BLOB, 1)

    def head(self, repo: str) -> Head | None:
        return self._listing.head(repo)

    def recent(self, repo: str) -> list[str]:
        return self._listing.recent(repo)

    def list_files(self, repo: str, commit: str) -> Iterator[RemoteFile]:
        return self._listing.files(repo, commit)

    def list_folder(self, repo: str, commit: str, folder: str) -> list[RemoteFile]:
        return sorted(self._listing.folder(repo, commit, folder), key=lambda file: file.path)

    def read_file(self, repo: str, commit: str, path: str) -> bytes | None:
        return self._listing.content(repo, commit, path)

    def download(self, repo: str, commit: str, file: RemoteFile, target: Path, progress: Progress) -> str:
        if not is_safe_path(file.path):
            raise HubRejected(f"{file.path!r} is not a valid file name: rename it on the hub")
        cancel = threading.Event()
        ended: list[PipelineError] = []
        # The SDK writes below a folder by the path on the hub; a path of 4 kB or odd names must not decide ours.
        staging = target.parent / "download"
        with in_order(file.size), _telling_of_nothing(staging), self._ours(f"download {file.path}", ended):
            fetched = self._sdk.downloader.download_file(
                repo,
                _DATASET,
                file.path,
                revision=commit,
                local_dir=staging,
                cache_dir=self._cache_dir,
                expected_sha256=file.sha256 or None,
                file_size=file.size,
                progress_callbacks=[_callback(_at_rate(progress, self._downloads), cancel, ended)],
                _cancel_event=cancel,
            )
        # If the listing knows the sha256, the SDK has compared it while the bytes came in: no second pass for that.
        sha256 = _checked(Path(fetched), file, progress)
        Path(fetched).replace(target)
        _remove_empty(Path(fetched).parent, staging)
        return sha256

    def glance(self, repo: str, commit: str, file: RemoteFile) -> None:
        wanted = min(file.size, LONGEST_GLANCE)
        if self._listing.beginning(repo, commit, file.path, wanted) < wanted:
            raise HubUnavailable(f"{file.path} came with less than its first {wanted} bytes")

    def store_blob(self, repo: str, source: Path, sha256: str, size: int, progress: Progress) -> None:
        with source.open("rb") as stream:
            self._store(repo, stream, sha256, size, progress)

    def _store(self, repo: str, stream: IO[bytes], sha256: str, size: int, progress: Progress) -> None:
        url = self._upload_url(repo, sha256, size)
        if url is None:
            progress(size)
            return
        body = Upload(stream, size, _at_rate(progress, self._uploads), min(LOW_SPEED_WINDOW, self._stall))
        timeouts = (_CONNECT_TIMEOUT, self._stall)
        with self._ours(f"send a blob to {repo}", body.ended, sent_to=url):
            self._sdk.legacy.upload_blob(url, body, size, timeout=timeouts)

    def lacks(self, repo: str, blobs: Sequence[tuple[str, int]]) -> set[str]:
        wanted = sorted(set(blobs))
        doing = f"ask what {repo} holds"
        lacking: set[str] = set()
        for start in range(0, len(wanted), _MOST_BLOBS):
            asked = wanted[start : start + _MOST_BLOBS]
            answer = self._answer_about(repo, asked, doing)
            lacking |= {sha256 for sha256, _ in asked if upload_url(answer, sha256, doing) is not None}
        return lacking

    def _upload_url(self, repo: str, sha256: str, size: int) -> str | None:
        """Where a blob is to be sent; None if the hub has it."""
        doing = f"store a blob in {repo}"
        return upload_url(self._answer_about(repo, [(sha256, size)], doing), sha256, doing)

    def _answer_about(self, repo: str, blobs: Sequence[tuple[str, int]], doing: str) -> Any:
        """What the hub says of blobs that are to be sent. The SDK's own call takes a refusal for one that is there."""
        objects = [{"oid": sha256, "size": size} for sha256, size in blobs]
        with self._request(doing):
            legacy = self._sdk.legacy
            question = {"operation": "upload", "objects": objects}
            answer = legacy._request("POST", f"repos/datasets/{repo}/info/lfs/objects/batch", json_body=question)
            return legacy._json_data(answer)

    def commit(self, repo: str, operations: Sequence[Operation], message: str) -> str:
        actions = [_action(self._as_blob(repo, operation)) for operation in operations]
        try:
            with self._request(f"commit to {repo}"):
                answer = self._sdk.legacy.create_commit(repo, _DATASET, actions, message)
        except HubUnavailable as exc:
            # Below 500 the hub says itself that it did nothing.
            exc.may_have_happened = exc.status is None or exc.status >= 500
            raise
        known = answer if isinstance(answer, dict) else {}
        commit = commit_id_of(known.get("oid") or known.get("Id") or known.get("commit_id"))
        if commit is None:
            raise HubUnavailable(f"the answer to a commit to {repo} names no commit", may_have_happened=True)
        return commit

    def _as_blob(self, repo: str, operation: Operation) -> Operation:
        """A long text is stored before the commit like any other file, so that the commit's body stays small."""
        if isinstance(operation, AddBlob | Remove) or len(operation.content) <= _LONGEST_INLINE:
            return operation
        sha256, size = hashlib.sha256(operation.content).hexdigest(), len(operation.content)
        self._store(repo, io.BytesIO(operation.content), sha256, size, lambda moved: None)
        return AddBlob(operation.path, sha256, size)

    @property
    def _ours(self) -> Callable[..., AbstractContextManager[None]]:
        """Raises the SDK's errors as ours."""
        return partial(translating, self._endpoint)

    @contextlib.contextmanager
    def _request(self, doing: str) -> Iterator[None]:
        """Calls with an answer of a few lines: attempted once, and read whole within the stall limit."""
        sdk = self._sdk
        from modelscope_hub._download_control import _DownloadControl

        with (
            self._ours(doing),
            _DownloadControl(total_timeout=_CONNECT_TIMEOUT + self._stall) as control,
            sdk.legacy.read_context(control),
            sdk.openapi.read_context(control),
        ):
            yield


def _action(operation: Operation) -> dict[str, Any]:
    if isinstance(operation, Remove):
        nothing = {"type": "normal", "size": 0, "sha256": "", "content": "", "encoding": ""}
        return {"action": "delete", "path": operation.path, **nothing}  # Source: modelscope_hub, delete_files
    if isinstance(operation, AddBlob):
        facts = {"type": "lfs", "size": operation.size, "sha256": operation.sha256, "content": "", "encoding": ""}
    else:
        content = base64.b64encode(operation.content).decode()
        facts = {"type": "normal", "size": len(operation.content), "sha256": "", "content": content}
        facts["encoding"] = "base64"
    return {"action": "create", "path": operation.path, **facts}


def _at_rate(progress: Progress, throttle: Throttle) -> Progress:
    """The same, which returns only when the bytes keep to the rate."""

    def moved(count: int) -> None:
        progress(count)
        throttle.pass_by(count, lambda: progress(0))

    return moved


def _callback(progress: Progress, cancel: threading.Event, ended: list[PipelineError]) -> type:
    """The SDK wants a class; what ``progress`` raises ends the download. Called by one thread at a time."""
    lock = threading.Lock()

    class Callback:
        def __init__(self, filename: str, file_size: int) -> None:
            pass

        def update(self, moved: int) -> None:
            with lock:
                try:
                    progress(moved)
                except PipelineError as exc:
                    ended.append(exc)
                    cancel.set()

        def end(self) -> None:
            pass

    return Callback


@contextlib.contextmanager
def _telling_of_nothing(staging: Path) -> Iterator[None]:
    """Mark what a download raises, if nothing was written below ``staging`` meanwhile."""
    before = _written(staging)
    try:
        yield
    except HubError as exc:
        exc.is_nothing_given = _written(staging) == before
        raise


def _written(folder: Path) -> set[tuple[Path, int]]:
    """The files below a folder and when each was written to, ns. One that goes meanwhile is none."""
    found = set()
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            if path.is_file():
                found.add((path, path.stat().st_mtime_ns))
    return found


def _checked(path: Path, file: RemoteFile, progress: Progress) -> str:
    """sha256 of a fetched file. Raises IntegrityError, the file deleted, if its size is not as listed, and what
    ``progress`` raises to end a transfer."""
    if path.stat().st_size != file.size:
        path.unlink()
        raise IntegrityError(f"{file.path} came with another size than the {file.size} bytes listed")
    if file.sha256:
        return file.sha256
    return sha256_of(path, on_piece=lambda: progress(0))


def _remove_empty(folder: Path, top: Path) -> None:
    while folder != top.parent:
        with contextlib.suppress(OSError):
            folder.rmdir()
        folder = folder.parent
