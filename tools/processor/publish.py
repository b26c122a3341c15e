"""A batch of stored blobs → one commit per output repo, with its ``metadata.jsonl``, read back. Sidecars go along.

Calling it again after a crash or a lost answer commits nothing twice: what is there already is found first.
"""

from collections.abc import Sequence

from tools.core.errors import LIMITED, BlobsLost, HubError, HubForbidden, HubNotFound, HubRejected, HubUnavailable
from tools.core.sidecar import Sidecar
from tools.hub.client import HubClient
from tools.processor.output_card import NO_CARD, OutputCard
from tools.processor.output_folder import FileOf, OutputFolder, Outputs


class CommitNotShown(HubError):
    """The hub took a commit and does not show it yet: to be looked for again later, never to be sent again."""

    retryable = True


def publish(
    hub: HubClient,
    folders: Sequence[OutputFolder],
    outputs: Outputs,
    file_of: FileOf,
    message: str,
    sidecars: Sequence[Sidecar] = (),
    card: OutputCard = NO_CARD,
    *,
    is_last: bool = False,
) -> str:
    """Make a batch's artifacts visible, one commit per repo; returns the id of the last. Then local files may go.

    ``folders`` in order: the one that keeps the metadata comes last, so that what it shows as done is done everywhere.
    ``sidecars``, whose contents the hub holds, go with it. What the hub lost of the blobs is sent again. ``is_last``:
    no further try follows, so what nobody waits for is given up if its repo does not take it. Raises HubError;
    BlobsLost if blobs can't be sent again from here; CommitNotShown while the hub does not show what it took: called
    again, it only looks again.
    """
    fresh, main = None, folders[-1]
    of = {folder: sidecars if folder is main else () for folder in folders}
    if not any(folder.awaits(outputs, of[folder]) for folder in folders):
        fresh = main
        fresh.refresh(hub)
        outputs = fresh.placed(outputs)
    commits = []
    for folder in folders:
        folder.use_files(file_of)
        is_fresh = folder is fresh
        while folder.artifacts(outputs) or of[folder]:
            written = card if folder is main else NO_CARD
            try:
                if not is_fresh and not folder.awaits(outputs, of[folder]):
                    folder.refresh(hub)
                    is_fresh, outputs = True, folder.usable(hub, outputs)
                    continue
                commits.append(_publish_in(hub, folder, outputs, of[folder], file_of, message, written))
                break
            except (HubForbidden, HubNotFound):
                raise
            except (HubRejected, BlobsLost) as exc:
                outputs = folder.without_refused(hub, outputs, exc)
            except HubUnavailable as exc:
                if not is_last or exc.status in LIMITED:
                    raise
                outputs = folder.given_up(outputs, exc)
    return commits[-1]


def read_back(hub: HubClient, folder: OutputFolder, outputs: Outputs, sidecars: Sequence[Sidecar] = ()) -> str:
    """The commit that shows what was committed. Raises CommitNotShown, HubError."""
    commit = folder.read_back(hub, outputs, sidecars)
    if commit is None:
        raise CommitNotShown(f"the hub took the commit, but does not show {folder.folder} of {folder.repo} as sent yet")
    return folder.restore(hub, outputs) or commit


def _publish_in(
    hub: HubClient,
    folder: OutputFolder,
    outputs: Outputs,
    sidecars: Sequence[Sidecar],
    file_of: FileOf,
    message: str,
    card: OutputCard,
) -> str:
    if not folder.awaits(outputs, sidecars):
        if folder.head is not None and folder.shows(outputs, sidecars):
            return folder.restore(hub, outputs) or folder.head.commit_id  # if it failed when they were committed
        _commit(hub, folder, outputs, sidecars, file_of, message, card)
    return read_back(hub, folder, outputs, sidecars)


def _commit(
    hub: HubClient,
    folder: OutputFolder,
    outputs: Outputs,
    sidecars: Sequence[Sidecar],
    file_of: FileOf,
    message: str,
    card: OutputCard,
) -> None:
    more = card.operations(hub)
    try:
        folder.commit(hub, outputs, message, sidecars, more)
        card.written(hub)
    except (HubForbidden, HubNotFound):
        raise
    except HubRejected as exc:
        if more:
            card.refused(str(exc))
            _commit(hub, folder, outputs, sidecars, file_of, message, card)
            return
        if sidecars or folder.makes_files:
            raise  # whatever it speaks of: sidecars are tried apart, and made files were sent just now
        if not _send_again(hub, folder, outputs, file_of):
            raise BlobsLost(str(exc)) from exc
        folder.commit(hub, outputs, message)


def _send_again(hub: HubClient, folder: OutputFolder, outputs: Outputs, file_of: FileOf) -> bool:
    """A hub may drop blobs that no commit named for long; whether all of them could be sent once more, or are there.

    What was reused has no file here: the hub is asked whether it has it.
    """
    wanted = [(artifact, file_of(source, artifact.kind)) for source, artifact in folder.artifacts(outputs)]
    found = [(artifact, path) for artifact, path in wanted if path is not None and path.exists()]
    others = [(artifact.sha256, artifact.size) for artifact, path in wanted if path is None or not path.exists()]
    if others and (len(outputs) == 1 or hub.lacks(folder.repo, others)):
        return False  # a hub may also say that it has what it then refuses; several are halved first
    for artifact, path in found:
        hub.store_blob(folder.repo, path, artifact.sha256, artifact.size, lambda moved: None)
    return True
