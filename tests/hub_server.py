"""The real embedded hub for tests: uvicorn on a free port over a folder, with faults on demand."""

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn

from tools.hub.local_server import create_app
from tools.hub.local_store import HubStore

TOKEN = "made-up-for-tests"


@dataclass(slots=True)
class Fault:
    """What happens to requests whose ``"METHOD path"`` contains ``match``: the first ``skip`` pass, the next ``times``
    suffer ``kind``: status:NNN | html | unsuccess | empty | reset | lost (done, unanswered) | truncated | slow:S."""

    match: str
    kind: str
    times: int = 1
    skip: int = 0
    retry_after: int | None = None
    hits: int = 0


@dataclass(slots=True)
class RunningHub:
    endpoint: str
    token: str
    root: Path
    store: HubStore
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


class _Faulty:
    """ASGI around the app: notes each request, and lets the faults happen."""

    def __init__(self, app: Any, hub: RunningHub) -> None:
        self._app = app
        self._hub = hub

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        query = scope.get("query_string", b"").decode()
        line = f"{scope['method']} {scope['path']}?{query}"
        self._hub.requests.append(line)
        fault = self._fault(line)
        if fault is None:
            await self._app(scope, receive, send)
        else:
            await self._suffer(fault, scope, receive, send)

    def _fault(self, line: str) -> Fault | None:
        for fault in self._hub.faults:
            if fault.match in line:
                fault.hits += 1
                if fault.skip < fault.hits <= fault.skip + fault.times:
                    return fault
        return None

    async def _suffer(self, fault: Fault, scope: Any, receive: Any, send: Any) -> None:
        kind, _, value = fault.kind.partition(":")
        if kind == "slow":
            await asyncio.sleep(float(value))
            await self._app(scope, receive, send)
        elif kind == "lost":
            await self._app(scope, receive, _nowhere)
            raise ConnectionResetError("answer dropped by the test")
        elif kind == "truncated":
            await self._app(scope, receive, _Truncating(send))
        elif kind == "reset":
            raise ConnectionResetError("connection dropped by the test")
        else:
            status, body = {
                "html": (200, b"<html>please log in</html>"),
                "empty": (200, json.dumps({"Code": 200, "Success": True, "Data": {"Files": []}}).encode()),
                "unsuccess": (200, json.dumps({"Code": 500, "Success": False, "Message": "busy"}).encode()),
            }.get(kind, (int(value or 200), json.dumps({"Code": int(value or 0), "Message": "made up"}).encode()))
            headers = [(b"content-type", b"application/json")]
            if fault.retry_after is not None:
                headers.append((b"retry-after", str(fault.retry_after).encode()))
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body})


async def _nowhere(message: Any) -> None:
    return None


class _Truncating:
    """Lets half of the body through."""

    def __init__(self, send: Any) -> None:
        self._send = send

    async def __call__(self, message: Any) -> None:
        if message["type"] == "http.response.body":
            await self._send({**message, "body": message["body"][: len(message["body"]) // 2], "more_body": True})
            raise ConnectionResetError("cut by the test")
        await self._send(message)


@contextlib.contextmanager
def running_hub(root: Path, *, max_page_size: int = 3000) -> Iterator[RunningHub]:
    """The hub over ``root`` in a thread."""
    store = HubStore(root)
    store.prepare()
    listening = socket.create_server(("127.0.0.1", 0))
    hub = RunningHub(f"http://127.0.0.1:{listening.getsockname()[1]}", TOKEN, root, store)
    app = _Faulty(create_app(store, TOKEN, max_page_size=max_page_size), hub)
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + 10
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.01)
    try:
        yield hub
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()
