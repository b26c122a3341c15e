"""uvicorn's HTTP with timeouts: for connections without a request, slow headers and bodies, readers that stop.

uvicorn alone waits for ever for the rest of a request, so a few hundred idle sockets would keep everybody out. Where
there are many of those, the oldest goes as soon as somebody else comes.
"""

import asyncio
from collections import Counter
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_CONNECTIONS = 512  # at the same time; the SDK opens at most 32
MOST_WAITING = 256  # of them without a request of theirs being answered


class TimeoutProtocol(H11Protocol):
    """Closes a connection that keeps us waiting. How long we take ourselves does not count."""

    head_timeout: float = 15.0  # s for the head of a request to be complete
    most_waiting: int = MOST_WAITING
    idle_timeout: float = 60.0  # s without a byte of a body that we await, or of an answer that the other side reads

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._waiting_since = self._moved = self.loop.time()
        self._stuck_since: float | None = None
        self._check()
        self._make_room()

    def _make_room(self) -> None:
        """End the oldest of too many connections that wait, of the other side that has most of them."""
        waiting = [one for one in self.connections if isinstance(one, TimeoutProtocol) and one._is_waiting()]
        if len(waiting) <= self.most_waiting:
            return
        peers = Counter(one.client[0] if one.client else "" for one in waiting)
        greedy = peers.most_common(1)[0][0]
        of_it = [one for one in waiting if (one.client[0] if one.client else "") == greedy and one is not self]
        if of_it:
            min(of_it, key=lambda one: one._waiting_since).transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._next_check.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        now = self.loop.time()
        if self._is_between_requests() and now - self._moved > self.head_timeout:
            self._waiting_since = now  # the first byte after a pause between two requests
        self._moved = now
        super().data_received(data)

    def pause_writing(self) -> None:
        self._stuck_since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._stuck_since = None
        super().resume_writing()

    def on_response_complete(self) -> Any:
        self._waiting_since = self.loop.time()
        return super().on_response_complete()

    def _is_between_requests(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _is_waiting(self) -> bool:
        return self._is_between_requests() and not self.transport.is_closing()

    def _check(self) -> None:
        now = self.loop.time()
        if self._is_between_requests():
            # A pause between two requests has uvicorn's own limit.
            pauses = self.timeout_keep_alive_task is not None
            over = not pauses and now - self._waiting_since > self.head_timeout
        else:
            awaits_body = self.cycle.more_body and not self.flow.read_paused
            over = awaits_body and now - self._moved > self.idle_timeout
        if over or (self._stuck_since is not None and now - self._stuck_since > self.idle_timeout):
            self.transport.abort()
            return
        self._next_check = self.loop.call_later(min(1.0, self.head_timeout / 4), self._check)
