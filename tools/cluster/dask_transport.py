"""How processor, scheduler and workers of a cluster talk through Dask: what is configured, how it is secured, what
carries the node. Imported only if a cluster is asked for.
"""

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import CancelledError
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dask
from distributed import Client, Future, Scheduler, Security, Worker, WorkerPlugin
from distributed.core import Status
from distributed.scheduler import KilledWorker

from tools.cluster import node as nodes
from tools.cluster.connection import JobUnknown, OnReport, OnWorkerLost, WorkerDied
from tools.cluster.node import PLUGIN, TOPIC, WorkerNode
from tools.cluster.worker_report import Message
from tools.core.concurrency import jobs_for
from tools.core.errors import PipelineError
from tools.core.planning import VideoJob
from tools.runtime.once import Once

log = logging.getLogger("animation.cluster")
_CONNECT = 5.0  # s for the scheduler to answer
_STOP_WITHIN = 5.0  # s for jobs to end
_RECONNECT = 1.0  # s before a worker tries the scheduler again

# Dask's own timeouts are made for clusters in one rack. Here a death is a closed connection (seen at once) or silence
# (seen after these times).
_CONFIG: dict[str, Any] = {
    "distributed.scheduler.allowed-failures": 0,  # a death is counted in our queue, a job is never run again by Dask
    "distributed.scheduler.worker-ttl": "30s",
    "distributed.scheduler.work-stealing": False,  # the processor decides who does what
    "distributed.scheduler.active-memory-manager.start": False,
    "distributed.comm.timeouts.connect": "10s",
    "distributed.comm.timeouts.tcp": "20s",
    "distributed.worker.profile.enabled": False,  # 100 samples per second of threads that wait for ffmpeg
    "distributed.admin.system-monitor.gil.enabled": False,
    "distributed.worker.memory.target": False,  # the memory is the encoder's, which has its own limit
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
    "distributed.admin.low-level-log-length": 200,  # also how many of our reports a scheduler keeps
}


def configure() -> None:
    """Set Dask up for this process; call before anything of Dask is made."""
    dask.config.set(_CONFIG)
    for name in ["tornado.application", *logging.root.manager.loggerDict]:
        if name.startswith(("distributed", "tornado.application")):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)  # what matters is logged by us, in one line


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM files of one machine; ``key`` may be in the file of ``cert``."""

    ca: Path
    cert: Path
    key: Path | None = None


def security(files: Certificates | None) -> Security:
    """Both sides show a certificate of this authority, or nothing is secured at all. Raises PipelineError."""
    if files is None:
        return Security()
    cert, key = str(files.cert), str(files.key or files.cert)
    made = Security(
        require_encryption=True,
        tls_ca_file=str(files.ca),
        tls_client_cert=cert,
        tls_client_key=key,
        tls_worker_cert=cert,
        tls_worker_key=key,
        tls_scheduler_cert=cert,
        tls_scheduler_key=key,
    )
    try:
        made.get_connection_args("client")
    except OSError as exc:  # also what the TLS library raises for a file's content
        raise PipelineError(
            f"the certificates of the cluster ({cert}, {key}, {files.ca}) can't be used: {exc}"
        ) from exc
    return made


def local_address_towards(scheduler: str) -> str:
    """The address of this machine by which it reaches the scheduler; loopback for one on this machine. Raises
    PipelineError."""
    parts = urlsplit(scheduler)
    family = socket.AF_INET6 if ":" in (parts.hostname or "") else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((parts.hostname or "", parts.port or 1))  # sends nothing: it only looks up the route
            return str(probe.getsockname()[0])
    except OSError as exc:
        raise PipelineError(
            f"there is no route to the scheduler at {scheduler}: {exc}; fix the address or the network"
        ) from exc


class DaskConnection:
    """The processor's connection: each attempt is a task of its own key that Dask never runs again (``retries=0``, no
    failure allowed)."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def is_up(self) -> bool:
        return bool(self._client.status == "running")

    def send(self, job: VideoJob, address: str) -> Callable[[], Awaitable[object]]:
        future = self._client.submit(
            nodes.run_job,
            job,
            key=f"video-{job.attempt_id}",
            workers=[address],
            allow_other_workers=False,
            resources={"video": 1},
            retries=0,
            pure=False,
        )
        return partial(_result, future)

    async def call(self, address: str, function: Callable[..., Any], argument: Any) -> Any:
        answers = await self._client.run(function, argument, workers=[address], on_error="return")
        return answers.get(address, "it did not answer")

    async def workers(self) -> list[str]:
        """Their addresses."""
        return list(await self._client.scheduler.ncores())


async def _result(future: Future) -> object:
    try:
        return await future
    except KilledWorker as exc:
        raise WorkerDied from exc
    except CancelledError as exc:
        raise JobUnknown from exc


