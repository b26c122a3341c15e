"""The embedded hub on a link of a given rate: ``python -m tests.bench.slow_hub --root DIR``.

A process of its own. ``--down``, ``--up`` and ``--each`` are bytes/s of what it sends, of what it receives, and on each
connection; 0 = as fast as it can. Prints its port, ends with its parent's standard input; the token that it takes is
``TOKEN`` of ``tests.hub_server``.
"""

import argparse
import asyncio
import sys
import threading
import time
from pathlib import Path
from typing import Any

import uvicorn

from tests.hub_server import TOKEN
from tools.hub_server.app import create_app
from tools.hub_server.store import HubStore
from tools.runtime.listening import listen

_SMALL = 4096  # bytes; what is shorter is no transfer


class Link:
    """Lets ``rate`` bytes/s through, however many connections share it."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._free_at = 0.0

    async def carry(self, size: int) -> None:
        if not self._rate or size < _SMALL:
            return
        now = time.monotonic()
        self._free_at = max(self._free_at, now - 0.05) + size / self._rate
        if self._free_at - now > 0.005:
            await asyncio.sleep(self._free_at - now)


class Slowed:
    def __init__(self, app: Any, down: Link, up: Link, each: float) -> None:
        self._app, self._down, self._up, self._each = app, down, up, each

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        own = Link(self._each)  # a connection serves one request at a time

        async def slow_receive() -> Any:
            message = await receive()
            for link in (own, self._up):
                await link.carry(len(message.get("body") or b""))
            return message

        async def slow_send(message: Any) -> None:
            for link in (own, self._down):
                await link.carry(len(message.get("body") or b""))
            await send(message)

        await self._app(scope, slow_receive, slow_send)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--down", type=float, default=0.0)
    parser.add_argument("--up", type=float, default=0.0)
    parser.add_argument("--each", type=float, default=0.0)
    parsed = parser.parse_args()
    store = HubStore(parsed.root)
    store.prepare()
    listening = listen("127.0.0.1", 0)
    app = Slowed(create_app(store, TOKEN), Link(parsed.down), Link(parsed.up), parsed.each)
    server = uvicorn.Server(uvicorn.Config(app, date_header=False, log_level="critical", timeout_graceful_shutdown=1))
    threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True).start()
    print(listening.getsockname()[1], flush=True)
    sys.stdin.read()
    server.should_exit = True


if __name__ == "__main__":
    main()
