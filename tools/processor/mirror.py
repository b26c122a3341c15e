"""``MIRROR=1``: takes out of the output repo what left the input repo, with the lists that tell of it, in one commit.

Only what ``tools.core.mirror`` says, seen gone in two looks, the wait for quiet apart; never more than a share of it
all without a person. Each commit is noted before it is made, so that a start after a crash finishes what it began.
"""

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path

from tools.core.folder import ROOT, RemoteFile, inside, path_of
from tools.core.message import message, plural
from tools.core.mirror import DAY, Counted, Gone, counted, digest_of, gone_from, is_too_much, why_kept
from tools.core.record import METADATA, Published
from tools.core.sidecar import SIDECARS, Carried
from tools.hub.client import AddBlob, AddBytes, Head, HubClient, Operation, Remove
from tools.processor.mirror_look import Look, MirrorRules, look
from tools.processor.output_folder import OutputFolder
from tools.runtime.clock import Clock
from tools.runtime.logs import fields
from tools.state.mirror_file import Held, MirrorFile, MirrorState, Taken
from tools.state.monitor_state import STATE_FILE, MonitorStateFile
from tools.state.orders import OrdersFile
from tools.state.results import ResultsFile
from tools.state.work_queue import QUEUE_FILE, WorkQueue

log = logging.getLogger("animation.processor")
_AT_ONCE = 200  # files in one commit. Source: modelscope_hub, which aims at 256 actions
_AFTER_TROUBLE = 300.0  # s until the next look
_SMALL = 64 << 10  # bytes of a text that a hub keeps without a blob. Source: modelscope_hub, UPLOAD_LFS_FORCE_THRESHOLD


@dataclass(frozen=True, slots=True)
class TakenOut:
    """Files of one folder that went in one commit."""

    folder: str
    names: tuple[str, ...]
    size: int  # bytes
    commit: str


@dataclass(slots=True)
class Swept:
    """What came of one look."""

    taken: list[TakenOut] = field(default_factory=list)
    held: Held | None = None  # nothing was taken: too much at once
    waits: str = ""  # nothing was taken: why


