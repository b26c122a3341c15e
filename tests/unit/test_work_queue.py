"""The queue's file: it survives damage, crowds and a person's edits."""

import contextlib
import errno
import json
import multiprocessing
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.test_queue_item import MOVES, NOW, folder, item
from tools.core.errors import CorruptState, DiskFull, IllegalTransition
from tools.core.queue_item import Quarantined, QueueItem, Status, claim, entry_for, retry, settle, to_json
from tools.state.json_file import JsonFile
from tools.state.work_queue import Gain, Overview, QueueView, WorkQueue

pytestmark = pytest.mark.another_user


def put(queue: WorkQueue, *items: QueueItem) -> None:
    with queue.transaction() as view:
        for one in items:
            view.put(one)


def test_queue_is_readable_json_and_another_process_sees_it(tmp_path: Path) -> None:
    put(WorkQueue(tmp_path), item("番剧A"), item("B"))
    text = (tmp_path / "processing_queue.json").read_text(encoding="utf-8")
    assert "番剧A" in text and [entry["folder"] for entry in json.loads(text)] == ["番剧A", "B"]
    assert len(text.splitlines()) > 20
    assert [one.folder for one in WorkQueue(tmp_path).read().items()] == ["番剧A", "B"]


def _read_both_ways(log_dir: Path) -> tuple[list[QueueItem], list[QueueItem]]:
    """The items as the quick way over the bytes gives them, and as parsing the file does."""
    quick = WorkQueue(log_dir).read().items()
    (log_dir / ".processing_queue.json.sum").unlink(missing_ok=True)
    return quick, WorkQueue(log_dir).read().items()


def test_file_of_our_own_gives_the_same_items_unparsed_as_parsed(tmp_path: Path) -> None:
    broken = (Quarantined('a"b\\c.mp4', "  },\n  {\n", "00"),)
    odd = item('q"\\,番', status=Status.FAILED, quarantined=broken, extra={"note": {"status": "x"}, "list": [{}, []]})
    put(WorkQueue(tmp_path), item("A"), odd, item("C", status=Status.COMPLETED))
    assert (tmp_path / ".processing_queue.json.sum").exists()
    assert WorkQueue(tmp_path).read().counts() == {
        "pending": 1,
        "processing": 0,
        "completed": 1,
        "failed": 1,
        "cancelled": 0,
    }
    quick, parsed = _read_both_ways(tmp_path)
    assert quick == parsed and quick[1] == odd
    put(WorkQueue(tmp_path), item("C", priority=2))
    assert [one.priority for one in WorkQueue(tmp_path).read().items()] == [1, 1, 2]


def test_file_that_a_person_edited_counts_as_it_is_now(tmp_path: Path) -> None:
    path = tmp_path / "processing_queue.json"
    put(WorkQueue(tmp_path), item("A"), item("B"))
    path.write_text(path.read_text(encoding="utf-8").replace('"pending"', '"sleeping"', 1), encoding="utf-8")
    put(WorkQueue(tmp_path), item("C"))
    quick, parsed = _read_both_ways(tmp_path)
    assert [one.folder for one in quick] == [one.folder for one in parsed] == ["B", "C"]


def test_failed_transaction_changes_nothing(tmp_path: Path) -> None:
    queue = WorkQueue(tmp_path)
    put(queue, item("A"))
    with pytest.raises(RuntimeError), queue.transaction() as view:
        view.put(item("B"))
        raise RuntimeError("in the middle")
    assert [one.folder for one in queue.read().items()] == ["A"]


