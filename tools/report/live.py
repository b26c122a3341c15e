"""A text that is shown anew in its place, until somebody presses Ctrl-C. For terminals."""

import contextlib
import time
from collections.abc import Callable

from rich.console import Console
from rich.live import Live
from rich.text import Text

_EVERY = 1.0  # s


def watch(text: Callable[[], str], clock: Callable[[float], None] = time.sleep) -> None:
    """Ask for the text each second. Its end is cut off at the height of the terminal, not its beginning."""
    console = Console(highlight=False)
    with (
        contextlib.suppress(KeyboardInterrupt),
        Live(console=console, auto_refresh=False, screen=True, vertical_overflow="crop") as live,
    ):
        while True:
            live.update(Text.from_ansi(text(), overflow="fold"), refresh=True)
            clock(_EVERY)
