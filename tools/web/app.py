"""The application: pages, their files, JSON, and a stream of events. It changes nothing, and no request can make it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from tools.core.errors import StateError
from tools.runtime.language import Language
from tools.web.charts import SPANS
from tools.web.guard import COOKIE, LOGIN, Guard
from tools.web.items import Query
from tools.web.log_tail import LEVELS
from tools.web.source import Source
from tools.web.texts import ASSETS, texts

_EVERY = 0.5  # s between two looks at the files; what changes is seen within that and the time to read it
_BEAT = 10.0  # s after which a stream says something in any case, so that a dead connection is noticed
_STREAMS = 64  # at a time
_LONGEST_FORM = 8192  # bytes
_KINDS = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml", ".html": "text/html"}


def routes(source: Source, ends: Callable[[], bool]) -> list[BaseRoute]:
    """Of the pages. ``ends``: whether the server is about to stop, which streams do not outlive."""
    streams = 0

    async def page(request: Request) -> Response:
        return _file("page.html")

    async def asset(request: Request) -> Response:
        return _file(request.path_params["name"])

    async def words(request: Request) -> Response:
        return JSONResponse(texts() if _language(request) is Language.CHINESE else {})

    async def overview(request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(source.overview, _language(request)))

    async def items(request: Request) -> Response:
        query = Query.of(request.query_params)
        return JSONResponse(await run_in_threadpool(source.items, query, _language(request)))

    async def folder(request: Request) -> Response:
        name = request.query_params.get("name", "")
        return JSONResponse(await run_in_threadpool(source.folder, name, _language(request)))

    async def charts(request: Request) -> Response:
        span = request.query_params.get("span", "")
        return JSONResponse(await run_in_threadpool(source.charts, span if span in SPANS else "week"))

    async def log(request: Request) -> Response:
        level = request.query_params.get("level", "")
        text = request.query_params.get("text", "")[:500]
        found = await run_in_threadpool(source.log, level if level in LEVELS else "INFO", text, 500)
        return JSONResponse({"entries": found})

    async def events(request: Request) -> Response:
        nonlocal streams
        if streams >= _STREAMS:
            return JSONResponse({"error": "too many pages are open"}, 503)

        async def said() -> AsyncIterator[bytes]:
            nonlocal streams
            streams += 1
            try:
                async for event in _changes(source, _language(request), ends):
                    yield event
            finally:
                streams -= 1

        return StreamingResponse(said(), media_type="text/event-stream", headers={"x-accel-buffering": "no"})

    return [
        *(Route(path, page) for path in ("/", "/folder", "/log")),
        Route("/assets/{name}", asset),
        Route("/api/texts", words),
        Route("/api/overview", overview),
        Route("/api/items", items),
        Route("/api/folder", folder),
        Route("/api/charts", charts),
        Route("/api/log", log),
        Route("/api/events", events),
    ]


async def _changes(source: Source, language: Language, ends: Callable[[], bool]) -> AsyncIterator[bytes]:
    """The first page's values each time that they change, as server-sent events."""
    told: object = None
    beat = 0.0
    while not ends():
        try:
            found = await run_in_threadpool(source.overview, language)
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
