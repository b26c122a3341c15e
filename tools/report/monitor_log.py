"""What the monitor writes into the log about the folders that it watches."""

import logging
from collections.abc import Iterable

from tools.core.folder import Folder, is_replaced
from tools.core.message import message
from tools.core.past import PollLine
from tools.core.queue_item import QueueItem
from tools.core.stability import seconds_until_stable
from tools.runtime import logs
from tools.state.intake import Intake
from tools.state.monitor_state import MonitorState

log = logging.getLogger("animation.monitor")


def tell_changes(before: MonitorState, now: MonitorState, min_age: float) -> None:
    """How a listing differs from the one before; ``min_age`` s after which a folder is stable."""
    for name, snapshot in now.folders.items():
        known, folder = before.folders.get(name), snapshot.folder
        replaced = known is not None and is_replaced(known.folder.contents, folder.contents)
        if known is None or known.folder.fingerprint != folder.fingerprint or replaced:
            log.info(
                "%s %s",
                "new folder" if known is None else "folder changed",
                logs.fields(
                    folder=name,
                    files=folder.file_count,
                    videos=folder.video_count,
                    bytes=folder.total_size,
                    stable_in_s=seconds_until_stable(snapshot, now.steady, min_age),
                ),
            )
    for name in before.folders.keys() - now.folders.keys():
        log.info("%s is no longer in %s: its results stay unless MIRROR=1", name, now.repo)


def no_video(folder: Folder) -> str:
    """Why a folder without a video is not queued."""
    kinds = ", ".join(folder.others) or message("no file with an extension")
    return message(f"holds no video ({kinds}): not queued")


def half_uploaded(folder: Folder) -> str:
    """Why a folder is not queued however quiet it is."""
    what = f"{folder.partial} is half-uploaded"
    return message(f"not complete, {what}: queued once that is whole or deleted, or by --add")


def tell_kept_out(folders: Iterable[Folder]) -> None:
    """Folders that are quiet and not queued."""
    for folder in folders:
        about = logs.fields(folder=folder.name, files=folder.file_count)
        if folder.partial:
            log.warning("%s %s", half_uploaded(folder), about)
        else:
            log.info("%s %s", no_video(folder), about)


def tell_queued(entries: Iterable[QueueItem]) -> None:
    for entry in entries:
        log.info(
            "queued %s",
            logs.fields(
                folder=entry.folder,
                priority=entry.priority,
                files=entry.file_count,
                videos=entry.videos_total,
                bytes=entry.total_size,
            ),
        )


def tell_settled(folders: Iterable[str], state: MonitorState) -> None:
    """Items that left the queue since nothing of their folders is left to convert."""
    for name in folders:
        why = f"is no longer in {state.repo}" if name not in state.folders else "holds no video any more"
        log.info("%s %s: nothing to do, removed from the queue", name, why)


class SkippedPaths:
    """Paths of a listing that are skipped since they could do harm; one line reports all of them."""

    def __init__(self) -> None:
        self._count = 0
        self._first = ""

    def note(self, path: str) -> None:
        self._first = self._first or path
        self._count += 1

    def tell(self) -> None:
        if self._count:
            log.warning(
                "skipped paths that are not valid file names; rename them on the hub: count=%d first=%r",
                self._count,
                self._first,
            )


def poll_line(state: MonitorState, intake: Intake, queued: int) -> PollLine:
    """A poll that was answered, for the history; ``state`` and ``intake`` as it left them."""
    return PollLine(
        time=state.last_check or 0.0,
        answered=True,
        listed=state.listed == state.last_check,
        folders=len(state.folders),
        waiting=sum(bool(snapshot.folder.video_count) for snapshot in intake.waiting),
        queued=queued,
    )
