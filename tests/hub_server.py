"""The real embedded hub for tests: uvicorn on a free port over a folder, with faults on demand."""

import asyncio
import contextlib
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn

from tests.patience import PATIENCE, until
from tools.hub_server.app import create_app
from tools.hub_server.http_timeouts import TimeoutProtocol
from tools.hub_server.store import HubStore
from tools.runtime.listening import listen

TOKEN = "made-up-for-tests"


@dataclass(slots=True)
class Fault:
    """What happens to requests whose ``"METHOD path?query"`` contains ``match``: the first ``skip`` pass, the next
    ``times`` suffer ``kind``:

    status:NNN | html | body (``says``, as JSON) | unsuccess[:CODE] | empty | short | twice (entries) | repeat (page 1)
    junk | counts:N (so many more than there are)
    reset | cut:N (the same once it has read N bytes of the body) | hang
    whole (whatever range is asked for)
    lost (done, unanswered) | late:S (unanswered, done S s later) | slow:S | truncated | corrupt
    trickle:B (bytes each 0.1 s) | expired (the link to the storage that it gives is refused there)
    """

    match: str
    kind: str
    times: int = 1
    skip: int = 0
    retry_after: str | int | None = None
    hits: int = 0
    says: str = "made up"


@dataclass(slots=True)
class RunningHub:
    """``requests``: each ``"METHOD path?query"``. ``storage``: content comes by a signed link to another host name,
    as with the live hub; ``seen_by_storage`` lists the headers that arrived there. ``token`` may be changed.
    ``ranges``: the bytes that each request for a file's content asked for, "" = all."""

    endpoint: str
    root: Path
    store: HubStore
    app: Any
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    storage: bool = False
    seen_by_storage: list[dict[str, str]] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)

    @property
    def token(self) -> str:
        return str(self.app.state.hub.token)

    @token.setter
    def token(self, token: str) -> None:
        self.app.state.hub.token = token

    def renew(self, root: Path) -> None:
        """Over another folder, and as if nothing had happened yet: many tests may share one server."""
        self.root, self.storage, self.token = root, False, TOKEN
        self.store = self.app.state.hub.store = HubStore(root)
        self.store.prepare()
        for record in (self.faults, self.requests, self.seen_by_storage, self.ranges):
            record.clear()

    def asked(self, text: str) -> int:
        """How many requests contained this."""
        return sum(text in line for line in self.requests)


class _Faulty:
    """ASGI around the app: notes each request, and lets the faults happen."""

    def __init__(self, hub: RunningHub) -> None:
        self._app = hub.app
        self._hub = hub
        self._later: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        query = scope.get("query_string", b"").decode()
        line = f"{scope['method']} {scope['path']}?{query}"
        self._hub.requests.append(line)
        if scope["path"].endswith("/repo"):
            self._hub.ranges.append(dict(scope["headers"]).get(b"range", b"").decode())
        if scope["path"].startswith("/storage/"):
            await self._stored(scope, receive, send, query)
            return
        fault = self._fault(line)
        if self._hub.storage and scope["path"].endswith("/repo") and (fault is None or fault.kind == "expired"):
            await self._redirect(scope, send, "no" if fault else "yes")
        elif fault is None:
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

    async def _redirect(self, scope: Any, send: Any, signature: str) -> None:
        port = self._hub.endpoint.rpartition(":")[2]
        query = scope["query_string"].decode()
        link = f"http://localhost:{port}/storage{scope['path']}?{query}&Signature={signature}"
        await _answer(send, 302, b"", {"location": link})

    async def _stored(self, scope: Any, receive: Any, send: Any, query: str) -> None:
        given = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        self._hub.seen_by_storage.append(given)
        if query.endswith("Signature=no"):
            await _answer(send, 403, b"<Error><Code>AccessDenied</Code><Message>Request has expired.</Message></Error>")
            return
        # The link stands for the right to read: the storage asks for no token.
        headers = [*scope["headers"], (b"authorization", f"Bearer {self._hub.token}".encode())]
        inner = {**scope, "path": scope["path"].removeprefix("/storage"), "headers": headers}
        await self._app(inner, receive, send)

    async def _suffer(self, fault: Fault, scope: Any, receive: Any, send: Any) -> None:
        kind, _, value = fault.kind.partition(":")
        if kind == "slow":
            await asyncio.sleep(float(value))
            await self._app(scope, receive, send)
        elif kind == "whole":
            without = [pair for pair in scope["headers"] if pair[0] != b"range"]
            await self._app({**scope, "headers": without}, receive, send)
        elif kind == "hang":
            await _gone(receive)
        elif kind == "lost":
            await self._app(scope, receive, _nowhere)
            raise ConnectionResetError("answer dropped by the test")
        elif kind == "late":
            body = await _whole(receive)
            self._later.add(asyncio.create_task(self._do_later(scope, body, float(value))))
            raise ConnectionResetError("answer dropped by the test")
        elif kind == "truncated":
            await self._app(scope, receive, _Truncating(send))
        elif kind == "cut":
            got = 0
            while got < int(value):
                got += len((await receive()).get("body", b""))
            raise ConnectionResetError("connection dropped by the test in mid-body")
        elif kind == "reset":
            raise ConnectionResetError("connection dropped by the test")
        elif kind == "repeat":
            query = re.sub(rb"PageNumber=\d+", b"PageNumber=1", scope["query_string"])
            await self._app({**scope, "query_string": query}, receive, send)
        elif kind == "counts":
            status, headers, body = await _answer_of(self._app, scope, receive)
            await _answer(send, status, _counting(body, int(value)), headers)
        elif kind in _CHANGED:
            status, headers, body = await _answer_of(self._app, scope, receive)
            await _answer(send, status, _CHANGED[kind](body), headers)
        elif kind == "trickle":
            answer = _trickle(send, *await _answer_of(self._app, scope, receive), int(value))
            await asyncio.wait(
                [asyncio.create_task(answer), asyncio.create_task(_gone(receive))], return_when="FIRST_COMPLETED"
            )
        else:
            await _refuse(fault, kind, int(value or 0), send)

    async def _do_later(self, scope: Any, body: bytes, seconds: float) -> None:
        await asyncio.sleep(seconds)

        async def again() -> dict[str, Any]:
            return {"type": "http.request", "body": body}

        await self._app(scope, again, _nowhere)


