"""Many lines → few: repeated ones folded into one, and of those that are left the first and the last.

A program may say the same thing once per thread, and what counts may come before that or after it.
"""

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass

_NUMBERS = re.compile(r"0x[0-9a-fA-F]+|\d+")
_LONGEST, _START = 600, 400  # characters of a line that are kept, and how many of them from its start


@dataclass(slots=True)
class _Entry:
    text: str
    times: int = 1


class Folded:
    """Takes lines in. Two that differ in nothing but numbers and addresses count as the same line.

    May be read by one thread while another adds.
    """

    def __init__(self, first: int, last: int) -> None:
        """``first`` and ``last``: how many different lines are kept of the beginning and of the end."""
        self._most_first, self._most_last = first, last
        self._first: dict[str, _Entry] = {}
        self._last: dict[str, _Entry] = {}
        self._left_out = 0
        self._lock = threading.Lock()

    def add(self, line: str) -> None:
        line = _shortened(line)
        key = _NUMBERS.sub("#", line)
        with self._lock:
            known = self._first.get(key) or self._last.get(key)
            if known is not None:
                known.times += 1
            elif len(self._first) < self._most_first:
                self._first[key] = _Entry(line)
            else:
                self._last[key] = _Entry(line)
                if len(self._last) > self._most_last:
                    self._left_out += self._last.pop(next(iter(self._last))).times

    def entries(self) -> Sequence[tuple[str, int]]:
        """Each line that is kept, as it came first, and how often it came; in the order of the first times."""
        with self._lock:
            return [(entry.text, entry.times) for entry in (*self._first.values(), *self._last.values())]

    def text(self) -> str:
        """For people, one kept line per line."""
        shown = [f"{text} … repeated {times} times" if times > 1 else text for text, times in self.entries()]
        if self._left_out:
            shown.insert(
                len(self._first), "… 1 more line …" if self._left_out == 1 else f"… {self._left_out} more lines …"
            )
        return "\n".join(shown)


def _shortened(line: str) -> str:
    return line if len(line) <= _LONGEST else f"{line[:_START]} … {line[_START - _LONGEST :]}"
