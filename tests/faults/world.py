"""A whole site in one process and one thread: monitor, queue, engine, a hub in memory, a clock on demand, crashes.

Every effect passes a numbered point: before and after each fsync, write, rename, link, unlink and mkdir below the
site's folder, and before and after each call of the hub. A life may be told to die at one of them. Then nothing that
it tries afterwards has any effect, and a power cut may take what was not fsynced, names of files included.
"""

import contextlib
import hashlib
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from config import Settings
from tests.fakes import FakeClock, FakeConverter, MemoryHub
from tools.core.artifact import ArtifactKind
from tools.core.errors import HubUnavailable
from tools.core.folder import RemoteFile
from tools.core.planning import VideoJob
from tools.core.queue_item import QueueItem
from tools.core.reuse import Rule
from tools.core.sidecar import SidecarRules
from tools.hub.client import AddBlob, HubClient, Operation
from tools.modelscope_monitor import ModelScopeMonitor
from tools.processor.build import ProcessorOptions, build, local_executor
from tools.processor.engine import Engine
from tools.processor.executor import Deliver, LocalExecutor, Note, _LocalContext
from tools.processor.hub_thread import Answer, HubThreads, T, Work, answer_to
from tools.stages.job_context import JobTools
from tools.state.history import HISTORY_FILE
from tools.state.journal import Event
from tools.state.results import RESULTS_FILE
from tools.state.work_queue import WorkQueue

EXTENSIONS = frozenset({"mp4", "mkv"})
STABLE, INTERVAL, CHECK = 600.0, 300.0, 60.0  # s


class Crash(BaseException):
    """kill -9, seen from inside."""


@dataclass(slots=True)
class Points:
    """Counts what happens, and dies at ``crash_at`` (0 = never). ``names`` of all points passed."""

    crash_at: int = 0
    names: list[str] = field(default_factory=list)
    is_dead: bool = False

    def pass_by(self, name: str) -> None:
        if self.is_dead:
            raise Crash("dead already")
        self.names.append(name)
        if len(self.names) == self.crash_at:
            self.is_dead = True
            raise Crash(name)

    @contextlib.contextmanager
    def around(self, name: str) -> Iterator[None]:
        self.pass_by("before " + name)
        yield
        self.pass_by("after " + name)


