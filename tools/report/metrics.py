"""State files and history as metrics in Prometheus' text format; docs/service.md lists them."""

from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from tools.core.past import OUTCOMES, STAGES, Sums, TroubleCount, VideoLine
from tools.report.glance import mean_quality

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_AVERAGED = 400  # videos


class Facts:
    """One look at everything: ``status`` as ``--status --json`` has it, ``totals``, ``troubles`` and the latest
    ``videos`` of the history, ``free`` bytes by folder. ``collect`` makes metrics of it."""

    def __init__(
        self,
        status: Mapping[str, Any],
        totals: Sums,
        troubles: Iterable[TroubleCount],
        videos: Iterable[VideoLine],
        free: Mapping[str, float],
    ) -> None:
        self._status = status
        self._totals = totals
        self._troubles = troubles
        self._videos = list(videos)[:_AVERAGED]
        self._free = free

    def collect(self) -> Iterable[Metric]:
        """Called by the registry."""
        status, totals = self._status, self._totals
        yield _gauges("items", "Items of the queue by status", "status", status["counts"])
        yield _gauges("up", "Whether a program runs", "program", {n: _up(status[n]) for n in ("monitor", "processor")})
        running = dict.fromkeys((*STAGES, "suspended"), 0)
        for job in status["running"]:
            running[str(job.get("stage"))] = running.get(str(job.get("stage")), 0) + 1
        yield _gauges("running_videos", "Videos under way by stage", "stage", running)
        outcomes = {name: getattr(totals, name) for name in OUTCOMES}
        yield _counters("attempts", "Attempts at videos that ended, by outcome", "outcome", outcomes)
        yield _counter("source_bytes", "Bytes of the sources of converted videos", totals.bytes_in)
        yield _counter("result_bytes", "Bytes of the results of converted videos", totals.bytes_out)
        yield _counter("video_seconds", "Playing time of converted videos", totals.duration_s)
        yield _counter("frames", "Pictures of converted videos", totals.frames)
        spent = {stage: getattr(totals, f"{stage}_s") for stage in STAGES}
        yield _counters("stage_seconds", "Time that videos spent, by stage", "stage", spent)
        yield self._failures()
        yield _counter(
            "paused_seconds", "Time in which nothing new was started, of pauses that are over", totals.paused_s
        )
        yield _gauge("paused", "Whether nothing new is started", float(bool(status["paused"])))
        polls = {"answered": totals.polls - totals.polls_failed, "failed": totals.polls_failed}
        yield _counters("polls", "Polls of the hub", "result", polls)
        yield _gauge("last_poll_timestamp_seconds", "When the hub last answered the monitor", status["last_poll"])
        yield _gauges("free_bytes", "Room on the disk of a folder", "folder", self._free)
        eta = status["eta"]["queue"] or {}
        yield _gauges("eta_timestamp_seconds", "When the queue will be done; absent if unknown", "bound", eta)
        workers: dict[str, int] = {}
        for worker in status["workers"]:
            workers[str(worker.get("state"))] = workers.get(str(worker.get("state")), 0) + 1
        yield _gauges("workers", "Workers of the cluster by state", "state", workers)
        slots = sum(int(worker.get("slots") or 0) for worker in status["workers"] if worker.get("state") == "ready")
        yield _gauge("slots", "Encodes at a time, on this machine or on the workers that are ready",
                     slots if status["workers"] else status["slots"])  # fmt: skip
        yield _gauges("quality", "Mean of what was measured of the latest videos", "measure",
                      {name: mean for name, (mean, _) in mean_quality(self._videos).items()})  # fmt: skip

    def _failures(self) -> Metric:
        found = CounterMetricFamily(
            "animation_failures", "Attempts that did not succeed, by kind of cause and by what follows",
            labels=("trouble", "outcome"),
        )  # fmt: skip
        for one in self._troubles:
            found.add_metric((one.trouble, one.outcome), one.attempts)
        return found


def exposition(facts: Facts) -> bytes:
    """The text."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(facts)
    return generate_latest(registry)


def _up(program: Mapping[str, Any]) -> float:
    return float(program["running"] is True)


def _gauge(name: str, help: str, value: float | None) -> Metric:
    found = GaugeMetricFamily(f"animation_{name}", help)
    if value is not None:
        found.add_metric((), value)
    return found


def _gauges(name: str, help: str, label: str, values: Mapping[str, float]) -> Metric:
    found = GaugeMetricFamily(f"animation_{name}", help, labels=(label,))
    for key, value in values.items():  # of a stranger's file: halves of characters have no encoding
        found.add_metric((key.encode("utf-8", "backslashreplace").decode(),), value)
    return found


def _counter(name: str, help: str, value: float) -> Metric:
    return CounterMetricFamily(f"animation_{name}", help, value=value)


def _counters(name: str, help: str, label: str, values: Mapping[str, float]) -> Metric:
    found = CounterMetricFamily(f"animation_{name}", help, labels=(label,))
    for key, value in values.items():
        found.add_metric((key,), value)
    return found
