"""Streams of server-sent events: what a page shows, each time that it changes. So many at a time, and no more."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from tools.core.errors import StateError

_EVERY = 0.5  # s between two looks at the files; what changes is seen within that and the time to read it
_BEAT = 10.0  # s after which a stream says something in any case, so that a dead connection is noticed


class Streams:
    """Those of one server. One counts from the moment that it is let in, so a burst gets no further than its limit."""

    def __init__(self, most: int) -> None:
        self._left = most

    def opened(self, look: Callable[[], dict[str, Any]], ends: Callable[[], bool]) -> Response | None:
        """The answer that streams what ``look`` finds until ``ends``; None if there are as many as may be."""
        if self._left <= 0:
            return None
        self._left -= 1
        return _Stream(_changes(look, ends), self._over)

    def _over(self) -> None:
        self._left += 1


class _Stream(StreamingResponse):
    def __init__(self, events: AsyncIterator[bytes], over: Callable[[], None]) -> None:
        super().__init__(events, media_type="text/event-stream", headers={"x-accel-buffering": "no"})
        self._over = over

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._over()


async def _changes(look: Callable[[], dict[str, Any]], ends: Callable[[], bool]) -> AsyncIterator[bytes]:
    told: object = None
    beat = 0.0
    while not ends():
        try:
            found = await run_in_threadpool(look)
        except StateError as exc:
            found = {"error": str(exc)}
        if found is not told and found != told:
            told, beat = found, 0.0
            yield b"event: overview\ndata: " + json.dumps(found, ensure_ascii=True).encode() + b"\n\n"
        elif beat >= _BEAT:
            beat = 0.0
            yield b": still here\n\n"
        await asyncio.sleep(_EVERY)
        beat += _EVERY
