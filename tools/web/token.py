"""The token of a dashboard that others reach: what a person set, or one that is made once and kept.

::

    TOKEN
    seal

The seal ties it to this file on this machine: one that came along in a ``LOG_DIR`` copied from elsewhere, whose sender
knows it, lets nobody in here. It is replaced by one that is made.
"""

import contextlib
import hashlib
import hmac
import os
import secrets
import stat
from pathlib import Path

from tools.core.errors import StateError
from tools.runtime.files import open_plain
from tools.runtime.owner import give_to_owner

TOKEN_FILE = "dashboard.token"
_LONGEST = 4096  # bytes of the file
_MACHINE = Path("/etc/machine-id")  # Source: machine-id(5)


def kept_token(log_dir: Path) -> str:
    """Of the file in LOG_DIR, made at the first call; only its owner may read it. Raises StateError."""
    path = log_dir / TOKEN_FILE
    try:
        return _read(path) or _made(path)
    except FileNotFoundError:
        return _made(path)
    except OSError as exc:
        raise StateError(f"can't use {path}: {exc.strerror}; set DASHBOARD_TOKEN instead") from exc


def _made(path: Path) -> str:
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except OSError as exc:
        raise StateError(f"can't write {path}: {exc.strerror}; set DASHBOARD_TOKEN instead") from exc
    token = secrets.token_urlsafe(24)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(f"{token}\n{_seal(token, os.fstat(descriptor))}\n")
    give_to_owner(path)
    return token


def _read(path: Path) -> str | None:
    """None for one that was not made here."""
    with open_plain(path) as stream:
        found = os.fstat(stream.fileno())
        if stat.S_IMODE(found.st_mode) & 0o077:
            raise StateError(f"others may read {path}: delete it, and a new token is made")
        token, _, seal = stream.read(_LONGEST).decode("utf-8", "replace").strip().partition("\n")
    return token if hmac.compare_digest(_seal(token, found).encode(), seal.strip().encode()) else None


def _seal(token: str, file: os.stat_result) -> str:
    machine = b""
    with contextlib.suppress(OSError):
        machine = _MACHINE.read_bytes()
    told = b"\0".join((b"dashboard", machine, b"%d" % file.st_ino, token.encode("utf-8", "replace")))
    return hashlib.sha256(told).hexdigest()
