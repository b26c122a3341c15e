"""The end of the log: the latest lines of a level that hold a text."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tools.runtime.files import open_plain
from tools.runtime.logs import LOG_FILE, masked

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_BLOCK = 1 << 16  # bytes
_MOST = 8 << 20  # bytes read for one answer; beyond them nothing is looked for
_LONGEST = 4000  # characters of an entry with its traceback
_HEAD = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) ([A-Z]+) (\S+) (.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Entry:
    """A line, with a traceback if one follows it. ``time`` as the log has it: local."""

    time: str
    level: str
    program: str
    text: str


def tail(log_dir: Path, *, level: str = "DEBUG", text: str = "", limit: int = 200) -> list[Entry]:
    """At most ``limit`` entries, oldest first, of ``level`` or above, that hold ``text`` in whatever case; also from
    the file that was rotated away last. Empty if there is no log. Raises OSError."""
    wanted, least = text.casefold(), LEVELS.index(level)
    found: list[Entry] = []
    for entry in _backwards(log_dir):
        place = LEVELS.index(entry.level) if entry.level in LEVELS else len(LEVELS)
        if place >= least and (not wanted or wanted in f"{entry.program} {entry.text}".casefold()):
            found.append(entry)
            if len(found) >= limit:
                break
    return found[::-1]


def _backwards(log_dir: Path) -> Iterator[Entry]:
    more: list[str] = []  # what follows an entry, last line first
    for line in _lines_backwards(log_dir):
        if (head := _HEAD.fullmatch(line)) is None:
            more.append(line)
            continue
        whole = masked("\n".join([head[4], *reversed(more)]))[:_LONGEST]
        more = []
        yield Entry(head[1], head[2], head[3], whole)


def _lines_backwards(log_dir: Path) -> Iterator[str]:
    left = _MOST
    for name in (LOG_FILE, LOG_FILE + ".1"):
        try:
            stream = open_plain(log_dir / name)
        except FileNotFoundError:
            continue
        with stream:
            end, rest = stream.seek(0, 2), b""
            while end > 0 and left > 0:
                begin = max(0, end - _BLOCK)
                stream.seek(begin)
                first, *lines = (stream.read(end - begin) + rest).split(b"\n")
                rest, end, left = first, begin, left - (end - begin)
                yield from (_text(line) for line in reversed(lines) if line)
            if rest and end == 0:
                yield _text(rest)


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").rstrip("\r")
