"""Progress bars on a terminal, one per running job; none in a file or a pipe."""

import shutil
import sys
from collections.abc import Callable, Sequence
from typing import Any

from tqdm import tqdm

from tools.processor.reporting import Event, Progress
from tools.report.job_line import job_lines
from tools.report.last_line import Kept, LastLine
from tools.state.progress import JobProgress

_EVERY = 20.0  # s


class Bars:
    """Shows jobs; ``show`` is called about once per second by one thread."""

    def __init__(self, below: Callable[[], str] | None = None) -> None:
        """``below``: what to say in a line below them, asked for in another thread every 20 s."""
        self._bars: dict[str, Any] = {}
        self._last = LastLine()
        self._below: Kept | None = None
        if below is not None and self._last.is_terminal:
            self._below = Kept(below, _EVERY)
            self._below.start()
        self._is_terminal = sys.stderr.isatty()

    def observe(self, event: Event) -> None:
        """The bars of a processor."""
        if isinstance(event, Progress):
            self.show(event.jobs)

    def show(self, jobs: Sequence[JobProgress]) -> None:
        """Make the bars show what runs now."""
        if not self._is_terminal:
            return
        wanted = {job.video: job for job in jobs}
        if wanted.keys() != self._bars.keys():
            self._last.close()
        for gone in self._bars.keys() - wanted.keys():
            self._bars.pop(gone).close()
        lines = job_lines(list(wanted.values()), shutil.get_terminal_size().columns)
        for video, line in zip(wanted, lines, strict=True):
            bar = self._bars.get(video)
            if bar is None:
                bar = self._bars[video] = tqdm(total=100, leave=False, bar_format="{desc}")
            bar.set_description_str(line, refresh=False)
            bar.refresh()
        if self._below is not None and self._below.text:
            self._last.show(self._below.text)

    def close(self) -> None:
        """Leave the terminal clean."""
        if self._below is not None:
            self._below.stop()
            self._below = None
        self.show([])
        self._last.close()
