"""What the latest videos lost, or what else is to be said of them, for ``--status``: each text once. Pure."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from tools.core.message import plural
from tools.core.past import VideoLine
from tools.runtime.language import heading, ui


class Loss(NamedTuple):
    """One text, and of which videos it was said."""

    text: str  # in English
    videos: int
    folder: str  # of the latest
    video: str


def losses(videos: Sequence[VideoLine]) -> list[Loss]:
    """Of these videos, newest first; what was said latest comes first."""
    found: dict[str, Loss] = {}
    for line in videos:
        for text in dict.fromkeys(line.warnings.splitlines() if line.outcome == "stored" else ()):
            known = found.get(text)
            found[text] = known._replace(videos=known.videos + 1) if known else Loss(text, 1, line.folder, line.video)
    return list(found.values())


def losses_json(found: Sequence[Loss]) -> list[dict[str, Any]]:
    return [loss._asdict() for loss in found]


def loss_lines(found: Sequence[Loss], most: int) -> list[str]:
    """For people, ``most`` texts."""
    if not found or not most:
        return []
    lines = ["", heading("Warnings of the latest videos")]
    for loss in found[:most]:
        said = ui("{}, the latest {}: {}", plural(loss.videos, "video"), f"{loss.folder}/{loss.video}", loss.text)
        lines.append("  " + said)
    hidden = len(found) - most
    return lines + (["  " + ui("… and {} more, see {}", hidden, "--status --all")] if hidden > 0 else [])
