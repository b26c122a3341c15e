"""What ``--status`` and ``--queue`` print. Reads values, imports nothing heavy."""

import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from tools.core.aimed import saved_percent
from tools.core.eta import Rest
from tools.core.message import message
from tools.core.past import Sums
from tools.core.queue_item import CANCELLED, QueueItem, Status, counted_as, local_time, rank, to_json
from tools.report.cells import cells, cut, cut_name, rows_of
from tools.report.fitted import fitted
from tools.report.glance import clock, gain_lines, outlook_lines, short_time
from tools.report.health import shown_age
from tools.report.job_line import job_lines, job_of, speed_of
from tools.report.losses import loss_lines, losses
from tools.report.outlook import UNKNOWN, Outlook
from tools.report.paint import PLAIN, Paint
from tools.report.units import human_size, human_time
from tools.runtime.language import colon, heading, term, translated, ui
from tools.state.orders import BY_HAND
from tools.state.work_queue import Overview, pending_in_order

SHOWN = 10
"""How many items, failures, and causes per failure ``status_text`` shows unless it is asked for all."""
ALL = 1 << 62
VERSION = 1
"""Of the JSON; it changes if a field goes or gets another meaning, not if one comes."""
FRESH = 15.0  # s; progress.json older than this tells of a processor that is not running


def status_json(
    counts: Mapping[str, int], items: Sequence[QueueItem], progress: Mapping[str, Any], outlook: Outlook = UNKNOWN
) -> dict[str, Any]:
    """The part of ``--status --json`` that state files tell; docs/status.md has each field.

    Jobs, workers, requests and the reason (or None) are those of ``progress.json``, items those of
    ``processing_queue.json``.
    """
    jobs = _jobs(progress, [item for item in items if item.status is Status.PROCESSING])
    return {
        "version": VERSION,
        "counts": dict(counts),
        "running": [job | {"done": outlook.running.get(str(job.get("video")))} for job in jobs],
        "workers": progress["workers"],
        "paused": progress["paused"],
        "confined": progress["confined"],
        "slots": progress["slots"],
        "hub": progress["hub"],
        "items": [to_json(item) | {"saved_percent": _saved(item)} for item in items],
    }


def status_text(
    overview: Overview,
    progress: Mapping[str, Any],
    now: float,
    running: bool,
    causes: int = SHOWN,
    *,
    outlook: Outlook = UNKNOWN,
    run: Sums | None = None,
    paint: Paint = PLAIN,
    room: int | None = None,
) -> str:
    """Counts, when it is done, what was gained, what runs now, what failed, the latest items, for people; ``causes`` of
    a failure. ``run``: what was stored since the processor was started; ``room``: how many rows a terminal has for it,
    None = as many as it takes."""
    counts = {name: number for name, number in overview.counts.items() if number or name != CANCELLED}
    top = ["  ".join(f"{term(name)}{colon()}{number}" for name, number in counts.items())]
    top += outlook_lines(outlook, len(overview.pending) + len(overview.processing), now)
    top += gain_lines(overview.gain, outlook.videos, run)
    if progress["paused"]:
        top.append(paint("yellow", pause_line(progress["paused"])))
    jobs = _jobs(progress, overview.processing)
    is_fresh = running and now - float(progress["updated"]) < FRESH
    blocks = [
        top,
        _titled(heading("Running"), _running(jobs, paint, outlook, now), paint) if is_fresh and jobs else [],
        _queue_block(overview, outlook, now, paint),
        _failures_block(overview, causes, paint),
        _titled(heading("Hub requests"), _table([_hub_row(now, work) for work in progress["hub"]], cut_name), paint)
        if running and progress["hub"]
        else [],
        _workers_block(progress["workers"], now, paint) if running else [],
        _latest_block(overview, outlook, now, paint),
        loss_lines(losses(outlook.videos), causes) if overview.latest else [],
        ["", ui("ffmpeg is confined in: {}", ", ".join(progress["confined"]) or "-")] if running else [],
    ]
    if room is None:
        return "\n".join(line for block in blocks for line in block)
    columns = shutil.get_terminal_size().columns
    return "\n".join(fitted(blocks, _ORDER, room, "--status --all", lambda line: rows_of(line, columns)))


_ORDER = (0, 1, 3, 2, 5, 4, 6, 7, 8)  # of the blocks of the status, what a person asks first


def _titled(title: str, lines: Sequence[str], paint: Paint) -> list[str]:
    return ["", paint("bold", title), *lines]


