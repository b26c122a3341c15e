"""Small working stand-ins for what tests can't have: time on demand, a hub in memory, a converter that copies."""

import copy
import hashlib
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tools.core.errors import HubNotFound, HubRejected, Stopped
from tools.core.folder import RemoteFile
from tools.core.frames import END, Frame, Origin, lack, member, row_bytes, rows_of
from tools.core.options import Option, Options, Wanted, options_text
from tools.hub.client import AddBlob, Head, Operation, Progress, Remove
from tools.media.ahead import Ahead, Nobody, unless_refused
from tools.media.aim import Hints
from tools.media.converter import Beside, Conversion, EncodeProgress, Held, unheld
from tools.media.frames import FramesMade
from tools.processor.reporting import Event
from tools.runtime.clock import SystemClock


class FakeClock:
    """A clock that moves when somebody sleeps or a test says so. ``slept`` lists the waits."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now
        self.steady = 1000.0
        self.stopping = False
        self.slept: list[float] = []

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.steady

    def sleep(self, seconds: float) -> bool:
        self.slept.append(seconds)
        self.pass_time(seconds)
        return self.stopping

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.steady += seconds


class HastyClock(SystemClock):
    """The machine's clock, ``speed`` times as fast: what would wait for a second waits for a part of it, and threads
    and requests take the time that they take."""

    def __init__(self, speed: float = 20.0) -> None:
        super().__init__()
        self._speed = speed
        self._began = time.monotonic()
        self._wall = time.time()

    def _passed(self) -> float:
        return (time.monotonic() - self._began) * self._speed

    def time(self) -> float:
        return self._wall + self._passed()

    def monotonic(self) -> float:
        return self._began + self._passed()

    def sleep(self, seconds: float) -> bool:
        return super().sleep(seconds / self._speed)


@dataclass(slots=True)
class _MemoryRepo:
    commits: list[tuple[str, float, dict[str, tuple[int, str, float]]]] = field(default_factory=list)


class MemoryHub:
    """A hub client over dictionaries. ``put`` plays the uploader; ``clock`` gives commit and server times."""

    def __init__(self, clock: FakeClock | None = None) -> None:
        self.clock = clock or FakeClock()
        self._repos: dict[str, _MemoryRepo] = {}
        self._blobs: dict[str, bytes] = {}

    def put(self, repo: str, files: Mapping[str, bytes | None], message: str = "put") -> str:
        """Commit files (None = delete); makes the repo when it is missing."""
        held = self._repos.setdefault(repo, _MemoryRepo())
        now = float(int(self.clock.time()))
        tree = dict(held.commits[-1][2]) if held.commits else {}
        for path, content in files.items():
            if content is None:
                tree.pop(path, None)
                continue
            sha256 = hashlib.sha256(content).hexdigest()
            self._blobs[sha256] = content
            tree[path] = (len(content), sha256, now)
        commit = hashlib.sha1(f"{repo}{len(held.commits)}{message}".encode()).hexdigest()
        held.commits.append((commit, now, tree))
        return commit

    def commits_of(self, repo: str) -> int:
        return len(self._repos[repo].commits)

    def whoami(self) -> str:
        return "memory"

    def repo_exists(self, repo: str) -> bool:
        return repo in self._repos

    def create_repo(self, repo: str) -> bool:
        is_new = repo not in self._repos
        self._repos.setdefault(repo, _MemoryRepo())
        return is_new

    def need_write(self, repo: str) -> None:
        self._repo(repo)

    def head(self, repo: str) -> Head | None:
        commits = self._repo(repo).commits
        return Head(commits[-1][0], commits[-1][1], float(int(self.clock.time()))) if commits else None

    def recent(self, repo: str) -> list[str]:
        return [commit for commit, _, _ in reversed(self._repo(repo).commits)]

    def list_files(self, repo: str, commit: str) -> Iterator[RemoteFile]:
        for path, (size, sha256, when) in sorted(self._tree(repo, commit).items()):
            yield RemoteFile(path, size, sha256, when)

    def list_folder(self, repo: str, commit: str, folder: str) -> list[RemoteFile]:
        return [file for file in self.list_files(repo, commit) if file.folder == folder]

    def read_file(self, repo: str, commit: str, path: str) -> bytes | None:
        found = self._tree(repo, commit).get(path)
        return None if found is None else self._blobs[found[1]]

    def download(self, repo: str, commit: str, file: RemoteFile, target: Path, progress: Progress) -> str:
        content = self.read_file(repo, commit, file.path)
        if content is None:
            raise HubNotFound(f"no {file.path}", status=404)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        progress(len(content))
        return hashlib.sha256(content).hexdigest()

    def glance(self, repo: str, commit: str, file: RemoteFile) -> None:
        if self.read_file(repo, commit, file.path) is None:
            raise HubNotFound(f"no {file.path}", status=404)

    def store_blob(self, repo: str, source: Path, sha256: str, size: int, progress: Progress) -> None:
        self._repo(repo)
        self._blobs[sha256] = source.read_bytes()
        progress(size)

    def lacks(self, repo: str, blobs: Sequence[tuple[str, int]]) -> set[str]:
        self._repo(repo)
        return {sha256 for sha256, _ in blobs if sha256 not in self._blobs}

    def commit(self, repo: str, operations: Sequence[Operation], message: str) -> str:
        files: dict[str, bytes | None] = {}
        for operation in operations:
            if isinstance(operation, Remove):
                files[operation.path] = None
                continue
            if isinstance(operation, AddBlob) and operation.sha256 not in self._blobs:
                raise HubRejected(f"no blob {operation.sha256}", status=400)
            content = self._blobs[operation.sha256] if isinstance(operation, AddBlob) else operation.content
            files[operation.path] = content
        self._repo(repo)
        return self.put(repo, files, message)

    def lose_blobs(self) -> None:
        """Forget all blobs that no commit named."""
        named = {blob for repo in self._repos.values() for _, _, tree in repo.commits for _, blob, _ in tree.values()}
        self._blobs = {sha256: content for sha256, content in self._blobs.items() if sha256 in named}

    def _repo(self, repo: str) -> _MemoryRepo:
        try:
            return self._repos[repo]
        except KeyError:
            raise HubNotFound(f"no dataset {repo}", status=404) from None

    def _tree(self, repo: str, commit: str) -> dict[str, tuple[int, str, float]]:
        for found, _, tree in self._repo(repo).commits:
            if found == commit:
                return tree
        raise HubNotFound(f"no revision {commit}", status=404)


class FakeConverter:
    """Copies: a result is ``mark`` and the source's content, after ``seconds``. ``encoded`` are the contents in order.

    ``troubles``: what to raise for a content, once for each entry; ``refused``: always. While ``hold`` is not set every
    encode waits. ``options`` are in force. ``during`` is called in each stage, with its name, the source and the wish
    to stop, before anything else happens there; ``durable`` results are on the disk before they have their name. One
    that ``tells`` tells of a result before its verification; what ``during`` raises then refuses it.
    """

    def __init__(
        self,
        *,
        mark: bytes = b"av1:",
        seconds: float = 0.0,
        durable: bool = False,
        tells: bool = False,
        during: Callable[[str, Path, threading.Event], None] | None = None,
    ) -> None:
        self.troubles: dict[bytes, list[Exception]] = {}
        self.refused: dict[bytes, BaseException] = {}
        self.hints: list[Hints] = []  # of each conversion
        self.encoded: list[bytes] = []
        self.verified_with: list[int | None] = []  # cores, of each verification
        self.options: dict[str, Option] = {}
        self.hold = threading.Event()
        self.hold.set()
        self._mark, self._seconds, self._durable, self._tells = mark, seconds, durable, tells
        self._ahead: Ahead = Nobody()
        self._streams: list[dict[str, object]] = []
        self.lacks: set[str] = set()  # of what makes pictures; those of a content with ``hdr`` need "zscale"
        self._framed: tuple[Origin, Path] | None = None
        self._during = during or (lambda stage, source, stop: None)

    def prepare(self) -> str:
        return "a fake"

    def version(self) -> str:
        return "0"

    def wanted(self) -> Wanted:
        return Wanted(self.options, {})

    def with_beside(self, video: str, files: Sequence[Beside]) -> "FakeConverter":
        other = copy.copy(self)
        other._mark += b"".join(b"%b+" % file.name.encode() for file in files)
        other._streams = [{"index": -1, "type": "subtitle", "codec": "ass"} for _ in files]
        return other

    def with_frames(self, origin: Origin, target: Path) -> "FakeConverter":
        other = copy.copy(self)
        other._framed = origin, target
        return other

    def frames_alone(
        self, source: Path, stop: threading.Event, held: Held = unheld
    ) -> tuple[FramesMade | None, list[str]]:
        with held("encode"):
            self._during("frames", source, stop)
            made = self._frames(source.read_bytes())
            said = [] if made else [self._why(source.read_bytes())]
        return made, said

    def frames_lack(self, names: Collection[str] = ()) -> frozenset[str]:
        return frozenset(self.lacks.intersection({"libwebp", *names}))

    def _why(self, content: bytes) -> str:
        needed = {"libwebp", "zscale"} if b"hdr" in content else {"libwebp"}
        return lack(self.lacks & needed) if self.lacks & needed else "no frames: asked for none"

    def _frames(self, content: bytes) -> FramesMade | None:
        """A picture whose content is the source's; none, as if it could not be made, of one that ends in ``!``."""
        if self._framed is None:
            return None
        origin, target = self._framed
        if content.endswith(b"!") or self.frames_lack({"zscale"} if b"hdr" in content else ()):
            self._write(target, END)
            return None
        frame = Frame(1, 0, 0.0, 0.0, 1.0, 320, 180, "0" * 16, hashlib.sha256(content).hexdigest())
        rows = rows_of(origin, [frame])
        name = rows[0]["key"]
        pieces = [*member(f"{name}.json", row_bytes(rows[0])), *member(f"{name}.webp", content), END]
        archive = b"".join(pieces)
        self._write(target, archive)
        return FramesMade(1, (frame,), hashlib.sha256(archive).hexdigest(), len(archive))

    def with_options(self, options: Options) -> "FakeConverter":
        other = copy.copy(self)
        other.options = {**self.options, **options}
        other._mark += "".join(f"{name}={value} " for name, value in options.items()).encode()
        return other

    def with_hints(self, hints: Hints) -> "FakeConverter":
        self.hints.append(hints)
        return self

    def with_ahead(self, ahead: Ahead) -> "FakeConverter":
        other = copy.copy(self)
        other._ahead = ahead if self._tells else Nobody()
        return other

    def convert(
        self,
        source: Path,
        target: Path,
        *,
        on_progress: Callable[[EncodeProgress], None],
        stop: threading.Event,
        threads: int | None = None,
        held: Held = unheld,
    ) -> Conversion:
        with held("encode"):
            content = source.read_bytes()
            if stop.is_set():
                raise Stopped("stopped")
            self.encoded.append(content)
            on_progress(EncodeProgress(percent=50.0, fps=24.0, speed=1.0, eta_s=1.0))
            self._during("encode", source, stop)
            self._wait_for_release(stop)
            self._fail(content)
            result = self._mark + content
            self._write(target, result)
        sha256 = hashlib.sha256(result).hexdigest()
        with held("verify") as cores, unless_refused(self._ahead):
            self.verified_with.append(cores)
            self._ahead.begin(target, sha256)
            self._during("verify", source, stop)
        frames = self._frames(content)
        said = (self._why(content),) if self._framed and frames is None else ()
        made = options_text({"encoder": "fake"} | self.options)
        return Conversion(
            "transcode",
            1.0,
            24,
            320,
            180,
            "fake",
            "",
            self._streams,
            None,
            sha256,
            len(result),
            said,
            options=made,
            scenes=frames,
        )

    def _wait_for_release(self, stop: threading.Event) -> None:
        if self._seconds and stop.wait(self._seconds):
            raise Stopped("stopped")
        while not self.hold.wait(0.01):
            if stop.is_set():
                raise Stopped("stopped")

    def _fail(self, content: bytes) -> None:
        if content in self.refused:
            raise self.refused[content]
        if self.troubles.get(content):
            raise self.troubles[content].pop(0)

    def _write(self, target: Path, result: bytes) -> None:
        part = target.with_name("part.mkv")
        with part.open("wb") as stream:
            stream.write(result)
            if self._durable:
                stream.flush()
                os.fsync(stream.fileno())
        part.replace(target)


class Told:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def observe(self, event: Event) -> None:
        self.events.append(event)