class Mirror:
    """For one pair of repos. Asked by the engine while nothing is in work; ``sweep`` runs in the thread that publishes.

    The constructor touches nothing.
    """

    def __init__(self, rules: MirrorRules, log_dir: Path, results: ResultsFile, clock: Clock) -> None:
        self._rules, self._log_dir, self._clock = rules, log_dir, clock
        self._results = results
        self._file, self._orders = MirrorFile(log_dir), OrdersFile(log_dir)
        self._monitor = MonitorStateFile(log_dir)
        self._head: tuple[int, str | None] = (0, None)  # of the input as the monitor saw it; when its file was written
        self._seen: tuple[str | None, int] | None = None  # that, and when the queue was written, at the last look
        self._not_before = 0.0  # monotonic s

    def is_due(self) -> bool:
        """Whether a look may find news: cheap enough for each turn without work."""
        if self._clock.monotonic() < self._not_before:
            return False
        if self._stamp() != self._seen or self._orders.read().mirror:
            return True
        state, now = self._file.read(), self._clock.time()
        is_ready = any(now - since >= self._rules.quiet or since > now for since in state.gone.values())
        return bool(state.base) or (is_ready and state.held is None)

    def _stamp(self) -> tuple[str | None, int]:
        written = _written(self._log_dir / STATE_FILE)
        if written != self._head[0]:
            self._head = written, self._monitor.read().head
        return self._head[1], _written(self._log_dir / QUEUE_FILE)

    def put_off(self, seconds: float = _AFTER_TROUBLE) -> None:
        """Something did not work: not before so many s."""
        self._not_before = self._clock.monotonic() + seconds

    def sweep(self, hub: HubClient) -> Swept:
        """Look, and take out what may go. Raises HubError, StateError and DiskFull; called again it goes on."""
        stamp = self._stamp()
        state = self._file.load()
        if state.base:
            self._finish(hub, state)
        found, now = look(hub, self._rules, self._log_dir), self._clock.time()
        swept = Swept(waits=found.waits)
        if not found.waits:
            swept.held, ready = self._judged(state, found, now)
            self._file.save(state)
            for ones in _commits(ready):
                if not self._take(hub, state, found, ones, swept):
                    break
            else:
                self._seen = stamp
        elif state.waits != found.waits:
            state.waits = found.waits
            self._file.save(state)
        if swept.waits:
            self.put_off(self._rules.quiet)
        return swept

    def _judged(self, state: MirrorState, found: Look, now: float) -> tuple[Held | None, list[Gone]]:
        """Whether it is too much, and what may go now. Notes in ``state`` since when what is gone."""
        state.waits = ""
        state.gone = {one.path: min(now, state.gone.get(one.path, now)) for one in found.gone}
        state.taken = [one for one in state.taken if one[0] > now - DAY]
        lately = sum((Counted(videos, files) for _, videos, files in state.taken), Counted())
        gone, digest = counted(found.gone), digest_of(found.gone)
        order = self._orders.read().mirror
        is_confirmed = bool(found.gone) and order == digest
        if order and not is_confirmed:
            log.warning("what MIRROR would take out is not what was confirmed any more: confirm it again")
        if order:
            with self._orders.transaction() as orders:
                orders.mirror = ""
        state.held = None
        if found.gone and not is_confirmed and is_too_much(gone, lately, found.kept, self._rules.percent):
            whole = gone + lately + found.kept
            state.held = Held(gone.videos, gone.files, whole.videos, whole.files, self._rules.percent, digest)
            return state.held, []
        quiet = self._rules.quiet
        return None, [one for one in found.gone if is_confirmed or now - state.gone[one.path] >= quiet]

    def _take(self, hub: HubClient, state: MirrorState, found: Look, ones: Sequence[Gone], swept: Swept) -> bool:
        """One commit. False if the input moved since it was looked at: then nothing else is certain either."""
        rules, name = self._rules, ones[0].folder
        here, out = hub.head(rules.input_repo), hub.head(rules.output_repo)
        if out is None or here is None or here.commit_id != found.commit:
            swept.waits = message(f"{rules.input_repo} changed meanwhile")
            return False
        folder = OutputFolder(rules.output_repo, name, input_repo=rules.input_repo)
        folder.read(hub, out)
        still = gone_from(name, found.sources[name], folder.files, folder.published, folder.carried, rules.input_repo)
        ones = [one for one in ones if one in still]
        if not ones or not self._let_go(name, found.fingerprints.get(name)):
            return True
        state.base = out.commit_id
        state.intent = tuple(Taken(name, one.path, one.sha256, one.source, one.is_video) for one in ones)
        self._file.save(state)
        operations = _operations(folder, state.intent)
        commit = hub.commit(rules.output_repo, operations, _message(name, len(ones), rules.input_repo))
        self._finish(hub, state)
        names = tuple(one.path.rpartition("/")[2] for one in ones)
        swept.taken.append(TakenOut(name, names, sum(one.size for one in ones), commit))
        return True

    def _let_go(self, folder: str, fingerprint: str | None) -> bool:
        """See that a folder without a video is queued again when it comes back as it was; whether the queue still says
        that nothing of it is in work."""
        settled = self._monitor.read().settled.get(folder)
        with WorkQueue(self._log_dir).transaction() as view:
            item = view.get(folder)
            if why_kept(folder, fingerprint, item, settled):
                return False
            if item is not None and fingerprint is None:
                view.put(replace(item, hash="", contents="", error=message("taken out of the output by MIRROR")))
        return True

    def _finish(self, hub: HubClient, state: MirrorState) -> None:
        """After a commit, also one whose answer a crash took: put back what is not ours, note what went."""
        repo = self._rules.output_repo
        head = hub.head(repo)
        if head is not None and head.commit_id != state.base:
            _put_back(hub, repo, state, self._rules.input_repo)
            there = _listed(hub, repo, head.commit_id, state.intent)
            went = [one for one in state.intent if there.get(one.path, _NONE).sha256 != one.sha256]
            state.taken.append((self._clock.time(), sum(one.is_video for one in went), len(went)))
            for one in went:
                state.gone.pop(one.path, None)
            for folder in {one.folder for one in went}:
                self._results.note_gone(folder, ())
        state.base, state.intent = "", ()
        self._file.save(state)


_NONE = RemoteFile("", 0, "")


