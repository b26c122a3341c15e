"""Heads, listings and small files over plain HTTP: pinned to a commit, streamed, checked page by page.

A page that is no JSON, says ``Success: false``, has no list or repeats another is an error, never the end of the list.
That nothing is there (no commits, no folder) is believed only if a second question at the same commit says so too; a
listing that stays below the hub's own count only if it comes out the same by pages of another size.
"""

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3

from tools.core.errors import HubForbidden, HubNotFound, HubRejected, HubUnavailable
from tools.core.folder import RemoteFile
from tools.hub import answers
from tools.hub.answers import Reading
from tools.hub.client import Head
from tools.hub.proxy import by_proxy
from tools.hub.retrying import Retry, no_retry
from tools.runtime.once import Once

log = logging.getLogger("animation.hub")
_BRANCH = "master"
_PAGE_SIZES = (3000, 1000, 200)  # the largest that a server really gives is found by trying, and kept
_AHEAD, _MOST_AHEAD = 4, 16  # pages fetched at the same time: of the largest size; of small ones
_TIMEOUT = (15.0, 60.0)  # s to connect, s without a byte
_SLOWEST = 4096  # bytes/s on average below which an answer counts as stalled
_PIECE = 1 << 18  # bytes
_RECENT = 100  # commits among which one of ours must be
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
        self._said = Once()  # by repo

    def head(self, repo: str) -> Head | None:
        """One request, two for a repo without commits. Raises HubNotFound without the repo."""
        commits, server_time = self._commits(repo, 1)
        if not commits:
            self._confirm_no_commits(repo)
            return None
        newest = answers.commit_id_of(commits[0].get("Id"))
        if newest is None:
            raise HubUnavailable(f"the hub lists commits of {repo} without an id")
        return Head(newest, answers.epoch_of(commits[0].get("CommittedDate")), server_time)

    def recent(self, repo: str) -> list[str]:
        """Ids of the newest commits, newest first; one request."""
        return [str(commit.get("Id")) for commit in self._commits(repo, _RECENT)[0]]

    def _commits(self, repo: str, count: int) -> tuple[list[dict[str, Any]], float | None]:
        try:
            answer = self._get(f"{repo}/commits", {"Ref": _BRANCH, "PageNumber": 1, "PageSize": count})
        except HubNotFound as exc:  # whose words name an address, which means nothing to people
            raise HubNotFound(f"{repo} does not exist, or this token can't see it", status=exc.status) from exc
        content = answers.content_of(answer.content)
        commits = answers.list_of(content, "Commit")
        if not commits and answers.total_of(content):
            raise HubUnavailable(f"the hub counts commits of {repo} and lists none")
        return commits, answers.server_time(answer.headers)

    def _confirm_no_commits(self, repo: str) -> None:
        """Raises HubUnavailable if the branch has files after all."""
        try:
            page = self._page(repo, {"Revision": _BRANCH, "Recursive": "False"}, 1, 1)
        except HubNotFound:
            return
        if answers.list_of(page, "Files"):
            raise HubUnavailable(f"the hub lists no commits of {repo}, but files")

    def files(self, repo: str, commit: str) -> Iterator[RemoteFile]:
        """Every file at a commit, page by page; a few pages are fetched ahead."""
        return self._pages(repo, {"Revision": commit, "Recursive": "True"})

    def folder(self, repo: str, commit: str, folder: str) -> Iterator[RemoteFile]:
        """The files directly in a folder; nothing if the folder above does not know it either."""
        files = self._pages(repo, {"Revision": commit, "Recursive": "False", **({"Root": folder} if folder else {})})
        try:
            yield from (file for file in files if file.folder == folder)
        except HubNotFound:
            if not folder or self._is_listed(repo, commit, folder):
                raise HubUnavailable(f"the hub lists {folder!r} of {repo} and does not find it", status=404) from None
        except _NothingListed:
            if folder and self._is_listed(repo, commit, folder):
                raise

    def _is_listed(self, repo: str, commit: str, folder: str) -> bool:
        """Whether the folder above lists it at this commit; one that is not there itself lists nothing."""
        above = folder.rpartition("/")[0]
        reading = Reading(repo)
        query = {"Revision": commit, "Recursive": "False", **({"Root": above} if above else {})}
        try:
            for entries in self._read(reading, query):
                if any(entry.get("Path") == folder for entry in entries):
                    return True
                reading.take(entries)
        except (HubNotFound, _NothingListed):
            if not above:
                raise  # the commit itself is not known there
            return self._is_listed(repo, commit, above)
        if reading.is_short:
            self._confirm_short(reading, query)
        return False

    def content(self, repo: str, commit: str, path: str) -> bytes | None:
        """A small file; None if it does not exist."""
        try:
            return self._get(f"{repo}/repo", {"Revision": commit, "FilePath": path}, _LARGEST_TEXT).content
        except HubNotFound:
            return None

    def beginning(self, repo: str, commit: str, path: str, size: int) -> int:
        """How many of the first ``size`` bytes of a file came; nothing is read beyond them."""
        return len(self._get(f"{repo}/repo", {"Revision": commit, "FilePath": path}, first=size).content)

    def _pages(self, repo: str, query: dict[str, Any]) -> Iterator[RemoteFile]:
        """Until an empty page, or a short one with which the count is full. Every path comes once."""
        reading = Reading(repo)
        for entries in self._read(reading, query):
            yield from reading.new_files(entries)
        if reading.is_short:
            self._confirm_short(reading, query)

    def _read(self, reading: Reading, query: dict[str, Any], size: int = 0) -> Iterator[list[dict[str, Any]]]:
        """The pages of a listing. ``size`` entries each; 0: as many as the server gives."""
        repo = reading.repo
        page, size = (self._page(repo, query, 1, size), size) if size else self._first_page(repo, query)
        reading.total, reading.size = answers.total_of(page), size
        entries = answers.list_of(page, "Files")
        yield entries
        if not entries and reading.total != 0:
            raise _NothingListed(f"the hub lists nothing of {repo} and does not say that nothing is there")
        most = max(_AHEAD, min(_MOST_AHEAD, _AHEAD * _PAGE_SIZES[0] // size))
        pool = ThreadPoolExecutor(most)
        try:
            ahead: deque[Future[dict[str, Any]]] = deque()
            number = 1
            while entries and not (len(entries) < size and reading.is_full):
                while not ahead or (len(ahead) < most and number * size < (reading.total or 0)):
                    number += 1
                    ahead.append(pool.submit(self._page, repo, query, number, size))
                entries = answers.list_of(ahead.popleft().result(), "Files")
                yield entries
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _confirm_short(self, reading: Reading, query: dict[str, Any]) -> None:
        """Some hub may count what is no distinct path: then nothing is missing. Raises HubUnavailable otherwise."""
        self._page_size = 0  # found with a count that does not fit
        again, listed = Reading(reading.repo), len(reading.seen)
        with contextlib.suppress(HubNotFound, _NothingListed):
            for entries in self._read(again, query, reading.size // 2 + 1):
                again.take(entries)
        if not again.is_same(reading):
            raise HubUnavailable(f"the listing of {reading.repo} came up short: {listed} of {reading.total} entries")
        if self._said.is_news(reading.repo):
            said = "the hub counts more entries than it lists, the same twice; taken as listed"
            log.warning("%s: repo=%s listed=%d counted=%d", said, reading.repo, listed, reading.total)

    def _first_page(self, repo: str, query: dict[str, Any]) -> tuple[dict[str, Any], int]:
        """The first page and its size, the largest that the server honours; that size is kept."""
        given = 0
        for size in (self._page_size,) if self._page_size else _PAGE_SIZES:
            page = self._page(repo, query, 1, size)
            total, got = answers.total_of(page), len(answers.list_of(page, "Files"))
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
            content = answers.content_of(
                self._get(f"{repo}/repo/tree", {**query, "PageNumber": number, "PageSize": size}).content
            )
            answers.list_of(content, "Files")
            return content
        except (HubForbidden, HubNotFound) as exc:
            if number > 1 and exc.status in {403, 404}:  # the first page was there: a known transient failure
                raise HubUnavailable(f"page {number} of the listing of {repo}: {exc}", status=exc.status) from exc
            raise

    def _get(self, path: str, query: dict[str, Any], most: int = _LARGEST_PAGE, *, first: int = 0) -> _Answer:
        """A whole answer of at most ``most`` bytes, that neither hangs nor trickles; or its ``first`` bytes alone."""
        url, headers = f"{self._base}/{path}", {"Range": f"bytes=0-{first - 1}"} if first else {}
        try:
            with self._session().get(url, params=query, headers=headers, timeout=self._timeout, stream=True) as answer:
                if answer.status_code != 200 and not (first and answer.status_code == 206):
                    raise answers.refusal(answer.status_code, path, answer.headers)
                return _Answer(answer.headers, self._body(answer, path, most, first))
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as exc:
            said = f"the hub at {urlsplit(url).netloc} does not answer ({type(exc).__name__}){by_proxy(url)}"
            raise HubUnavailable(said) from None

    def _body(self, answer: requests.Response, path: str, most: int, first: int) -> bytes:
        began = time.monotonic()
        body = bytearray()
        while (wanted := first - len(body) if first else _PIECE) > 0:
            if not (piece := answer.raw.read1(wanted, decode_content=True)):
                break
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
            session.hooks["response"].append(_unread_if_redirect)
            if self._token:
                # As a header of the session it does not follow a redirect to another host.
                session.headers["Authorization"] = f"Bearer {self._token}"
                session.cookies.set("m_session_id", self._token, domain=urlsplit(self._base).hostname or "")
            self._sessions.session = session
        return session


def _unread_if_redirect(answer: requests.Response, **_: Any) -> None:
    """Before it goes on requests reads whole what comes with a redirect, however much that is."""
    if answer.is_redirect:
        answer.close()


class _NothingListed(HubUnavailable):
    """An empty list that no count confirms."""
