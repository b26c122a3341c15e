"""Who owns a new file, if root and the user of a service share a folder."""

import contextlib
import os
from pathlib import Path


def give_to_owner(path: Path) -> None:
    """Give a file that root has made to the folder's owner, who must be able to write it too.

    So a ``--retry`` typed by root does not lock out a service that runs as a user of its own.
    """
    if os.geteuid() == 0:
        owner = path.parent.stat()
        if owner.st_uid:
            with contextlib.suppress(OSError):  # some file systems know no owners
                os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
