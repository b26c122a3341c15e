"""Progress bars on a terminal, one per running job; none in a file or a pipe."""

import shutil
import sys
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from tools.processor.reporting import Event, Progress
from tools.report.job_line import job_line
from tools.state.progress import JobProgress


class Bars:
    """Shows jobs; ``show`` is called about once per second by one thread."""

    def __init__(self) -> None:
        self._bars: dict[str, Any] = {}
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
        for gone in self._bars.keys() - wanted.keys():
            self._bars.pop(gone).close()
        columns = shutil.get_terminal_size().columns
        for video, job in wanted.items():
            bar = self._bars.get(video)
            if bar is None:
                bar = self._bars[video] = tqdm(total=100, leave=False, bar_format="{desc}")
            bar.set_description_str(job_line(job, columns), refresh=False)
            bar.refresh()

    def close(self) -> None:
        """Leave the terminal clean."""
        self.show([])