class Disk:
    """The files below ``top`` while patched: passes points, and knows what a power cut leaves."""

    def __init__(self, top: Path, points: Points) -> None:
        self._top = top
        self._points = points
        self._durable: dict[int, bytes] = {}  # by inode
        self._undo: dict[Path, list[Callable[[], None]]] = {}  # by folder: names that are not durable yet

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        self._real = {name: getattr(os, name) for name in ("replace", "link", "unlink", "mkdir", "rmdir", "write")}
        for path in filter(Path.is_file, self._top.rglob("*")):
            self._durable[path.stat().st_ino] = path.read_bytes()  # of an earlier life
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", self._fsync)
            patch.setattr(os, "open", self._opened(os.open))
            for name in self._real:
                patch.setattr(os, name, self._wrapped(name))
            yield

    def _wrapped(self, name: str) -> Callable[..., Any]:
        real = self._real[name]

        def call(first: Any, *rest: Any, **more: Any) -> Any:
            path = self._path(first, more.get("dir_fd"))
            if not path.is_relative_to(self._top) or path.suffix == ".lock":
                return real(first, *rest, **more)
            with self._points.around(f"{name} {path.name}"):
                self._remember(name, path, rest)
                if name == "write" and self._points.crash_at == len(self._points.names) + 1:
                    return real(first, rest[0][: len(rest[0]) // 2])  # dies in the midst of it
                return real(first, *rest, **more)

        return call

    def _opened(self, real: Callable[..., int]) -> Callable[..., int]:
        def call(name: Any, flags: int, *rest: Any, **more: Any) -> int:
            path = self._path(name, more.get("dir_fd"))
            if flags & os.O_CREAT and path.is_relative_to(self._top) and path.suffix != ".lock" and not path.exists():
                self._undo.setdefault(path.parent, []).append(lambda: path.unlink(missing_ok=True))
            return real(name, flags, *rest, **more)

        return call

    def _path(self, first: Any, dir_fd: int | None) -> Path:
        if isinstance(first, int):
            return Path(f"/proc/self/fd/{first}").readlink()
        return Path(first) if dir_fd is None else Path(f"/proc/self/fd/{dir_fd}").readlink() / first

    def _fsync(self, descriptor: int) -> None:
        """Nothing is sent to the disk: this process lives on, and hundreds of runs must not wait for it."""
        path = self._path(descriptor, None)
        with self._points.around(f"fsync {path.name}"):
            if path.is_dir():
                self._undo.pop(path, None)
            else:
                self._durable[os.fstat(descriptor).st_ino] = path.read_bytes()

    def _remember(self, name: str, path: Path, rest: tuple[Any, ...]) -> None:
        """How to take a change of names back."""
        gone = Path(rest[0]) if name == "replace" else path
        if name in {"replace", "unlink"} and gone.exists() and gone.stat().st_nlink == 1:
            self._durable.pop(gone.stat().st_ino, None)  # another file may get this number
        if name == "replace":
            self._undo.setdefault(path.parent, []).append(_undo_replace(path, Path(rest[0])))
        elif name == "link":
            target = Path(rest[0])
            self._undo.setdefault(target.parent, []).append(lambda: target.unlink(missing_ok=True))
        elif name == "unlink" and path.exists():
            content = path.read_bytes()
            self._undo.setdefault(path.parent, []).append(lambda: _put_back(path, content))

    def cut_power(self) -> None:
        """Take what no fsync made durable; only while nothing is watched."""
        kept = {path: self._durable.get(path.stat().st_ino) for path in self._top.rglob("*") if path.is_file()}
        for path, content in kept.items():
            if path.name.startswith("history."):  # mapped by a thread of that life, which would crash us
                continue
            if not path.name.endswith(".lock") and path.read_bytes() != (content or b""):
                path.write_bytes(content or b"")
        for undos in self._undo.values():
            for undo in reversed(undos):
                undo()


def _undo_replace(source: Path, target: Path) -> Callable[[], None]:
    before = target.read_bytes() if target.exists() else None

    def undo() -> None:
        if target.exists():
            target.replace(source)
        if before is not None:
            _put_back(target, before)

    return undo


def _put_back(path: Path, content: bytes) -> None:
    if path.parent.is_dir():
        path.write_bytes(content)


class PassingHub:
    """A hub whose calls pass a point before and after. ``lost``: verbs whose next answer gets lost on the way."""

    def __init__(self, hub: MemoryHub, points: Points, lost: list[str]) -> None:
        self._hub, self._points, self._lost = hub, points, lost

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        real = getattr(self._hub, verb)

        def call(*arguments: Any) -> Any:
            with self._points.around(f"hub {verb}"):
                answer = real(*arguments)
                if verb in self._lost:
                    self._lost.remove(verb)
                    raise HubUnavailable(f"no answer to {verb}", may_have_happened=True)
                return iter(list(answer)) if verb == "list_files" else answer

        return call


class CountingHub(MemoryHub):
    """Knows how often each content was committed at a path, and in which order folders of the input were opened."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.published: Counter[tuple[str, str]] = Counter()
        self.opened: list[str] = []

    def list_folder(self, repo: str, commit: str, folder: str) -> list[RemoteFile]:
        if repo == "me/in":
            self.opened.append(folder)
        return super().list_folder(repo, commit, folder)

    def commit(self, repo: str, operations: Sequence[Operation], message: str) -> str:
        made = super().commit(repo, operations, message)
        self.published.update((op.path, op.sha256) for op in operations if isinstance(op, AddBlob))
        return made


class InlineHub(HubThreads):
    """Answers before it returns."""

    def do(self, work: Work, about: str, call: Callable[[], T], then: Callable[[Answer[T]], None]) -> None:
        self._inbox.put(partial(then, answer_to(work, call)))


def sent_ahead(stage: str, source: Path, stop: threading.Event) -> None:
    """A verification ends when its result was sent, so that all effects follow each other as ever."""
    for thread in threading.enumerate() if stage == "verify" else ():
        if thread.name.startswith("ahead-"):
            thread.join()


class InlineExecutor(LocalExecutor):
    """Runs a job before ``submit`` returns."""

    def submit(self, job: VideoJob) -> None:
        context = _LocalContext(job, self._note, next(self._orders))
        self._running[job.attempt_id] = (job, context)
        self._work(job, context)


@dataclass(slots=True)
class World:
    """What outlives a process: the disk, the hub, the time. ``batch_size`` videos a commit."""

    top: Path
    batch_size: int = 2
    max_attempts: int = 3
    aging_hours: float = 24
    other_repos: dict[ArtifactKind, str] = field(default_factory=dict)
    reuse: Rule = Rule.SAME_SETTINGS
    version: str = "1"
    mirror_percent: float | None = None
    sidecars: SidecarRules = field(default_factory=SidecarRules)
    frame_archive: int = 1 << 30
    endpoint: str = ""
    clock: FakeClock = field(default_factory=FakeClock)
    converter: FakeConverter = field(default_factory=lambda: FakeConverter(durable=True, tells=True, during=sent_ahead))
    lost_answers: list[str] = field(default_factory=list)
    converted: dict[str, int] = field(default_factory=dict)
    hub: CountingHub = field(init=False)

    def __post_init__(self) -> None:
        self.hub = CountingHub(self.clock)
        self.hub.create_repo("me/in")
        for repo in ("me/out", *self.other_repos.values()):
            self.hub.create_repo(repo)

    @property
    def log_dir(self) -> Path:
        return self.top / "log"

    def items(self) -> dict[str, QueueItem]:
        return {item.folder: item for item in WorkQueue(self.log_dir).read().items()}

    def monitor(self, hub: HubClient) -> ModelScopeMonitor:
        names = {"INPUT_REPO": "me/in", "OUTPUT_REPO": "me/out", "LOG_DIR": str(self.log_dir)}
        settings = Settings.load({**names, "VIDEO_EXTENSIONS": " ".join(EXTENSIONS)})
        return ModelScopeMonitor(settings, hub=hub, clock=self.clock)

    def engine(self, hub: HubClient) -> Engine:
        options = ProcessorOptions(
            input_repo="me/in",
            output_repo="me/out",
            other_repos=self.other_repos,
            log_dir=self.log_dir,
            work_dir=self.top / "work",
            check_interval=CHECK,
            stable_time=STABLE,
            extensions=EXTENSIONS,
            batch_size=self.batch_size,
            max_attempts=self.max_attempts,
            aging_hours=self.aging_hours,
            reuse=self.reuse,
            version=self.version,
            mirror_percent=self.mirror_percent,
            sidecars=self.sidecars,
            frame_archive=self.frame_archive,
            endpoint=self.endpoint,
        )
        made = build(
            options,
            hub,
            self.converter,
            self.clock,
            make_executor=self._executor,
            make_hub_threads=InlineHub,
        )
        return made.engine

    def _executor(self, tools: JobTools, deliver: Deliver, note: Note) -> LocalExecutor:
        def noted(job: VideoJob, event: Event, facts: dict[str, Any]) -> None:
            note(job, event, facts)
            if event is Event.CONVERTED:
                self.converted.setdefault(job.source.sha256, self.encodes(job.source.sha256))

        return local_executor(tools, deliver, noted, InlineExecutor)

    def encodes(self, sha256: str) -> int:
        """How often the source of this content was encoded."""
        return sum(hashlib.sha256(content).hexdigest() == sha256 for content in self.converter.encoded)

    def encoded_again(self) -> list[str]:
        """Contents that were encoded once more after their conversion was noted."""
        return [sha256 for sha256, count in self.converted.items() if self.encodes(sha256) != count]

    def live(self, points: Points, rounds: int = 60, *, power: bool = False, must_settle: bool = True) -> bool:
        """One life of both programs, until all is settled (True) or it dies (False). Without ``must_settle`` it may
        also be asked to end after so many rounds (False)."""
        disk = Disk(self.top, points)
        hub = cast(HubClient, PassingHub(self.hub, points, self.lost_answers))
        with contextlib.ExitStack() as ended, pytest.MonkeyPatch.context() as patch:
            patch.setattr(threading, "excepthook", _but_for_crashes(threading.excepthook))
            return self._lived(disk, hub, rounds, power, must_settle, ended)

    def _lived(
        self, disk: Disk, hub: HubClient, rounds: int, power: bool, must_settle: bool, ended: contextlib.ExitStack
    ) -> bool:
        try:
            with disk.watched():
                monitor, engine = self.monitor(hub), self.engine(hub)
                ended.callback(monitor.close)  # a death closes its files, and nothing else does here
                for turn in range(rounds):
                    if turn % 10 == 0:
                        with contextlib.suppress(HubUnavailable):
                            monitor.check()
                    for _ in range(2):
                        engine.turn(0)
                    if engine.is_idle() and turn > 10:
                        return True
                    self.clock.pass_time(CHECK)
                if not must_settle:
                    engine.close(0)
                    return False
        except Crash:
            if power:
                disk.cut_power()
            return False
        pytest.fail(f"not settled: {[(i.folder, i.status, i.not_before) for i in self.items().values()]}")

    def published(self, repo: str = "me/out") -> dict[str, bytes]:
        head = self.hub.head(repo)
        if head is None:
            return {}
        files = self.hub.list_files(repo, head.commit_id)
        return {file.path: self.hub.read_file(repo, head.commit_id, file.path) or b"" for file in files}

    def leftovers(self) -> list[str]:
        """What should not be there once all is settled."""
        state = ("processing_queue.json", "monitor_state.json", "orders.json", "mirror.json")
        known = {f"{dot}{name}{tail}" for name in state for dot, tail in _BESIDE} | {RESULTS_FILE}
        found = [path for path in self.log_dir.rglob("*") if path.is_file() and path.name not in known]
        found = [path for path in found if not path.name.startswith(HISTORY_FILE)]  # also a damaged one, put aside
        return [str(path) for path in [*found, *(self.top / "work").rglob("*")]]


def _but_for_crashes(hook: Callable[[Any], object]) -> Callable[[Any], object]:
    """A thread of a dead program says nothing of its end."""
    return lambda said: None if isinstance(said.exc_value, Crash) else hook(said)


_BESIDE = (("", ""), ("", ".prev"), (".", ".lock"), (".", ".sum"))
