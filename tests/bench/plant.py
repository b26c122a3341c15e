"""A processor with a hub in memory and an encoder that only takes time, to measure what is between the stages."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.fakes import FakeClock, FakeConverter, MemoryHub
from tools.core.folder import RemoteFile, group_folders
from tools.core.queue_item import QueueItem, Status, new_item
from tools.hub.client import Progress
from tools.media.converter import Converter
from tools.processor.build import ProcessorOptions, build
from tools.runtime.clock import SystemClock
from tools.state.work_queue import WorkQueue

EXTENSIONS = frozenset({"mp4"})


class SlowHub(MemoryHub):
    """A hub in memory whose transfers take ``seconds`` each."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__(FakeClock())
        self.seconds = seconds

    def download(self, repo: str, commit: str, file: RemoteFile, target: Path, progress: Progress) -> str:
        time.sleep(self.seconds)
        return super().download(repo, commit, file, target, progress)

    def store_blob(self, repo: str, source: Path, sha256: str, size: int, progress: Progress) -> None:
        time.sleep(self.seconds)
        super().store_blob(repo, source, sha256, size, progress)


@dataclass(slots=True)
class Plant:
    """A processor's parts over a temporary folder."""

    top: Path
    hub: SlowHub = field(default_factory=SlowHub)
    converter: Converter = field(default_factory=FakeConverter)
    slots: int = 1
    threads: int | None = None
    folders: list[str] = field(default_factory=list)

    def queue(self) -> WorkQueue:
        return WorkQueue(self.top / "log")

    def put(self, files: Mapping[str, bytes], more: list[QueueItem] | None = None) -> None:
        """Commit files and queue their folders, behind ``more`` items of folders that the hub doesn't have."""
        commit = self.hub.put("me/in", files)
        self.hub.create_repo("me/out")
        grouped = group_folders(self.hub.list_files("me/in", commit), EXTENSIONS)
        with self.queue().transaction() as view:
            for item in more or ():
                view.put(item)
            for folder in grouped.values():
                view.put(new_item(folder, time.time()))
        self.folders.extend(grouped)

    def run(self) -> float:
        """Work until every folder put is over; returns the seconds that it took, without the start, which reads all
        that waits."""
        work = self.queue()
        options = ProcessorOptions(
            input_repo="me/in",
            output_repo="me/out",
            log_dir=self.top / "log",
            work_dir=self.top / "work",
            check_interval=1.0,
            stable_time=1.0,
            extensions=EXTENSIONS,
            slots=self.slots,
            threads=self.threads,
        )
        engine = build(options, self.hub, self.converter, SystemClock()).engine
        engine.turn(0.0)
        began = time.monotonic()
        while not self._is_over(work):
            engine.turn(0.5)
        took = time.monotonic() - began
        engine.close(5)
        return took

    def _is_over(self, work: WorkQueue) -> bool:
        view = work.read()
        items = [item for folder in self.folders if (item := view.get(folder))]
        assert all(item.status is not Status.FAILED for item in items)
        return all(item.status is Status.COMPLETED for item in items)
