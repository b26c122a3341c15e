"""What ``--coverage``, ``--check`` and ``--why`` print."""

from collections.abc import Mapping, Sequence
from typing import Any

from tools.core.audit import FolderAudit
from tools.core.coverage import Coverage
from tools.core.eta import Eta
from tools.core.message import message, plural
from tools.core.past import VideoLine
from tools.core.queue_item import QueueItem, Status, counted_as, is_as_queued, rank
from tools.report.glance import clock
from tools.report.health import shown_age
from tools.report.monitor_log import half_uploaded, no_video
from tools.report.status import ALL, failure_lines
from tools.report.units import human_size
from tools.report.waiting import seconds_left, steady_at
from tools.runtime.language import colon, translated, ui
from tools.state.journal import VideoHistory
from tools.state.monitor_state import MonitorState
from tools.state.work_queue import pending_in_order

_SHOWN = 20  # names under a heading


def coverage_json(repo: str, commit: str | None, coverage: Coverage) -> dict[str, Any]:
    """``{"repo", "commit", "folders": number, "headings": {HEADING: {"count", "folders": [NAME]}}}``."""
    headings = {kind.value: {"count": len(names), "folders": names} for kind, names in coverage.items()}
    return {"repo": repo, "commit": commit, "folders": sum(map(len, coverage.values())), "headings": headings}


def coverage_text(repo: str, coverage: Coverage, shown: int = _SHOWN) -> str:
    """One heading after another with its folders; at the end the sum."""
    lines = []
    for kind, names in coverage.items():
        if names:
            mark = "!" if kind.needs_person else " "
            lines.append(f"{mark}{len(names):>6}  {translated(kind.value)}")
            lines += [f"         {name}" for name in names[:shown]]
            if len(names) > shown:
                lines.append("         " + ui("… and {} more, see {}", len(names) - shown, "--all"))
    total = sum(map(len, coverage.values()))
    needs = sum(len(names) for kind, names in coverage.items() if kind.needs_person)
    lines.append(f" {total:>6}  " + ui("in all, in {}; {} need a person", repo, needs))
    return "\n".join(lines)


def audit_lines(found: FolderAudit) -> list[str]:
    """A folder of ``--check``: its numbers, then what is not as it should be."""
    numbers = f"in={found.videos} out={found.published} quarantined={len(found.quarantined)}"
    numbers += f" sidecars={found.sidecars}" if found.sidecars else ""
    lines = [f"{'OK ' if found.is_right else '!  '} {found.folder}: {numbers}"]
    lines += [f"       {ui('missing')}{colon()}{path}" for path in found.missing]
    lines += [f"       {ui('differs from its record')}{colon()}{path}" for path in found.differs]
    lines += [f"       {ui('damaged')}{colon()}{translated(line)}" for line in found.broken]
    gone = ui("output still has this, whose source is gone") + colon()
    return lines + [f"       {gone}{path}" for path in found.without_source]


def audit_sum(audits: Sequence[FolderAudit]) -> str:
    """The last line of ``--check``."""
    wrong = sum(not one.is_right for one in audits)
    names = ("videos", "published"), ("quarantined", "missing", "differs", "without_source")
    sums = [f"{name}={sum(getattr(one, name) for one in audits)}" for name in names[0]]
    sums += [f"{name}={sum(len(getattr(one, name)) for one in audits)}" for name in names[1]]
    sums += [f"damaged={broken}"] if (broken := sum(len(one.broken) for one in audits)) else []
    sums += [f"sidecars={sidecars}"] if (sidecars := sum(one.sidecars for one in audits)) else []
    many = len(audits) != 1
    found = ui("{} folders, {} not right", len(audits), wrong) if many else ui("1 folder, {} not right", wrong)
    return f"{found}{colon()}{' '.join(sums)}"


