"""Batches of several folders in one commit, for a hub that limits how many commits are made."""

from collections.abc import Sequence

from tools.core.errors import HubError
from tools.hub.client import HubClient
from tools.processor.output_folder import OutputFolder, Outputs
from tools.processor.publish import CommitNotShown, read_back


def publish_together(
    hub: HubClient, folders: Sequence[tuple[OutputFolder, Outputs]], message: str
) -> list[str | HubError]:
    """Commit the batches of several folders of one repo, each with its metadata; for each the id of the commit that
    shows it, or why it is not seen yet (CommitNotShown: ``publish`` looks again).

    Raises HubError if the hub took nothing of it.
    """
    made = []
    for folder, outputs in folders:
        folder.refresh(hub)
        made.append((folder, folder.prepared(folder.placed(outputs))))
    operations = [operation for _, prepared in made for operation in prepared.operations]
    commit = hub.commit(folders[0][0].repo, operations, message)
    for folder, prepared in made:
        folder.committed(commit, prepared)
    return [_seen(hub, folder, prepared.outputs) for folder, prepared in made]


def _seen(hub: HubClient, folder: OutputFolder, outputs: Outputs) -> str | HubError:
    try:
        return read_back(hub, folder, outputs)
    except HubError as exc:
        return exc if isinstance(exc, CommitNotShown) else CommitNotShown(str(exc))