def _changed_files(change: Callable[[list[Any]], Any]) -> Callable[[bytes], bytes]:
    def apply(body: bytes) -> bytes:
        content = json.loads(body)
        content["Data"]["Files"] = change(content["Data"]["Files"])
        return json.dumps(content).encode()

    return apply


_JUNK: list[Any] = [None, 7, "x", [], {"Path": 3, "Type": "blob", "Size": "many"}, {"Path": None, "Type": "blob"}]
_CHANGED: dict[str, Callable[[bytes], bytes]] = {
    "corrupt": lambda body: bytes(byte ^ 1 for byte in body),
    "short": _changed_files(lambda files: files[: len(files) // 2]),
    "twice": _changed_files(lambda files: [*files, *files]),
    "junk": _changed_files(lambda files: [*_JUNK, *files[1:]]),
}


def _counting(body: bytes, more: int) -> bytes:
    content = json.loads(body)
    if not content["Data"]:
        return body  # a refusal
    content["TotalCount"] = content["Data"]["TotalCount"] = content["Data"]["TotalCount"] + more
    return json.dumps(content).encode()


async def _whole(receive: Any) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)


async def _answer_of(app: Any, scope: Any, receive: Any) -> tuple[int, dict[str, str], bytes]:
    got: dict[str, Any] = {"body": b""}

    async def take(message: Any) -> None:
        if message["type"] == "http.response.start":
            got.update(message)
        else:
            got["body"] += message.get("body", b"")

    await app(scope, receive, take)
    headers = {name.decode(): value.decode() for name, value in got["headers"]}
    return got["status"], {name: value for name, value in headers.items() if name != "content-length"}, got["body"]


async def _answer(send: Any, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
    given = {"content-length": str(len(body)), **(headers or {})}
    pairs = [(name.encode(), value.encode()) for name, value in given.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})


async def _trickle(send: Any, status: int, headers: dict[str, str], body: bytes, step: int) -> None:
    pairs = [(b"content-length", str(len(body)).encode()), *((n.encode(), v.encode()) for n, v in headers.items())]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    for start in range(0, len(body), step):
        await send({"type": "http.response.body", "body": body[start : start + step], "more_body": True})
        await asyncio.sleep(0.1)
    await send({"type": "http.response.body", "body": b""})


async def _refuse(fault: Fault, kind: str, value: int, send: Any) -> None:
    said = {"Code": value, "Message": fault.says, "Success": False}
    status, body = {
        "html": (200, b"<html>please log in</html>"),
        "body": (200, fault.says.encode()),
        "empty": (200, json.dumps({"Code": 200, "Success": True, "Data": {"Files": []}}).encode()),
        "unsuccess": (200, json.dumps({**said, "Code": value or 500}).encode()),
    }.get(kind, (value or 200, json.dumps(said).encode()))
    headers = {"content-type": "text/html; charset=utf-8" if kind == "html" else "application/json"}
    if fault.retry_after is not None:
        headers["retry-after"] = str(fault.retry_after)
    await _answer(send, status, body, headers)


async def _gone(receive: Any) -> None:
    """Until the client has hung up."""
    while (await receive())["type"] != "http.disconnect":
        pass


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
def running_hub(
    root: Path,
    *,
    max_page_size: int = 3000,
    protocol: type[TimeoutProtocol] = TimeoutProtocol,
    limit_concurrency: int | None = None,
) -> Iterator[RunningHub]:
    """The hub over ``root`` in a thread."""
    store = HubStore(root)
    store.prepare()
    listening = listen("127.0.0.1", 0)
    app = create_app(store, TOKEN, max_page_size=max_page_size, names=["NAS.lan"])
    hub = RunningHub(f"http://127.0.0.1:{listening.getsockname()[1]}", root, store, app)
    server = uvicorn.Server(
        uvicorn.Config(
            _Faulty(hub),
            http=protocol,
            date_header=False,
            limit_concurrency=limit_concurrency,
            log_level="critical",
            timeout_graceful_shutdown=1,
        )
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    until(lambda: server.started, "the hub listens")
    try:
        yield hub
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
        listening.close()
