"""Videos of the same bytes in folders in work at the same time: one is made, the others take what it became."""

import contextlib
from collections.abc import Iterator

from tools.core.artifact import VideoOutput
from tools.core.errors import PipelineError
from tools.core.queue_item import Quarantined
from tools.core.reuse import same_bytes, seconds_saved, taken_over
from tools.processor.batch import Task
from tools.processor.item_run import ItemRun
from tools.processor.reporting import VideoQuarantined, VideoReused
from tools.state.journal import Event

Known = VideoReused | VideoQuarantined
"""What is told of a video that needed no work."""


def known_before(run: ItemRun) -> Iterator[Known]:
    """What is told of the videos that were settled when their folder was opened: see ``tools.processor.reuse``."""
    for batch in run.batches:
        for task in batch.tasks:
            if task.output is not None and task.output.record.get("reused_from"):
                yield _reused(task.output)
            elif task.refused is not None and task.refused.is_of_content:
                yield VideoQuarantined(task.refused.path, 0, task.refused.cause)


def _reused(output: VideoOutput) -> VideoReused:
    return VideoReused(output.path, str(output.record.get("reused_from")), round(seconds_saved(output.record)))


class Twins:
    """The tasks of all runs by the bytes of their sources. ``is_on``: whether results are shared at all."""

    def __init__(self, is_on: bool) -> None:
        self._is_on = is_on
        self._tasks: dict[str, list[tuple[ItemRun, Task]]] = {}

    def add(self, run: ItemRun) -> Iterator[Known]:
        """A run begins; what its tasks have in common with others is given to them at once."""
        run.is_made_elsewhere = self._is_made_elsewhere
        contents = set()
        for batch in run.batches if self._is_on else ():
            for task in batch.tasks:
                if run.may_share(task):
                    self._tasks.setdefault(task.video.source.sha256, []).append((run, task))
                    contents.add(task.video.source.sha256)
        for sha256 in sorted(contents):
            yield from self.share(sha256)

    def remove(self, run: ItemRun) -> None:
        """A run is over."""
        for batch in run.batches:
            for task in batch.tasks:
                sha256 = task.video.source.sha256
                left = [pair for pair in self._tasks.pop(sha256, ()) if pair[0] is not run]
                if left:
                    self._tasks[sha256] = left

    def _is_made_elsewhere(self, task: Task) -> bool:
        """Whether another task has the same bytes in work, so that this one waits for what becomes of it."""
        twins = self._tasks.get(task.video.source.sha256, ())
        return len(twins) > 1 and any(
            other is not task and not other.is_settled and (other.running or other.is_converted) for _, other in twins
        )

    def share(self, sha256: str) -> Iterator[Known]:
        """Give what one task of these bytes became to those that wait; what is told of each."""
        twins = self._tasks.get(sha256, ())
        if len(twins) < 2:
            return
        made = next((task for _, task in twins if task.output is not None), None)
        bad = next((task for _, task in twins if task.refused is not None and task.refused.is_of_content), None)
        for run, task in twins:
            if task.is_settled or task.running:
                continue
            source = task.video.source
            if made is not None and made.output is not None:
                task.output = taken_over(made.output, source, run.rules.input_repo, task.video.targets)
                if task.output is not None:
                    with contextlib.suppress(PipelineError):  # a full disk; then a crash would have it made once more
                        run.journal.note(Event.STORED, source, **task.output.as_json())
                    yield _reused(task.output)
            elif bad is not None and bad.refused is not None:
                cause = same_bytes(bad.refused.path, bad.refused.cause)
                task.refused = Quarantined(source.path, cause, source.sha256)
                with contextlib.suppress(PipelineError):
                    run.journal.note(Event.REFUSED, source, cause=cause)
                yield VideoQuarantined(source.path, 0, cause)
