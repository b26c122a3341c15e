"""uvicorn's HTTP, with an end to its patience: half-open connections, headers and bodies that drip, readers that stop.

uvicorn alone waits for ever for the rest of a request, so a few hundred idle sockets would shut everybody out.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_CONNECTIONS = 512  # at the same time; the SDK opens at most 32


class TimeoutProtocol(H11Protocol):
    """A connection that is closed when its request's head is not there within ``head_time`` s, or when a body that is
    awaited or an answer that is read does not move for ``idle_time`` s. How long we take ourselves does not count."""

    head_time: float = 15.0
    idle_time: float = 60.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._waits_since = self._moved = self.loop.time()
        self._stuck_since: float | None = None
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._watching.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        now = self.loop.time()
        if self._is_between_requests() and now - self._moved > self.head_time:
            self._waits_since = now  # the first byte after a rest between two requests
        self._moved = now
        super().data_received(data)

    def pause_writing(self) -> None:
        self._stuck_since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._stuck_since = None
        super().resume_writing()

    def on_response_complete(self) -> Any:
        self._waits_since = self.loop.time()
        return super().on_response_complete()

    def _is_between_requests(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _watch(self) -> None:
        now = self.loop.time()
        if self._is_between_requests():
            # The rest between two requests has uvicorn's own limit.
            rests = self.timeout_keep_alive_task is not None
            over = not rests and now - self._waits_since > self.head_time
        else:
            awaits_body = self.cycle.more_body and not self.flow.read_paused
            over = awaits_body and now - self._moved > self.idle_time
        if over or (self._stuck_since is not None and now - self._stuck_since > self.idle_time):
            self.transport.abort()
            return
        self._watching = self.loop.call_later(min(1.0, self.head_time / 4), self._watch)
