"""Input repo against output repo, as two listings of one commit agree on it → what of ours has no source any more."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tools.core.folder import ROOT, RemoteFile, group_folders, path_of
from tools.core.message import message
from tools.core.mirror import Counted, Gone, gone_from, kept_in, may_lack, same_content, why_kept
from tools.hub.client import Head, HubClient
from tools.processor.output_folder import OutputFolder
from tools.state.monitor_state import MonitorState, MonitorStateFile
from tools.state.work_queue import WorkQueue


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorRules:
    """Plain settings of it."""

    input_repo: str
    output_repo: str
    extensions: frozenset[str]  # of videos
    percent: float  # of what is ours that may go at once
    quiet: float  # s for which a source must be gone


@dataclass(frozen=True, slots=True)
class Look:
    """What was found. Of an input that can't be trusted now: ``waits`` alone."""

    gone: tuple[Gone, ...] = ()  # may be taken out, as far as a look at both repos tells
    stays: Mapping[str, str] = field(default_factory=dict)  # has no source either: path → why it stays for now
    kept: Counted = field(default_factory=Counted)  # of ours, with their sources
    waits: str = ""  # why nothing is said
    commit: str = ""  # of the input repo
    sources: Mapping[str, Sequence[RemoteFile]] = field(default_factory=dict)  # of the folders of ``gone``
    fingerprints: Mapping[str, str] = field(default_factory=dict)  # of folders with videos


def look(hub: HubClient, rules: MirrorRules, log_dir: Path) -> Look:
    """Find it. Raises HubError and StateError.

    What the monitor has listed of this very commit must be what is listed now, folder by folder; and each folder that
    something left is listed once more by itself. A listing that lacks something is nobody's order to delete.
    """
    repo = rules.input_repo
    head, state = hub.head(repo), MonitorStateFile(log_dir).read()
    if head is None:
        return Look(waits=message(f"{repo} has no commits"))
    if (state.repo, state.head) != (repo, head.commit_id):
        return Look(waits=message(f"the monitor has not listed the newest commit of {repo} yet"))
    sources = _by_folder(hub.list_files(repo, head.commit_id))
    grouped = group_folders((file for there in sources.values() for file in there), rules.extensions)
    if {name: one.fingerprint for name, one in grouped.items()} != _as_monitor(state):
        return Look(waits=message(f"two listings of one commit of {repo} differ"))
    fingerprints = {name: one.fingerprint for name, one in grouped.items() if one.video_count}
    if not fingerprints:
        return Look(waits=message(f"{repo} holds no video"))
    out = hub.head(rules.output_repo)
    if out is None:
        return Look(commit=head.commit_id)
    results = _by_folder(hub.list_files(rules.output_repo, out.commit_id))
    seen = _Output(hub, rules, out)
    found, stays, kept = list[Gone](), dict[str, str](), Counted()
    queue = WorkQueue(log_dir).read()
    for name, there in sorted(results.items()):
        kept += kept_in(sources.get(name, ()), there, rules.extensions)
        if not may_lack(sources.get(name, ()), there, rules.extensions):
            continue
        folder = seen.folder(name)
        gone = gone_from(name, sources.get(name, ()), folder.files, folder.published, folder.carried, repo)
        if gone and not _is_listed_so(hub, repo, head, name, sources.get(name, ())):
            return Look(waits=message(f"two listings of one commit of {repo} differ"))
        why = why_kept(name, fingerprints.get(name), queue.get(name), _settled(state, name))
        stays.update({one.path: why for one in gone if why})
        found += [] if why else gone
    stays.update(_elsewhere(found, sources, seen))
    left = tuple(one for one in found if one.path not in stays)
    concerned = {one.folder: sources.get(one.folder, ()) for one in left}
    return Look(left, stays, kept, "", head.commit_id, concerned, fingerprints)


def _by_folder(files: Iterable[RemoteFile]) -> dict[str, list[RemoteFile]]:
    found: dict[str, list[RemoteFile]] = {}
    for file in files:
        found.setdefault(file.folder or ROOT, []).append(file)
    return found


def _as_monitor(state: MonitorState) -> dict[str, str]:
    return {name: snapshot.folder.fingerprint for name, snapshot in state.folders.items()}


def _settled(state: MonitorState, folder: str) -> str | None:
    return state.settled.get(folder)


def _is_listed_so(hub: HubClient, repo: str, head: Head, folder: str, sources: Iterable[RemoteFile]) -> bool:
    again = hub.list_folder(repo, head.commit_id, path_of(folder))
    return {(file.path, file.size) for file in again} == {(file.path, file.size) for file in sources}


class _Output:
    """Folders of the output repo at one commit, each read once."""

    def __init__(self, hub: HubClient, rules: MirrorRules, head: Head) -> None:
        self._hub, self._rules, self._head = hub, rules, head
        self._folders: dict[str, OutputFolder] = {}

    def folder(self, name: str) -> OutputFolder:
        if name not in self._folders:
            folder = OutputFolder(self._rules.output_repo, name, input_repo=self._rules.input_repo)
            folder.read(self._hub, self._head)
            self._folders[name] = folder
        return self._folders[name]

    def holds(self, source: RemoteFile) -> bool:
        """Whether what a file of the input became is there."""
        folder = self.folder(source.folder or ROOT)
        record, path = folder.published.record_of(source), folder.published.names().get(source.path)
        if record is not None and path is not None:
            file = folder.files.get(path)
            return file is not None and (file.sha256, file.size) == (record.get("sha256"), record.get("size"))
        file = folder.files.get(source.path)
        return file is not None and bool(source.sha256) and (file.sha256, file.size) == (source.sha256, source.size)


def _elsewhere(gone: Sequence[Gone], sources: Mapping[str, Sequence[RemoteFile]], output: _Output) -> dict[str, str]:
    """What was renamed or moved stays until it is published under its new name: path → why."""
    contents = {one.source_sha256 for one in gone} - {""}
    sizes = {one.source_size for one in gone}
    untold = {one.source_size for one in gone if not one.source_sha256}
    alike = [
        file
        for there in sources.values()
        for file in there
        if file.sha256 in contents or (not file.sha256 and file.size in sizes) or file.size in untold
    ]
    waiting = [file for file in alike if not output.holds(file)]
    found = {}
    for one in gone:
        file = next((file for file in waiting if same_content(one, file)), None)
        if file is not None:
            found[one.path] = message(f"its source may be {file.path} now, which is not published yet")
    return found