def _written(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _commits(gone: Iterable[Gone]) -> Iterator[list[Gone]]:
    """One folder each, so that its lists are true at any commit."""
    for _, of_folder in groupby(sorted(gone, key=lambda one: (one.folder, one.path)), key=lambda one: one.folder):
        ones = list(of_folder)
        yield from (ones[start : start + _AT_ONCE] for start in range(0, len(ones), _AT_ONCE))


def _message(folder: str, files: int, input_repo: str) -> str:
    return f"Remove {plural(files, 'file')} of {'the root' if folder == ROOT else folder} that left {input_repo}"


def _operations(folder: OutputFolder, intent: Iterable[Taken]) -> list[Operation]:
    """The files, and the lists without them, which go if nothing is left in them."""
    return [
        *(Remove(one.path) for one in intent),
        *_lists(folder.folder, folder.files, folder.published, folder.carried, intent),
    ]


def _lists(
    folder: str, files: Mapping[str, RemoteFile], published: Published, carried: Carried, intent: Iterable[Taken]
) -> list[Operation]:
    videos = [one.source for one in intent if one.is_video]
    others = [one.path for one in intent if not one.is_video]
    made = []
    if videos:
        made.append((inside(folder, METADATA), published.without(videos).encode()))
    if others:
        made.append((inside(folder, SIDECARS), carried.without(others).encode()))
    return [AddBytes(path, content) if content else Remove(path) for path, content in made if path in files]


def _listed(hub: HubClient, repo: str, commit: str, intent: Iterable[Taken]) -> dict[str, RemoteFile]:
    folders = {one.folder for one in intent}
    return {file.path: file for name in folders for file in hub.list_folder(repo, commit, path_of(name))}


def _put_back(hub: HubClient, repo: str, state: MirrorState, input_repo: str) -> None:
    """A commit names no parent: what somebody else put into the folder between our reading and our commit, at a path
    that ours removed or in a list that ours replaced, is put back."""
    recent = hub.recent(repo)
    if state.base not in recent:
        return
    removed, since = {one.path: one for one in state.intent}, recent[: recent.index(state.base)]
    ours, theirs = None, list[dict[str, RemoteFile]]()
    for commit in reversed(since):
        there = _listed(hub, repo, commit, state.intent)
        if not removed.keys() & there.keys():
            ours = commit
            break
        theirs.append(there)
    if ours is None or not theirs:
        return  # it was not made, or nobody else committed
    before = since[since.index(ours) + 1]
    now, then = (_listed(hub, repo, commit, state.intent) for commit in (recent[0], ours))
    made: dict[str, Operation] = {}
    for there in theirs:
        for path, one in removed.items():
            if path in there and there[path].sha256 != one.sha256 and path not in now:
                made[path] = _as_it_was(hub, repo, before, there[path])
    lists = _lists_of_others(hub, repo, Head(before, None, None), state, input_repo)
    for operation in lists:
        ours_now, is_same = now.get(operation.path), isinstance(operation, Remove)
        if isinstance(operation, AddBytes):
            is_same = ours_now is not None and ours_now.sha256 == hashlib.sha256(operation.content).hexdigest()
        if not is_same and ours_now == then.get(operation.path):  # else somebody wrote it since
            made[operation.path] = operation
    if made:
        hub.commit(repo, list(made.values()), "Restore what was added meanwhile")
        about = fields(repo=repo, files=len(made), first=min(made))
        log.warning("somebody else changed a folder while files were taken out of it; put back: %s", about)


def _lists_of_others(hub: HubClient, repo: str, head: Head, state: MirrorState, input_repo: str) -> list[Operation]:
    """The lists as they would be had we seen what others wrote last."""
    found: list[Operation] = []
    for name in sorted({one.folder for one in state.intent}):
        theirs = OutputFolder(repo, name, input_repo=input_repo)
        theirs.read(hub, head)
        intent = [one for one in state.intent if one.folder == name]
        found += _lists(name, theirs.files, theirs.published, theirs.carried, intent)
    return found


def _as_it_was(hub: HubClient, repo: str, commit: str, file: RemoteFile) -> Operation:
    content = hub.read_file(repo, commit, file.path) if file.size <= _SMALL else None
    return AddBlob(file.path, file.sha256, file.size) if content is None else AddBytes(file.path, content)
