"""Input folder against output folder: is everything that went in there, and nothing else, and as it was made?"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tools.core.artifact import ArtifactKind
from tools.core.folder import RemoteFile, inside, is_placeholder, is_safe_path, is_video
from tools.core.queue_item import Quarantined
from tools.core.record import Published, Record, natural_order
from tools.core.sidecar import Carried, Sidecar, SidecarRules

_NOTHING, _NONE = Carried({}), SidecarRules()
_VIDEO = ArtifactKind.VIDEO.extension


@dataclass(frozen=True, slots=True)
class FolderAudit:
    """What one folder lacks, or has too much: videos, and the files that go with them. Paths in either repo."""

    folder: str
    videos: int  # in the input
    published: int  # of them, as recorded
    sidecars: int  # in the input, of those that are to be carried over
    quarantined: tuple[str, ...]  # of them
    missing: tuple[str, ...]  # of them
    differs: tuple[str, ...]  # results whose size or sha256 is not the recorded one
    without_source: tuple[str, ...]  # results of no source that is there
    broken: tuple[str, ...] = ()  # of the results that were looked into: what they are not, a line for each

    @property
    def is_right(self) -> bool:
        """Whether in = out + quarantined, and nothing is there beside."""
        return not (self.missing or self.differs or self.without_source or self.broken)


def audit(
    folder: str,
    sources: Iterable[RemoteFile],
    results: Mapping[str, RemoteFile],
    published: Published,
    quarantined: Iterable[Quarantined],
    extensions: frozenset[str],
    *,
    carried: Carried = _NOTHING,
    rules: SidecarRules = _NONE,
) -> FolderAudit:
    """``sources``, ``results`` (by path): the files directly in the folder of each repo; ``published``, ``carried``:
    what its ``metadata.jsonl`` and ``sidecars.jsonl`` say."""
    sources = list(sources)
    there = {file.name for file in sources}
    ours = (
        f for f in sources if is_video(f.name, extensions) and is_safe_path(f.path) and not is_placeholder(f, there)
    )
    videos = sorted(ours, key=natural_order)
    refused = {(q.path, q.sha256) for q in quarantined}
    names = published.names()
    done, given_up, missing, differs = 0, [], [], []
    for video in videos:
        record, result = published.record_of(video), results.get(names.get(video.path, ""))
        if record is None and (record := published.record_of_others(video)) is not None:
            result = results.get(inside(video.folder, record["file_name"]))
        if record is not None and result is not None:
            if result.size == record.get("size") and result.sha256 in {"", record.get("sha256")}:
                done += 1
            else:
                differs.append(result.path)
        elif (video.path, video.sha256) in refused:
            given_up.append(video.path)
        else:
            missing.append(video.path)
    owned = {names[video.path] for video in videos if video.path in names} | published.names_of_others()
    extra = sorted((f for p, f in results.items() if p.endswith(_VIDEO) and p not in owned), key=natural_order)
    beside = [one for one in sources if rules.take(one, there, extensions)]
    for file in beside:
        result = results.get(file.path)
        if result is None:
            missing.append(file.path)
        elif not Sidecar(file).is_at(result) and file.sha256:
            differs.append(file.path)
    paths = {file.path for file in sources}
    extra += [f for p, f in results.items() if carried.is_ours(f) and carried.paths()[p] not in paths]
    orphans = tuple(file.path for file in extra)
    found = tuple(given_up), tuple(missing), tuple(differs), orphans
    return FolderAudit(folder, len(videos), done, len(beside), *found)


def as_recorded(results: Mapping[str, RemoteFile], published: Published) -> list[tuple[RemoteFile, Record]]:
    """Each published result that is listed as its record has it, with the record."""
    found = ((results.get(name), published.records[source]) for source, name in published.names().items())
    return [
        (file, record)
        for file, record in found
        if file is not None and file.size == record.get("size") and file.sha256 in {"", record.get("sha256")}
    ]


def source_gone(sources: Sequence[RemoteFile], results: Mapping[str, RemoteFile], published: Published) -> list[str]:
    """Names of published results that are there still, and whose sources are not."""
    there = {file.path for file in sources}
    names = published.names()
    owned = {name for source, name in names.items() if source in there}
    gone = {name for source, name in names.items() if source not in there and name in results} - owned
    return sorted(name.rpartition("/")[2] for name in gone)
