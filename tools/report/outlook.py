"""When folders and the queue will be done: history, queue and what runs, put together for ``tools.core.eta``."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tools.core.eta import Calendar, Eta, Rest, Sample, UnderWay, forecast, learn
from tools.core.hours import OUTSIDE
from tools.core.past import Sums, VideoLine
from tools.core.queue_item import QueueItem, rank
from tools.report.heading import Pulse
from tools.state.history_reader import History
from tools.state.orders import BY_HAND
from tools.state.work_queue import Waiting

LEARNED_FROM = 400
"""Videos, the latest: enough for a range, few enough that a new encoder or setting is soon believed."""
_PAUSES_OF = 7 * 86400.0  # s whose pauses are taken for what is to come
_MOST_PAUSED = 0.5  # of the time, so that one bad day does not double everything for a week


@dataclass(frozen=True, slots=True)
class Outlook:
    """``queue`` and ``folders``: when they will be done; None, and absent, is unknown."""

    queue: Eta | None
    folders: Mapping[str, Eta] = field(default_factory=dict)
    videos: Sequence[VideoLine] = ()  # that it was learned from, newest first
    upcoming: Sequence[Rest] = ()  # what is not begun of the folders in work, and of those that come next
    is_held: bool = False  # a person paused the work: times are as if it were resumed now
    running: Mapping[str, float] = field(default_factory=dict)  # by path: when a video under way is published, epoch s


UNKNOWN = Outlook(None)


def outlook(
    history: History,
    processing: Sequence[QueueItem],
    pending: Sequence[Waiting],
    progress: Mapping[str, Any],
    now: float,
    aging_hours: float,
    *,
    wanted: Collection[str] = (),
    calendar: Calendar | None = None,
    following: int = 0,
) -> Outlook:
    """As of ``now`` (epoch s). ``progress``: the content of ``progress.json``; ``wanted``: the folders to be told of,
    with ``following`` also those in work and so many behind them. ``calendar``: of the hours at which work goes on. A
    folder that is held is in no estimate."""
    videos = history.videos(outcome="stored", limit=LEARNED_FROM)
    samples = [
        Sample(one.folder, one.bytes_in, one.seconds, one.work) for one in videos if one.seconds.get("encode", 0.0) > 0
    ]
    places = places_of(progress)
    costs = learn(samples, places) if places["encode"] else None
    folders = {item.folder for item in processing}
    running = [job for job in progress["jobs"] if job.get("folder") in folders]
    jobs = [
        UnderWay(str(job["folder"]), None, _stage(job), job.get("percent"), job.get("eta_s"), job.get("work"))
        for job in running
    ]
    rests = [_rest(item, jobs) for item in sorted(processing, key=lambda item: item.start_time or "")]
    in_order = sorted((one for one in pending if not one.held), key=lambda one: rank(one, now, aging_hours))
    rests += [Rest(one.folder, one.videos, one.size) for one in in_order]
    upcoming = rests[: len(processing) + following] if following else []
    wanted = {*wanted, *(rest.folder for rest in upcoming)}
    paused = progress["paused"] or ""
    stretch = 1 / (1 - paused_share(history, now))

    def when(start: float, seconds: float) -> float:
        return (calendar or _always)(start, seconds * stretch)

    found = forecast(costs, max(now, _resumes_at(paused)), jobs, rests, calendar=when, wanted=wanted)
    running_until = {str(job.get("video")): round(until) for job, until in zip(running, found.videos, strict=False)}
    return Outlook(found.queue, found.folders, videos, upcoming, paused.startswith(BY_HAND), running_until)


def run_of(history: History, seen: Pulse) -> Sums:
    """What was stored since the processor that runs was started; nothing if none runs."""
    since = seen.lives["processor"].since
    return Sums() if since is None else history.stored(since)


def places_of(progress: Mapping[str, Any]) -> dict[str, int]:
    """How many videos may be in each stage at a time, here or on the workers that are ready."""
    workers = progress["workers"]
    slots = sum(int(one.get("slots") or 0) for one in workers if one.get("state") == "ready")
    if not workers:
        slots = progress.get("slots") or 1
    return {"download": max(4, slots), "encode": slots, "verify": slots, "upload": max(4, slots)}


def paused_share(history: History, now: float) -> float:
    """The share of the last days in which nothing was started for reasons that may come again, 0 to 1."""
    since = now - _PAUSES_OF
    first = history.hours(since)[:1]
    if not first:
        return 0.0
    begin = max(since, float(first[0].hour))
    spans = [
        (max(begin, one.began), now if one.ended is None else one.ended)
        for one in history.pauses(begin)
        if not one.cause.startswith((BY_HAND, OUTSIDE))
    ]
    share = sum(max(0.0, end - start) for start, end in spans) / max(3600.0, now - begin)
    return min(_MOST_PAUSED, share)


def _stage(job: Mapping[str, Any]) -> str:
    return "encode" if job.get("stage") == "suspended" else str(job.get("stage"))


def _always(start: float, seconds: float) -> float:
    return start + seconds


def _rest(item: QueueItem, jobs: Sequence[UnderWay]) -> Rest:
    """What is not begun of a folder that is in work."""
    left = item.videos_total - item.videos_done
    begun = sum(job.folder == item.folder for job in jobs)
    size = max(0, item.total_size - item.bytes_in)
    return Rest(item.folder, max(0, left - begun), int(size * max(0, left - begun) / left) if left > 0 else 0)


def _resumes_at(paused: str) -> float:
    """When a pause may be over by itself, epoch s; 0 = now, or nobody knows."""
    try:
        return datetime.fromisoformat(paused.rpartition("; next try at ")[2]).timestamp()
    except (ValueError, OverflowError):
        return 0.0
