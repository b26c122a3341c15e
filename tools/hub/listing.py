"""Heads, listings and small files over plain HTTP: pinned to a commit, streamed, checked page by page.

A page that is no JSON, says ``Success: false``, or leaves the count short is an error, never the end of the list.
"""

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import requests

from tools.core.errors import HubError, HubForbidden, HubNotFound, HubRejected, HubUnavailable
from tools.core.folder import RemoteFile
from tools.hub.client import Head

_BRANCH = "master"
_PAGE_SIZES = (3000, 1000, 200)  # the largest that a server really gives is found by asking, and kept
_AHEAD = 4  # pages fetched at the same time
_PAGE_TRIES = 4
_TIMEOUT = (15.0, 60.0)  # s to connect, s without a byte
_LARGEST_TEXT = 256 << 20  # bytes; a metadata.jsonl of a million videos is smaller


class Listing:
    """Reads of one hub; threads may share it."""

    def __init__(self, endpoint: str, token: str, stall_timeout: float) -> None:
        self._base = f"{endpoint}/api/v1/datasets"
        self._token = token
        self._timeout = (min(_TIMEOUT[0], stall_timeout), min(_TIMEOUT[1], stall_timeout))
        self._sessions = threading.local()
        self._page_size = _PAGE_SIZES[0]

    def head(self, repo: str) -> Head | None:
        """One request. Raises HubNotFound without the repo."""
        answer = self._get(f"{repo}/commits", {"Ref": _BRANCH, "PageNumber": 1, "PageSize": 1})
        content = _content(answer)
        commits = (content.get("Data") or {}).get("Commit") or []
        if not commits:
            return None
        newest = commits[0]
        return Head(str(newest["Id"]), _number(newest.get("CommittedDate")), _server_time(answer))

    def files(self, repo: str, commit: str) -> Iterator[RemoteFile]:
        """Every file at a commit, page by page; a few pages are fetched ahead."""
        return self._pages(repo, {"Revision": commit, "Recursive": "True"})

    def folder(self, repo: str, commit: str, folder: str) -> Iterator[RemoteFile]:
        """The files directly in a folder; nothing where it does not exist."""
        try:
            for file in self._pages(repo, {"Revision": commit, "Recursive": "False", "Root": folder}):
                if file.folder == folder:
                    yield file
        except HubNotFound:
            return

    def content(self, repo: str, commit: str, path: str) -> bytes | None:
        """A small file; None where it does not exist."""
        try:
            answer = self._get(f"{repo}/repo", {"Revision": commit, "FilePath": path})
        except HubNotFound:
            return None
        if len(answer.content) > _LARGEST_TEXT:
            raise HubRejected(f"{path} is too large to be read into memory")
        return answer.content

    def _pages(self, repo: str, query: dict[str, Any]) -> Iterator[RemoteFile]:
        first = self._first_page(repo, query)
        total = _total(first)
        entries = _entries(first)
        seen: set[str] = set()
        got = len(entries)
        yield from _files(entries, seen)
        size = self._page_size
        if len(entries) < size and (total is None or got >= total):
            return
        with ThreadPoolExecutor(_AHEAD) as pool:
            ahead: list[Future[dict[str, Any]]] = []
            number = 2
            while entries:
                while len(ahead) < _AHEAD and (total is None or (number - 1) * size < total):
                    ahead.append(pool.submit(self._page, repo, query, number, size))
                    number += 1
                if not ahead:
                    break
                entries = _entries(ahead.pop(0).result())
                got += len(entries)
                yield from _files(entries, seen)
                if total is None and len(entries) < size:
                    break
        if total is not None and got < total:
            raise HubUnavailable(f"the listing of {repo} came up short: {got} of {total} entries")

    def _first_page(self, repo: str, query: dict[str, Any]) -> dict[str, Any]:
        """The first page, in the largest size that the server honours; that size is kept."""
        while True:
            page = self._page(repo, query, 1, self._page_size)
            total, got = _total(page), len(_entries(page))
            clamped = got < self._page_size and (total is not None and got < total)
            if not clamped:
                return page
            self._page_size = got if got > 0 else _PAGE_SIZES[-1]

    def _page(self, repo: str, query: dict[str, Any], number: int, size: int) -> dict[str, Any]:
        """One page, tried again where the hub stumbles: it is known to refuse single pages of a list with 403."""
        for attempt in range(_PAGE_TRIES):
            try:
                answer = self._get(f"{repo}/repo/tree", {**query, "PageNumber": number, "PageSize": size})
                return _content(answer)
            except (HubUnavailable, HubForbidden) as exc:
                if isinstance(exc, HubForbidden) and number == 1:
                    raise
                asked = isinstance(exc, HubUnavailable) and exc.retry_after is not None
                if asked:
                    raise  # the wrapper waits as long as the server asks
                if attempt == _PAGE_TRIES - 1:
                    raise HubUnavailable(f"page {number} of the listing of {repo}: {exc}") from exc
                time.sleep(0.2 * 2**attempt)
        raise AssertionError("unreachable")

    def _get(self, path: str, query: dict[str, Any]) -> requests.Response:
        url = f"{self._base}/{path}"
        try:
            answer = self._session().get(url, params=query, timeout=self._timeout)
        except requests.RequestException as exc:
            raise HubUnavailable(f"the hub at {urlsplit(url).netloc} does not answer: {type(exc).__name__}") from None
        if answer.status_code != 200:
            raise _refusal(answer, path)
        return answer

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._sessions, "session", None)
        if session is None:
            session = requests.Session()
            if self._token:
                # As a header of the session it does not follow a redirect to another host.
                session.headers["Authorization"] = f"Bearer {self._token}"
                session.cookies.set("m_session_id", self._token, domain=urlsplit(self._base).hostname or "")
            self._sessions.session = session
        return session


