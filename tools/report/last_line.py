"""One line that stays at the bottom of a terminal, below the log and the bars; nothing in a file or a pipe."""

import contextlib
import shutil
import sys
import threading
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

from tools.report.cells import cut


class LastLine:
    """Used by one thread. Nothing is shown before the first ``show``."""

    def __init__(self) -> None:
        self.is_terminal = sys.stderr.isatty()
        self._bar: Any = None

    def show(self, text: str) -> None:
        """Replace the line; the last column stays free: a terminal that fills it may wrap."""
        if not self.is_terminal:
            return
        if self._bar is None:
            self._bar = tqdm(total=1, leave=False, bar_format="{desc}")
        self._bar.set_description_str(cut(text, shutil.get_terminal_size().columns - 1), refresh=True)

    def close(self) -> None:
        """Take it away; a later ``show`` makes it anew, below what came meanwhile."""
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.close()


class Kept:
    """A text that a thread asks for now and then, so that whoever shows it never waits."""

    def __init__(self, ask: Callable[[], str], every: float) -> None:
        """``every`` s. Whatever ``ask`` raises leaves the text as it was."""
        self.text = ""
        self._ask = ask
        self._every = every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="last-line", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()

    def _run(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(Exception):  # a line for people must not end with the file that it is made of
                self.text = self._ask()
            self._over.wait(self._every)
