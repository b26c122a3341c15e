"""A file on its way to the hub, as ``requests`` wants it: tells how much of it went, and ends what moves too little."""

import time
from typing import IO

from tools.core.errors import HubUnavailable, PipelineError
from tools.hub.client import Progress

_LEAST = 1000.0  # bytes/s; the SDK asks the same of downloads


class Upload:
    """The body of one request. What ``progress`` raises to end it is in ``ended``, since others make it theirs."""

    def __init__(self, stream: IO[bytes], size: int, progress: Progress, window: float) -> None:
        """``window`` s within which it must move 1 kB/s on average, or another connection may do better."""
        self._stream = stream
        self._size = size
        self._progress = progress
        self._window = window
        self._since, self._moved = time.monotonic(), 0
        self.ended: list[PipelineError] = []

    def __len__(self) -> int:
        return self._size

    def read(self, count: int = -1) -> bytes:
        """The next piece, asked for as soon as the one before is on its way."""
        piece = self._stream.read(count)
        try:
            self._check_speed(len(piece))
            self._progress(len(piece))
        except PipelineError as exc:
            self.ended.append(exc)
            raise
        return piece

    def _check_speed(self, moved: int) -> None:
        passed = time.monotonic() - self._since
        if passed < self._window:
            self._moved += moved
            return
        if self._moved < _LEAST * passed:
            raise HubUnavailable(f"the upload moved {self._moved} bytes in {passed:.0f} s, which is no progress")
        self._since, self._moved = self._since + passed, moved
