"""What an answer of the hub says, read as a stranger's: each part is there with its own type, or the answer is none.

"Empty" and "absent" are told apart: a missing ``Data`` is a hub that can't answer now, never a repo without files.
"""

import contextlib
import json
import re
import time
from collections import deque
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from tools.core.errors import HubError, HubForbidden, HubNotFound, HubRejected, HubUnavailable
from tools.core.folder import RemoteFile
from tools.runtime import logs

# How the hub says that there is no more room; it does so with 400, 403 and others, and with various codes.
_FULL = re.compile(
    r"quota|insufficient storage|storage (space )?(is )?(full|limit|exceed)"
    r"|(空间|容量|存储|配额|额度)[^，。,;]{0,12}(不足|已满|用尽|超|上限)|超[^，。,;]{0,8}(配额|额度|容量)",
    re.IGNORECASE,
)
FULL = "the hub's storage is full: free space or ask for more"
"""What is said of that."""
_SHA256 = re.compile("[0-9a-f]{64}")
_COMMIT = re.compile("[0-9a-f]{7,64}", re.IGNORECASE)
_LARGEST = 1 << 53  # bytes of a file; more is no size


def content_of(body: bytes) -> dict[str, Any]:
    """The JSON object of a successful answer. Raises HubUnavailable for anything else, or the refusal that it names."""
    try:
        content = json.loads(body)
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


def list_of(content: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """The objects of the list ``name`` in ``Data``; ``null`` is an empty list only beside a count.

    Raises HubUnavailable if there is no such list.
    """
    data = content.get("Data")
    found = data.get(name, "") if isinstance(data, dict) else ""
    if found is None and total_of(content) is not None:
        found = []
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise HubUnavailable(f"the hub's answer has no list of {name}")
    return found


def total_of(content: Mapping[str, Any]) -> int | None:
    """How many entries there are on all pages; None if the hub does not tell."""
    data = content.get("Data")
    total = data.get("TotalCount", content.get("TotalCount")) if isinstance(data, dict) else None
    return total if isinstance(total, int) and not isinstance(total, bool) and total >= 0 else None


def commit_id_of(value: object) -> str | None:
    """A commit's id; None for what is none."""
    return value if isinstance(value, str) and _COMMIT.fullmatch(value) else None


def file_of(entry: Mapping[str, Any]) -> RemoteFile | None:
    """The file of an entry of a listing; None for a folder or anything else that is no file.

    Raises HubUnavailable for an entry that makes no sense: skipped, it would be a file that is missing.
    """
    path, kind = entry.get("Path"), entry.get("Type")
    if not isinstance(path, str) or not isinstance(kind, str):
        raise HubUnavailable("the listing has an entry without a path or a type")
    if kind != "blob":
        return None
    size, sha256 = entry.get("Size"), entry.get("Sha256")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < _LARGEST or not path:
        raise HubUnavailable(f"the listing tells no size of {path[:200]!r}")
    known = sha256.lower() if isinstance(sha256, str) else ""
    return RemoteFile(path, size, known if _SHA256.fullmatch(known) else "", epoch_of(entry.get("CommittedDate")))


def epoch_of(value: object) -> float | None:
    """Epoch s of a commit; None for what is no time."""
    try:
        number = float(value)  # type: ignore[arg-type]  # whatever it is
    except (TypeError, ValueError, OverflowError):
        return None
    return number if abs(number) < 1e12 else None


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


def server_time(headers: Mapping[str, str]) -> float | None:
    """The server's clock at its answer, epoch s."""
    try:
        return parsedate_to_datetime(headers["Date"]).timestamp()
    except (KeyError, ValueError, TypeError):
        return None


class Paths:
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


class Reading:
    """One way through all pages of a listing: which paths came, and a digest of what came."""

    def __init__(self, repo: str) -> None:
        self.repo = repo
        self.total: int | None = None  # as the hub counts
        self.size = 0  # entries per page
        self.seen = Paths()
        self._digest = 0

    @property
    def is_full(self) -> bool:
        return self.total is not None and len(self.seen) >= self.total

    @property
    def is_short(self) -> bool:
        return self.total is not None and len(self.seen) < self.total

    def is_same(self, other: "Reading") -> bool:
        """Whether it brought the same, in whichever order."""
        return (self.total, len(self.seen), self._digest) == (other.total, len(other.seen), other._digest)

    def new_files(self, entries: list[dict[str, Any]]) -> Iterator[RemoteFile]:
        """The files of a page that no page had before.

        Raises HubUnavailable for a page that brings nothing new: a server that repeats itself hides what should be
        there.
        """
        before = len(self.seen)
        for entry in entries:
            file, path = file_of(entry), entry["Path"]
            if path and self.seen.add(path):
                self._digest ^= hash((path, file))
                if file is not None:
                    yield file
        if entries and len(self.seen) == before:
            raise HubUnavailable(f"the listing of {self.repo} repeats itself")

    def take(self, entries: list[dict[str, Any]]) -> None:
        """Count a page whose files nobody wants."""
        deque(self.new_files(entries), maxlen=0)


def says_full(said: str) -> bool:
    """Whether a refusal speaks of room; what a dataset or a file is called does not count."""
    return _FULL.search(re.sub(r"\S*/\S*", "", said)) is not None
