"""Why a file of the input dataset is skipped, as far as its path alone tells."""

from pathlib import PurePosixPath

from tools.core.folder import MACOS, is_half_uploaded, is_junk, is_safe_path, is_video
from tools.core.message import message


def why_skipped(path: str, extensions: frozenset[str]) -> str:
    """The reason, and what to do about it; "" for a video that is converted."""
    name = path.rpartition("/")[2]
    if not is_safe_path(path):
        return message("skipped: the path is not a valid file name on every machine; rename it on the hub")
    if MACOS in path.split("/")[:-1] or name.startswith("._"):
        return message("skipped: macOS adds such a file beside each one, it holds nothing of a video")
    if is_junk(name):
        return message("skipped: a file that a system or an office program leaves behind")
    if is_half_uploaded(name):
        return message("skipped: by its name it is half of a download; upload the whole file")
    if is_video(name, extensions):
        return ""
    kind = PurePosixPath(name).suffix or name
    return message(f"not converted: {kind} is not in VIDEO_EXTENSIONS")
