"""Colours on a terminal, none anywhere else."""

import io
import json
import os
import re
from collections.abc import Mapping
from typing import IO

_CODES = {"bold": "1", "red": "31", "green": "32", "yellow": "33", "dim": "2"}


class Paint:
    """Puts text into a colour if there is a terminal that shows them, and nobody has said NO_COLOR."""

    def __init__(self, stream: IO[str], environ: Mapping[str, str] | None = None) -> None:
        values = os.environ if environ is None else environ
        self.is_terminal = stream.isatty()
        """Whether somebody looks at it as it is written: a file, a pipe and ``watch`` get plain text."""
        self._colours = self.is_terminal and not values.get("NO_COLOR") and values.get("TERM") != "dumb"

    def __call__(self, style: str, text: str) -> str:
        """``style``: bold, red, green, yellow or dim. Takes no more cells than the text."""
        return f"\033[{_CODES[style]}m{text}\033[0m" if self._colours and text else text


def printable(text: str) -> str:
    """Lines for a terminal, in which a stranger's names and causes command nothing: of control characters only line
    breaks and our colours stay, and marks that turn the direction of writing are shown by their number."""
    return _COMMANDS.sub(lambda one: one[1] or f"\\u{ord(one[0]):04x}", text)


def json_text(content: object, indent: int | None = 1) -> str:
    """JSON whose strings command nothing to a terminal that shows it: what ``printable`` shows by its number is an
    escape of JSON then, so that programs read the same strings."""
    return printable(json.dumps(content, ensure_ascii=False, indent=indent))


_UNSEEN = "\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
_COMMANDS = re.compile(f"(\033\\[(?:{'|'.join(['0', *_CODES.values()])})m)|[{_UNSEEN}]")

PLAIN = Paint(io.StringIO())
"""For whoever is no terminal."""
