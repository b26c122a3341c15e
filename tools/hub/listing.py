"""Heads, listings and small files over plain HTTP: pinned to a commit, streamed, checked page by page.

A page that is no JSON, says ``Success: false``, repeats another or leaves the count short is an error, never the end
of the list.
"""

import contextlib
import json
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3

from tools.core.errors import HubError, HubForbidden, HubNotFound, HubRejected, HubUnavailable
from tools.core.folder import RemoteFile
from tools.hub.client import Head
from tools.hub.retrying import Retry, no_retry
from tools.runtime import logs

_BRANCH = "master"
_PAGE_SIZES = (3000, 1000, 200)  # the largest that a server really gives is found by trying, and kept
_AHEAD, _MOST_AHEAD = 4, 16  # pages fetched at the same time: of the largest size; of small ones
_TIMEOUT = (15.0, 60.0)  # s to connect, s without a byte
_SLOWEST = 4096  # bytes/s on average below which an answer counts as stalled
_PIECE = 1 << 18  # bytes
_LARGEST_PAGE = 64 << 20  # bytes; 3000 entries with paths of 4 kB are 15 MB
_LARGEST_TEXT = 256 << 20  # bytes; a metadata.jsonl of a million videos is smaller


@dataclass(frozen=True, slots=True)
class _Answer:
    """A whole answer with status 200."""

    headers: Mapping[str, str]
    content: bytes


