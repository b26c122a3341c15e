"""Progress bars on a terminal, one per running job; none in a file or a pipe."""

import shutil
import sys
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from tools.processor.reporting import Event, Progress
from tools.report.cells import cells, cut_name, padded
from tools.runtime.language import ui
from tools.state.progress import JobProgress

_STAGES = ("waiting", "download", "encode", "suspended", "verify", "upload")
_SHORTEST_BAR, _LONGEST_BAR = 8, 20  # cells
_SHORTEST_NAME = 8  # cells


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


def job_line(job: JobProgress, columns: int) -> str:
    """What the bar of a job shows on a terminal of this width."""
    stage, widest = ui(job.stage), max(cells(ui(stage)) for stage in _STAGES)
    name = job.video.rpartition("/")[2]
    return bar_line(padded(stage, widest), name, job.percent, _numbers(job), columns)


def bar_line(heading: str, name: str, percent: float | None, numbers: str, columns: int) -> str:
    """One line that leaves the last column free: a terminal that fills it may wrap. The name takes what is left."""
    done = min(100.0, max(0.0, percent or 0.0))
    length = min(_LONGEST_BAR, max(_SHORTEST_BAR, columns // 6))
    filled = int(length * done / 100)
    bar = "" if percent is None else f"{done:3.0f}%|{'#' * filled}{'.' * (length - filled)}|"
    around = [part for part in (heading, bar, numbers) if part]
    room = columns - 1 - sum(cells(part) + 1 for part in around)
    return " ".join(part for part in (heading, cut_name(name, max(_SHORTEST_NAME, room)), bar, numbers) if part)


def _numbers(job: JobProgress) -> str:
    parts = []
    if job.stage == "encode" and job.fps is not None:
        parts.append(f"{job.fps:.1f} fps")
    if job.speed is not None:
        parts.append(f"{job.speed:.2f}x" if job.stage == "encode" else f"{job.speed / 1e6:.1f} MB/s")
    if job.eta_s is not None:
        parts.append("ETA " + tqdm.format_interval(job.eta_s))
    return " ".join(parts)
