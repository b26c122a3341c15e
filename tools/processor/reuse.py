"""Sources whose bytes are known already → their results, without a download, an encode or an upload.

Looked up in ``tools.state.results``; what is found there is believed as far as the hub bears it out: at the commit that
the folder is planned on, the record stands in its folder's metadata, its file lies beside it with that size and sha256,
and the hub says that it has the blob. Whatever speaks against that, the video is made as usual.
"""

import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from tools.core.artifact import Artifact, ArtifactKind, Target, VideoOutput
from tools.core.errors import HubError, HubUnavailable, PipelineError, ProbeError, StateError
from tools.core.folder import ROOT, RemoteFile, inside, is_safe_path, path_of
from tools.core.options import Wanted, options_text
from tools.core.planning import VideoJob
from tools.core.queue_item import Quarantined
from tools.core.record import METADATA, Published, Record
from tools.core.reuse import Rule, is_as_wanted, is_whole, may_stand_for, reused, same_bytes, seconds_saved
from tools.hub.client import Head, HubClient
from tools.media.converter import Converter
from tools.processor.item_run import ItemRun
from tools.processor.output_folder import OutputFolder
from tools.runtime.once import Once
from tools.state.results import ResultRow, ResultsFile

log = logging.getLogger("animation.processor")
_FOLDERS_ASKED = 3  # folders in which a result of one content is looked for
_READ_AT_ONCE = 8  # metadata files
_PATIENCE = 3  # openings that wait for the hub to let the index be read; then it is done without


@dataclass(slots=True)
class Reuse:
    """Looks for results of known bytes. Threads may share it; the constructor touches nothing."""

    results: ResultsFile
    rule: Rule
    input_repo: str
    repos: Mapping[ArtifactKind, str]  # the output repo of each kind of file that is wanted
    converter: Converter  # whose options are in force
    version: str  # of this program
    _said: Once = field(default_factory=Once)
    _failed: int = 0  # readings of the index in a row

    @property
    def _repo(self) -> str:
        return self.repos[ArtifactKind.VIDEO]

    def settle_known(self, run: ItemRun, hub: HubClient) -> None:
        """Give the tasks of a folder that was just planned what is known of their bytes: a result, or that there can be
        none. Raises HubError if the hub can't answer now."""
        tasks = (task for batch in run.batches for task in batch.tasks)
        asked = [task for task in tasks if not task.is_settled and run.may_share(task)]
        try:
            self.results.note_gone(run.item.folder, run.source_gone)
            for task in asked:
                if (cause := self._why_refused(task.video.source)) is not None:
                    source = task.video.source
                    task.refused = Quarantined(source.path, cause, source.sha256)
            wanted = {task.video.source: task.video.targets for task in asked if not task.is_settled}
            found = self._found(wanted, hub, run.output_folders[-1].head)
        except (StateError, ValueError, TypeError) as exc:  # a stranger's row may hold anything
            self._say(str(exc))
            return
        for task in asked:
            if task.refused is None:
                task.output = found.get(task.video.source)

    def of_downloaded(self, job: VideoJob, sha256: str, hub: HubClient) -> VideoOutput | None:
        """The result for a source whose sha256 is known only now. Raises ProbeError if it was refused before."""
        source = job.source._replace(sha256=sha256)
        try:
            if (cause := self._why_refused(source)) is not None:
                raise ProbeError(cause)
            return self._found({source: job.targets}, hub, hub.head(self._repo)).get(source)
        except (StateError, HubError) as exc:
            self._say(str(exc))
            return None

    def published(self, folder: OutputFolder) -> None:
        """Take note of what a folder of the output repo holds since it was committed to."""
        if self.rule is Rule.OFF or folder.repo != self._repo:
            return
        listed = folder.files.get(inside(folder.folder, METADATA))
        try:
            if listed is not None:
                rows = _rows(folder.published.records.values())
                self.results.put(folder.folder, listed.sha256, rows, step=folder.step)
        except (StateError, ValueError, TypeError) as exc:  # what is published stays so
            self._say(str(exc))

    def refused(self, videos: Iterable[Quarantined]) -> None:
        """Take note of what can't be converted for what it is."""
        try:
            for one in videos:
                if one.sha256 and one.is_of_content and same_bytes(one.path, one.cause) != one.cause:
                    self.results.refuse(one.sha256, one.path, one.cause, self._build())
        except PipelineError as exc:
            self._say(str(exc))

    def _why_refused(self, source: RemoteFile) -> str | None:
        known = self.results.refused(source.sha256, self._build())
        return None if known is None else same_bytes(*known)

    def _build(self) -> str:
        """What has to change before a content that was refused is tried again."""
        parts = self.version, self.converter.version(), options_text(self.converter.wanted().options)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]

    def _say(self, cause: str) -> None:
        if self._said.is_news(cause):
            log.warning("published results can't be looked up, videos are made as usual: %s", cause)

    def _found(
        self, sources: Mapping[RemoteFile, Sequence[Target]], hub: HubClient, head: Head | None
    ) -> dict[RemoteFile, VideoOutput]:
        if not sources or head is None or self.rule is Rule.OFF or not self._is_read(hub, head):
            return {}
        seen = _Seen(hub, head, self.input_repo, self.repos)
        wanted, found = self.converter.wanted(), dict[RemoteFile, VideoOutput]()
        for source, targets in sources.items():
            folders = [
                one.folder
                for one in self.results.find(source.sha256)
                if self.rule is Rule.ANY_AV1 or is_as_wanted(one.options, wanted)
            ]
            for folder in list(dict.fromkeys(folders))[:_FOLDERS_ASKED]:
                if (output := seen.result(folder, source, targets, wanted, self.rule)) is not None:
                    found[source] = output
                    break
        return _stored(hub, found)

    def _is_read(self, hub: HubClient, head: Head) -> bool:
        """Bring the index up to date; whether it is. Raises HubUnavailable, unless it did so too often."""
        try:
            self._read(hub, head.commit_id)
        except HubError as exc:
            self._failed += 1
            if isinstance(exc, HubUnavailable) and self._failed < _PATIENCE:
                raise
            self._say(str(exc))
            return False
        self._failed = 0
        return True

    def _read(self, hub: HubClient, commit: str) -> None:
        """Read the metadata that changed since the commit that was read last."""
        if self.results.commit == commit:
            return
        listed = (file for file in hub.list_files(self._repo, commit) if file.name == METADATA)
        there = {file.folder or ROOT: file for file in listed if is_safe_path(file.path)}
        known = self.results.folders()
        news = [(name, f) for name, f in there.items() if not f.sha256 or known.get(name) != f.sha256]
        again = []  # folders whose metadata came otherwise than they are listed, or not at all

        def read(one: tuple[str, RemoteFile]) -> None:
            name, file = one
            content = hub.read_file(self._repo, commit, file.path)
            came = "" if content is None else hashlib.sha256(content).hexdigest()
            if content is not None and file.sha256 in {"", came}:
                records = Published.parse(content, self.input_repo).records.values()
                return self.results.put(name, file.sha256, _rows(records))
            mark = f"{file.sha256}≠{came}"
            if known.get(name) != mark:
                again.append(name)
                return self.results.put(name, mark, ())
            # The same a second time is no accident of the transfer: asking again would be in vain at each opening.
            log.warning("%s of %s can't be read as listed, its results are not reused", file.path, self._repo)
            return self.results.put(name, file.sha256, ())

        _each(read, news)
        self.results.keep(there, "" if again else commit)


