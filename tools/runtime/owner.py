"""Who owns a new file, if root and an ordinary user (that of a service, say) share a folder."""

import contextlib
import os
import pwd
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


def make_folder(path: Path) -> None:
    """Make a folder with its parents; each that root makes belongs to its parent's owner. Raises OSError."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(0o755, exist_ok=True)
        give_to_owner(path)


def whose(path: Path, *, follow: bool = True) -> str:
    """For a message about a path that may not be used: who owns it, or the folder that it would be in, and who asks.

    Without ``follow`` a link itself is meant.
    """
    while True:
        try:
            owner = path.stat(follow_symlinks=follow).st_uid
            break
        except OSError:
            path = path.parent
    return f"{path} belongs to {_name(owner)}, this program runs as {_name(os.geteuid())}"


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
