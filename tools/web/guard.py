"""Who may ask: the host and the origin of a request, and the token where one is demanded.

A page of another site must not read this through its visitor's browser, neither under our name (``Origin``) nor under
its own (DNS rebinding, ``Host``), nor have it work for nothing (``Sec-Fetch-Site``). Nothing can be changed here, so
there is nothing else to protect.
"""

import hashlib
import hmac
import ipaddress
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "animation_dashboard"
LOGIN = "/login"
_OPEN = (LOGIN, "/assets/")  # what is seen without the token
_CONTENT = (  # Source: CSP 3
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": _CONTENT,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # with "no-referrer" the origin of a form would be null
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address. A name counts as one that others reach."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def names_of_this_machine() -> frozenset[str]:
    """By which others may ask for it, beside any bare address: that is never a stranger's name."""
    name = socket.gethostname().lower()
    return frozenset({"localhost", name, name.partition(".")[0], name.partition(".")[0] + ".local"})


class Guard:
    """Around an application. ``token`` None: whoever reaches the address may look."""

    def __init__(self, app: ASGIApp, token: str | None, names: Iterable[str]) -> None:
        self._app = app
        self._token = token
        self._names = frozenset(name.lower() for name in names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                known = {name.lower() for name, _ in message["headers"]}
                more = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message["headers"], *(one for one in more if one[0] not in known)]
            await send(message)

        await (refusal or self._app)(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._is_ours(host):
            return JSONResponse({"error": "unknown host"}, 400)
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2].lower() != host.lower():
            return JSONResponse({"error": "another origin"}, 403)
        if _is_of_another_page(headers):
            return JSONResponse({"error": "another site"}, 403)
        path = scope["path"]
        if self._token is None or path.startswith(_OPEN) or self.knows(headers):
            return None
        if "text/html" in headers.get("accept", ""):
            return RedirectResponse(LOGIN, 303)
        return JSONResponse({"error": "a token is needed"}, 401, {"www-authenticate": "Bearer"})

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit("//" + host).hostname or ""
        except ValueError:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name in self._names
        return True

    def knows(self, headers: Headers) -> bool:
        """Whether a request carries the token, or the cookie that was given for it."""
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self.is_token(given.strip()):
            return True
        cookies = (one.strip().partition("=") for one in headers.get("cookie", "").split(";"))
        return any(name == COOKIE and _same(value, self.cookie()) for name, _, value in cookies)

    def is_token(self, given: str) -> bool:
        """In a time that does not depend on where the two differ."""
        return self._token is not None and _same(given, self._token)

    def cookie(self) -> str:
        """What a browser keeps: it proves the token and is not it."""
        return hmac.new((self._token or "").encode(), b"dashboard", hashlib.sha256).hexdigest()


def _is_of_another_page(headers: Headers) -> bool:
    """Whether a page of another site, or of another port here, asks for something behind its visitor's back; a link
    that somebody follows is none. Source: Fetch Metadata Request Headers (W3C)."""
    is_followed = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    return headers.get("sec-fetch-site") in {"cross-site", "same-site"} and not is_followed


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode("utf-8", "replace"))
