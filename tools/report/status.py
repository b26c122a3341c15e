"""What ``--status`` and ``--queue`` print. Reads values, imports nothing heavy."""

import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from tools.core.message import message
from tools.core.queue_item import CANCELLED, QueueItem, Status, counted_as, local_time, rank, to_json
from tools.report.cells import cells, cut, cut_name
from tools.report.health import shown_age
from tools.runtime.language import colon, heading, term, translated, ui
from tools.state.orders import BY_HAND
from tools.state.work_queue import Overview, pending_in_order

SHOWN = 10
"""How many items, failures, and causes per failure ``status_text`` shows unless it is asked for all."""
ALL = 1 << 62
_FRESH = 15.0  # s; progress.json older than this tells of a processor that is not running


def status_json(counts: Mapping[str, int], items: Sequence[QueueItem], progress: Mapping[str, Any]) -> dict[str, Any]:
    """``{"counts": {STATUS or "cancelled": number}, "running": [job], "workers": [worker], "paused": reason,
    "confined": [part], "hub": [request], "items": [item]}``.

    Jobs, workers, requests and the reason (or None) are those of ``progress.json``, items those of
    ``processing_queue.json``.
    """
    return {
        "counts": dict(counts),
        "running": _jobs(progress, [item for item in items if item.status is Status.PROCESSING]),
        "workers": progress["workers"],
        "paused": progress["paused"],
        "confined": progress["confined"],
        "hub": progress["hub"],
        "items": [to_json(item) for item in items],
    }


def status_text(overview: Overview, progress: Mapping[str, Any], now: float, running: bool, causes: int = SHOWN) -> str:
    """Counts, what runs now, the latest items and the most recent failures, for people; ``causes`` of a failure."""
    counts = {name: number for name, number in overview.counts.items() if number or name != CANCELLED}
    lines = ["  ".join(f"{term(name)}{colon()}{number}" for name, number in counts.items())]
    if progress["paused"]:
        lines.append(_pause_line(progress["paused"]))
    if running:
        lines.append(ui("ffmpeg is confined in: {}", ", ".join(progress["confined"]) or "-"))
    jobs = _jobs(progress, overview.processing)
    if running and jobs and now - float(progress["updated"]) < _FRESH:
        lines += ["", heading("Running"), *_table([_job_row(job) for job in jobs], cut_name)]
    if running and progress["hub"]:
        lines += [
            "",
            heading("Hub requests"),
            *_table([_hub_row(now, work) for work in progress["hub"]], cut_name),
        ]
    if running and progress["workers"]:
        titles = _titles("worker", "slots", "state", "fps", "seen", "encodes")
        lines += ["", heading("Workers"), *_table([titles, *map(partial(_worker_row, now), progress["workers"])])]
    if overview.latest:
        rows = [_titles("status", "p", "videos", "added", "ended", "folder"), *map(_item_row, overview.latest)]
        lines += ["", heading("Latest"), *_table(rows, cut_name)]
    for item in overview.failed:
        lines += failure_lines(item, causes)
    lines += _hidden("", overview.counts.get("failed", 0) - len(overview.failed), "--status --failed")
    return "\n".join(lines)


def _pause_line(paused: str) -> str:
    cause, _, when = paused.partition("; next try at ")
    if cause.startswith(BY_HAND):
        return ui("PAUSED: {}; --resume continues", cause)
    if when:
        return ui("PAUSED: {}; next try at {}; work resumes by itself", cause, when)
    return ui("PAUSED: {}; work resumes by itself", cause)


def _jobs(progress: Mapping[str, Any], processing: Sequence[QueueItem]) -> list[Mapping[str, Any]]:
    """Those of items that are in work: what was cancelled may take a moment to end."""
    folders = [item.folder for item in processing]
    return [job for job in progress["jobs"] if job.get("folder") in folders]


