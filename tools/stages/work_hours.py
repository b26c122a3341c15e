"""Keeps the stages of one machine to their hours: see ``tools.core.hours`` for what those are.

Outside of them no job gets a place in the stages that keep to them. Encodes that are under way finish, or stand still
until the next hours begin: time does not pass for them, so no limit ends them.
"""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from tools.core.hours import Spans, is_open, next_change
from tools.core.message import message
from tools.runtime import logs
from tools.runtime.child import suspend_patient
from tools.stages.job_context import JobTools
from tools.state.progress import JobProgress

log = logging.getLogger("animation.hours")


@dataclass(frozen=True, slots=True)
class HoursOptions:
    """Plain values of the settings."""

    spans: Spans = ()
    stages: Collection[str] = ("encode",)
    suspends: bool = True  # encodes that are under way when the hours end; else they finish


class WorkHours:
    """Asked about once per second; without ``spans`` it does nothing."""

    def __init__(self, options: HoursOptions, tools: JobTools) -> None:
        self._options = options
        slots = {"encode": tools.encode, "download": tools.download, "upload": tools.store}
        self._slots = [slots[stage] for stage in options.stages]
        self._is_open = True
        self._until: float | None = None  # epoch s of the next change

    def ask(self, now: float) -> None:
        """Open or close what is to be. ``now`` epoch s."""
        spans = self._options.spans
        if not spans:
            return
        is_now = is_open(spans, datetime.fromtimestamp(now))
        if is_now == self._is_open and self._until is not None and now < self._until:
            return
        self._until = next_change(spans, now)
        if is_now == self._is_open:
            return
        self._is_open = is_now
        for slots in self._slots:
            slots.close(not is_now, "hours")
        if self.suspends:
            suspend_patient(not is_now)
        if is_now:
            log.info("ACTIVE_HOURS begin %s", logs.fields(until=self._when()))
        else:
            becomes = "are suspended" if self.suspends else "finish"
            fields = logs.fields(until=self._when(), waits=self._waits())
            log.info("ACTIVE_HOURS are over, encodes under way %s: %s", becomes, fields)

    @property
    def suspends(self) -> bool:
        """Whether encodes stand still outside of the hours."""
        return self._options.suspends and "encode" in self._options.stages

    @property
    def reason(self) -> str | None:
        """Why something waits, for people; None within the hours."""
        if self._is_open:
            return None
        until, waits = self._when(), self._waits()
        if self.suspends:
            return message(f"outside of ACTIVE_HOURS until {until}: {waits} waits, encodes under way are suspended")
        return message(f"outside of ACTIVE_HOURS until {until}: {waits} waits")

    def shown(self, jobs: Sequence[JobProgress]) -> list[JobProgress]:
        """The same jobs, where those whose encode stands still are shown as such."""
        if self._is_open or not self.suspends:
            return list(jobs)
        return [replace(job, stage="suspended", fps=None, eta_s=None) if job.stage == "encode" else job for job in jobs]

    def _waits(self) -> str:
        return ", ".join(sorted(self._options.stages))

    def _when(self) -> str:
        return "never" if self._until is None else datetime.fromtimestamp(self._until).isoformat(timespec="minutes")
