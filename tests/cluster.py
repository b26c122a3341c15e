"""A small Dask cluster in this process, over real sockets: a scheduler and workers whose jobs are what a test says."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.fakes import FakeConverter, MemoryHub
from tests.patience import PATIENCE
from tools.media.encoding import OutputOptions
from tools.stages.job_context import JobTools
from tools.stages.workspace import Workspace

if TYPE_CHECKING:
    from tools.cluster.handshake import Handshake
    from tools.cluster.node import RunJob, WorkerNode


def handshake(**changes: Any) -> "Handshake":
    """What a processor on this machine asks."""
    from tools.cluster.handshake import Handshake, versions_here

    return Handshake(**{"versions": versions_here("0"), "endpoint": "memory", "output": OutputOptions(), **changes})


def node(
    name: str,
    folder: Path,
    run: "RunJob",
    slots: int = 1,
    hub: Any = None,
    converter: Any = None,
    journals: Path | None = None,
) -> "WorkerNode":
    """A node whose jobs are ``run``."""
    from tools.cluster.node import WorkerNode

    tools = JobTools(hub or MemoryHub(), converter or FakeConverter(), Workspace(folder, 0), slots, journals=journals)
    tools.workspace.prepare()
    return WorkerNode(name, tools, "memory", lambda handshake: (tools.hub, tools.converter), run)


class Cluster:
    """Scheduler and workers in one thread. ``add`` brings one more worker in."""

    def __init__(self, folder: Path) -> None:
        self.address = ""
        self._folder = folder
        self._loop = asyncio.new_event_loop()
        self._stop = threading.Event()
        self._up = threading.Event()
        self._serving: list[asyncio.Task[None]] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._up.wait(PATIENCE), "no scheduler"

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        from tools.cluster import dask_transport

        async with dask_transport.make_scheduler("127.0.0.1", 0, dask_transport.security(None)) as scheduler:
            self.address = scheduler.address
            self._up.set()
            await dask_transport.until(self._stop)
            await asyncio.gather(*self._serving, return_exceptions=True)

    def add(self, one: "WorkerNode") -> None:
        from tools.cluster import dask_transport

        endpoint = dask_transport.WorkerEndpoint(
            scheduler=self.address, host="127.0.0.1", port=0, secured=dask_transport.security(None), folder=self._folder
        )

        def begin() -> None:
            self._serving.append(self._loop.create_task(dask_transport.serve(one, endpoint, self._stop)))

        self._loop.call_soon_threadsafe(begin)

    def close(self) -> None:
        self._stop.set()
        self._thread.join(PATIENCE)


@contextlib.contextmanager
def running_cluster(folder: Path, nodes: Sequence["WorkerNode"]) -> Iterator[Cluster]:
    """A cluster of these nodes."""
    from tools.cluster import dask_transport

    dask_transport.configure()
    cluster = Cluster(folder)
    try:
        for one in nodes:
            cluster.add(one)
        yield cluster
    finally:
        cluster.close()


def executor(cluster: Cluster, deliver: Callable[..., None], note: Callable[..., None], folder: Path) -> Any:
    """The processor's side of it."""
    from tools.cluster import dask_transport
    from tools.cluster.executor import ClusterExecutor, Timeouts

    class Quick(ClusterExecutor):
        timeouts = Timeouts(first_reports=0.3)

    logging.getLogger("animation").setLevel(logging.INFO)
    connect = partial(dask_transport.connect, cluster.address, dask_transport.security(None))
    return Quick(cluster.address, connect, handshake, deliver, note, Workspace(folder, 0))
