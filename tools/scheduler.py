"""The scheduler of a cluster: where the processor leaves videos and workers fetch them. It knows nothing of videos.

Dask runs code for anyone who can connect to its port. So it listens on this machine alone unless told otherwise, and
takes TLS certificates, which both sides must show then.
"""

import os.path
import sys

if not __package__:
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))

from tools.entry import enter_venv

enter_venv(__name__)

import argparse
import asyncio
import ipaddress
import logging
import threading

import config
from tools.core.errors import PipelineError
from tools.flags import Parser
from tools.startup import certificates, need_cluster_packages, port, read_settings, run_program

log = logging.getLogger("animation.scheduler")


def main(argv: list[str] | None = None) -> int:
    """The program; returns the exit status: 0 ended when asked to, 1 can't listen, 2 bad usage or configuration."""
    parser = Parser(prog="scheduler.py", description="Bring a cluster's processor and workers together.")
    config.add_other_name(parser, "--host", "CLUSTER_HOST", "address to listen at; the same as --cluster-host")
    parser.add_argument("--port", type=port, default=8786, help="port (default 8786)")
    config.add_flags(parser, "cluster", "paths")
    return run_program(parser, argv, _run)


def _run(parsed: argparse.Namespace) -> int:
    settings = read_settings(parsed)
    host = settings.cluster.host or "127.0.0.1"
    need_cluster_packages()
    try:
        return asyncio.run(_serve(settings, host, parsed.port))
    except (OSError, ValueError, RuntimeError) as exc:  # of Dask's exceptions the cause is the one to show
        raise PipelineError(f"can't listen on {host}:{parsed.port}: {exc.__cause__ or exc}") from exc


async def _serve(settings: config.Settings, host: str, port: int) -> int:
    from tools.cluster import dask_transport
    from tools.runtime import logs
    from tools.runtime.clock import STOP_WITHIN, stop_on_signals

    dask_transport.configure()
    logs.set_up("scheduler", settings.paths.log_dir)
    stop = threading.Event()
    stop_on_signals(stop, within=STOP_WITHIN)
    files = certificates(settings)
    if files is None and not _is_loopback(host):
        log.warning(
            "anyone who can connect to %s:%d can run code on every worker: use TLS certificates or a firewall",
            host,
            port,
        )
    async with dask_transport.make_scheduler(host, port, dask_transport.security(files)) as scheduler:
        log.info("the scheduler listens at %s", scheduler.address)
        await dask_transport.until(stop)
    log.info("stopped")
    return 0


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


if __name__ == "__main__":
    sys.exit(main())
