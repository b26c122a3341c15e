"""What ``--status`` and ``--queue`` print. Reads values, imports nothing heavy."""

import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from tools.core.queue_item import CANCELLED, QueueItem, Status, counted_as, local_time, rank, to_json
from tools.report.cells import cells, cut, cut_name
from tools.report.chinese import both
from tools.report.health import shown_age
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
    lines = ["  ".join(f"{name}: {number}" for name, number in counts.items())]
    if progress["paused"]:
        lines.append(_pause_line(progress["paused"]))
    if running:
        lines.append(f"ffmpeg is confined in 已限制: {', '.join(progress['confined']) or 'nothing 无'}")
    jobs = _jobs(progress, overview.processing)
    if running and jobs and now - float(progress["updated"]) < _FRESH:
        lines += ["", "Running 正在处理:", *_table([_job_row(job) for job in jobs], cut_name)]
    if running and progress["hub"]:
        lines += [
            "",
            "Hub requests 对服务端的请求:",
            *_table([_hub_row(now, work) for work in progress["hub"]], cut_name),
        ]
    if running and progress["workers"]:
        heading = ("worker", "slots", "state", "fps", "seen", "encodes")
        lines += ["", "Workers 工作机:", *_table([heading, *map(partial(_worker_row, now), progress["workers"])])]
    if overview.latest:
        rows = [("status", "p", "videos", "added", "ended", "folder"), *map(_item_row, overview.latest)]
        lines += ["", "Latest 最近的项目:", *_table(rows, cut_name)]
    for item in overview.failed:
        lines += failure_lines(item, causes)
    lines += _hidden("", overview.counts.get("failed", 0) - len(overview.failed), "--status --failed")
    return "\n".join(lines)


def _pause_line(paused: str) -> str:
    cause, _, when = paused.partition("; next try at ")
    what = "--resume continues 用 --resume 继续" if cause.startswith(BY_HAND) else "work resumes by itself 会自动继续"
    return f"PAUSED 已暂停: {both(cause)}; {f'next try at {when}; ' if when else ''}{what}"


def _jobs(progress: Mapping[str, Any], processing: Sequence[QueueItem]) -> list[Mapping[str, Any]]:
    """Those of items that are in work: what was cancelled may take a moment to end."""
    folders = [item.folder for item in processing]
    return [job for job in progress["jobs"] if job.get("folder") in folders]


def failure_lines(item: QueueItem, causes: int) -> list[str]:
    """Why an item failed, ``causes`` of its videos at most, and what to do about it."""
    cause = both(item.error or "no cause recorded")
    lines = [f"failed 失败 {item.folder}: {cause}{':' if item.quarantined else ''}"]
    lines += [f"    {q.path}: {both(q.cause)}" for q in item.quarantined[:causes]]
    lines += _hidden("    ", len(item.quarantined) - causes, "--status --all")
    if item.quarantined and not any(q.is_spent or q.result_kept for q in item.quarantined):
        return [*lines, "    Upload a better file; --retry changes nothing 请上传更好的文件；--retry 无效"]
    name = shlex.quote(item.folder)
    return [*lines, f"    Try again 重试: python3 tools/queue_processor.py --retry {name}"]


def _hidden(indent: str, number: int, command: str) -> list[str]:
    return [f"{indent}… and {number} more, see {command} 另有 {number} 个"] if number > 0 else []


def queue_text(items: Sequence[QueueItem], now: float, aging_hours: float) -> str:
    """The pending items, in the order in which they will be claimed."""
    pending = pending_in_order(items, lambda item: (item.held, rank(item, now, aging_hours)))
    if not pending:
        return "No folder is pending. 队列中没有等待的文件夹。"
    rows = [("#", "p", "videos", "files", "size", "added", "folder")]
    for place, item in enumerate(pending, 1):
        size = human_size(item.total_size)
        numbers = (
            "held" if item.held else str(place),
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
        str(job.get("stage")),
        "" if percent is None else f"{percent:.0f}%",
        "" if fps is None else f"{fps:.1f} fps",
        "ETA " + human_time(job.get("eta_s")) if job.get("eta_s") is not None else "",
        str(job.get("video")),
    )


def _hub_row(now: float, work: Mapping[str, Any]) -> tuple[str, ...]:
    since, until = work.get("since"), work.get("until")
    if until is not None:
        what = f"waits until 等待至 {local_time(until)}"
    else:
        what = "asked" if since is None else f"asked {shown_age(max(0.0, now - since))} ago"
    about = str(work.get("about"))
    return str(work.get("kind")), what, f"{about}: {work['cause']}" if work.get("cause") else about


def _worker_row(now: float, worker: Mapping[str, Any]) -> tuple[str, ...]:
    fps = worker.get("fps")
    encodes = ", ".join(worker.get("encoding") or ()) or "-"
    return (
        str(worker.get("name")),
        str(worker.get("slots")),
        str(worker.get("state")),
        "" if fps is None else f"{fps:.1f}",
        f"{max(0, now - float(worker.get('last_seen') or 0)):.0f} s ago",
        f"{worker['cause']}; encodes {encodes}" if worker.get("cause") else encodes,
    )


def _item_row(item: QueueItem) -> tuple[str, ...]:
    videos = f"{item.videos_done}/{item.videos_total}"
    status = "held" if item.held else counted_as(item)
    return (
        f"{status} (redo)" if item.redo else status,
        str(item.priority),
        videos,
        item.added_time,
        item.end_time or "",
        item.folder,
    )


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