def failure_lines(item: QueueItem, causes: int) -> list[str]:
    """Why an item failed, ``causes`` of its videos at most, and what to do about it."""
    cause = item.error or message("no cause recorded")
    said = heading if item.quarantined else ui
    lines = [said("failed {}: {}", item.folder, cause)]
    lines += [f"    {q.path}: {translated(q.cause)}" for q in item.quarantined[:causes]]
    lines += _hidden("    ", len(item.quarantined) - causes, "--status --all")
    if item.quarantined and not any(q.is_spent or q.result_kept for q in item.quarantined):
        return [*lines, "    " + ui("Upload a better file; --retry changes nothing")]
    name = shlex.quote(item.folder)
    return [*lines, f"    {heading('Try again')} python3 tools/queue_processor.py --retry {name}"]


def _hidden(indent: str, number: int, command: str) -> list[str]:
    return [indent + ui("… and {} more, see {}", number, command)] if number > 0 else []


def queue_text(items: Sequence[QueueItem], now: float, aging_hours: float) -> str:
    """The pending items, in the order in which they will be claimed."""
    pending = pending_in_order(items, lambda item: (item.held, rank(item, now, aging_hours)))
    if not pending:
        return ui("No folder is pending.")
    rows = [_titles("#", "p", "videos", "files", "size", "added", "folder")]
    for place, item in enumerate(pending, 1):
        size = human_size(item.total_size)
        numbers = (
            term("held") if item.held else str(place),
            str(item.priority),
            str(item.videos_total),
            str(item.file_count),
            size,
        )
        rows.append((*numbers, item.added_time, item.folder))
    return "\n".join(_table(rows, cut_name))


def human_size(size: float) -> str:
    """Bytes → a short text with a binary unit."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def human_time(seconds: float | None) -> str:
    """Seconds → ``1:02:03``, "" if unknown."""
    if seconds is None or not 0 <= seconds < 1e8:
        return ""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def _job_row(job: Mapping[str, Any]) -> tuple[str, ...]:
    percent, fps = job.get("percent"), job.get("fps")
    return (
        term(str(job.get("stage"))),
        "" if percent is None else f"{percent:.0f}%",
        "" if fps is None else f"{fps:.1f} fps",
        "ETA " + human_time(job.get("eta_s")) if job.get("eta_s") is not None else "",
        str(job.get("video")),
    )


def _hub_row(now: float, work: Mapping[str, Any]) -> tuple[str, ...]:
    since, until = work.get("since"), work.get("until")
    if until is not None:
        what = term("waits until {}", local_time(until))
    elif since is None:
        what = term("asked")
    else:
        what = term("asked {} ago", shown_age(max(0.0, now - since)))
    about = str(work.get("about"))
    return term(str(work.get("kind"))), what, f"{about}: {term(work['cause'])}" if work.get("cause") else about


def _worker_row(now: float, worker: Mapping[str, Any]) -> tuple[str, ...]:
    fps = worker.get("fps")
    encodes = ", ".join(worker.get("encoding") or ()) or "-"
    return (
        str(worker.get("name")),
        str(worker.get("slots")),
        term(str(worker.get("state"))),
        "" if fps is None else f"{fps:.1f}",
        term("{} ago", shown_age(max(0, now - float(worker.get("last_seen") or 0)))),
        term("{}; encodes {}", worker["cause"], encodes) if worker.get("cause") else encodes,
    )


def _item_row(item: QueueItem) -> tuple[str, ...]:
    videos = f"{item.videos_done}/{item.videos_total}"
    status = "held" if item.held else counted_as(item)
    return (
        term("{} (redo)", status) if item.redo else term(status),
        str(item.priority),
        videos,
        item.added_time,
        item.end_time or "",
        item.folder,
    )


def _titles(*words: str) -> tuple[str, ...]:
    return tuple(map(term, words))


def _table(rows: Sequence[Sequence[str]], shorten: Callable[[str, int], str] = cut) -> list[str]:
    """Columns aligned by what a terminal shows; the last one is shortened to its width."""
    widths = [max(cells(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    room = shutil.get_terminal_size((200, 24)).columns
    lines = []
    for row in rows:
        left = "  " + "".join(
            text + " " * (width - cells(text) + 2) for text, width in zip(row[:-1], widths, strict=True)
        )
        lines.append(left + shorten(row[-1], max(20, room - cells(left) - 1)))
    return lines
