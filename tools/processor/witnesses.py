"""Which other video a job asks for if the hub does not give its own: one that it gave before, else one that it lists.

The job asks itself, where it runs, right after its failure and by the same way: what a cluster's worker can't reach
the processor may well reach.
"""

import contextlib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from itertools import islice

from tools.core.errors import HubError
from tools.core.folder import RemoteFile, is_safe_path, is_video
from tools.core.planning import VideoJob
from tools.core.witness import Given, Witness, pick
from tools.hub.client import HubClient

_KEPT = 3  # of those that were given, and of a folder
_LISTED = 3000  # files of a repo that are looked through: about a page of the hub's
_ENOUGH = 10  # of those that are listed


class Witnesses:
    """The other videos. ``look`` is called in a thread of the hub, all else in that of the engine."""

    def __init__(self, input_repo: str, output_repo: str, extensions: frozenset[str]) -> None:
        self._input_repo = input_repo
        self._output_repo = output_repo
        self._extensions = extensions
        self._given: tuple[Witness, ...] = ()  # the latest first
        self._opened: tuple[Witness, ...] = ()  # of folders that were opened, the latest first
        self._listed: tuple[Witness, ...] = ()
        self._silent: Counter[str] = Counter()  # by path: how often in a row it was not given either

    def opened(self, revision: str, files: Sequence[RemoteFile]) -> None:
        """The files directly in a folder of the input repo, at a commit."""
        videos = [Witness(self._input_repo, revision, file) for file in files if self._is_video(file)]
        self._opened = (*videos[:_KEPT], *self._opened)[: _KEPT * _KEPT]

    def given(self, job: VideoJob) -> None:
        """The hub gave the source of this job."""
        if job.published is None:
            self._given = (Witness(job.input_repo, job.revision, job.source), *self._given)[:_KEPT]

    def answered(self, witness: Witness, given: Given) -> None:
        """What became of asking for one."""
        if given is Given.NOTHING:
            self.silent(witness.file.path)
        elif given is Given.OTHERS:
            del self._silent[witness.file.path]

    def silent(self, path: str) -> None:
        """This one is a bad witness: the hub did not give it."""
        self._silent[path] += 1

    def choose(self, failing: Collection[str]) -> Witness | None:
        """One that is not among the ``failing`` paths of the input repo; None if none is known."""
        return pick([*self._given, *self._opened, *self._listed], self._input_repo, failing, self._silent)

    def look(self, hub: HubClient, failing: Collection[str]) -> None:
        """Look for some in the input repo, else in the output repo, unless one is known. What the hub does not list
        now is looked for another time. Raises Stopped."""
        if self.choose(failing) is not None:
            return
        with contextlib.suppress(HubError):
            for repo in (self._input_repo, self._output_repo):
                listed = islice(self._videos(hub, repo), _ENOUGH + len(failing))
                self._listed = tuple(listed)
                if self.choose(failing) is not None:
                    return

    def _videos(self, hub: HubClient, repo: str) -> Iterator[Witness]:
        head = hub.head(repo)
        files: Iterator[RemoteFile] = iter(()) if head is None else hub.list_files(repo, head.commit_id)
        for file in islice(files, _LISTED):
            if head is not None and self._is_video(file):
                yield Witness(repo, head.commit_id, file)

    def _is_video(self, file: RemoteFile) -> bool:
        return file.size > 0 and is_video(file.name, self._extensions) and is_safe_path(file.path)