def _refusal(answer: requests.Response, path: str) -> HubError:
    status = answer.status_code
    text = f"{path.split('?')[0]}: HTTP {status}"
    if status in {401, 403}:
        return HubForbidden(f"{text}; check MODELSCOPE_API_TOKEN and its rights", status=status)
    if status == 404:
        return HubNotFound(f"{text}; it does not exist, or this token can't see it", status=status)
    if status == 429 or status >= 500:
        return HubUnavailable(text, retry_after=_number(answer.headers.get("Retry-After")))
    return HubRejected(text, status=status)


def _content(answer: requests.Response) -> dict[str, Any]:
    try:
        content = json.loads(answer.content)
    except ValueError:
        raise HubUnavailable("the hub answered with something else than JSON") from None
    if (
        not isinstance(content, dict)
        or content.get("Success") is False
        or content.get("Code") not in {200, "200", None}
    ):
        said = content.get("Message") if isinstance(content, dict) else None
        raise HubUnavailable(f"the hub says that it did not succeed: {str(said)[:200]}")
    return content


def _entries(content: dict[str, Any]) -> list[dict[str, Any]]:
    found = (content.get("Data") or {}).get("Files") or []
    return [entry for entry in found if isinstance(entry, dict)]


def _total(content: dict[str, Any]) -> int | None:
    total = (content.get("Data") or {}).get("TotalCount", content.get("TotalCount"))
    return int(total) if isinstance(total, int) and total >= 0 else None


def _files(entries: list[dict[str, Any]], seen: set[str]) -> Iterator[RemoteFile]:
    """The blobs of a page; a path that the page before had too (a server that repeats) comes once."""
    before = seen.copy()
    seen.clear()
    for entry in entries:
        path = str(entry.get("Path") or "")
        seen.add(path)
        if entry.get("Type") == "blob" and path and path not in before:
            yield RemoteFile(
                path, int(entry.get("Size") or 0), str(entry.get("Sha256") or ""), _number(entry.get("CommittedDate"))
            )


def _server_time(answer: requests.Response) -> float | None:
    try:
        return parsedate_to_datetime(answer.headers["Date"]).timestamp()
    except (KeyError, ValueError, TypeError):
        return None


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
