"""Processor and worker of a cluster as programs of their own, with an encoder that sleeps in a child process.

    python -m tests.cluster_programs processor [--silence S] [--forever] [--untold]
    python -m tests.cluster_programs worker --name N --seconds S [--slots N] [--fault broken|full]

Everything else is real: hub, Dask, queue, journal, workspace. A source that holds ``poison`` kills its worker.
``--untold``: as if the hub told no sha256 of its sources.
"""

import argparse
import asyncio
import os
import shutil
import signal
import sys
import threading
from pathlib import Path

from config import with_token
from tests.fakes import FakeConverter
from tools.core.errors import DiskFull, TranscodeError
from tools.core.folder import RemoteFile
from tools.hub.client import HubClient
from tools.hub.modelscope_client import ModelScopeHub
from tools.hub.retrying import RetryingHub
from tools.media.converter import Converter
from tools.queue_processor import QueueProcessor
from tools.runtime import logs
from tools.runtime.child import ChildLimits, run
from tools.runtime.clock import STOP_WITHIN, SystemClock, stop_on_signals
from tools.runtime.spawn import NOTHING
from tools.stages.job_context import JobTools
from tools.stages.workspace import Workspace
from tools.startup import read_settings


class Encoder:
    """What the encoder does: ``seconds`` of sleep in a child process, not before ``until`` is there; notes each video
    that it begins in a file."""

    def __init__(self, seconds: float, fault: str, journal: Path, until: Path | None) -> None:
        self._seconds = seconds
        self._fault = fault
        self._journal = journal
        self._until = until

    def __call__(self, stage: str, source: Path, stop: threading.Event) -> None:
        if stage != "encode":
            return
        content = source.read_bytes()
        with self._journal.open("ab") as stream:
            stream.write(content[:20] + b"\n")
        if self._fault == "broken":
            raise TranscodeError("the encoder of this machine is broken")
        if self._fault == "full":
            raise DiskFull("no space left on this machine")
        if b"poison" in content:
            stop.wait(0.5)
            os.kill(os.getpid(), signal.SIGKILL)
        while self._until is not None and not self._until.exists() and not stop.wait(0.05):
            pass
        run([self._program(source), str(self._seconds)], access=NOTHING, limits=ChildLimits(), stop=stop)

    @staticmethod
    def _program(source: Path) -> Path:
        """A program whose path tells whose child it is."""
        program = source.with_name("sleep")
        if not program.exists():
            program.symlink_to(shutil.which("sleep") or "/bin/sleep")
        return program


class SleepingProcessor(QueueProcessor):
    """The processor, but for its encoder, which has nothing to do in a cluster but to be there."""

    def converter(self) -> Converter:
        return FakeConverter()


def hub_of(endpoint: str, token: str | None, folder: Path, clock: SystemClock) -> HubClient:
    """Tries twice: tests do not wait minutes for a hub that is cut off."""
    return RetryingHub(ModelScopeHub(endpoint, token, cache_dir=folder), clock, attempts=2, base=0.1)


def tell_no_sha256() -> None:
    listed = ModelScopeHub.list_folder

    def untold(hub: ModelScopeHub, repo: str, commit: str, folder: str) -> list[RemoteFile]:
        files = listed(hub, repo, commit, folder)
        return [file._replace(sha256="") for file in files] if repo == "me/in" else files

    setattr(ModelScopeHub, "list_folder", untold)  # noqa: B010 - mypy knows no other way


def worker_main(argv: list[str]) -> int:
    from tools.cluster import dask_transport
    from tools.cluster.node import WorkerNode

    parser = argparse.ArgumentParser()
    parser.add_argument("--name", required=True)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--slots", type=int, default=1)
    parser.add_argument("--fault", default="")
    parser.add_argument("--until", type=Path, help="a file that no encode ends before")
    parsed = parser.parse_args(argv)
    settings = read_settings(argparse.Namespace())
    clock = SystemClock()
    stop_on_signals(clock.stop, within=STOP_WITHIN)
    dask_transport.configure()
    logs.set_up("worker", settings.paths.log_dir, [settings.hub.token or ""])
    top = settings.paths.work_dir
    space = Workspace(top / "work", 0)
    space.prepare()
    encoder = Encoder(parsed.seconds, parsed.fault, settings.paths.log_dir / f"{parsed.name}.encoded", parsed.until)
    converter = FakeConverter(during=encoder)
    hub = hub_of(settings.hub.endpoint, settings.hub.token, top / "hub", clock)
    tools = JobTools(hub, converter, space, parsed.slots, journals=top / "log")
    node = WorkerNode(parsed.name, tools, settings.hub.endpoint, lambda handshake: (hub, converter))
    endpoint = dask_transport.WorkerEndpoint(
        scheduler=settings.cluster.scheduler,
        host="127.0.0.1",
        port=0,
        secured=dask_transport.security(None),
        folder=top / "dask",
    )
    asyncio.run(dask_transport.serve(node, endpoint, clock.stop))
    return 0


def processor_main(argv: list[str]) -> int:
    from tools.cluster.executor import ClusterExecutor, Timeouts

    parser = argparse.ArgumentParser()
    parser.add_argument("--silence", type=float, default=20.0)
    parser.add_argument("--forever", action="store_true")
    parser.add_argument("--untold", action="store_true")
    parsed = parser.parse_args(argv)
    if parsed.untold:
        tell_no_sha256()
    ClusterExecutor.timeouts = Timeouts(silence=parsed.silence)
    settings = read_settings(argparse.Namespace())
    clock = SystemClock()
    stop_on_signals(clock.stop, within=STOP_WITHIN)
    logs.set_up("processor", settings.paths.log_dir)
    return SleepingProcessor(with_token(settings, settings.hub.token), clock=clock).run(drain=not parsed.forever)


if __name__ == "__main__":
    sys.exit(worker_main(sys.argv[2:]) if sys.argv[1] == "worker" else processor_main(sys.argv[2:]))
