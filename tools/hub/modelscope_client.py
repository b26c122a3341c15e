"""The ModelScope hub over its official SDK; the only module that knows the SDK and its private parts.

The SDK does what it does well (who am I, download with resume). Listings go over plain HTTP, pinned to a commit and
streamed, since the SDK's stop silently at a bad page; blobs and commits over its ``legacy`` calls, since its upload
functions create missing repos in public and make one commit per file.
"""

import base64
import contextlib
import hashlib
import io
import logging
import os
import re
import threading
from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from tools.core.errors import (
    HubError,
    HubForbidden,
    HubNotFound,
    HubRejected,
    HubUnavailable,
    IntegrityError,
    PipelineError,
)
from tools.core.folder import RemoteFile, is_safe_path
from tools.hub.answers import commit_id_of, retry_after_of
from tools.hub.client import AddBlob, Head, Operation, Progress
from tools.hub.lfs import upload_url
from tools.hub.listing import Listing
from tools.hub.retrying import Retry, no_retry
from tools.runtime import logs
from tools.runtime.files import sha256_of

_DATASET = "dataset"
_PRIVATE = 1  # Source: modelscope_hub, visibility of a dataset: 1 private, 3 internal, 5 public
_CONFLICT = re.compile("branch changed|could not update refs|please retry|try again|10030000001", re.IGNORECASE)
_CONNECT_TIMEOUT = 30.0  # s
_LONGEST_INLINE = 64 << 10  # bytes of a text inside a commit. Source: modelscope_hub, UPLOAD_LFS_FORCE_THRESHOLD
_LONGEST_DOWNLOAD = 30 * 24 * 3600.0  # s; what makes no progress is ended by the stall limit
_LOW_SPEED_WINDOW = 60.0  # s within which a download must move 1 kB/s on average


