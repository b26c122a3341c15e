"""A worker of a cluster: takes videos from the scheduler, converts them in the slots of this machine, stores the blobs.

It publishes nothing and keeps nothing for long: what it has on disk is of use to the processor that asked for it, and
is swept at the next start. The token is this machine's own; it never travels.
"""

import os.path
import sys

if not __package__:
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))

from tools.entry import enter_venv

enter_venv(__name__)

import argparse
import asyncio
import logging
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import config
from tools.core.errors import HubUnavailable, PipelineError
from tools.flags import Parser
from tools.login import Login
from tools.startup import (
    encode_options,
    frame_options,
    hours_of,
    make_hub,
    need_cluster_packages,
    need_frame_packages,
    port,
    read_settings,
    run_program,
    shares_for,
)

if TYPE_CHECKING:
    from tools.cluster.handshake import Handshake
    from tools.cluster.node import WorkerNode
    from tools.hub.client import HubClient
    from tools.media.converter import FfmpegConverter
    from tools.runtime.clock import SystemClock

log = logging.getLogger("animation.worker")
_HUB_AGAIN = 30.0  # s between two tries to reach the hub at the start


def main(argv: list[str] | None = None) -> int:
    """The program; returns the exit status: 0 ended when asked to, 1 can't work here, 2 bad usage or configuration."""
    parser = Parser(prog="worker.py", description="Convert videos for a cluster's processor.")
    config.add_other_name(parser, "--scheduler", "CLUSTER", "address of the scheduler; the same as --cluster")
    parser.add_argument("--name", default=socket.gethostname(), help="name in --status (default: the host's)")
    config.add_other_name(parser, "--host", "CLUSTER_HOST", "address to listen at; the same as --cluster-host")
    parser.add_argument("--port", type=port, default=0, help="port to listen at (default: any)")
    parser.add_argument("--keep-results", action="store_true", help="do not sweep what an earlier run left on disk")
    config.add_flags(parser, "cluster", "hub", "processor", "encode", "paths")
    return run_program(parser, argv, _run)


def _run(parsed: argparse.Namespace) -> int:
    settings = read_settings(parsed)
    if not settings.cluster.scheduler:
        raise config.ConfigError("no scheduler: give --scheduler tcp://ADDRESS:8786, or CLUSTER")
    need_cluster_packages()
    try:
        return _work(settings, parsed)
    except ValueError as exc:  # which Dask raises for what it can't use
        raise PipelineError(str(exc)) from exc


def _work(settings: config.Settings, parsed: argparse.Namespace) -> int:
    from tools.cluster import dask_transport
    from tools.runtime import logs
    from tools.runtime.cage import confine_children, confined_text
    from tools.runtime.clock import STOP_WITHIN, SystemClock, stop_on_signals
    from tools.runtime.private import take_folder
    from tools.runtime.spawn import set_patience
    from tools.startup import certificates
    from tools.state.singleton import Singleton

    clock = SystemClock()
    stop_on_signals(clock.stop, within=STOP_WITHIN)
    dask_transport.configure()
    top = settings.paths.work_dir / "worker"  # beside what a processor on this machine keeps
    scheduler = settings.cluster.scheduler
    endpoint = dask_transport.WorkerEndpoint(
        scheduler=scheduler,
        host=settings.cluster.host or dask_transport.local_address_towards(scheduler),
        port=parsed.port,
        secured=dask_transport.security(certificates(settings)),
        folder=top / "dask",
    )
    for folder in (settings.paths.work_dir, top):
        take_folder(folder)
    lock = Singleton(top, "worker")
    lock.acquire()
    try:
        logs.set_up("worker", settings.paths.log_dir, [settings.hub.token or ""])
        log.info("children are confined: %s", confined_text(confine_children(settings.encode.cage)))
        set_patience(settings.encode.nice, settings.encode.ionice)
        node = make_node(settings, parsed.name, top / "work", clock, keep=parsed.keep_results)
        if not _is_ready(node, clock):
            return 0
        threading.Thread(target=_keep_hours, args=(node, clock), daemon=True).start()
        asyncio.run(dask_transport.serve(node, endpoint, clock.stop))
        return 0
    finally:
        log.info("stopped")
        lock.release()


def _keep_hours(node: "WorkerNode", clock: "SystemClock") -> None:
    while not clock.sleep(1.0):
        node.keep_hours(clock.time())


def make_node(
    settings: config.Settings, name: str, folder: Path, clock: "SystemClock", *, keep: bool = False
) -> "WorkerNode":
    """The node of this machine, its work folder swept. Raises WorkspaceError."""
    from tools.cluster.node import WorkerNode
    from tools.stages.job_context import JobTools
    from tools.stages.workspace import Workspace
    from tools.state.journal import sweep

    settings = replace(settings, paths=replace(settings.paths, work_dir=folder))
    converter_for = converters_by_handshake(settings)

    def make_tools(handshake: "Handshake") -> "tuple[HubClient, FfmpegConverter]":
        if handshake.frames is not None:
            need_frame_packages()
        converter = converter_for(handshake)
        try:
            return Login(settings, clock).connect()[0], converter
        except HubUnavailable:  # which passes, and is seen by each job anyway
            return make_hub(settings, clock), converter

    space = Workspace(folder, int(settings.processor.min_free_space_gb * 1e9))
    space.prepare()
    journals = settings.paths.log_dir / "worker"  # beside those of a processor on this machine
    if not keep:
        space.sweep(())
        sweep(journals, ())
    shares = shares_for(settings.processor.max_concurrent)
    tools = JobTools(make_hub(settings, clock), converter_for(None), space, *shares, journals=journals)
    return WorkerNode(name, tools, settings.hub.endpoint, make_tools, hours=hours_of(settings))


def converters_by_handshake(settings: config.Settings) -> "Callable[[Handshake | None], FfmpegConverter]":
    """Makes the converter for a processor's output on this machine, or (None) for this machine's own settings.

    Asked again for the same output it gives the same converter, whose encoders are tried already.
    """
    from tools.media.converter import FfmpegConverter

    own, machine = encode_options(settings)
    frames = frame_options(settings)
    made = {(own, frames): FfmpegConverter(own, machine, frames)}

    def converter_for(handshake: "Handshake | None") -> "FfmpegConverter":
        output = own if handshake is None else handshake.output_at(own)
        wanted = handshake.frames if handshake is not None and handshake.frames is not None else frames
        return made.setdefault((output, wanted), FfmpegConverter(output, machine, wanted))

    return converter_for


def _is_ready(node: "WorkerNode", clock: "SystemClock") -> bool:
    """Check encoder and token; waits for a hub that is down. False if asked to end meanwhile. Raises NoEncoder,
    HubForbidden."""
    from tools.runtime.once import Once

    problems = Once()
    while not clock.stopping:
        try:
            log.info("worker %s: %s, %d encodes at a time", node.name, node.check(), node.slots)
            return True
        except HubUnavailable as exc:
            if problems.is_news("hub"):
                log.warning("hub unavailable, retrying: %s", exc)
            clock.sleep(_HUB_AGAIN)
    return False


if __name__ == "__main__":
    sys.exit(main())
