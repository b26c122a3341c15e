"""A connection to the scheduler as the processor needs it. ``dask_transport`` has the one that Dask makes."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, Protocol

from tools.core.planning import VideoJob


class WorkerDied(Exception):
    """The worker that had a job is no more."""


class JobUnknown(Exception):
    """The scheduler does not know of a job any more."""


class Connection(Protocol):
    """A connection to the scheduler. Used in one event loop."""

    def is_up(self) -> bool:
        """Whether it still holds; one that broke never holds again."""
        ...

    def send(self, job: VideoJob, address: str) -> Callable[[], Awaitable[object]]:
        """Have the worker at an address do the job, once, and nobody else. Awaiting what it returns gives the result,
        or raises WorkerDied, JobUnknown, or what the job raised; who ends that wait makes the scheduler forget it."""
        ...

    async def call(self, address: str, function: Callable[..., Any], argument: Any) -> Any:
        """The answer of a function of ``tools.cluster.node`` at a worker; an Exception if there is none."""
        ...


HowLost = Literal["died", "stopped reporting"]
OnReport = Callable[[object], None]
OnWorkerLost = Callable[[str, HowLost], None]
Connect = Callable[[OnReport, OnWorkerLost], AbstractAsyncContextManager[Connection]]
"""Connects: what workers report comes unchecked to ``OnReport``, who is lost (address, how) to ``OnWorkerLost``.
Raises OSError, TimeoutError or RuntimeError if the scheduler can't be reached."""