class ModelScopeHub:
    """One hub for one token. The constructor sends and imports nothing; threads may share it.

    ``token`` None = the login that ``modelscope login`` saved. ``cache_dir`` holds the SDK's locks and caches;
    ``retry`` makes the requests for single pages of a listing, all else is attempted once.
    """

    def __init__(
        self,
        endpoint: str,
        token: str | None,
        *,
        cache_dir: Path,
        stall_timeout: float = 300.0,
        retry: Retry = no_retry,
    ) -> None:
        logs.keep_secret(token)
        self._endpoint = endpoint.rstrip("/")
        self._token = token
        self._cache_dir = cache_dir
        self._stall = stall_timeout
        self._retry_page = retry
        self._sdk_lock = threading.Lock()

    @cached_property
    def _sdk(self) -> Any:
        """The SDK's entry point."""
        with self._sdk_lock:
            os.environ.setdefault("MODELSCOPE_DOWNLOAD_INTRA_CLOUD", "false")
            from modelscope_hub import HubApi
            from modelscope_hub.config import HubConfig

            _configure_sdk(self._stall)
            sdk = HubApi(HubConfig(endpoint=self._endpoint, cache_dir=self._cache_dir, token=self._token))
            sdk.legacy._timeout = (_CONNECT_TIMEOUT, self._stall)
            sdk.openapi._max_retries = 1
            for session in (sdk.legacy._session, sdk.legacy._read_session):
                session.hooks["response"].append(_refuse_page)
            return sdk

    @cached_property
    def _listing(self) -> Listing:
        return Listing(self._endpoint, self._secret, self._stall, self._retry_page)

    @property
    def _secret(self) -> str:
        """The token in use, "" without one."""
        if self._token is not None:
            return self._token
        saved = str(self._sdk._config.token or "")
        logs.keep_secret(saved)
        return saved

    def whoami(self) -> str:
        if not self._secret:
            raise HubForbidden("no token: set MODELSCOPE_API_TOKEN (in .env), or run `modelscope login`", status=401)
        with self._request("verify the token"):
            name = self._sdk.whoami().username
        if not isinstance(name, str) or not name:
            raise HubUnavailable("the hub does not say who the token belongs to")
        return name

    def repo_exists(self, repo: str) -> bool:
        with self._request(f"check whether {repo} exists"):
            return bool(self._sdk.repo_exists(repo, _DATASET))

    def create_repo(self, repo: str) -> None:
        owner, name = repo.split("/")
        body = {"Owner": owner, "Name": name, "Visibility": _PRIVATE, "License": "other"}
        try:
            with self._request(f"create {repo}"):
                self._sdk.legacy.create_repo(_DATASET, body)
        except HubRejected as exc:
            if exc.status != 409:
                raise

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
        with self._translating(f"download {file.path}", ended):
            fetched = self._sdk.downloader.download_file(
                repo,
                _DATASET,
                file.path,
                revision=commit,
                local_dir=staging,
                cache_dir=self._cache_dir,
                expected_sha256=file.sha256 or None,
                file_size=file.size,
                progress_callbacks=[_callback(progress, cancel, ended)],
                _cancel_event=cancel,
            )
        # If the listing knows the sha256, the SDK has compared it while the bytes came in: no second pass for that.
        sha256 = _checked(Path(fetched), file, progress)
        Path(fetched).replace(target)
        _remove_empty(Path(fetched).parent, staging)
        return sha256

    def store_blob(self, repo: str, source: Path, sha256: str, size: int, progress: Progress) -> None:
        with source.open("rb") as stream:
            self._store(repo, stream, sha256, size, progress)

    def _store(self, repo: str, stream: IO[bytes], sha256: str, size: int, progress: Progress) -> None:
        url = self._upload_url(repo, sha256, size)
        if url is None:
            progress(size)
            return
        body = _Upload(stream, size, progress)
        timeouts = (_CONNECT_TIMEOUT, self._stall)
        with self._translating(f"send a blob to {repo}", body.ended, sent_to=url):
            self._sdk.legacy.upload_blob(url, body, size, timeout=timeouts)

    def _upload_url(self, repo: str, sha256: str, size: int) -> str | None:
        """Where a blob is to be sent; None if the hub has it. The SDK's own call takes a refusal for that."""
        doing = f"store a blob in {repo}"
        question = {"operation": "upload", "objects": [{"oid": sha256, "size": size}]}
        with self._request(doing):
            legacy = self._sdk.legacy
            answer = legacy._request("POST", f"repos/datasets/{repo}/info/lfs/objects/batch", json_body=question)
            found = legacy._json_data(answer)
        return upload_url(found, sha256, doing)

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
        if isinstance(operation, AddBlob) or len(operation.content) <= _LONGEST_INLINE:
            return operation
        sha256, size = hashlib.sha256(operation.content).hexdigest(), len(operation.content)
        self._store(repo, io.BytesIO(operation.content), sha256, size, lambda moved: None)
        return AddBlob(operation.path, sha256, size)

    @contextlib.contextmanager
    def _request(self, doing: str) -> Iterator[None]:
        """Calls with an answer of a few lines: attempted once, and read whole within the stall limit."""
        sdk = self._sdk
        from modelscope_hub._download_control import _DownloadControl

        with (
            self._translating(doing),
            _DownloadControl(total_timeout=_CONNECT_TIMEOUT + self._stall) as control,
            sdk.legacy.read_context(control),
            sdk.openapi.read_context(control),
        ):
            yield

    @contextlib.contextmanager
    def _translating(
        self, doing: str, ended: list[PipelineError] | None = None, *, sent_to: str = ""
    ) -> Iterator[None]:
        """Raise the SDK's exceptions as ours; an error of our own (a stop) that ``ended`` the call goes first.

        ``sent_to``: the address of a request that goes to where the hub sent us.
        """
        import requests
        from modelscope_hub import _download_control as control
        from modelscope_hub import errors as sdk

        try:
            yield
        except PipelineError:
            raise
        except (sdk.HubError, requests.RequestException, OSError, ValueError, control._DownloadCancelledError) as exc:
            if ended:
                raise ended[0] from exc
            if isinstance(exc, OSError) and exc.errno and not isinstance(exc, requests.RequestException | sdk.HubError):
                raise  # the local disk, not the hub
            raise self._translated(doing, exc, sent_to) from None
        except (AttributeError, LookupError, TypeError, RecursionError) as exc:  # the SDK takes the shape for granted
            raise HubUnavailable(f"can't {doing}: the hub's answer makes no sense ({type(exc).__name__})") from exc

    def _translated(self, doing: str, exc: Exception, sent_to: str) -> HubError:
        import requests
        from modelscope_hub import errors as sdk

        if isinstance(exc, sdk.NetworkError | requests.ConnectionError):
            late = isinstance(exc, sdk.RequestTimeoutError)
            how = "does not answer in time" if late else "can't be reached, or closed the connection"
            return HubUnavailable(f"can't {doing}: the hub at {self._endpoint} {how}")
        text = f"can't {doing}: {_plain(exc)}"
        status = getattr(exc, "status_code", None)
        if isinstance(exc, sdk.AuthenticationError | sdk.PermissionDeniedError) or status in {401, 403}:
            # A signed link to the storage, which has expired: the next attempt gets a new one.
            if _was_redirected(exc) or (sent_to and urlsplit(sent_to).netloc != urlsplit(self._endpoint).netloc):
                return HubUnavailable(f"{text} (by the storage behind the hub)", status=status)
            return HubForbidden(f"{text}; check MODELSCOPE_API_TOKEN and its rights", status=status or 401)
        if isinstance(exc, sdk.FileIntegrityError):
            return IntegrityError(text)
        if isinstance(exc, sdk.NotExistError) or status == 404:
            return HubNotFound(text, status=404)
        if isinstance(exc, sdk.AlreadyExistsError):
            return HubRejected(text, status=409)
        if _CONFLICT.search(str(exc)) or isinstance(exc, sdk.RateLimitError) or status in {408, 425, 429}:
            return HubUnavailable(text, retry_after=_retry_after(exc), status=status)
        if isinstance(exc, sdk.APIError) and status is not None and 400 <= status < 500:
            return HubRejected(text, status=status)
        if isinstance(exc, sdk.InvalidParameter):
            return HubRejected(text, status=status or 400)
        return HubUnavailable(text, retry_after=_retry_after(exc), status=status)


