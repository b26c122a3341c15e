"""What ``--coverage``, ``--check`` and ``--why`` print."""

from collections.abc import Mapping, Sequence
from typing import Any

from tools.core.audit import FolderAudit
from tools.core.coverage import Coverage
from tools.core.queue_item import QueueItem, Status, counted_as, rank
from tools.report.chinese import both
from tools.report.health import shown_age
from tools.report.monitor_log import half_uploaded, no_video
from tools.report.status import ALL, failure_lines, human_size
from tools.report.waiting import seconds_left, steady_at
from tools.state.journal import VideoHistory
from tools.state.monitor_state import MonitorState
from tools.state.work_queue import pending_in_order

_CHINESE = {
    "published": "已发布",
    "settled before": "此前已处理",
    "running": "处理中",
    "queued": "排队中",
    "held": "已暂缓",
    "not quiet yet": "尚未稳定",
    "no video": "没有视频",
    "cancelled": "已取消",
    "failed": "失败",
    "name can't be used": "名称不可用",
}
_SHOWN = 20  # names under a heading


def coverage_json(repo: str, commit: str | None, coverage: Coverage) -> dict[str, Any]:
    """``{"repo", "commit", "folders": number, "headings": {HEADING: {"count", "folders": [NAME]}}}``."""
    headings = {heading.value: {"count": len(names), "folders": names} for heading, names in coverage.items()}
    return {"repo": repo, "commit": commit, "folders": sum(map(len, coverage.values())), "headings": headings}


def coverage_text(repo: str, coverage: Coverage, shown: int = _SHOWN) -> str:
    """One heading after another with its folders; at the end the sum."""
    lines = []
    for heading, names in coverage.items():
        if names:
            mark = "!" if heading.needs_person else " "
            lines.append(f"{mark}{len(names):>6}  {heading.value} {_CHINESE[heading.value]}")
            lines += [f"         {name}" for name in names[:shown]]
            if len(names) > shown:
                lines.append(f"         … and {len(names) - shown} more, see --all 另有 {len(names) - shown} 个")
    total = sum(map(len, coverage.values()))
    needs = sum(len(names) for heading, names in coverage.items() if heading.needs_person)
    lines.append(f" {total:>6}  in all 合计, in {repo}; {needs} need a person 需要人处理")
    return "\n".join(lines)


def audit_lines(found: FolderAudit) -> list[str]:
    """A folder of ``--check``: its numbers, then what is not as it should be."""
    numbers = f"in={found.videos} out={found.published} quarantined={len(found.quarantined)}"
    numbers += f" sidecars={found.sidecars}" if found.sidecars else ""
    lines = [f"{'OK ' if found.is_right else '!  '} {found.folder}: {numbers}"]
    lines += [f"       missing 缺少: {path}" for path in found.missing]
    lines += [f"       differs from its record 与记录不符: {path}" for path in found.differs]
    gone = "output still has this, whose source is gone 源文件已不在"
    return lines + [f"       {gone}: {path}" for path in found.without_source]


def audit_sum(audits: Sequence[FolderAudit]) -> str:
    """The last line of ``--check``."""
    wrong = sum(not one.is_right for one in audits)
    names = ("videos", "published"), ("quarantined", "missing", "differs", "without_source")
    sums = [f"{name}={sum(getattr(one, name) for one in audits)}" for name in names[0]]
    sums += [f"{name}={sum(len(getattr(one, name)) for one in audits)}" for name in names[1]]
    sums += [f"sidecars={sidecars}"] if (sidecars := sum(one.sidecars for one in audits)) else []
    return f"{len(audits)} folders, {wrong} not right 不符: {' '.join(sums)}"


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
        lines.append(f"on the hub: files={there.file_count} videos={there.video_count} size={size}")
        quiet = max(0.0, steady_at(state, now) - snapshot.quiet_from)
        left = seconds_left(state, snapshot, now, default_age)
        until = f", {left:.0f} s left 还需 {left:.0f} 秒" if left else ""
        lines.append(f"unchanged for {shown_age(quiet)} 已稳定{until}")
        if there.partial:
            lines.append(f"{half_uploaded(there)} 有未上传完的文件，暂不排队")
        if not there.video_count:
            lines.append(f"{no_video(there)} 没有视频，不排队")
        elif item is None and state.settled.get(folder) == there.fingerprint:
            lines.append("done before, or forgotten; queued again when it changes 此前已处理，有变化时重新排队")
        elif item is None or (item.hash and item.hash != there.fingerprint and item.status is not Status.PROCESSING):
            lines.append("not queued as it is now: the monitor queues it once it is quiet 尚未排队，稳定后排队")
    elif item is not None:
        lines.append("not in the monitor's last listing 监控程序最近的列表中没有")
    return lines + (_item_lines(item, items, now, aging_hours) if item else []) + _history_lines(history)


def _item_lines(item: QueueItem, items: Mapping[str, QueueItem], now: float, aging_hours: float) -> list[str]:
    lines = [f"queued at 排队时间 {item.added_time}, priority 优先级 {item.priority}"]
    state = f"{counted_as(item)}, {item.videos_done} of {item.videos_total} videos published 已发布"
    if item.status is Status.PENDING:
        waiting = pending_in_order(
            [one for one in items.values() if not one.held], lambda one: rank(one, now, aging_hours)
        )
        place = next((place for place, one in enumerate(waiting, 1) if one is item), None)
        state += ", held by --hold 已暂缓" if place is None else f", place 位置 {place} of {len(waiting)}"
    if item.redo is not None:
        lines.append(f"made again by --redo 按 --redo 重新转换: {item.redo.text() or 'settings in force 现行设置'}")
    lines.append(state + f"; attempts 尝试 {item.attempts}, runs 领取 {item.runs}")
    if item.not_before:
        lines.append(f"not before 不早于 {item.not_before}")
    if item.status is Status.FAILED:
        return lines + failure_lines(item, ALL)
    return lines + ([f"because 原因: {both(item.error)}"] if item.error else [])


def _history_lines(history: Mapping[tuple[str, str], VideoHistory]) -> list[str]:
    lines: list[str] = []
    for (path, _), video in sorted(history.items()):
        if video.stored:
            lines.append(f"    {path}: stored, waits for its batch 已上传，等待提交")
        elif video.refused:
            lines.append(f"    {path}: {both(video.refused)}")
        elif video.failures or video.crashes:
            lines.append(f"    {path}: failed {video.failures} times, crashed {video.crashes}: {video.last_cause}")
    return lines
