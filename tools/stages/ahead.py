"""A result's blob on its way to the hub while the result is verified.

Nothing shows a blob but a commit, which comes after the verification; one that is refused is never named by any. What
failed before anybody waited for it is old news: whoever stores the verified result asks the hub again.
"""

import contextlib
import threading
from pathlib import Path

from tools.core.artifact import Artifact, ArtifactKind
from tools.core.errors import PipelineError, Stopped
from tools.core.planning import VideoJob
from tools.stages.job_context import JobContext, JobTools, TransferMeter, Unseen

_POLL = 0.2  # s between checks of ``stop``
_ENDS_WITHIN = 1.0  # s: what moves ends with its next piece; what hangs is left alone


class SendingAhead:
    """Of one attempt at a video. ``with`` it ends whatever is under way."""

    def __init__(self, job: VideoJob, tools: JobTools, context: JobContext) -> None:
        self._job, self._tools, self._context = job, tools, context
        self._latest: _Sending | None = None

    def __enter__(self) -> "SendingAhead":
        return self

    def __exit__(self, *_: object) -> None:
        self.drop()

    def begin(self, result: Path, sha256: str) -> None:
        """As of ``tools.media.ahead.Ahead``. Never at the same time as another method."""
        self.drop()
        repo = next(one.repo for one in self._job.targets if one.kind is ArtifactKind.VIDEO)
        self._latest = _Sending(self._job, self._tools, self._context, repo, result, sha256)
        self._latest.start()

    def drop(self) -> None:
        if self._latest is not None:
            self._latest.end()
            self._latest = None

    def has_sent(self, artifact: Artifact, total: int) -> bool:
        """Whether the hub has this content by now; what is on its way is waited for, and shown as a part of ``total``
        bytes, and what only waits for a place to send from is given up. Raises what sending it does from now on:
        HubError, Stopped."""
        sending = self._latest
        return sending is not None and sending.is_of(artifact) and sending.arrived(total)


class _Sending:
    """Of one content."""

    def __init__(
        self, job: VideoJob, tools: JobTools, context: JobContext, repo: str, result: Path, sha256: str
    ) -> None:
        self._job, self._tools, self._context = job, tools, context
        self._repo, self._file, self._sha256 = repo, result, sha256
        self._size = result.stat().st_size
        self._unseen = Unseen(context.order)
        self._lock = threading.Lock()
        self._has_place = False
        self._moved = 0  # bytes
        self._meter: TransferMeter | None = None  # of those who wait for it
        self._error: PipelineError | None = None
        self._has_arrived = False
        # A daemon: a transfer that hangs in the SDK must not keep the program from ending.
        self._thread = threading.Thread(target=self._send, name=f"ahead-{job.attempt_id}", daemon=True)

    def start(self) -> None:
        """Begin; a system that has no thread to give leaves it to those who store what was verified."""
        try:
            self._thread.start()
        except RuntimeError:
            self.end()

    def end(self) -> None:
        """Whatever is read from now on is not sent, and soon nothing is read."""
        self._unseen.stop.set()
        with contextlib.suppress(RuntimeError):  # it never began
            self._thread.join(_ENDS_WITHIN)

    def is_of(self, artifact: Artifact) -> bool:
        return (artifact.repo, artifact.sha256, artifact.size) == (self._repo, self._sha256, self._size)

    def arrived(self, total: int) -> bool:
        """Whether it was sent, as ``SendingAhead.has_sent``."""
        with self._lock:
            has_place = self._has_place
            if not has_place:  # the video waits for a place itself now, as one that is verified
                self._unseen.stop.set()
        if not has_place or not self._thread.is_alive():
            return self._has_arrived
        with self._lock:
            self._meter = TransferMeter(self._job, "upload", total, self._context, self._moved)
        while self._thread.is_alive():
            self._thread.join(_POLL)
            if self._context.stop.is_set():
                raise Stopped("stopped")
        if self._error is not None:
            raise self._error
        return self._has_arrived

    def _send(self) -> None:
        try:
            with self._tools.store.held(self._job, self._unseen):
                with self._lock:
                    if self._unseen.stop.is_set():
                        return
                    self._has_place = True
                self._tools.hub.store_blob(self._repo, self._file, self._sha256, self._size, self._count)
                self._has_arrived = True
        except PipelineError as exc:
            self._error = exc
        except OSError:  # the file was moved, between two tries: whoever stores it knows its place
            pass

    def _count(self, moved: int) -> None:
        with self._lock:
            if self._unseen.stop.is_set():
                raise Stopped("stopped")
            self._moved += moved
            meter = self._meter
        if meter is not None:
            meter(moved)