@pytest.mark.parametrize("damage", [b"", b"[{", b"\x00\xff\x80", b'{"a": 1}', b"null", b'[{"folder": "A"'])
def test_damaged_file_is_set_aside_and_the_generation_before_restored(
    tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    put(WorkQueue(tmp_path), item("A"))
    put(WorkQueue(tmp_path), item("B"))
    path = tmp_path / "processing_queue.json"
    path.write_bytes(damage)
    put(WorkQueue(tmp_path), item("C"))
    assert [one.folder for one in WorkQueue(tmp_path).read().items()] == ["A", "C"]
    aside = list(tmp_path.glob("processing_queue.json.damaged-*"))
    assert len(aside) == 1 and aside[0].read_bytes() == damage
    (said,) = (record.getMessage() for record in caplog.records if record.levelname == "ERROR")
    assert "restored the previous version" in said and "已恢复上一版本" in said


def test_entry_that_can_not_be_understood_stays_and_the_others_are_processed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "processing_queue.json"
    strange = {"folder": "X", "status": "sleeping"}
    path.write_text(json.dumps([to_json(item("A")), strange, 5, to_json(item("A"))]), encoding="utf-8")
    queue = WorkQueue(tmp_path)
    put(queue, item("B"))
    written = json.loads(path.read_bytes())
    assert [entry["folder"] for entry in written if isinstance(entry, dict)] == ["A", "B", "X", "A"] and 5 in written
    said = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(said) == 3 and all("fix it by hand" in line and "请手工修正" in line for line in said)


def test_both_generations_damaged_is_said_and_nothing_is_overwritten(tmp_path: Path) -> None:
    put(WorkQueue(tmp_path), item("A"))
    put(WorkQueue(tmp_path), item("B"))
    for name in ("processing_queue.json", "processing_queue.json.prev"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(CorruptState, match="fix one of them, or delete both to start over"):
        put(WorkQueue(tmp_path), item("C"))
    assert (tmp_path / "processing_queue.json.prev").read_bytes() == b"x"


_UPDATES = 600  # of each process
_MIXED: dict[str, Callable[[QueueItem], QueueItem | None]] = {
    **MOVES,
    "change": lambda it: entry_for(it, folder(it.folder, f"f{it.extra.get('change', 0) + 2}"), NOW),
}


def _update_at_random(log_dir: Path, seed: int) -> None:
    """What a processor, a monitor and a person do, each success counted in the item itself and by us; moves that are
    not allowed fail their transaction. New folders come in as well."""
    chance, queue, ours = random.Random(seed), WorkQueue(log_dir), Counter[str]()
    for number in range(_UPDATES):
        name, kind = f"番剧{chance.randrange(12)}", chance.choice(["add", *_MIXED, *_MIXED, *_MIXED])
        with contextlib.suppress(IllegalTransition), queue.transaction() as view:
            before = view.get(name)
            if kind == "add" or before is None:
                view.put(item(f"{seed}-{number}"))
                ours[f"{seed}-{number}"] += 1
                continue
            after = _MIXED[kind](before)
            if after is not None:
                view.put(replace(after, extra={**after.extra, kind: after.extra.get(kind, 0) + 1}))
                ours[f"{name} {kind}"] += 1
    (log_dir / f"ours-{seed}").write_text(json.dumps(ours), encoding="utf-8")


@pytest.fixture
def in_memory() -> Iterator[Path]:
    """A folder where an fsync costs nothing, if there is such a place: thousands of them would take their time."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as made:
        yield Path(made)


def test_four_processes_lose_no_update_and_a_reader_never_sees_half_a_file(in_memory: Path) -> None:
    """Thousands of updates of every kind; readers see their number grow, never less than before."""
    put(WorkQueue(in_memory), *(item(f"番剧{number}") for number in range(12)))
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_update_at_random, args=(in_memory, seed)) for seed in range(4)]
    for writer in writers:
        writer.start()
    seen, queue = [0], WorkQueue(in_memory)
    while any(writer.is_alive() for writer in writers):
        json.loads((in_memory / "processing_queue.json").read_bytes())
        seen.append(sum(_counts(queue).values()))
        time.sleep(0.01)
    assert [writer.exitcode for writer in writers] == [0] * 4
    ours = sum((Counter(json.loads((in_memory / f"ours-{seed}").read_bytes())) for seed in range(4)), Counter[str]())
    assert _counts(WorkQueue(in_memory)) == ours and ours.total() > 1000
    assert len({key.partition(" ")[2] for key in ours}) == 1 + len(_MIXED), "of every kind"
    assert seen == sorted(seen) and len(set(seen)) > 10


def _counts(queue: WorkQueue) -> Counter[str]:
    """The updates that are in the file: one for each folder that was added, the counters of the others."""
    found: Counter[str] = Counter()
    for one in queue.read().items():
        if one.folder.startswith("番剧"):
            found.update({f"{one.folder} {kind}": count for kind, count in one.extra.items()})
        else:
            found[one.folder] += 1
    return found


def test_full_disk_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = WorkQueue(tmp_path)
    put(queue, item("A"))

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    with monkeypatch.context() as patch, pytest.raises(DiskFull):
        patch.setattr(os, "fsync", full)
        put(queue, item("B"))
    assert not (tmp_path / "processing_queue.json.tmp").exists()
    assert [one.folder for one in queue.read().items()] == ["A"]


def test_overview_is_the_same_whether_entries_are_parsed_or_not(tmp_path: Path) -> None:
    queue = WorkQueue(tmp_path)
    items = [item(f'folder \\ {n} "x"', added_time=f"2026-01-0{n}T00:00:00") for n in range(1, 6)]
    bad = Quarantined('  {\n "added_time": "9', "\n  },\n  {\n", "0" * 64)
    ended = {"status": Status.FAILED, "end_time": "2026-02-01T00:00:00", "error": "x", "quarantined": (bad, bad)}
    items[1] = item(items[1].folder, **ended, extra={"mine": [{"a": {}}, {"b": [{}]}]})
    done = {
        "held": True,
        "error": '"held": true',
        "videos_total": 7,
        "videos_done": 3,
        "bytes_in": 9,
        "bytes_out": 4,
        "scenes": 12,
        "frames": 11,
    }
    items[2] = item(items[2].folder, added_time=items[2].added_time, total_size=100, priority=2, **done)
    items[3] = item(items[3].folder, status=Status.PROCESSING, start_time="2026-01-20T00:00:00")
    with queue.transaction() as view:
        for one in items:
            view.put(one)
    glance = WorkQueue(tmp_path).overview(3, 3)
    assert [one.folder for one in glance.latest] == [items[n].folder for n in (1, 3, 4)]
    assert (glance.latest[0], glance.failed) == (items[1], [items[1]])
    assert glance.counts == {"pending": 3, "processing": 1, "completed": 0, "failed": 1, "cancelled": 0}
    assert glance.processing == [items[3]]
    assert glance.pending[1] == (items[2].folder, 2, items[2].added_time, True, 4, 91)
    assert [one.held for one in glance.pending] == [False, True, False] and glance.gain == Gain(
        3, 9, 4, scenes=12, frames=11
    )
    (tmp_path / ".processing_queue.json.sum").unlink()  # now every entry is parsed
    assert WorkQueue(tmp_path).overview(3, 3) == glance == Overview.of(WorkQueue(tmp_path).read().items(), 3, 3)


def test_live_items_are_the_same_whether_entries_are_parsed_or_not(tmp_path: Path) -> None:
    def live(view: QueueView) -> set[str]:
        found = [one.folder for one in view.live()]
        assert len(found) == len(set(found))
        return set(found)

    queue = WorkQueue(tmp_path)
    with queue.transaction() as view:
        for status in Status:
            for text in ("", '"status": "pending",\n    "'):
                view.put(item(f"{status.value} {text}", status=status, error=text or None))
    first = live(queue.read())
    assert {name.split()[0] for name in first} == {"pending", "processing"} and len(first) == 4
    fresh = WorkQueue(tmp_path)
    assert live(fresh.read()) == first
    with fresh.transaction() as view:
        view.put(claim(next(one for one in view.live() if one.status is Status.PENDING), NOW))
        view.put(retry(next(one for one in view.items() if one.status is Status.FAILED)))
        view.put(settle(next(one for one in view.live() if one.status is Status.PROCESSING), NOW))
        changed = live(view)
    assert changed != first and changed == live(fresh.read()) == live(WorkQueue(tmp_path).read())
    (tmp_path / ".processing_queue.json.sum").unlink()
    assert live(WorkQueue(tmp_path).read()) == changed


def test_overview_reads_what_a_person_wrote_and_none_of_a_file_that_is_not_there(tmp_path: Path) -> None:
    counts = {"pending": 0, "processing": 0, "completed": 0, "failed": 0, "cancelled": 0}
    assert WorkQueue(tmp_path).overview(3, 3) == (counts, [], [], [], [], Gain(0, 0, 0))
    with WorkQueue(tmp_path).transaction() as view:
        view.put(item("A"))
    path = tmp_path / "processing_queue.json"
    path.write_text(path.read_text().replace('"pending"', '"failed"'), encoding="utf-8")
    assert [one.folder for one in WorkQueue(tmp_path).overview(3, 3).failed] == ["A"]
    path.write_text("[{", encoding="utf-8")
    with pytest.raises(CorruptState):
        WorkQueue(tmp_path).overview(3, 3)


def test_starting_over_sets_aside_what_is_there_and_needs_nothing_to_be(tmp_path: Path) -> None:
    file = JsonFile(tmp_path / "state.json")
    file.start_over()
    assert list(tmp_path.iterdir()) == []
    file.path.write_text("{")
    file.previous.write_text("{")
    file.start_over()
    assert [path.name.startswith("state.json.damaged-") for path in tmp_path.iterdir()] == [True]
