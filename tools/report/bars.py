"""Progress bars on a terminal, one per running job; none in a file or a pipe."""

import sys
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from tools.processor.reporting import Event, Progress
from tools.state.progress import JobProgress

_STAGES = {"download": "download 下载", "encode": "encode 转码", "verify": "verify 校验", "upload": "upload 上传"}


class Bars:
    """Shows jobs; ``show`` is called about once per second by one thread."""

    def __init__(self) -> None:
        self._bars: dict[tuple[str, str], Any] = {}
        self._is_terminal = sys.stderr.isatty()

    def observe(self, event: Event) -> None:
        """The bars of a processor."""
        if isinstance(event, Progress):
            self.show(event.jobs)

    def show(self, jobs: Sequence[JobProgress]) -> None:
        """Make the bars show what runs now."""
        if not self._is_terminal:
            return
        wanted = {(job.video, job.stage): job for job in jobs}
        for gone in self._bars.keys() - wanted.keys():
            self._bars.pop(gone).close()
        for key, job in wanted.items():
            bar = self._bars.get(key)
            if bar is None:
                name = job.video.rpartition("/")[2][:40]
                bar = tqdm(total=100, leave=False, bar_format="{desc} {percentage:3.0f}%|{bar:20}| {postfix}")
                bar.set_description_str(f"{_STAGES.get(job.stage, job.stage)} {name}", refresh=False)
                self._bars[key] = bar
            bar.n = job.percent or 0.0
            bar.set_postfix_str(_numbers(job), refresh=False)
            bar.refresh()

    def close(self) -> None:
        """Leave the terminal clean."""
        self.show([])


def _numbers(job: JobProgress) -> str:
    parts = []
    if job.stage == "encode" and job.fps is not None:
        parts.append(f"{job.fps:.1f} fps")
    if job.speed is not None:
        parts.append(f"{job.speed:.2f}x" if job.stage == "encode" else f"{job.speed / 1e6:.1f} MB/s")
    if job.eta_s is not None:
        parts.append("ETA " + tqdm.format_interval(job.eta_s))
    return " ".join(parts)
