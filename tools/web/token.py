"""The token of a dashboard that others reach: what a person set, or one that is made once and kept."""

import os
import secrets
import stat
from pathlib import Path

from tools.core.errors import StateError
from tools.runtime.owner import give_to_owner

TOKEN_FILE = "dashboard.token"


def kept_token(log_dir: Path) -> str:
    """Of the file in LOG_DIR, made at the first call; only its owner may read it. Raises StateError."""
    path = log_dir / TOKEN_FILE
    try:
        return _read(path)
    except FileNotFoundError:
        return _made(path)


def _made(path: Path) -> str:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except OSError as exc:
        raise StateError(f"can't write {path}: {exc.strerror}; set DASHBOARD_TOKEN instead") from exc
    token = secrets.token_urlsafe(24)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(token + "\n")
    give_to_owner(path)
    return token


def _read(path: Path) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        raise
    except OSError as exc:
        raise StateError(f"can't read {path}: {exc.strerror}; set DASHBOARD_TOKEN instead") from exc
    with os.fdopen(descriptor) as stream:
        if stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o077:
            raise StateError(f"others may read {path}: delete it, and a new token is made")
        token = stream.read(4097).strip()
    if len(token) < 16:
        raise StateError(f"{path} holds no token: delete it, and a new one is made")
    return token
