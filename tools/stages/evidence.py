"""Before a video is blamed: is its file still what was downloaded, and does the disk beside it work?"""

import threading
from pathlib import Path

from tools.core.errors import FilesGone
from tools.runtime.files import replace_durably, sha256_of

_TRIAL = bytes(1 << 16)


def look_for_fault(source: Path, sha256: str, stop: threading.Event) -> None:
    """Returns if the failure of a program on ``source`` is not explained by this machine's files and disk.

    Reads the file whole. Raises FilesGone if the file is gone or has other bytes than ``sha256`` says (it is deleted
    then, and will be downloaded again), OSError if it can't be read or its folder not be written to, Stopped.
    """
    if not source.exists():
        raise FilesGone(f"{source} is gone: somebody deleted it while it was in work; it is downloaded again")
    if sha256_of(source, stop) != sha256:
        source.unlink(missing_ok=True)
        raise FilesGone(f"{source} has other bytes than were downloaded: check this disk; it is downloaded again")
    trial = source.with_name("trial")
    replace_durably(trial, _TRIAL)
    trial.unlink()
