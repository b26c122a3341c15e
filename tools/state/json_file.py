"""A JSON file that several processes share: locked, replaced whole, with the generation before it kept.

A writer holds the lock, writes ``NAME.tmp``, fsyncs it, links the old file to ``NAME.prev``, renames, fsyncs the
folder: after a crash at any instant there is a whole file of the old or the new content. Readers need no lock.

Of a content that its writer vouches for, ``.NAME.sum`` holds length and CRC-32, so that a reader can tell what we
wrote, byte for byte, from what a person or damage made of it.
"""

import contextlib
import json
import logging
import os
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from tools.core.errors import CorruptState, PipelineError, StateError
from tools.core.message import message
from tools.runtime.files import create, read_plain, replace_durably, second_name, write_failure
from tools.runtime.language import both
from tools.runtime.owner import give_to_owner, make_folder

log = logging.getLogger("animation.state")
T = TypeVar("T")
_LONGEST_SUM = 100  # bytes


class JsonFile:
    """One state file. The constructor touches nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.previous = path.with_name(path.name + ".prev")
        self._sum = path.with_name(f".{path.name}.sum")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the file's lock against other processes and threads; a dead holder's lock is free."""
        from filelock import FileLock  # late: --status reads without it

        make_folder(self.path.parent)
        lock = self.path.with_name(f".{self.path.name}.lock")
        with FileLock(lock, thread_local=False):
            give_to_owner(lock)
            yield

    def stamp(self) -> tuple[int, int, int] | None:
        """What tells one generation from another without reading it; None without a file."""
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            return None
        return stat.st_ino, stat.st_mtime_ns, stat.st_size

    def read(self, understand: Callable[[Any], T], recognise: Callable[[bytes], T | None] | None = None) -> T | None:
        """The content as ``understand`` makes it of the parsed JSON; None without a file. Raises CorruptState.

        ``recognise`` makes it of the bytes, without parsing, if its writer vouched for them; None if it can't.
        """
        return self._understood(self.path, understand, recognise)

    def _understood(
        self, path: Path, understand: Callable[[Any], T], recognise: Callable[[bytes], T | None] | None = None
    ) -> T | None:
        try:
            content = read_plain(path)
            if recognise is not None and self._noted_sum() == _sum_of(content) and (made := recognise(content)):
                return made
            return understand(json.loads(content))
        except FileNotFoundError:
            return None
        except (ValueError, RecursionError) as exc:
            raise CorruptState(f"no valid JSON: {exc}") from exc
        except OSError as exc:
            raise StateError(f"can't read {path}: {exc.strerror}") from exc

    def _noted_sum(self) -> bytes:
        try:
            return read_plain(self._sum, _LONGEST_SUM)
        except OSError:
            return b""

    def read_or_restore(
        self, understand: Callable[[Any], T], recognise: Callable[[bytes], T | None] | None = None
    ) -> T | None:
        """Like ``read`` under the lock, but a damaged file is set aside and replaced by its previous version.

        That is logged as ERROR. Raises CorruptState when neither can be understood, and changes nothing then: a person
        must decide what was in it. A file that is gone was deleted by somebody (we never leave a gap), so it counts as
        empty.
        """
        try:
            return self.read(understand, recognise)
        except CorruptState as exc:
            damage = exc
        try:
            restored = self._understood(self.previous, understand)
        except CorruptState as exc:
            raise CorruptState(
                f"{self.path} is damaged ({damage}), and {self.previous.name} can't be read either ({exc}): "
                f"fix one of them, or delete both to start over"
            ) from exc
        aside = self._name_aside()
        if restored is None:
            self.path.replace(aside)
            said = message(f"{self.path} was damaged ({damage}), see {aside.name}; no earlier one, starting empty")
            log.error("%s", both(said))
            return None
        self._restore(aside)
        said = message(f"{self.path} was damaged ({damage}), see {aside.name}; restored the previous version")
        log.error("%s", both(said))
        return restored

    def start_over(self) -> None:
        """Set a file that can't be understood aside, and delete its previous version; only under ``locked``."""
        self.previous.unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            self.path.replace(self._name_aside())

    def _name_aside(self) -> Path:
        return self.path.with_name(f"{self.path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}")

    def _restore(self, aside: Path) -> None:
        """Give the damaged file a second name, then put the earlier one in its place: a crash finds either of them."""
        try:
            aside.unlink(missing_ok=True)
            second_name(self.path, aside)
            self._replace(read_plain(self.previous), keep_previous=False)
        except OSError as exc:
            raise write_failure(self.path, exc) from exc
        except PipelineError:
            aside.unlink(missing_ok=True)  # not replaced: it is no second name that anybody needs
            raise

    def write(self, content: bytes, *, vouched: bool = False) -> None:
        """Replace the content, durably; only under ``locked``. Raises DiskFull or StateError: the old one stays.

        ``vouched``: a reader's ``recognise`` will understand it.
        """
        self._replace(content, keep_previous=True)
        with contextlib.suppress(OSError):  # without the sum a reader parses the file, that is all
            if vouched:
                with create(self._sum) as stream:
                    stream.write(_sum_of(content))
                give_to_owner(self._sum)
            else:
                self._sum.unlink(missing_ok=True)

    def _replace(self, content: bytes, *, keep_previous: bool) -> None:
        def prepare(temporary: Path) -> None:
            self._date(temporary)
            give_to_owner(temporary)
            if keep_previous and self.path.exists():
                self.previous.unlink(missing_ok=True)
                second_name(self.path, self.previous)

        try:
            replace_durably(self.path, content, prepare=prepare)
        except OSError as exc:
            raise write_failure(self.path, exc) from exc

    def _date(self, temporary: Path) -> None:
        """A later time than that of the file before, however fast one follows the other: see ``stamp``.

        The kernel's own are a few ms coarse and inodes come back, so another's changes could pass for ours.
        """
        before = self.stamp()
        now = max(time.time_ns(), before[1] + 1 if before else 0)
        os.utime(temporary, ns=(now, now))


def _sum_of(content: bytes) -> bytes:
    return b"%d %08x" % (len(content), zlib.crc32(content))
