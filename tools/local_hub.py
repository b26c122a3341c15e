"""The embedded hub as a program: a ModelScope-compatible hub over plain folders, for a NAS or LAN without internet.

Files below ``ROOT/datasets/OWNER/NAME/`` are the datasets; copy files in by hand and they are committed.
"""

import os.path
import sys

if not __package__:
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))

from tools.entry import enter_venv

enter_venv(__name__)

import argparse
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tools.core.errors import PipelineError
from tools.flags import Parser
from tools.runtime.clock import stop_on_signals
from tools.runtime.language import ui
from tools.runtime.listening import listen
from tools.startup import port, read_settings, run_program

if TYPE_CHECKING:
    from tools.hub_server.store import HubStore

_STOP_WITHIN = 5.0  # s for requests in progress
_COLLECT_EVERY = 86400.0  # s
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


def main(argv: list[str] | None = None) -> int:
    """The program; returns the exit status: 0 stopped, 1 failed, 2 bad usage or configuration."""
    parser = Parser(prog="local_hub.py", description="A ModelScope-compatible hub over plain folders.")
    parser.add_argument("--root", help="folder of the hub (default: HUB_DIR)")
    parser.add_argument("--port", type=port, default=8020, help="port, 0 = any free one (default 8020)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    help_text = "another name of this machine that the hub may be asked by (repeatable)"
    parser.add_argument("--name", action="append", default=[], help=help_text)
    return run_program(parser, argv, _run)


def _run(parsed: argparse.Namespace) -> int:
    root = Path(parsed.root).expanduser().resolve() if parsed.root else read_settings(parsed).paths.hub_dir
    try:
        return _serve(root, parsed.host, parsed.port, [*parsed.name, parsed.host])
    except BrokenPipeError:
        raise
    except OSError as exc:
        raise PipelineError(f"can't serve {root} at {parsed.host}:{parsed.port}: {exc.strerror}") from exc


def _serve(root: Path, host: str, port: int, names: list[str]) -> int:
    import uvicorn

    from tools.hub_server.app import create_app
    from tools.hub_server.http_timeouts import MOST_CONNECTIONS, TimeoutProtocol
    from tools.hub_server.store import HubStore, read_token
    from tools.state.singleton import Singleton

    lock = Singleton(root / ".hub", "hub")
    lock.acquire()
    store = HubStore(root)
    store.prepare()
    _collect(store)
    collected = time.monotonic()
    token, where = read_token(root)
    listening = listen(host, port)
    port = listening.getsockname()[1]
    print(ui("hub at http://{}:{} over {}; token for writing: {}", host, port, root, where), flush=True)
    if host not in _LOOPBACK:
        print(ui("anyone who can connect can read the public datasets; the traffic is not encrypted"), flush=True)
    settings = uvicorn.Config(
        create_app(store, token, names=names),
        http=TimeoutProtocol,
        date_header=False,
        limit_concurrency=MOST_CONNECTIONS,
        log_level="warning",
        timeout_graceful_shutdown=2,
        timeout_keep_alive=30,
    )
    server = uvicorn.Server(settings)
    stop = threading.Event()
    stop_on_signals(stop)
    # In a thread, where uvicorn leaves the signals alone: it would end by the signal instead of with status 0.
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while thread.is_alive() and not stop.wait(0.5):
        if time.monotonic() - collected > _COLLECT_EVERY:
            _collect(store)
            collected = time.monotonic()
    server.should_exit = True
    thread.join(_STOP_WITHIN)
    lock.release()
    return 0 if stop.is_set() else 1


def _collect(store: "HubStore") -> None:
    """Free what no commit holds. A history that can't be read leaves everything as it is."""
    try:
        count, size = store.collect()
    except OSError as exc:
        print(ui("nothing was freed: {}", exc), file=sys.stderr, flush=True)
        return
    if count:
        print(ui("freed what no commit holds: blobs={} bytes={}", count, size), flush=True)


if __name__ == "__main__":
    sys.exit(main())
