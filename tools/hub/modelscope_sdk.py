"""The SDK's private parts as this project needs them: its settings, its saved login, and its errors as ours."""

import contextlib
import hashlib
import logging
import os
import pkgutil
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tools.core.concurrency import RANGES, range_of, ranges_for
from tools.core.errors import (
    LIMITED,
    HubError,
    HubForbidden,
    HubFull,
    HubNotFound,
    HubRejected,
    HubUnavailable,
    IntegrityError,
    PipelineError,
)
from tools.hub.answers import FULL, retry_after_of, says_full
from tools.hub.proxy import by_proxy
from tools.runtime import logs

_CONFLICT = re.compile("branch changed|could not update refs|please retry|try again|10030000001", re.IGNORECASE)
_LOGIN = "m_session_id"  # the cookie that has the token
_SMALLEST_RANGE, _RANGE = 1 << 20, 16 << 20  # bytes of a range: a request each, whose answer takes a while to begin
_LONGEST_SPLIT = 200  # bytes of a name to which the SDK may add where a range begins and ends
_CALM = 600.0  # s of one connection per file after the hub had too many requests
_LONGEST_DOWNLOAD = 30 * 24 * 3600.0  # s; what makes no progress is ended by the stall limit
LOW_SPEED_WINDOW = 60.0  # s within which a transfer must move 1 kB/s on average
TESTED_WITH = "0.5.1"
"""The release of modelscope-hub whose parts these are; another one within the bounds should do."""
_PARTS = (
    "modelscope_hub._download_control:_DownloadControl",
    "modelscope_hub._download_control:_DownloadCancelledError",
    "modelscope_hub._download:DOWNLOAD_TOTAL_TIMEOUT",
    "modelscope_hub._download:DOWNLOAD_LOW_SPEED_WINDOW_SECONDS",
    "modelscope_hub._download:DOWNLOAD_RETRY_TIMES",
    "modelscope_hub._download:DOWNLOAD_HASH_RETRY_TIMES",
    "modelscope_hub._download:DOWNLOAD_SIZE_RETRY_TIMES",
    "modelscope_hub._download:DOWNLOAD_PARALLELS",
    "modelscope_hub._download:DOWNLOAD_PARALLEL_THRESHOLD",
    "modelscope_hub._download:DOWNLOAD_PART_SIZE",
    "modelscope_hub._download:ThreadPoolExecutor",
    "modelscope_hub._download:_RangeNotHonouredError",
    "modelscope_hub._download:_parallel_download",
    "modelscope_hub._download:_incomplete_path",
    "modelscope_hub._download:tqdm",
    "modelscope_hub._legacy_api:DOWNLOAD_TIMEOUT",
    "modelscope_hub.config:HubConfig.load_cookies",
)
_PARTS_OF_API = (
    "_config.token",
    "downloader.download_file",
    "legacy._json_data",
    "legacy._read_session.hooks",
    "legacy._request",
    "legacy._session.hooks",
    "legacy._timeout",
    "legacy.create_commit",
    "legacy.create_repo",
    "legacy.read_context",
    "legacy.upload_blob",
    "openapi._max_retries",
    "openapi.read_context",
)
"""All that this project uses of the SDK besides its documented interface, the latter of a ``HubApi``."""


def moved_parts() -> list[str]:
    """Those of the parts above that the installed SDK has no more. Asks no hub."""
    from modelscope_hub import HubApi
    from modelscope_hub.config import HubConfig

    api = HubApi(HubConfig(endpoint="http://127.0.0.1:9", token="none"))
    moved = []
    for part in _PARTS:
        try:
            pkgutil.resolve_name(part)
        except (ImportError, AttributeError):
            moved.append(part.replace(":", "."))
    for part in _PARTS_OF_API:
        try:
            attrgetter(part)(api)
        except AttributeError:
            moved.append(f"HubApi.{part}")
    return moved


