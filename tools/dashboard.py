"""Read-only HTTP over state files and history: ``/metrics`` for Prometheus, ``/api/`` as JSON. Loopback only.

It takes no lock and writes nothing: it can run, crash or be absent without any effect on the work, also for a
``LOG_DIR`` copied from elsewhere.
"""

import os.path
import sys

if not __package__:
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))

from tools.entry import enter_venv

enter_venv(__name__)

import argparse
import ipaddress
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import config
from tools.core.errors import StateError
from tools.flags import Parser
from tools.report.heading import free_space
from tools.report.metrics import CONTENT_TYPE, Facts, exposition
from tools.runtime.language import ui
from tools.startup import port, read_command_settings, run_program
from tools.state.history_reader import History
from tools.status_command import content

T = TypeVar("T")
_MOST = 1000  # lines in one answer
_HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


def make_app(settings: config.Settings) -> Starlette:
    """The application over the files of ``settings.paths.log_dir``. Nothing is opened before it is asked."""
    log_dir = settings.paths.log_dir

    def past(ask: Callable[[History], T]) -> T:
        history = History(log_dir)
        try:
            return ask(history)
        finally:
            history.close()

    def metrics() -> bytes:
        free = {folder: 1e9 * size for folder, size in free_space(log_dir, settings.paths.work_dir).items()}
        status = content(settings)
        return past(
            lambda history: exposition(
                Facts(status, history.totals(), history.troubles(), history.videos(outcome="stored", limit=_MOST), free)
            )
        )

    async def show_metrics(request: Request) -> Response:
        return Response(await run_in_threadpool(metrics), media_type=CONTENT_TYPE, headers=_HEADERS)

    async def show_status(request: Request) -> Response:
        return await _json(lambda: content(settings))

    async def show_hours(request: Request) -> Response:
        since = _number(request, "since", 0.0)
        return await _json(lambda: past(lambda history: [asdict(one) for one in history.hours(since)]))

    async def show_videos(request: Request) -> Response:
        folder, before = request.query_params.get("folder"), int(_number(request, "before", 1e15))
        limit = int(min(_MOST, max(1.0, _number(request, "limit", 100.0))))

        def ask(history: History) -> Any:
            return [asdict(one) for one in history.videos(folder=folder, before=before, limit=limit)]

        return await _json(lambda: past(ask))

    async def show_totals(request: Request) -> Response:
        return await _json(lambda: past(lambda history: asdict(history.totals())))

    routes = [
        Route("/metrics", show_metrics),
        Route("/api/status", show_status),
        Route("/api/hours", show_hours),
        Route("/api/videos", show_videos),
        Route("/api/totals", show_totals),
    ]
    # A page of another site that got our address by its own name (DNS rebinding) must not read this.
    hosts = Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", "[::1]"], www_redirect=False)
    return Starlette(routes=routes, middleware=[hosts], exception_handlers={StateError: _unreadable})


async def _json(make: Callable[[], Any]) -> Response:
    return JSONResponse(await run_in_threadpool(make), headers=_HEADERS)


async def _unreadable(request: Request, exc: Exception) -> Response:
    return JSONResponse({"error": str(exc)}, 503, headers=_HEADERS)


def _number(request: Request, name: str, default: float) -> float:
    try:
        value = float(request.query_params.get(name, default))
    except ValueError:
        return default
    return value if abs(value) < 1e16 else default


def _loopback(text: str) -> str:
    try:
        if ipaddress.ip_address(text).is_loopback:
            return text
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"expected an address of this machine alone, such as 127.0.0.1, not {text!r}")


def main(argv: list[str] | None = None) -> int:
    """The program; returns the exit status."""
    parser = Parser(prog="dashboard.py", description="Show state and history over HTTP, read-only.")
    parser.add_argument("--host", type=_loopback, default="127.0.0.1", help="loopback address to listen at")
    parser.add_argument("--port", type=port, default=8030, help="port to listen at")
    config.add_flags(parser, "paths")
    return run_program(parser, argv, _run)


def _run(parsed: argparse.Namespace) -> int:
    import uvicorn

    settings = read_command_settings(parsed)
    print(ui("metrics: {}", f"http://{parsed.host}:{parsed.port}/metrics"), flush=True)
    uvicorn.run(make_app(settings), host=parsed.host, port=parsed.port, log_level="warning", access_log=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