class Listing:
    """Reads of one hub; threads may share it."""

    def __init__(self, endpoint: str, token: str, stall_timeout: float, retry: Retry = no_retry) -> None:
        """``retry`` makes the requests for single pages of a listing."""
        self._base = f"{endpoint}/api/v1/datasets"
        self._token = token
        self._stall = stall_timeout
        self._timeout = (min(_TIMEOUT[0], stall_timeout), min(_TIMEOUT[1], stall_timeout))
        self._retry = retry
        self._sessions = threading.local()
        self._page_size = 0  # 0: not found out yet

    def head(self, repo: str) -> Head | None:
        """One request. Raises HubNotFound without the repo."""
        answer = self._get(f"{repo}/commits", {"Ref": _BRANCH, "PageNumber": 1, "PageSize": 1})
        commits = _part(_content(answer), "Data", dict).get("Commit") or []
        if not commits:
            return None
        newest = commits[0] if isinstance(commits, list) and isinstance(commits[0], dict) else {}
        if not newest.get("Id"):
            raise HubUnavailable(f"the hub lists commits of {repo} without an id")
        return Head(str(newest["Id"]), _epoch(newest.get("CommittedDate")), server_time(answer.headers))

    def files(self, repo: str, commit: str) -> Iterator[RemoteFile]:
        """Every file at a commit, page by page; a few pages are fetched ahead."""
        return self._pages(repo, {"Revision": commit, "Recursive": "True"})

    def folder(self, repo: str, commit: str, folder: str) -> Iterator[RemoteFile]:
        """The files directly in a folder; nothing if it does not exist."""
        try:
            for file in self._pages(repo, {"Revision": commit, "Recursive": "False", "Root": folder}):
                if file.folder == folder:
                    yield file
        except HubNotFound:
            return

    def content(self, repo: str, commit: str, path: str) -> bytes | None:
        """A small file; None if it does not exist."""
        try:
            return self._get(f"{repo}/repo", {"Revision": commit, "FilePath": path}, _LARGEST_TEXT).content
        except HubNotFound:
            return None

    def _pages(self, repo: str, query: dict[str, Any]) -> Iterator[RemoteFile]:
        """Until an empty page, or a short one with which the count is full. Every path comes once."""
        page, size = self._first_page(repo, query)
        total, entries = _total(page), _entries(page)
        seen = _Paths()
        yield from _new_files(entries, seen, repo)
        most = max(_AHEAD, min(_MOST_AHEAD, _AHEAD * _PAGE_SIZES[0] // size))
        pool = ThreadPoolExecutor(most)
        try:
            ahead: deque[Future[dict[str, Any]]] = deque()
            number = 1
            while entries and not (len(entries) < size and total is not None and len(seen) >= total):
                while not ahead or (len(ahead) < most and total is not None and number * size < total):
                    number += 1
                    ahead.append(pool.submit(self._page, repo, query, number, size))
                entries = _entries(ahead.popleft().result())
                yield from _new_files(entries, seen, repo)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        if total is not None and len(seen) < total:
            raise HubUnavailable(f"the listing of {repo} came up short: {len(seen)} of {total} entries")

    def _first_page(self, repo: str, query: dict[str, Any]) -> tuple[dict[str, Any], int]:
        """The first page and its size, the largest that the server honours; that size is kept."""
        given = 0
        for size in (self._page_size,) if self._page_size else _PAGE_SIZES:
            page = self._page(repo, query, 1, size)
            total, got = _total(page), len(_entries(page))
            if got >= size or (total is not None and got >= total):
                self._page_size = size if got >= size else self._page_size
                return page, size
            if total is None:
                break  # whether that is all, only the next page tells
            given = got
        # A size that was kept and is not honoured any more is found out again the next time.
        self._page_size = given if not self._page_size else 0
        return page, max(1, got)

    def _page(self, repo: str, query: dict[str, Any], number: int, size: int) -> dict[str, Any]:
        return self._retry("list_page", partial(self._ask_page, repo, query, number, size))

    def _ask_page(self, repo: str, query: dict[str, Any], number: int, size: int) -> dict[str, Any]:
        try:
            return _content(self._get(f"{repo}/repo/tree", {**query, "PageNumber": number, "PageSize": size}))
        except HubForbidden as exc:
            if number > 1 and exc.status == 403:  # the first page was allowed: a known transient failure
                raise HubUnavailable(f"page {number} of the listing of {repo}: {exc}", status=403) from exc
            raise

    def _get(self, path: str, query: dict[str, Any], most: int = _LARGEST_PAGE) -> _Answer:
        """A whole answer of at most ``most`` bytes, that neither hangs nor trickles."""
        url = f"{self._base}/{path}"
        try:
            with self._session().get(url, params=query, timeout=self._timeout, stream=True) as answer:
                if answer.status_code != 200:
                    raise refusal(answer.status_code, path, answer.headers)
                return _Answer(answer.headers, self._body(answer, path, most))
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as exc:
            raise HubUnavailable(f"the hub at {urlsplit(url).netloc} does not answer: {type(exc).__name__}") from None

    def _body(self, answer: requests.Response, path: str, most: int) -> bytes:
        began = time.monotonic()
        body = bytearray()
        while piece := answer.raw.read1(_PIECE, decode_content=True):
            body += piece
            if len(body) > most:
                raise HubRejected(f"{path}: more than {most} bytes, too large to read into memory")
            if time.monotonic() - began > self._stall + len(body) / _SLOWEST:
                raise HubUnavailable(f"{path}: the answer is too slow, {len(body)} bytes in {self._stall:.0f} s")
        return bytes(body)

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


def refusal(status: int, path: str, headers: Mapping[str, str]) -> HubError:
    """What an answer with another status than 200 means."""
    text = f"{path.split('?')[0]}: HTTP {status}"
    if status in {401, 403}:
        return HubForbidden(f"{text}; check MODELSCOPE_API_TOKEN and its rights", status=status)
    if status == 404:
        return HubNotFound(f"{text}; it does not exist, or this token can't see it", status=status)
    if status in {408, 425, 429} or status >= 500:
        return HubUnavailable(text, retry_after=retry_after_of(headers), status=status)
    return HubRejected(text, status=status)


def retry_after_of(headers: Mapping[str, str]) -> float | None:
    """Seconds until the server wants to be asked again; None if it does not say.

    Source: RFC 9110 §10.2.3: seconds, or a date, which counts by the server's own clock.
    """
    text = headers.get("Retry-After", "").strip()
    if text.isdecimal() and text.isascii():
        return float(text[:9])
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        until = parsedate_to_datetime(text).timestamp()
        now = server_time(headers)
        return max(0.0, until - (time.time() if now is None else now))
    return None


def _content(answer: _Answer) -> dict[str, Any]:
    try:
        content = json.loads(answer.content)
    except (ValueError, RecursionError):
        raise HubUnavailable("the hub's answer is not JSON") from None
    if not isinstance(content, dict):
        raise HubUnavailable("the hub's answer is not a JSON object")
    code = str(content.get("Code") or 200)
    if content.get("Success") is not False and code == "200":
        return content
    text = f"the hub reports a failure: {logs.masked(str(content.get('Message')))[:200]}"
    if code in {"401", "403"}:
        raise HubForbidden(f"{text}; check MODELSCOPE_API_TOKEN and its rights", status=int(code))
    raise HubNotFound(text, status=404) if code == "404" else HubUnavailable(text)


def _part(content: Mapping[str, Any], name: str, kind: type) -> Any:
    """A part of an answer, empty if it is missing or of another kind."""
    found = content.get(name)
    return found if isinstance(found, kind) else kind()


def _entries(content: dict[str, Any]) -> list[dict[str, Any]]:
    return [entry for entry in _part(_part(content, "Data", dict), "Files", list) if isinstance(entry, dict)]


def _total(content: dict[str, Any]) -> int | None:
    total = _part(content, "Data", dict).get("TotalCount", content.get("TotalCount"))
    return total if isinstance(total, int) and not isinstance(total, bool) and total >= 0 else None


class _Paths:
    """Which paths came already: 8 bytes of hash each, since a set of a million paths is large."""

    def __init__(self) -> None:
        self._buckets = [bytearray() for _ in range(4096)]
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, path: str) -> bool:
        """Note a path; whether it is new."""
        number = hash(path)
        bucket, known = self._buckets[number & 4095], number.to_bytes(8, "little", signed=True)
        found = bucket.find(known)
        while found >= 0 and found % 8:  # halves of two others
            found = bucket.find(known, found + 1)
        if found >= 0:
            return False
        bucket += known
        self._count += 1
        return True


def _new_files(entries: list[dict[str, Any]], seen: _Paths, repo: str) -> Iterator[RemoteFile]:
    """The blobs of a page that no page had before.

    Raises HubUnavailable for a page that brings nothing new: a server that repeats itself hides what should be there.
    """
    before = len(seen)
    for entry in entries:
        path = entry.get("Path")
        if not isinstance(path, str) or not path:
            continue
        if seen.add(path) and entry.get("Type") == "blob":
            size = entry.get("Size")
            yield RemoteFile(
                path,
                size if isinstance(size, int) and size >= 0 else 0,
                str(entry.get("Sha256") or ""),
                _epoch(entry.get("CommittedDate")),
            )
    if entries and len(seen) == before:
        raise HubUnavailable(f"the listing of {repo} repeats itself")


def server_time(headers: Mapping[str, str]) -> float | None:
    """The server's clock at its answer, epoch s."""
    try:
        return parsedate_to_datetime(headers["Date"]).timestamp()
    except (KeyError, ValueError, TypeError):
        return None


def _epoch(value: Any) -> float | None:
    """Epoch s of a commit; None for what is no time."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if abs(number) < 1e12 else None
