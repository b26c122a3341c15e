"""The videos of an item, each on its way to be stored, and the batches in which they are published. Values alone."""

from dataclasses import dataclass, field

from tools.core.artifact import Artifact, VideoOutput
from tools.core.folder import RemoteFile
from tools.core.frames import EMPTY, without_pictures
from tools.core.message import message, plural
from tools.core.planning import Video
from tools.core.queue_item import Quarantined
from tools.core.record import Record
from tools.core.sidecar import Sidecar


@dataclass(slots=True)
class Task:
    """One video of the plan. It waits, or is running, or has its output, or is refused."""

    video: Video
    failures: int = 0  # attempts so far that failed
    crashes: int = 0  # in a row, while it was being encoded
    not_before: float = 0.0  # monotonic s
    running: str | None = None  # attempt id
    is_converted: bool = False  # as far as this run saw: what is left of it is its upload
    output: VideoOutput | None = None  # stored, ready to be committed
    refused: Quarantined | None = None

    def refuse(self, refused: Quarantined) -> None:
        """It is given up. What is published stays so, whatever it lacks; its record says why, if that is for what the
        video is."""
        record = self.video.published
        if record is None:
            self.refused = refused
            return
        record = without_pictures(record, refused.cause) if refused.is_of_content else record
        artifacts = [Artifact(target.kind, "", "", *EMPTY) for target in self.video.targets]
        self.output = VideoOutput.of_published(record, self.video.targets, artifacts)

    @property
    def begins_with(self) -> str:
        """What a job for it asks of the hub first."""
        return "upload" if self.is_converted else "download"

    @property
    def is_settled(self) -> bool:
        return self.output is not None or self.refused is not None


@dataclass(slots=True)
class Batch:
    """Videos of one commit."""

    number: int  # from 1
    tasks: list[Task]
    began: float | None = None  # monotonic s of its first job
    failures: int = 0  # of its publication so far
    refusals: int = 0  # of its publication, whosever fault they are
    is_half: bool = False  # of one that was refused
    is_alone: bool = False  # shares its commit with no other folder: one that it shared was refused
    not_before: float = 0.0  # monotonic s, of the next try to publish it
    taken_at: float | None = None  # monotonic s since which a commit of it is not shown, or its sidecars are not stored
    is_over: bool = False  # published, or nothing of it can be
    is_publishing: bool = False
    sidecars: list[Sidecar] = field(default_factory=list)  # which go with it, whatever becomes of its videos

    def sources(self) -> list[RemoteFile]:
        return [task.video.source for task in self.tasks]

    def outputs(self) -> dict[RemoteFile, VideoOutput]:
        """What is to be committed, or was."""
        return {task.video.source: task.output for task in self.tasks if task.output is not None}

    @property
    def is_empty(self) -> bool:
        """Whether nothing of it is to be committed."""
        return not (self.sidecars or self.outputs())

    def unneeded(self) -> list[RemoteFile]:
        """The sources whose local files may go once it is over."""
        return [task.video.source for task in self.tasks if task.refused is None or not task.refused.result_kept]

    def records(self) -> list[Record]:
        return [task.output.record for task in self.tasks if task.output is not None]

    def refused(self) -> list[Quarantined]:
        return [task.refused for task in self.tasks if task.refused is not None]

    def bytes_in(self) -> int:
        return sum(record["source_size"] for record in self.records())

    def bytes_out(self) -> int:
        return sum(record["size"] for record in self.records())


def died(who: str, times: int) -> str:
    """The cause of a video that is given up for the deaths of ``who`` that had it."""
    return f"{who} died {plural(times, 'time')} in a row while this video was being encoded"


def tried(cause: str, times: int) -> str:
    """The cause of what is given up after so many attempts."""
    return message(f"{cause} (tried 1 time)" if times == 1 else f"{cause} (tried {times} times)")
