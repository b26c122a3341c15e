"""What the engine is made of; ``build`` puts it together."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from tools.hub.client import HubClient
from tools.processor.claims import Claims
from tools.processor.executor import Executor
from tools.processor.hub_thread import HubThreads, Inbox
from tools.processor.item_run import RunRules
from tools.processor.mirror import Mirror
from tools.processor.pause import Pause
from tools.processor.reporting import Observer
from tools.processor.reuse import Reuse
from tools.processor.waits import Waits
from tools.processor.witnesses import Witnesses
from tools.runtime.clock import Clock
from tools.stages.job_context import JobTools
from tools.stages.work_hours import WorkHours
from tools.state.journal import Journal

Guard = Callable[[str], AbstractContextManager[None]]
"""Of a folder: what is unexpected within counts against it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineParts:
    """Each part once, shared by the engine and its commits."""

    rules: RunRules
    check_interval: float  # s between two checks of the queue
    stable_time: float  # s that a folder which changed after it was queued stays out of work
    tools: JobTools
    executor: Executor  # delivers to the inbox
    hub: HubThreads  # answers through the inbox
    inbox: Inbox
    claims: Claims
    reuse: Reuse
    pause: Pause
    witnesses: Witnesses
    waits: Waits
    hours: WorkHours  # of this machine
    mirror: Mirror | None  # what left the input repo is taken out of the output
    connect: Callable[[], HubClient]  # the hub to use from then on, or raises what is wrong; asked after each trouble
    journal_of: Callable[[str], Journal]  # by folder
    clock: Clock
    observer: Observer
