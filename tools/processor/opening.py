"""A claimed item → its run: list the folder again, see what is published, plan the rest, resume from the journal."""

from collections.abc import Iterable, Mapping, Sequence

from tools.core.artifact import ArtifactKind
from tools.core.audit import source_gone
from tools.core.errors import HubUnavailable, PipelineError
from tools.core.folder import Folder, RemoteFile, group_folders, path_of
from tools.core.planning import Video, plan_folder
from tools.core.queue_item import Quarantined, QueueItem
from tools.core.retry import next_attempt
from tools.core.sidecar import Sidecar, plan_sidecars
from tools.hub.client import HubClient
from tools.processor.batch import Batch, Task, died, tried
from tools.processor.frames_folder import FramesFolder
from tools.processor.item_run import ItemRun, RunRules
from tools.processor.output_folder import OutputFolder, evaded, kept_back
from tools.state.journal import Journal, VideoHistory


class FolderChanged(PipelineError):
    """The folder is not what was queued."""

    def __init__(self, name: str, repo: str, folder: Folder | None) -> None:
        if folder is None:
            super().__init__(f"{name} is no longer in {repo}: nothing to do")
        elif folder.video_count:
            super().__init__(f"{name} changed since it was queued: queued again once it is quiet")
        else:
            super().__init__(f"{name} holds no video any more: nothing to do")
        self.folder = folder  # as it is now; None when it is gone


def open_item(item: QueueItem, hub: HubClient, journal: Journal, rules: RunRules, now: float) -> ItemRun:
    """List the folder again, see what is published, and plan the rest. Raises FolderChanged, HubError.

    ``now`` monotonic s: what failed, or died with the program, before is not retried at once.
    An item without a hash (a person wrote it into the queue) takes the folder as it is.
    """
    head = hub.head(rules.input_repo)
    if head is None:  # no folder can be queued from it, so this proves nothing
        raise HubUnavailable(f"the hub lists no commits of {rules.input_repo}")
    files = hub.list_folder(rules.input_repo, head.commit_id, path_of(item.folder))
    now_there = group_folders(files, rules.extensions, rules.marker).get(item.folder)
    if now_there is None or item.hash not in {"", now_there.fingerprint}:
        raise FolderChanged(item.folder, rules.input_repo, now_there)
    main = OutputFolder(rules.output_repo, item.folder, input_repo=rules.input_repo)
    main.refresh(hub)
    history = journal.history()
    # The metadata last: what they show as done must be done everywhere.
    folders = (*(_other(repo, item.folder, rules) for repo in sorted(set(rules.other_repos.values()))), main)
    frames = [folder for folder in folders if isinstance(folder, FramesFolder)]
    for folder in frames:
        folder.refresh(hub)
    plan = plan_folder(
        files,
        main.published,
        main.files,
        item.quarantined,
        repos=rules.repos,
        extensions=rules.extensions,
        batch_size=rules.batch_size,
        again=_again(item, files, history),
        lacking=frozenset().union(*(folder.lacking(files, main.published) for folder in frames)),
    )
    for folder in frames:
        folder.batches = len(plan.batches)
    for name, instead in plan.evaded:
        evaded(rules.output_repo, name, instead)
    run = ItemRun(item, plan, journal, rules, head.commit_id, now_there, folders, files)
    run.source_gone = tuple(source_gone(files, main.files, main.published))
    for number, videos in enumerate(plan.batches, 1):
        run.batches.append(Batch(number, [_task(video, history, rules, now) for video in videos]))
    names = {
        *main.published.names().values(),
        *(target.path for batch in plan.batches for v in batch for target in v.targets),
    }
    sidecars, taken = plan_sidecars(
        files, main.files, main.carried, names, rules.sidecars, rules.extensions, rules.input_repo
    )
    if taken:
        kept_back(rules.output_repo, taken)
    _add_sidecars(run, sidecars)
    return run


def _other(repo: str, folder: str, rules: RunRules) -> OutputFolder:
    """The folder of a further output repo."""
    if repo != rules.other_repos.get(ArtifactKind.FRAMES):
        return OutputFolder(repo, folder, keeps_metadata=False)
    return FramesFolder(repo, folder, limit=rules.frame_archive, input_repo=rules.input_repo, endpoint=rules.endpoint)


def _again(
    item: QueueItem, files: Iterable[RemoteFile], history: Mapping[tuple[str, str], VideoHistory]
) -> frozenset[str]:
    """What a person wants made again and was not yet, by the journal, which begins with that order."""
    if item.redo is None:
        return frozenset()
    done = {path for (path, sha256), video in history.items() if video.is_committed}
    return frozenset(file.path for file in files if item.redo.wants(file.path)) - done


_SIDECARS_AT_ONCE = 200  # in one commit, beside the videos of a batch


def _add_sidecars(run: ItemRun, sidecars: Sequence[Sidecar]) -> None:
    """They go with the first batches, and what those can't take, or all if no video is left to do, on their own."""
    for number, start in enumerate(range(0, len(sidecars), _SIDECARS_AT_ONCE)):
        if number == len(run.batches):
            run.batches.append(Batch(number + 1, []))
        run.batches[number].sidecars = list(sidecars[start : start + _SIDECARS_AT_ONCE])


def _task(video: Video, history: Mapping[tuple[str, str], VideoHistory], rules: RunRules, now: float) -> Task:
    """A video as the journal left it: stored blobs are not sent again, refused videos not retried."""
    task = Task(video)
    past = history.get((video.source.path, video.source.sha256), VideoHistory())
    task.failures = past.failures
    task.crashes = past.crashes
    cause = past.refused
    if cause is None and past.crashes >= rules.max_attempts:
        cause = died("the program", past.crashes)
    if cause is None and past.failures >= rules.max_attempts:
        cause = tried(past.last_cause, past.failures)
    if cause is None and (tries := max(past.failures, past.crashes)):
        task.not_before = now + (next_attempt(tries, rules.max_attempts, rules.retry_interval) or 0.0)
    task.output = past.stored and past.stored.at(video.targets)
    if task.output is None and cause is not None:
        is_spent = past.refused is None
        task.refuse(Quarantined(video.source.path, cause, video.source.sha256, is_spent=is_spent))
    return task