def saved_token() -> str | None:
    """The token that ``modelscope login`` saved, whatever the environment says."""
    from modelscope_hub.config import HubConfig

    try:
        saved: str | None = HubConfig(token="").load_token()
    except Exception:  # a pickle of the SDK's, which may be damaged in any way
        return None
    logs.keep_secret(saved)
    return saved


def _refuse_page(response: Any, **_: Any) -> None:
    """A page for people, with status 200, is no answer: as a file it would be one that is wrong, as the answer to an
    upload a blob that is stored. A proxy or a login puts them there. Raises HubUnavailable."""
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    is_file = response.request.method == "GET" and urlsplit(response.url).path.endswith("/repo")
    if response.status_code == 200 and (kind == "text/html" or (is_file and kind == "application/json")):
        raise HubUnavailable(f"the hub at {urlsplit(response.url).netloc} answers with a page instead of data")


def _configure_sdk(stall: float) -> None:
    """Turn off the SDK's own retries, limits and bars. As attributes: its environment is read at first import."""
    from modelscope_hub import _download, _legacy_api
    from tqdm import tqdm

    settings: list[tuple[Any, str, Any]] = [
        (_download, "DOWNLOAD_TOTAL_TIMEOUT", _LONGEST_DOWNLOAD),
        (_download, "DOWNLOAD_LOW_SPEED_WINDOW_SECONDS", min(_LOW_SPEED_WINDOW, stall)),
        (_download, "DOWNLOAD_RETRY_TIMES", 0),
        (_download, "DOWNLOAD_HASH_RETRY_TIMES", 1),
        (_download, "DOWNLOAD_SIZE_RETRY_TIMES", 1),
        (_download, "_incomplete_path", _partial_file),
        (_download, "tqdm", partial(tqdm, disable=True)),  # it prints bars of its own, also into files
        (_legacy_api, "DOWNLOAD_TIMEOUT", stall),
    ]
    for module, name, value in settings:
        getattr(module, name)  # AttributeError if another version of the SDK names it otherwise
        setattr(module, name, value)
    logging.getLogger("modelscope_hub").setLevel(logging.CRITICAL)


def _partial_file(target: Path) -> Path:
    """Where a download grows: a name of its own, and not the target's with something added, which may have 255 bytes
    already."""
    return target.with_name(f".{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]}.incomplete")


def _plain(exc: Exception) -> str:
    """One line without the token and without what signs an address."""
    first = logs.masked(str(exc).strip() or type(exc).__name__).splitlines()[0]
    return re.sub(r"\?\S+", "?…", first)[:300]


def _was_redirected(exc: Exception) -> bool:
    """Whether the answer came from where the hub had sent us."""
    return bool(getattr(getattr(exc, "response", None), "history", None))


def _retry_after(exc: Exception) -> float | None:
    """Seconds until the server wants to be asked again; None if it does not say."""
    headers = getattr(getattr(exc, "response", None), "headers", None)
    return getattr(exc, "retry_after", None) if headers is None else retry_after_of(headers)


def _action(operation: Operation) -> dict[str, Any]:
    if isinstance(operation, AddBlob):
        facts = {"type": "lfs", "size": operation.size, "sha256": operation.sha256, "content": "", "encoding": ""}
    else:
        content = base64.b64encode(operation.content).decode()
        facts = {"type": "normal", "size": len(operation.content), "sha256": "", "content": content}
        facts["encoding"] = "base64"
    return {"action": "create", "path": operation.path, **facts}


def _callback(progress: Progress, cancel: threading.Event, ended: list[PipelineError]) -> type:
    """The SDK wants a class; what ``progress`` raises ends the download."""

    class Callback:
        def __init__(self, filename: str, file_size: int) -> None:
            pass

        def update(self, moved: int) -> None:
            try:
                progress(moved)
            except PipelineError as exc:
                ended.append(exc)
                cancel.set()

        def end(self) -> None:
            pass

    return Callback


class _Upload:
    """A file that reports how much of it was read. ``requests`` needs ``read`` and a length."""

    def __init__(self, stream: IO[bytes], size: int, progress: Progress) -> None:
        self._stream = stream
        self._size = size
        self._progress = progress
        self.ended: list[PipelineError] = []

    def __len__(self) -> int:
        return self._size

    def read(self, count: int = -1) -> bytes:
        piece = self._stream.read(count)
        try:
            self._progress(len(piece))
        except PipelineError as exc:
            self.ended.append(exc)
            raise
        return piece


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
