"""The dashboard: read-only pages over state files and history, ``/metrics`` for Prometheus, ``/api/`` as JSON.

It takes no lock and changes nothing: it can run, crash or be absent without any effect on the work, also for a
``LOG_DIR`` copied from elsewhere. At an address that others reach it demands a token, and keeps one that it made.
"""

import os.path
import sys

if not __package__:
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))

from tools.entry import enter_venv

enter_venv(__name__)

import argparse
import errno
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

import config
from tools.flags import Parser
from tools.hub_server.http_timeouts import MOST_CONNECTIONS, TimeoutProtocol
from tools.report.heading import free_space
from tools.report.metrics import CONTENT_TYPE, Facts, exposition
from tools.runtime.clock import stop_on_signals
from tools.runtime.language import ui
from tools.runtime.listening import listen
from tools.startup import read_command_settings, run_program
from tools.state.history_reader import History
from tools.status_command import calendar_of, content
from tools.web.app import Answer, application, routes
from tools.web.guard import Guard, is_loopback, names_of_this_machine
from tools.web.source import Place, Source
from tools.web.token import TOKEN_FILE, kept_token

if TYPE_CHECKING:
    import uvicorn

T = TypeVar("T")
_MOST = 1000  # lines in one answer
_MOST_MEMORY = 2 << 30  # bytes, with what threads reserve; 10,000 folders take a tenth of it
_STOP_WITHIN = 4.0  # s
_FREED_WITHIN = 10.0  # s in which the port of one that was ended is free again


def make_app(
    settings: config.Settings,
    token: str | None = None,
    names: Iterable[str] = (),
    ends: Callable[[], bool] = lambda: False,
) -> Guard:
    """The application over the files of ``settings.paths.log_dir``. Nothing is opened before it is asked.

    ``token``: demanded of everybody; ``names`` by which others may ask for this machine, beside its addresses;
    ``ends``: whether the server is about to stop.
    """
    paths, wanted = settings.paths, settings.processor
    place = Place(
        paths.log_dir,
        paths.work_dir,
        wanted.aging_hours,
        calendar_of(settings),
        settings.monitor.min_folder_stable_time,
    )
    every = [*routes(Source(place), ends), *_data_routes(settings)]
    return application(every, token, frozenset({"localhost", *names}))


def _data_routes(settings: config.Settings) -> list[BaseRoute]:
    """What programs read: whole values, not made for a page."""
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
        return Response(await run_in_threadpool(metrics), media_type=CONTENT_TYPE)

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

    return [
        Route("/metrics", show_metrics),
        Route("/api/status", show_status),
        Route("/api/hours", show_hours),
        Route("/api/videos", show_videos),
        Route("/api/totals", show_totals),
    ]


async def _json(make: Callable[[], Any]) -> Response:
    return Answer(await run_in_threadpool(make))


def _number(request: Request, name: str, default: float) -> float:
    try:
        value = float(request.query_params.get(name, default))
    except ValueError:
        return default
    return value if abs(value) < 1e16 else default


def main(argv: list[str] | None = None) -> int:
    """The program; returns the exit status."""
    parser = Parser(prog="dashboard.py", description="Show state and history as web pages, read-only.")
    parser.add_argument(
        "--allow-name",
        action="append",
        default=[],
        metavar="NAME",
        help="a name by which browsers may ask for this machine, such as that of a proxy; demands a token (repeatable)",
    )
    config.add_flags(parser, "dashboard", "paths")
    return run_program(parser, argv, _run)


def _run(parsed: argparse.Namespace) -> int:
    import uvicorn

    settings = read_command_settings(parsed)
    wanted, token = settings.dashboard, settings.dashboard.token
    is_open = not is_loopback(wanted.host)
    # A proxy on this machine brings others to an address that only this machine reaches.
    if (is_open or parsed.allow_name) and token is None:
        token = kept_token(settings.paths.log_dir)
    names = {*parsed.allow_name, *(names_of_this_machine() if is_open else ())}
    # Whatever a stranger's files expand to, the answer fails and the machine does not.
    resource.setrlimit(resource.RLIMIT_DATA, (_MOST_MEMORY, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    with _listening(wanted.host, wanted.port) as listener:
        server = uvicorn.Server(
            uvicorn.Config(
                make_app(settings, token, names, lambda: server.should_exit),
                log_level="warning",
                access_log=False,
                server_header=False,
                http=TimeoutProtocol,
                limit_concurrency=MOST_CONNECTIONS,
                timeout_graceful_shutdown=2,
            )
        )
        shown = f"http://{_bracketed(wanted.host)}:{listener.getsockname()[1]}"
        print(ui("dashboard: {}", f"{shown}/"), flush=True)
        print(ui("metrics: {}", f"{shown}/metrics"), flush=True)
        if token is not None:
            place = "DASHBOARD_TOKEN" if wanted.token else str(settings.paths.log_dir / TOKEN_FILE)
            print(ui("it asks for the token: {}", place), flush=True)
        return _serve(server, listener)


def _serve(server: "uvicorn.Server", listener: socket.socket) -> int:
    """Until a signal; 1 if it ended by itself."""
    stop = threading.Event()
    stop_on_signals(stop)
    # In a thread, where uvicorn leaves the signals alone: it would end by the signal instead of with status 0.
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while thread.is_alive() and not stop.wait(0.5):
        pass
    server.should_exit = True
    thread.join(_STOP_WITHIN)
    return 0 if stop.is_set() else 1


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _listening(host: str, port: int) -> socket.socket:
    """Raises ConfigError if the address can't be had; one that was ended a moment ago is waited for."""
    deadline = time.monotonic() + _FREED_WITHIN
    while True:
        try:
            return listen(host, port)
        except OSError as exc:
            if exc.errno == errno.EADDRINUSE and time.monotonic() < deadline:
                time.sleep(0.2)
                continue
            reason = exc.strerror or str(exc)
            raise config.ConfigError(f"can't listen at {host}:{port}: {reason}; set DASHBOARD_PORT") from exc


if __name__ == "__main__":
    sys.exit(main())
