"""A ModelScope-compatible hub over ``HubStore``: the calls that the SDK, its command line and our client use.

Reads of public datasets are free; everything else needs the token. Answers have the shapes that modelscope_hub 0.5
reads. Source: the SDK's requests, and what it does with the answers.
"""

import ipaddress
import socket
import time
from collections.abc import Callable, Iterable
from email.utils import formatdate
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tools.core.errors import HubRejected
from tools.hub_server import reads, writes
from tools.hub_server.answers import disconnected, failed, failure, http_refused, refused
from tools.hub_server.state import Hub
from tools.hub_server.store import HubStore


def create_app(store: HubStore, token: str, *, max_page_size: int = 3000, names: Iterable[str] = ()) -> Starlette:
    """The hub as an ASGI application, which dates its answers. ``max_page_size`` clamps listings, as servers do.
    ``names``: of hosts by which it may be asked for besides this machine's own name and all addresses."""
    hub = Hub(store, token, max_page_size)

    def route(path: str, handler: Callable[[Hub, Request], Any], *methods: str) -> Route:
        async def call(request: Request) -> Response:
            answer: Response = await handler(hub, request)
            return answer

        return Route(path, call, methods=list(methods))

    dataset = "/api/v1/datasets/{owner}/{name}"
    routes = [
        route("/api/v1/login", reads.login, "POST"),
        route("/openapi/v1/users/me", reads.me, "GET"),
        route("/api/v1/repos/internalAccelerationInfo", reads.region, "GET"),
        route("/api/v1/datasets", writes.create, "POST"),
        route("/openapi/v1/datasets/{owner}/{name}", reads.info, "GET"),
        route(dataset, reads.info, "GET"),
        route(dataset + "/repo/tree", reads.tree, "GET"),
        route("/api/v1/datasets/{number:int}/repo/tree", reads.tree, "GET"),
        route(dataset + "/commits", reads.commits, "GET"),
        route(dataset + "/revisions", reads.revisions, "GET"),
        route(dataset + "/repo", reads.file, "GET", "HEAD"),
        route("/datasets/{owner}/{name}/resolve/{revision}/{path:path}", reads.file, "GET", "HEAD"),
        route("/api/v1/repos/datasets/{owner}/{name}/info/lfs/objects/batch", writes.batch, "POST"),
        route("/api/v1/repos/datasets/{owner}/{name}/blobs/{oid}/{size}", writes.blob, "PUT"),
        route("/api/v1/repos/datasets/{owner}/{name}/commit/{branch}", writes.commit, "POST"),
    ]
    handlers = {HubRejected: refused, HTTPException: http_refused, ClientDisconnect: disconnected, OSError: failed}
    app = Starlette(
        routes=routes,
        exception_handlers=handlers,
        middleware=[Middleware(_DateHeader), Middleware(_HostCheck, names=names)],
    )
    app.state.hub = hub
    return app


class _DateHeader:
    """Gives each answer the time at which it is made: readers take the hub's clock from it, and compare that with the
    times of commits. A server's own header is renewed only once per second (uvicorn: ``date_header=False``)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def dated(message: Message) -> None:
            if message["type"] == "http.response.start":
                date = formatdate(time.time(), usegmt=True)
                message = {**message, "headers": [*message["headers"], (b"date", date.encode())]}
            await send(message)

        await self._app(scope, receive, dated)


class _HostCheck:
    """Answers only who asks by an address or a name of ours: a page on the web that has its own name point here would
    let a browser behind the firewall read for it (DNS rebinding)."""

    def __init__(self, app: ASGIApp, names: Iterable[str]) -> None:
        self._app = app
        own = socket.gethostname().lower()
        self._names = {"localhost", own, f"{own.split('.')[0]}.local", *(name.lower() for name in names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._is_ours(Headers(scope=scope).get("host", "")):
            said = "unknown Host: ask by an address, or start local_hub.py with --name NAME"
            await failure(421, said)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _is_ours(self, host: str) -> bool:
        name, colon, port = host.strip().rpartition(":")
        if not colon or not port.isdigit():  # without a port, or an IPv6 address alone
            name = host.strip()
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return name.lower().rstrip(".") in self._names
        return True
