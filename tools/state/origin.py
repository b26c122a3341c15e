"""``log/origin.json``: of which hub and datasets the state files in a log folder are. Others get files of their own.

::

    {"endpoint": URL, "input_repo": "OWNER/NAME", "output_repo": "OWNER/NAME"}

Items, monitor state, progress and journals under their usual names are those of this origin. A program that starts with
another one moves them to ``other/DIGEST/`` and brings back from there what that other one had. State files of versions
without an origin belong to the one that is first seen with them.

**A crash in between** leaves files in either place, never in both. The origin is replaced once all of its files are put
aside, and what lies aside of the origin in force is brought back at each start; so the next start, with whatever
settings, does the rest.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tools.core.errors import AlreadyRunning
from tools.runtime.files import read_plain, replace_durably, sync_folder, write_failure
from tools.runtime.owner import give_to_owner, make_folder
from tools.state.history import HISTORY_FILES
from tools.state.json_file import JsonFile
from tools.state.progress import PROGRESS_FILE
from tools.state.work_queue import QUEUE_FILE

if TYPE_CHECKING:  # --status reads without locks
    from tools.state.singleton import Singleton

ORIGIN_FILE = "origin.json"
_PROGRAMS = ("monitor", "processor")
_LONGEST = 1 << 16  # bytes
_GENERATIONS = ("{}", "{}.prev", ".{}.sum")  # see ``JsonFile``


@dataclass(frozen=True, slots=True)
class Origin:
    """The hub and the datasets that state files are of."""

    endpoint: str
    input_repo: str
    output_repo: str

    @property
    def digest(self) -> str:
        text = "\0".join((self.endpoint, self.input_repo, self.output_repo))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def __str__(self) -> str:
        return f"{self.input_repo} -> {self.output_repo} at {self.endpoint}"


class Started(NamedTuple):
    """What ``start`` did."""

    lock: "Singleton"  # held
    news: str  # one line for the log about state files that were exchanged; "" if none were


def start(log_dir: Path, program: str, origin: Origin, version: str | None = None) -> Started:
    """Hold the lock of a program for life, its state files in place. Raises AlreadyRunning, DiskFull and StateError.

    Both programs of a log folder have one origin: with the other one running on another, this one does not start.
    """
    from filelock import FileLock

    from tools.state.singleton import Singleton, need_locks

    make_folder(log_dir)
    place = log_dir / f".{ORIGIN_FILE}.lock"
    need_locks(place)
    with FileLock(place):  # until our own lock says for which origin we run
        give_to_owner(place)
        lock = Singleton(log_dir, program, version)
        lock.acquire()
        try:
            return Started(lock, _settle(log_dir, program, origin))
        except OSError as exc:
            lock.release()
            raise write_failure(log_dir / ORIGIN_FILE, exc) from exc
        except BaseException:
            lock.release()
            raise


def read_origin(log_dir: Path) -> Origin | None:
    """Of what the state files are; None if they do not say."""
    try:
        content = json.loads(read_plain(log_dir / ORIGIN_FILE, _LONGEST))
        return Origin(str(content["endpoint"]), str(content["input_repo"]), str(content["output_repo"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _note(log_dir: Path, origin: Origin) -> None:
    content = json.dumps(asdict(origin), indent=1).encode() + b"\n"
    replace_durably(log_dir / ORIGIN_FILE, content, prepare=give_to_owner)


def _settle(log_dir: Path, program: str, origin: Origin) -> str:
    before = read_origin(log_dir)
    if before == origin and not _aside(log_dir, origin).exists():
        return ""
    with JsonFile(log_dir / QUEUE_FILE).locked(), contextlib.ExitStack() as held:
        if before is not None and before != origin:
            held.enter_context(_other_stopped(log_dir, program, before, origin))
            _move(log_dir, _aside(log_dir, before))
        if before != origin:
            _note(log_dir, origin)
        is_back = _aside(log_dir, origin).exists()
        _bring_back(log_dir, _aside(log_dir, origin))
    if before is None or before == origin:
        return ""
    theirs = "resumed" if is_back else "started empty"
    return (
        f"settings name other datasets than before: state of {before} is kept in {_aside(log_dir, before)} and resumes "
        f"with those settings; state of {origin} {theirs}"
    )


@contextlib.contextmanager
def _other_stopped(log_dir: Path, program: str, before: Origin, origin: Origin) -> Iterator[None]:
    """Keep the other program from running meanwhile. Raises AlreadyRunning if it does."""
    from tools.state.singleton import Singleton

    other = next(name for name in _PROGRAMS if name != program)
    lock = Singleton(log_dir, other)
    try:
        lock.acquire()
    except AlreadyRunning as exc:
        raise AlreadyRunning(
            f"{exc}: it works on {before}, this {program} would on {origin}; or give this one another LOG_DIR"
        ) from exc
    try:
        yield
    finally:
        lock.release()


def _aside(log_dir: Path, origin: Origin) -> Path:
    return log_dir / "other" / origin.digest


def _moved() -> tuple[str, ...]:
    """Names of all state files."""
    from tools.state.mirror_file import MIRROR_FILE
    from tools.state.monitor_state import STATE_FILE  # here: --status need not wait for what it does not use
    from tools.state.orders import ORDERS_FILE
    from tools.state.results import RESULTS_FILES

    files = (QUEUE_FILE, STATE_FILE, PROGRESS_FILE, ORDERS_FILE, MIRROR_FILE)
    return ("journal", *HISTORY_FILES, *RESULTS_FILES, *(form.format(name) for name in files for form in _GENERATIONS))


def _move(source: Path, target: Path) -> None:
    """Move every state file; those that a crash kept from being moved are moved by the next call."""
    make_folder(target)
    for name in _moved():
        if (source / name).exists():
            (source / name).replace(target / name)
    for folder in (target, target.parent, source):
        sync_folder(folder)


def _bring_back(log_dir: Path, aside: Path) -> None:
    if aside.exists():
        _move(aside, log_dir)
        for folder in (aside, aside.parent):
            with contextlib.suppress(OSError):
                folder.rmdir()
