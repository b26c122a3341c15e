"""Videos of the same bytes that are in work together: one is made at a time, and none waits for ever."""

import random
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import MemoryHub
from tests.jobs import output_of
from tools.core.errors import Trouble
from tools.core.folder import RemoteFile, group_folders
from tools.core.planning import VideoJob
from tools.core.queue_item import new_item
from tools.processor.item_run import ItemRun, RunRules
from tools.processor.opening import open_item
from tools.processor.twins import Twins
from tools.stages.video_job import JobResult, Outcome
from tools.state.journal import Event, Journal

EXTENSIONS = frozenset({"mp4"})
RULES = RunRules(
    input_repo="me/in",
    output_repo="me/out",
    extensions=EXTENSIONS,
    marker="",
    batch_size=1,
    max_attempts=99,
    retry_interval=60.0,
)


class NoJournal(Journal):
    def note(self, event: Event, *sources: RemoteFile, **facts: Any) -> None:
        """Nothing dies here."""


def runs_in(folder: Path) -> list[ItemRun]:
    """Folder A with two videos of the same bytes, and B with one."""
    hub = MemoryHub()
    hub.create_repo("me/out")
    commit = hub.put("me/in", {"A/1.mp4": b"same", "A/2.mp4": b"same", "B/3.mp4": b"same"})
    folders = group_folders(hub.list_files("me/in", commit), EXTENSIONS)
    return [open_item(new_item(folders[name], time.time()), hub, NoJournal(folder, name), RULES, 0.0) for name in "AB"]


def ready(runs: list[ItemRun], now: float) -> list[tuple[ItemRun, VideoJob]]:
    """What the engine would submit."""
    return [(run, job) for run in runs for job in run.jobs_ready(now, isolated=True)]


def result_of(job: VideoJob, outcome: Outcome, *, is_converted: bool) -> JobResult:
    output = output_of(job) if outcome is Outcome.STORED else None
    return JobResult(job, outcome, output, "cause", Trouble.TRANSIENT, is_converted)


ENDS = [
    (Outcome.DEFERRED, False),
    (Outcome.DEFERRED, True),
    (Outcome.DEFERRED, True),
    (Outcome.FAILED, False),
    (Outcome.FAILED, True),
    (Outcome.CRASHED, False),
    (Outcome.STOPPED, False),
    (Outcome.STORED, False),
]


@pytest.mark.parametrize("seed", range(20))
def test_one_of_them_can_always_go_and_never_two(tmp_path: Path, seed: int) -> None:
    """Whatever becomes of jobs, and however often the hub loses what it had."""
    chance, twins, runs = random.Random(seed), Twins(is_on=True), runs_in(tmp_path)
    for run in runs:
        assert not list(twins.add(run))
    tasks = [task for run in runs for batch in run.batches for task in batch.tasks]
    for turn in range(100):
        found = ready(runs, turn * 1e6)
        if all(task.is_settled for task in tasks):
            assert not found
        else:
            assert len(found) == 1, [(task.is_settled, task.is_converted) for task in tasks]
            assert not ready(runs, turn * 1e6), "the others wait for it"
            ((run, job),) = found
            outcome, is_converted = chance.choice(ENDS)
            assert run.accept(result_of(job, outcome, is_converted=is_converted), turn * 1e6)
            if outcome is Outcome.STORED:
                waited = sum(not task.is_settled for task in tasks)
                assert len(list(twins.share(job.source.sha256))) == waited and all(task.is_settled for task in tasks)
        for run in runs:
            for batch in run.batches:
                if batch.outputs() and chance.random() < 0.3:
                    run.put_back(batch)


def test_second_waits_for_none_whose_folder_is_over(tmp_path: Path) -> None:
    twins, (first, second) = Twins(is_on=True), runs_in(tmp_path)
    for run in (first, second):
        list(twins.add(run))
    ((_, job),) = ready([first, second], 0.0)
    first.accept(result_of(job, Outcome.DEFERRED, is_converted=True), 0.0)
    assert not ready([second], 1e6), "it will have the result of the first"
    twins.remove(first)
    assert len(ready([second], 1e6)) == 1
    assert not list(twins.share(job.source.sha256))


def test_second_goes_at_once_if_the_first_has_nothing_to_send_any_more(tmp_path: Path) -> None:
    twins, runs = Twins(is_on=True), runs_in(tmp_path)
    for run in runs:
        list(twins.add(run))
    ((run, job),) = ready(runs, 0.0)
    run.accept(result_of(job, Outcome.DEFERRED, is_converted=True), 0.0)
    assert not ready(runs, 0.0), "all wait for its upload"
    ((again, job),) = ready(runs, 100.0)
    assert again is run
    run.accept(result_of(job, Outcome.FAILED, is_converted=False), 100.0)
    ((_, other),) = ready(runs, 100.0)
    assert other.source.path == "A/2.mp4", "while the first waits for its next attempt"


def test_next_video_begins_its_search_where_the_latest_of_its_folder_ended(tmp_path: Path) -> None:
    run = runs_in(tmp_path)[0]
    (first, second) = list(run.jobs_ready(0.0, isolated=True))
    assert (first.crf, second.crf) == (None, None)
    output = output_of(first)
    found = replace(output, record={**output.record, "target": {"crf": 33, "reason": "reached"}})
    run.accept(JobResult(first, Outcome.STORED, found), 0.0)
    run.accept(JobResult(second, Outcome.DEFERRED, cause="later"), 0.0)
    (again,) = run.jobs_ready(1e6, isolated=True)
    assert again.source.path == second.source.path and again.crf == 33