def _queue_block(overview: Overview, outlook: Outlook, now: float, paint: Paint) -> list[str]:
    """What comes next; of a folder whose last videos run there is nothing more to say."""
    rests = [rest for rest in outlook.upcoming if rest.videos]
    if not rests:
        return []
    rows = [_titles("not begun", "size", "done", "folder"), *(_rest_row(rest, outlook, now) for rest in rests)]
    hidden = len(overview.pending) + len(overview.processing) - len(outlook.upcoming)
    return _titled(
        heading("Queue"), [*_table(rows, cut_name), *_hidden("  ", hidden, "modelscope_monitor.py --queue")], paint
    )


def _failures_block(overview: Overview, causes: int, paint: Paint) -> list[str]:
    lines = []
    for number, item in enumerate(overview.failed):
        first, *more = failure_lines(item, causes)
        lines += [*([""] if number == 0 else []), paint("red", first), *more]
    return lines + _hidden("", overview.counts.get("failed", 0) - len(overview.failed), "--status --failed")


def _workers_block(workers: Sequence[Mapping[str, Any]], now: float, paint: Paint) -> list[str]:
    if not workers:
        return []
    titles = _titles("worker", "slots", "state", "fps", "seen", "encodes")
    return _titled(heading("Workers"), _table([titles, *map(partial(_worker_row, now), workers)]), paint)


def _latest_block(overview: Overview, outlook: Outlook, now: float, paint: Paint) -> list[str]:
    if not overview.latest:
        return []
    rows = [_titles("status", "p", "videos", "saved", "added", "ended, ETA", "folder")]
    rows += [_item_row(item, outlook, now) for item in overview.latest]
    return _titled(heading("Latest"), _table(rows, cut_name), paint)


def _running(jobs: Sequence[Mapping[str, Any]], paint: Paint, outlook: Outlook, now: float) -> list[str]:
    """With bars on a terminal; with the time at which each is likely done."""
    until = [outlook.running.get(str(job.get("video"))) for job in jobs]
    done = ["" if when is None else f"≈ {clock(when, now)}" for when in until]
    if not paint.is_terminal:
        return _table([_job_row(job, when) for job, when in zip(jobs, done, strict=True)], cut_name)
    columns = shutil.get_terminal_size().columns
    return [f"  {line}" for line in job_lines([job_of(job) for job in jobs], columns - 2, done)]


def pause_line(paused: str) -> str:
    """Why nothing new is started, and until when."""
    cause, _, when = paused.partition("; next try at ")
    if cause.startswith(BY_HAND):
        return ui("PAUSED: {}; --resume continues", cause)
    if when:
        return ui("PAUSED: {}; next try at {}; work resumes by itself", cause, when)
    return ui("PAUSED: {}; work resumes by itself", cause)


def _jobs(progress: Mapping[str, Any], processing: Sequence[QueueItem]) -> list[dict[str, Any]]:
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
    command = retry_command(item)
    if command is None:
        return [*lines, "    " + ui("Upload a better file; --retry changes nothing")]
    return [*lines, f"    {ui('Try again')}{colon()}{command}"]


def retry_command(item: QueueItem) -> str | None:
    """What a person types so that a failed item is tried again; None if that would change nothing."""
    if item.quarantined and not any(q.is_spent or q.result_kept for q in item.quarantined):
        return None
    return f"python3 tools/queue_processor.py --retry {shlex.quote(item.folder)}"


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


def _job_row(job: Mapping[str, Any], done: str) -> tuple[str, ...]:
    percent, fps = job.get("percent"), job.get("fps")
    return (
        term(str(job.get("stage"))),
        "" if percent is None else f"{percent:.0f}%",
        "" if fps is None else f"{fps:.1f} fps",
        speed_of(job_of(job)),
        "ETA " + human_time(job.get("eta_s")) if job.get("eta_s") is not None else "",
        done,
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


def _saved(item: QueueItem) -> int | None:
    return saved_percent(item.bytes_in, item.bytes_out)


def _item_row(item: QueueItem, outlook: Outlook, now: float) -> tuple[str, ...]:
    eta = outlook.folders.get(item.folder)
    videos = f"{item.videos_done}/{item.videos_total}"
    status = "held" if item.held else counted_as(item)
    return (
        term("{} (redo)", status) if item.redo else term(status),
        str(item.priority),
        videos,
        "-" if (saved := _saved(item)) is None else f"{saved}%",
        short_time(item.added_time, now),
        f"≈ {clock(eta.likely, now)}" if eta else short_time(item.end_time, now),
        item.folder,
    )


def _rest_row(rest: Rest, outlook: Outlook, now: float) -> tuple[str, ...]:
    eta = outlook.folders.get(rest.folder)
    return str(rest.videos), human_size(rest.size), f"≈ {clock(eta.likely, now)}" if eta else "?", rest.folder


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