def _each(call: Callable[[tuple[str, RemoteFile]], None], news: Sequence[tuple[str, RemoteFile]]) -> None:
    if len(news) <= _READ_AT_ONCE:
        for one in news:
            call(one)
        return
    with ThreadPoolExecutor(_READ_AT_ONCE, "read-metadata") as pool:
        for _ in pool.map(call, news):
            pass


def _rows(records: Iterable[Record]) -> list[ResultRow]:
    return [
        ResultRow(
            record["source_sha256"],
            record["sha256"],
            record.get("options") or "",
            seconds_saved(record) if record.get("reused_from") else None,
        )
        for record in records
        if is_whole(record)
    ]


def _stored(hub: HubClient, found: Mapping[RemoteFile, VideoOutput]) -> dict[RemoteFile, VideoOutput]:
    """Those whose blobs the hub has, all of them, as it says now."""
    wanted: dict[str, set[tuple[str, int]]] = {}
    for output in found.values():
        for artifact in _committed(output):
            wanted.setdefault(artifact.repo, set()).add((artifact.sha256, artifact.size))
    lacking = {repo: hub.lacks(repo, sorted(blobs)) for repo, blobs in wanted.items()}
    return {
        source: output
        for source, output in found.items()
        if not any(artifact.sha256 in lacking[artifact.repo] for artifact in _committed(output))
    }


def _committed(output: VideoOutput) -> list[Artifact]:
    """Those that are made visible: a result that is another one's has no pictures of its own."""
    return [artifact for artifact in output.artifacts if artifact.kind is not ArtifactKind.FRAMES]


class _Seen:
    """Folders of the output repos at one commit of the main one, each read once."""

    def __init__(self, hub: HubClient, head: Head, input_repo: str, repos: Mapping[ArtifactKind, str]) -> None:
        self._hub, self._head, self._input_repo, self._repos = hub, head, input_repo, repos
        self._results: dict[str, dict[str, list[tuple[str, Record]]]] = {}  # by folder and content: path, record
        self._others: dict[tuple[str, str], dict[str, RemoteFile]] = {}

    def result(
        self, folder: str, source: RemoteFile, targets: Sequence[Target], wanted: Wanted, rule: Rule
    ) -> VideoOutput | None:
        """The result of the source's bytes in this folder, as that of the source; None if there is none that counts."""
        if folder not in self._results:
            self._results[folder] = self._read(folder)
        for path, record in self._results[folder].get(source.sha256, ()):
            if may_stand_for(record, source, wanted, rule):
                others = {target.kind: self._beside(path, folder, target) for target in targets}
                there = {kind: file for kind, file in others.items() if file is not None}
                return reused(record, path, source, self._input_repo, targets, there)
        return None

    def _read(self, folder: str) -> dict[str, list[tuple[str, Record]]]:
        held = OutputFolder(self._repos[ArtifactKind.VIDEO], folder, input_repo=self._input_repo)
        held.read(self._hub, self._head)
        found: dict[str, list[tuple[str, Record]]] = {}
        for source, path in held.published.names().items():
            record, file = held.published.records[source], held.files.get(path)
            if file is not None and file.size == record.get("size") and file.sha256 in {"", record.get("sha256")}:
                found.setdefault(record.get("source_sha256") or "", []).append((path, record))
        return found

    def _beside(self, path: str, folder: str, target: Target) -> RemoteFile | None:
        """The file of a further kind that was made with the one at ``path``."""
        if target.kind in (ArtifactKind.VIDEO, ArtifactKind.FRAMES):
            return None
        key = target.repo, folder
        if key not in self._others:
            head = self._hub.head(target.repo)
            files = self._hub.list_folder(target.repo, head.commit_id, path_of(folder)) if head else []
            self._others[key] = {file.path: file for file in files}
        return self._others[key].get(path.removesuffix(ArtifactKind.VIDEO.extension) + target.kind.extension)