@contextlib.contextmanager
def translating(
    endpoint: str, doing: str, ended: list[PipelineError] | None = None, *, sent_to: str = ""
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
        raise _translated(endpoint, doing, exc, sent_to) from None
    except (AttributeError, LookupError, TypeError, RecursionError) as exc:  # the SDK takes the shape for granted
        raise HubUnavailable(f"can't {doing}: the hub's answer makes no sense ({type(exc).__name__})") from exc


def _translated(endpoint: str, doing: str, exc: Exception, sent_to: str) -> HubError:
    import requests
    from modelscope_hub import errors as sdk

    if isinstance(exc, sdk.NetworkError | requests.ConnectionError):
        late = isinstance(exc, sdk.RequestTimeoutError)
        how = "does not answer in time" if late else "can't be reached, or closed the connection"
        return HubUnavailable(f"can't {doing}: the hub at {endpoint} {how}{by_proxy(endpoint)}")
    text = f"can't {doing}: {_plain(exc)}"
    status = getattr(exc, "status_code", None)
    if _says_full(exc, status):
        return HubFull(f"{FULL} ({text})", status=status)
    if isinstance(exc, sdk.AuthenticationError | sdk.PermissionDeniedError) or status in {401, 403}:
        # A signed link to the storage, which has expired: the next attempt gets a new one.
        if _was_redirected(exc) or (sent_to and urlsplit(sent_to).netloc != urlsplit(endpoint).netloc):
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


def _says_full(exc: Exception, status: int | None) -> bool:
    """Whether a refusal speaks of room. One for the number of requests (429) may call that a quota, too."""
    from modelscope_hub import errors as sdk

    if isinstance(exc, sdk.RateLimitError) or status == 429 or _was_redirected(exc):
        return False
    if isinstance(exc, sdk.QuotaExceededError):
        return True
    body = getattr(exc, "response_body", None)
    if status is None or not 400 <= status < 500 or not isinstance(body, dict):
        return False
    said = " ".join(str(body.get(key) or "") for key in ("Code", "code", "Message", "message", "Msg", "msg"))
    return says_full(said)


@dataclass(frozen=True, slots=True)
class SavedLogin:
    """What ``modelscope login`` saved."""

    token: str = field(repr=False)
    host: str  # of the hub that it was made for
    ends: float | None  # epoch s; the token itself may work on


def saved_login(endpoint: str) -> SavedLogin | None:
    """The login that ``modelscope login`` saved for this hub, whatever the environment says. One that was made for
    another host is nobody else's business; ``www.`` makes no other host."""
    from modelscope_hub.config import HubConfig

    try:
        cookies = HubConfig(token="").load_cookies() or ()
        found = [(str(one.value or ""), str(one.domain or ""), one.expires) for one in cookies if one.name == _LOGIN]
    except Exception:  # a pickle of the SDK's, which may be damaged in any way
        return None
    for token, domain, expires in found:
        host = _bare(domain)
        if token and host and host == _bare(urlsplit(endpoint).hostname or ""):
            logs.keep_secret(token)
            return SavedLogin(token, host, float(expires) if isinstance(expires, int | float) else None)
    return None


def _bare(host: str) -> str:
    return host.lower().lstrip(".").removeprefix("www.")


def refuse_page(response: Any, **_: Any) -> None:
    """A page for people, with status 200, is no answer: as a file it would be one that is wrong, as the answer to an
    upload a blob that is stored. A proxy or a login puts them there. Raises HubUnavailable."""
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    is_file = response.request.method == "GET" and urlsplit(response.url).path.endswith("/repo")
    if response.status_code == 200 and (kind == "text/html" or (is_file and kind == "application/json")):
        raise HubUnavailable(f"the hub at {urlsplit(response.url).netloc} answers with a page instead of data")


def configure(stall: float) -> None:
    """Turn off the SDK's own retries, limits and bars. As attributes: its environment is read at first import."""
    from modelscope_hub import _download, _legacy_api
    from tqdm import tqdm

    settings: list[tuple[Any, str, Any]] = [
        (_download, "DOWNLOAD_TOTAL_TIMEOUT", _LONGEST_DOWNLOAD),
        (_download, "DOWNLOAD_LOW_SPEED_WINDOW_SECONDS", min(LOW_SPEED_WINDOW, stall)),
        (_download, "DOWNLOAD_RETRY_TIMES", 0),
        (_download, "DOWNLOAD_HASH_RETRY_TIMES", 1),
        (_download, "DOWNLOAD_SIZE_RETRY_TIMES", 1),
        (_download, "_incomplete_path", _partial_file),
        (_download, "DOWNLOAD_PARALLEL_THRESHOLD", 2 * _SMALLEST_RANGE),
        (_download, "DOWNLOAD_PARALLELS", RANGES),
        (_download, "DOWNLOAD_PART_SIZE", _RangeSize(_IN_RANGES.size)),
        (_download, "_parallel_download", _IN_RANGES.download),
        (_download, "ThreadPoolExecutor", _IN_RANGES.executor),
        (_download, "tqdm", partial(tqdm, disable=True)),  # it prints bars of its own, also into files
        (_legacy_api, "DOWNLOAD_TIMEOUT", stall),
    ]
    _IN_RANGES.take_over(_download._parallel_download)
    for module, name, value in settings:
        getattr(module, name)  # AttributeError if another version of the SDK names it otherwise
        setattr(module, name, value)
    logging.getLogger("modelscope_hub").setLevel(logging.CRITICAL)


class _RangeSize:
    """In the place of the number by which the SDK cuts all files alike: asked anew at each use."""

    def __init__(self, size: Callable[[], int]) -> None:
        self._size = size

    def __rfloordiv__(self, size: int) -> int:
        return size // self._size()

    def __rmul__(self, number: int) -> int:
        return number * self._size()


class _Ranges:
    """Decides for each download how many connections it gets. The SDK splits a file into ranges and falls back to one
    stream if the server gives none; it knows a number for all files alone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._in_use = 0
        self._undecided: list[int] = []  # threads of downloads that have not taken theirs, the first of them first
        self._calm_until = 0.0  # monotonic s, after the hub had too many requests
        self._mine = threading.local()
        self._split: Callable[..., str] | None = None

    @contextlib.contextmanager
    def in_order(self, file_size: int) -> Iterator[None]:
        """Around a download of this thread: of several at once the one that began first gets most, whichever of them
        learns first where its file is."""
        with self._lock:
            self._undecided += [threading.get_ident()] if file_size > 2 * _SMALLEST_RANGE else []
        try:
            yield
        finally:
            with self._lock:
                self._decided()

    def _decided(self) -> int:
        """How many downloads began before that of this thread and have not taken their connections; it takes its own
        now."""
        me = threading.get_ident()
        if me not in self._undecided:
            return 0
        before = self._undecided.index(me)
        del self._undecided[before]
        return before

    def download(self, url: str, target: Path, file_size: int, *arguments: Any, **more: Any) -> str:
        """In the place of the SDK's own, which does the work."""
        from modelscope_hub import _download

        assert self._split is not None
        with self._lock:
            count = ranges_for(self._in_use, self._decided())
            count = count if time.monotonic() >= self._calm_until else 0
            # The ranges lie beside the file, by its name with something added, which may have 255 bytes already.
            if count < 2 or len(os.fsencode(target.name)) > _LONGEST_SPLIT or _partial_file(target).exists():
                raise _download._RangeNotHonouredError("one connection is wanted")
            self._in_use += count
        self._mine.count, self._mine.size = count, range_of(file_size, _SMALLEST_RANGE, _RANGE)
        try:
            return self._split(url, target, file_size, *arguments, **more)
        except Exception as exc:
            if getattr(exc, "status_code", None) in LIMITED:
                self._calm_until = time.monotonic() + _CALM
            raise
        finally:
            with self._lock:
                self._in_use -= count

    def executor(self, max_workers: int | None = None, **more: Any) -> ThreadPoolExecutor:
        """The threads of one download."""
        return ThreadPoolExecutor(max_workers=getattr(self._mine, "count", max_workers), **more)

    def size(self) -> int:
        """Bytes of a range of the download of this thread."""
        return int(self._mine.size)

    def take_over(self, split: Callable[..., str]) -> None:
        """``split`` of the SDK does the work from now on."""
        if split != self.download:
            self._split = split


_IN_RANGES = _Ranges()
in_order = _IN_RANGES.in_order


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
