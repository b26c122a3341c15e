"""One line per fact: ``2023-12-21 10:35:00 INFO processor message key=value …``, to the log file and the terminal.

``grep -i error`` finds what needs a person and nothing else: the level supplies the word, and lines below that level
write it ``err·or`` (in file names and in what servers say), which a reader still reads.
"""

import errno
import logging
import os
import re
import sys
import time
from collections.abc import Iterable
from io import TextIOWrapper
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import IO
from urllib.parse import quote

from tools.runtime.owner import give_to_owner, make_folder

BATCH_DONE = "批次处理成功"
"""Marker of a batch that is published in full, at INFO."""
BATCH_FAILED = "批次处理失败"
"""Marker of a batch that ended with something missing, at ERROR."""

LOG_FILE = "processing.log"
_TIME = "%Y-%m-%d %H:%M:%S"
_END_OF_LOG = 1 << 16  # bytes in which the last line of a program that ended is looked for
_THE_WORD = re.compile("(err)(or)", re.IGNORECASE)
_SHORTEST_SECRET = 6  # characters; what is shorter is no token, and would mask ordinary words
_secrets: set[str] = set()
_LINE_ENDS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")

_COMMANDS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]+")
_LIKE_A_LINE = re.compile(r"\n(?=\d)")


def keep_secret(*secrets: str | None) -> None:
    """These texts are in no log line from now on, nor in what ``masked`` gives back."""
    for secret in secrets:
        if secret and len(secret) >= _SHORTEST_SECRET:
            _secrets.update({secret, quote(secret, safe="")})


def masked(text: str) -> str:
    """The text without any secret. To be called before a text is cut: half a token must not be shown either."""
    for secret in sorted(_secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


class _LineFormatter(logging.Formatter):
    """One line per record (a traceback follows on its own lines), without the token; the word "error" at ERROR only."""

    def __init__(self, program: str) -> None:
        super().__init__(f"%(asctime)s %(levelname)s {program} %(message)s", _TIME)

    def formatMessage(self, record: logging.LogRecord) -> str:
        text = _LINE_ENDS.sub(" ", super().formatMessage(record))
        return _THE_WORD.sub("\\1·\\2", text) if record.levelno < logging.ERROR else text

    def format(self, record: logging.LogRecord) -> str:
        text = _COMMANDS.sub(" ", super().format(record))
        # Of a traceback no line begins with a digit, but for what an exception says in several lines.
        return masked(_LIKE_A_LINE.sub("\n ", text).encode("utf-8", "backslashreplace").decode())


class _Masking(logging.Formatter):
    """Another formatter's lines without the token: that of a handler which the caller had set up."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        return masked(self._inner.format(record))


class _TerminalHandler(logging.StreamHandler[IO[str]]):
    """Writes above the progress bars, if there are any."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        with tqdm.external_write_mode(file=self.stream):
            super().emit(record)


class _LogFile(WatchedFileHandler):
    """The log file, never through a link: in a folder of several users, somebody else may have made that."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            super().emit(record)
        except OSError:  # it can't be opened again after a rotation: whoever logs is not to fail for it
            self.handleError(record)

    def _open(self) -> TextIOWrapper:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
        try:
            descriptor = os.open(self.baseFilename, flags, 0o644)
        except OSError as exc:
            if exc.errno != errno.ELOOP:
                raise
            raise OSError(errno.ELOOP, "it is a link, which is not followed: remove it", self.baseFilename) from exc
        return os.fdopen(descriptor, "a", encoding=self.encoding, errors=self.errors)


def set_up(program: str, log_dir: Path, secrets: Iterable[str] = ()) -> None:
    """Send the root logger to ``log_dir``/processing.log and to standard error. Raises OSError when it can't write.

    The file is reopened after a rotation. The level is INFO, or DEBUG if the caller's own ``logging.basicConfig``
    says so. A second call replaces the first.
    """
    keep_secret(*secrets)
    make_folder(log_dir)
    root = logging.getLogger()
    ours = [handler for handler in root.handlers if isinstance(handler.formatter, _LineFormatter)]
    root.setLevel(min(root.level or logging.INFO, logging.INFO))
    for handler in ours:
        root.removeHandler(handler)
        handler.close()
    new: list[logging.Handler] = [_LogFile(log_dir / LOG_FILE, encoding="utf-8")]
    give_to_owner(log_dir / LOG_FILE)
    if not [handler for handler in root.handlers if isinstance(handler, logging.StreamHandler)]:
        terminal: IO[str] = sys.stderr
        new.append(_TerminalHandler(terminal))
    for handler in root.handlers:
        if not isinstance(handler.formatter, _Masking):
            handler.setFormatter(_Masking(handler.formatter or logging.Formatter()))
    for handler in new:
        handler.setFormatter(_LineFormatter(program))
        root.addHandler(handler)
    for chatty in ("urllib3", "asyncio", "filelock"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))


def to_file(text: str, *, with_traceback: bool = False) -> None:
    """An ERROR line in the log file alone, for what the terminal shows anyway. Nothing happens before ``set_up``."""
    cause = sys.exc_info() if with_traceback else None
    record = logging.LogRecord("animation", logging.ERROR, "", 0, text, None, cause)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _LogFile):
            handler.handle(record)


def last_error(log_dir: Path, program: str, since: float) -> str | None:
    """What a program logged as ERROR last; None if that was before ``since`` (epoch s), or too far up in it."""
    try:
        with (log_dir / LOG_FILE).open("rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - _END_OF_LOG))
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return None
    start = f" ERROR {program} "
    earliest = time.strftime(_TIME, time.localtime(since))
    lines = (line.partition(start) for line in reversed(text.splitlines()))
    return next((said for when, mark, said in lines if mark and earliest <= when and len(when) == len(earliest)), None)


def fields(**values: object) -> str:
    """``key=value`` pairs for the end of a message; text with blanks is quoted, None is skipped."""
    return " ".join(f"{key}={_quoted(value)}" for key, value in values.items() if value is not None)


def _quoted(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.1f}"
    text = str(value)
    return f'"{text}"' if not text or re.search(r'[\s"]', text) else text
