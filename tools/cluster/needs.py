"""What the queue still needs of what workers run and keep: decides what they may end and delete. Pure bookkeeping."""

from collections.abc import Collection, Iterable

from tools.cluster.roster import Member
from tools.core.folder import RemoteFile
from tools.core.planning import VideoJob
from tools.stages.workspace import item_key, video_key


class Needs:
    """Of everything until ``live`` is known. Not safe for threads: its owner locks."""

    def __init__(self) -> None:
        self._live: set[str] | None = None  # keys of the items that need their results
        self._forgotten: set[str] = set()  # keys of videos of live items whose results nothing needs any more

    def set_live(self, folders: Iterable[str]) -> None:
        """These queue folders need their results, and no others."""
        self._live = {item_key(folder) for folder in folders}

    def add(self, job: VideoJob) -> None:
        self._forgotten.discard(video_key(job.folder, job.source))
        if self._live is not None:
            self._live.add(item_key(job.folder))

    def forget(self, folder: str, source: RemoteFile | None = None) -> None:
        """Nothing needs the results of a video, or of the whole queue item, any more."""
        if source is not None:
            self._forgotten.add(video_key(folder, source))
        elif self._live is not None:
            self._live.discard(item_key(folder))
            self._forgotten = {key for key in self._forgotten if not key.startswith(item_key(folder))}

    def unwanted(self, member: Member, elsewhere: Collection[str]) -> list[str]:
        """Attempts of an older run of the processor that a worker runs although the same video runs on another worker
        (``elsewhere``, video keys) or belongs to no live item."""
        older = [job for attempt_id, job in member.jobs.items() if attempt_id not in member.running]
        return [job.attempt_id for job in older if self._live is not None and self._is_dead(job.key, elsewhere)]

    def leftovers(self, member: Member) -> list[str]:
        """Keys of what is on a worker's disk and nothing needs any more."""
        return [key for key in member.held if self._live is not None and self._is_dead(key, self._forgotten)]

    def _is_dead(self, key: str, dropped: Collection[str]) -> bool:
        return key in dropped or key.partition("/")[0] not in (self._live or ())
