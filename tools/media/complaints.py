"""What ffmpeg and ffprobe say on standard error → what it means. Each line is read as it passes, however many come.

Between their lines stand others: SVT-AV1 says once per thread that it may not raise its priority, which it may only as
root. Those are no complaint about a file, and must neither hide one nor be taken for one.
"""

import os
import re
from collections.abc import Sequence

from tools.core.blame import NAMED_BY_PROGRAMS
from tools.runtime.folded import Folded

# The banner and the warnings of SVT-AV1, which it prints whatever -v says (source: its svt_log.c), and what the decoder
# of AVS2 tells about itself, in colours (source: davs2's common.cc, davs2_log).
_NOISE = re.compile(r"(\x1b\[[\d;]*m)*(\s*$|Svt\[(info|warn|debug)\]|\[davs2 info\])")
# The text of an error of the system is the end of a line; elsewhere it could be a file's name.
_SYSTEM = {os.strerror(number): number for number in NAMED_BY_PROGRAMS}
_SYSTEM_ERROR = re.compile(rf"({'|'.join(map(re.escape, _SYSTEM))})\W*$")
_TELLING = re.compile(r"error|invalid|fail|not|unable|maximum|unknown|impossible|no (such|space)", re.IGNORECASE)
_CONSEQUENCE = re.compile(r"\[(in|out|vost|aost|fc|vf|af)#|Error (while|init|open)")
_OF_A_PART = re.compile(r"\[\S+ @ 0x[0-9a-f]+\]")  # ffmpeg's way to say which of its parts speaks
_ADDRESS = re.compile(r" ?@? ?\b0x[0-9a-fA-F]{5,}\b")
_CLOSING = "Conversion failed"
_OFTEN = 10  # times; the cause of an end is not said so often, unless by a decoder
_KEPT = 500  # different lines of the beginning, and of the end


class Complaints:
    """Takes the lines of standard error in; its ``line`` is an ``on_complaint``."""

    def __init__(self, ignored: str = "") -> None:
        """``ignored``: a line with this text in it is no complaint."""
        self.count = 0  # lines that are complaints
        self.errnos: set[int] = set()  # errors of the system that were named, see ``NAMED_BY_PROGRAMS``
        self._ignored = ignored
        self._kept = Folded(_KEPT, _KEPT)

    def line(self, line: str) -> None:
        if is_noise(line) or (self._ignored and self._ignored in line):
            return
        self.count += 1
        if named := _SYSTEM_ERROR.search(line):
            self.errnos.add(_SYSTEM[named[1]])
        if _CLOSING not in line:
            self._kept.add(line.strip())

    def cause(self) -> str:
        """The line that tells best why it went wrong, "" if nothing was said."""
        return most_telling(self._kept.entries())

    def verdict(self) -> str:
        """The last line that is not said again and again, "" if nothing was said: ffprobe's own is its last."""
        return _last(self._kept.entries())


def is_noise(line: str) -> bool:
    """Whether a line says nothing about the file, whatever the program."""
    return _NOISE.match(line) is not None


def bare(line: str) -> str:
    """The line without the names of ffmpeg's parts that said it, and without addresses elsewhere in it."""
    return _ADDRESS.sub("", re.sub(rf"^({_OF_A_PART.pattern} )+", "", line))


def most_telling(entries: Sequence[tuple[str, int]]) -> str:
    """Of lines with how often each came, in their order: the cause stands before its consequences, and is said once."""
    telling = [(text, times) for text, times in entries if _TELLING.search(text)]
    if telling:
        return min(telling, key=lambda entry: _rank(*entry))[0]
    return _last(entries)


def _last(entries: Sequence[tuple[str, int]]) -> str:
    return next((text for text, times in reversed(entries) if times <= _OFTEN), entries[-1][0] if entries else "")


def _rank(text: str, times: int) -> int:
    if _CONSEQUENCE.match(text):
        return 2
    if times <= _OFTEN:
        return 0
    return 1 if _OF_A_PART.match(text) else 3
