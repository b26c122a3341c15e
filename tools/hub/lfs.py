"""The hub's answer to «which of these blobs do you lack?» (the batch API of Git LFS) → where to send one.

Source: git-lfs, docs/api/batch.md: an object has ``actions``, or none if it is there already, or an ``error``.
"""

import re
from typing import Any

from tools.core.errors import HubForbidden, HubFull, HubNotFound, HubRejected, HubUnavailable
from tools.hub.answers import FULL, says_full
from tools.runtime.logs import masked

_LONGEST = 200  # characters of the hub's own words
_PASSES = frozenset({408, 425, 429})


def upload_url(answer: Any, sha256: str, doing: str) -> str | None:
    """The address for a blob; None if the hub has it. ``doing`` is what can't be done otherwise, for the message.

    Raises HubForbidden, HubNotFound, HubRejected or HubUnavailable by the code of the object's error; HubUnavailable
    too for an answer that can't be understood.
    """
    objects = answer.get("objects") if isinstance(answer, dict) else None
    if not isinstance(objects, list) or not all(
        isinstance(one, dict) and isinstance(one.get("oid"), str) for one in objects
    ):
        raise HubUnavailable(f"can't {doing}: the hub's answer can't be understood")
    # ModelScope names only what it lacks.
    found = next((one for one in objects if one.get("oid") == sha256), None)
    if found is None:
        return None
    if found.get("error"):
        raise _refusal(found["error"], doing)
    actions = found.get("actions")
    if not actions:
        return None
    upload = actions.get("upload") if isinstance(actions, dict) else None
    href = upload.get("href") if isinstance(upload, dict) else None
    if not isinstance(href, str) or not href:
        raise HubUnavailable(f"can't {doing}: the hub's answer does not say where to send it")
    return href


def _refusal(error: Any, doing: str) -> HubRejected | HubUnavailable:
    known = error if isinstance(error, dict) else {"message": error}
    code = str(known.get("code"))
    status = int(code) if re.fullmatch(r"[0-9]{3}", code) else None
    said = masked(" ".join(str(known.get("message") or "no reason given").split()))[:_LONGEST]
    text = f"can't {doing}: {said}" + (f" [{status}]" if status else "")
    if says_full(said) and status != 429:
        return HubFull(f"{FULL} ({text})", status=status)
    if status in {401, 403}:
        return HubForbidden(f"{text}; check MODELSCOPE_API_TOKEN and its rights", status=status)
    if status == 404:
        return HubNotFound(text, status=status)
    if status is not None and 400 <= status < 500 and status not in _PASSES:
        return HubRejected(text, status=status)
    return HubUnavailable(text, status=status)