@contextlib.asynccontextmanager
async def connect(
    address: str, secured: Security, on_report: OnReport, on_worker_lost: OnWorkerLost
) -> AsyncIterator[DaskConnection]:
    """A connection to the scheduler that is closed at the end, whatever state it is in."""
    client = Client(
        address,
        security=secured,
        asynchronous=True,
        set_as_default=False,
        timeout=_CONNECT,
        name="animation-processor",
        deserializers=["msgpack", "error"],  # what workers return is plain data, and asked for as such
    )

    def on_event(event: dict[str, Any]) -> None:
        if event.get("action") == "remove-worker":
            is_silent = "ttl" in str(event.get("stimulus_id"))
            on_worker_lost(str(event.get("worker")), "stopped reporting" if is_silent else "died")

    try:
        await client
        client.subscribe_topic(TOPIC, lambda event: on_report(event[1]))
        client.subscribe_topic("all", lambda event: on_event(event[1]))
        yield DaskConnection(client)
    finally:
        with contextlib.suppress(Exception):
            await asyncio.wait_for(client._close(fast=True), 2.0)


async def worker_addresses(address: str, secured: Security) -> list[str]:
    """The addresses of the workers that the scheduler has now. Raises OSError if it does not answer."""
    parts = urlsplit(address)
    socket.create_connection((parts.hostname or "", parts.port or 0), _CONNECT).close()  # Dask would hide the cause
    async with connect(address, secured, lambda received: None, lambda worker, how: None) as connection:
        return sorted(await connection.workers())


def make_scheduler(host: str, port: int, secured: Security) -> Scheduler:
    """A scheduler that listens on one address; its HTTP pages (health, metrics) on loopback alone."""
    protocol = "tls" if secured.require_encryption else "tcp"
    return Scheduler(
        host=host, port=port, protocol=protocol, security=secured, dashboard=False, dashboard_address="127.0.0.1:0"
    )


class NodePlugin(WorkerPlugin):  # type: ignore[misc]
    """Brings the node into a Dask worker."""

    name = PLUGIN

    def __init__(self, node: WorkerNode) -> None:
        self.node = node
        self._reporting: asyncio.Task[None] | None = None

    def setup(self, worker: Worker) -> None:
        def send(message: Message) -> None:
            with contextlib.suppress(OSError, RuntimeError):  # the stream is closing: the next Dask worker reports
                worker.log_event(TOPIC, message.as_json())

        self._reporting = asyncio.get_running_loop().create_task(self.node.report_always(worker.address, send))

    def teardown(self, worker: Worker) -> None:
        if self._reporting is not None:
            self._reporting.cancel()


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerEndpoint:
    """How a worker is reached, and whom it reaches."""

    scheduler: str  # its address
    host: str  # the address that the worker listens on
    port: int  # that it listens on; 0 = any
    secured: Security
    folder: Path  # Dask's own, for its locks


def make_worker(node: WorkerNode, endpoint: WorkerEndpoint) -> Worker:
    """A Dask worker without a nanny: it shares the node's process, so that its death is the death of its encodes.

    It takes as many jobs as a machine with these slots (resource ``video``); ``encode`` is the encodes at a time.
    """
    capacity = jobs_for(node.slots)
    return Worker(
        endpoint.scheduler,
        name=f"{node.name}-{node.incarnation}",
        nthreads=capacity,
        resources={"video": capacity, "encode": node.slots},
        host=endpoint.host,
        port=endpoint.port,
        security=endpoint.secured,
        dashboard_address="127.0.0.1:0",
        memory_limit=0,
        plugins=(NodePlugin(node),),
        local_directory=str(endpoint.folder),
    )


async def serve(node: WorkerNode, endpoint: WorkerEndpoint, stop: threading.Event) -> None:
    """Work for whatever scheduler is at the address until ``stop``; reconnects to one that goes away."""
    problems = Once()
    while not stop.is_set():
        worker = make_worker(node, endpoint)
        try:
            await worker
            log.info("connected to the scheduler at %s as %s", endpoint.scheduler, worker.address)
            problems.over()
            await _first(worker.finished(), until(stop))
        except (OSError, TimeoutError, RuntimeError, ValueError) as exc:
            if problems.is_news(str(exc)):
                log.warning("the scheduler at %s cannot be reached, retrying: %s", endpoint.scheduler, exc)
        if stop.is_set():
            await asyncio.to_thread(node.leave, _STOP_WITHIN)
            await _fetched(worker)
        with contextlib.suppress(Exception):  # it may be half closed already, in whatever way
            await worker.close(timeout=2, executor_wait=False)
        if not stop.is_set():
            if not problems:
                log.warning("the scheduler at %s disconnected, reconnecting; running jobs continue", endpoint.scheduler)
            await _first(asyncio.sleep(_RECONNECT), until(stop))


async def until(stop: threading.Event) -> None:
    """Wait for a signal, which comes to a thread."""
    while not stop.is_set():
        await asyncio.sleep(0.1)


async def _fetched(worker: Worker) -> None:
    """Give the processor a moment to fetch the last results."""
    for _ in range(40):
        if worker.state.tasks and worker.status is Status.running:
            await asyncio.sleep(0.05)


async def _first(*waits: Any) -> None:
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    _, left = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in left:
        task.cancel()
