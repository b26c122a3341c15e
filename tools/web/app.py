"""The application: pages, their files, JSON, and a stream of events. It changes nothing, and no request can make it."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from tools.core.errors import StateError
from tools.runtime.language import Language
from tools.web.charts import SPANS
from tools.web.guard import COOKIE, LOGIN, Guard
from tools.web.items import Query
from tools.web.log_tail import LEVELS
from tools.web.source import Source
from tools.web.streams import Streams
from tools.web.texts import ASSETS, texts

_STREAMS = 64  # at a time
_LINES = 500  # of the log in one answer
_LONGEST_FORM = 8192  # bytes
_KINDS = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml", ".html": "text/html"}


def routes(source: Source, ends: Callable[[], bool]) -> list[BaseRoute]:
    """Of the pages. ``ends``: whether the server is about to stop, which streams do not outlive."""
    streams = Streams(_STREAMS)

    async def events(request: Request) -> Response:
        answer = streams.opened(lambda: source.overview(_language(request)), ends)
        return answer or JSONResponse({"error": "too many pages are open"}, 503)

    return [*_files(), *_values(source), Route("/api/events", events)]


def _files() -> list[BaseRoute]:
    """The pages themselves."""

    async def page(request: Request) -> Response:
        return _file("page.html")

    async def asset(request: Request) -> Response:
        return _file(request.path_params["name"])

    return [*(Route(path, page) for path in ("/", "/folder", "/log")), Route("/assets/{name}", asset)]


def _values(source: Source) -> list[BaseRoute]:
    """What the pages ask for."""

    def words(request: Request) -> dict[str, str]:
        return texts() if _language(request) is Language.CHINESE else {}

    def items(request: Request) -> dict[str, Any]:
        return source.items(Query.of(request.query_params), _language(request))

    def folder(request: Request) -> dict[str, Any]:
        return source.folder(request.query_params.get("name", ""), _language(request))

    def charts(request: Request) -> dict[str, Any]:
        span = request.query_params.get("span", "")
        return source.charts(span if span in SPANS else "week", _language(request))

    def log(request: Request) -> dict[str, Any]:
        level, text = request.query_params.get("level", ""), request.query_params.get("text", "")[:500]
        return {"entries": source.log(level if level in LEVELS else "INFO", text, _LINES)}

    return [
        _value("/api/texts", words),
        _value("/api/overview", lambda request: source.overview(_language(request))),
        _value("/api/items", items),
        _value("/api/folder", folder),
        _value("/api/charts", charts),
        _value("/api/log", log),
    ]


class Answer(JSONResponse):
    """JSON in ASCII: a stranger's text may hold halves of characters, which no encoding takes."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content).encode("ascii")


def _value(path: str, ask: Callable[[Request], dict[str, Any]]) -> Route:
    """What a thread finds out, as JSON."""

    async def answer(request: Request) -> Response:
        return Answer(await run_in_threadpool(ask, request))

    return Route(path, answer)


def application(all_routes: list[BaseRoute], token: str | None, names: frozenset[str]) -> Guard:
    """The routes behind a guard (``names``: those by which this machine may be asked for), with a page on which a
    person types the token."""

    async def enter(request: Request) -> Response:
        if request.method == "GET":
            return _file("login.html")
        content = await _content(request)
        if content is None:
            return _file("login.html", 413)
        form = parse_qs(content.decode("utf-8", "replace"))
        if not guard.is_token(form.get("token", [""])[0].strip()):
            return _file("login.html", 403)
        answer = RedirectResponse("/", 303)
        secure = request.url.scheme == "https"
        answer.set_cookie(COOKIE, guard.cookie(), max_age=30 * 86400, httponly=True, samesite="strict", secure=secure)
        return answer

    app = Starlette(
        routes=[*all_routes, Route(LOGIN, enter, methods=["GET", "POST"])],
        exception_handlers={StateError: _unreadable, OSError: _unreadable},
    )
    guard = Guard(app, token, names)
    return guard


async def _content(request: Request) -> bytes | None:
    """The body of a form; None if it is longer than one, whatever its head says. No more than that is kept."""
    content = b""
    async for piece in request.stream():
        content += piece
        if len(content) > _LONGEST_FORM:
            return None
    return content


def _file(name: str, status: int = 200) -> Response:
    path = ASSETS / name
    if path.parent != ASSETS or path.suffix not in _KINDS or not path.is_file():
        return JSONResponse({"error": "not found"}, 404)
    return FileResponse(path, status, media_type=_KINDS[path.suffix], headers={"cache-control": "no-cache"})


def _language(request: Request) -> Language:
    return Language.CHINESE if request.query_params.get("lang") == "zh" else Language.ENGLISH


async def _unreadable(request: Request, exc: Exception) -> Response:
    return JSONResponse({"error": str(exc)}, 503)
