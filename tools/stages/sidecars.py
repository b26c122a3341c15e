"""Contents of sidecars, from one repo of the hub to another: what it holds already is neither fetched nor sent."""

from collections.abc import Sequence

from tools.core.sidecar import Sidecar, with_sha256
from tools.hub.client import HubClient
from tools.stages.workspace import Workspace


def store_sidecars(
    hub: HubClient,
    workspace: Workspace,
    folder: str,
    sidecars: Sequence[Sidecar],
    *,
    input_repo: str,
    revision: str,
    output_repo: str,
) -> list[Sidecar]:
    """Have the hub hold their contents, to be committed; returns them with their sha256.

    A second call sends nothing again. Raises HubError, DiskFull, Stopped, and OSError for local files.
    """
    told = [(one.source.sha256, one.source.size) for one in sidecars if one.source.sha256]
    lacking = hub.lacks(output_repo, told) if told else set()
    stored = []
    for one in sidecars:
        if not one.source.sha256 or one.source.sha256 in lacking:
            place = workspace.file_folder(folder, one.source)
            with workspace.reserved(place, one.source.size):
                file = place / "sidecar"
                sha256 = hub.download(input_repo, revision, one.source, file, lambda moved: None)
                hub.store_blob(output_repo, file, sha256, one.source.size, lambda moved: None)
            workspace.remove_video(folder, one.source)
            one = with_sha256(one, sha256)
        stored.append(one)
    return stored