def why_lines(
    folder: str,
    items: Mapping[str, QueueItem],
    state: MonitorState,
    history: Mapping[tuple[str, str], VideoHistory],
    now: float,
    aging_hours: float,
    default_age: float,
) -> list[str]:
    """All that is known of one folder here, in the order in which it happens; [] if nothing is. ``default_age`` is that
    of ``not_quiet``."""
    snapshot, item = state.folders.get(folder), items.get(folder)
    lines = []
    if snapshot is not None:
        there = snapshot.folder
        size = human_size(there.total_size)
        lines.append(ui("on the hub: files={} videos={} size={}", there.file_count, there.video_count, size))
        quiet = max(0.0, steady_at(state, now) - snapshot.quiet_from)
        left = seconds_left(state, snapshot, now, default_age)
        if left:
            lines.append(ui("unchanged for {}, {} s left", shown_age(quiet), f"{left:.0f}"))
        else:
            lines.append(ui("unchanged for {}", shown_age(quiet)))
        if there.partial:
            lines.append(translated(half_uploaded(there)))
        if not there.video_count:
            lines.append(translated(no_video(there)))
        elif item is None and state.settled.get(folder) == there.fingerprint:
            lines.append(ui("done before, or forgotten; queued again when it changes"))
        elif item is None or (item.hash and not is_as_queued(item, there) and item.status is not Status.PROCESSING):
            lines.append(ui("not queued as it is now: the monitor queues it once it is quiet"))
    elif item is not None:
        lines.append(ui("not in the monitor's last listing"))
    return lines + (_item_lines(item, items, now, aging_hours) if item else []) + _history_lines(history)


def _item_lines(item: QueueItem, items: Mapping[str, QueueItem], now: float, aging_hours: float) -> list[str]:
    lines = [ui("queued at {}, priority {}", item.added_time, item.priority)]
    lines.append(ui("{}, {} of {} published", counted_as(item), item.videos_done, plural(item.videos_total, "video")))
    if item.status is Status.PENDING:
        waiting = pending_in_order(
            [one for one in items.values() if not one.held], lambda one: rank(one, now, aging_hours)
        )
        place = next((place for place, one in enumerate(waiting, 1) if one is item), None)
        if place is None:
            lines.append(ui("held by --hold; --release lets it continue"))
        else:
            lines.append(ui("place {} of {} that wait", place, len(waiting)))
    if item.redo is not None:
        lines.append(ui("made again by --redo: {}", item.redo.text() or message("settings in force")))
    lines.append(ui("attempts {}, runs {}", item.attempts, item.runs))
    if item.not_before:
        lines.append(ui("not before {}", item.not_before))
    if item.status is Status.FAILED:
        return lines + failure_lines(item, ALL)
    return lines + ([f"{ui('because')}{colon()}{translated(item.error)}"] if item.error else [])


def _history_lines(history: Mapping[tuple[str, str], VideoHistory]) -> list[str]:
    lines: list[str] = []
    for (path, _), video in sorted(history.items()):
        if video.stored:
            lines.append(f"    {path}: {ui('stored, waits for its batch')}")
        elif video.refused:
            lines.append(f"    {path}: {translated(video.refused)}")
        elif video.failures or video.crashes:
            failed = plural(video.failures, "time")
            told = ui("failed {}, crashed {}: {}", failed, video.crashes, video.last_cause)
            lines.append(f"    {path}: {told}")
    return lines


def past_lines(folder: str, eta: Eta | None, videos: Sequence[VideoLine], now: float) -> list[str]:
    """When a folder will be done, and what the history has of it, newest first; ``videos`` of this folder."""
    lines = []
    if eta is not None:
        times = (clock(when, now) for when in (eta.likely, eta.earliest, eta.latest))
        lines.append(ui("Done: about {}, between {} and {}", *times))
    for one in videos[:_SHOWN]:
        when = clock(one.ended, now)
        if one.outcome == "stored":
            sizes = human_size(one.bytes_in), human_size(one.bytes_out)
            lines.append(f"    {one.video}: {ui('converted {}: {} became {}', when, *sizes)}")
        else:
            lines.append(f"    {one.video}: {ui('attempt {} failed {}: {}', one.attempt, when, one.cause)}")
    return lines
