"""What the embedded hub is given: datasets, blobs, commits."""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from tools.core.errors import HubRejected
from tools.hub_server.answers import json_of, success
from tools.hub_server.state import Hub

_MOST_ACTIONS = 2000  # per commit; as the live hub
_PIECE = 1 << 20  # bytes written at once
_USER = "local"


async def create(hub: Hub, request: Request) -> Response:
    hub.need_owner(request)
    form = await request.form(max_files=0, max_fields=50)
    name = f"{form.get('Owner')}/{form.get('Name')}"
    visibility = str(form.get("Visibility") or "1")
    if visibility not in {"1", "3", "5"}:
        raise HubRejected(f"Visibility {visibility!r} is none of 1, 3, 5", status=400)
    await run_in_threadpool(hub.store.create, name, int(visibility))
    return success({"Id": 1, "Owner": str(form.get("Owner")), "Name": str(form.get("Name"))})


def _blob_name(entry: Mapping[str, Any], oid_key: str = "oid") -> tuple[str, int]:
    oid, size = entry.get(oid_key), entry.get("size")
    whole = isinstance(oid, str) and len(oid) == 64 and not set(oid) - set("0123456789abcdef")
    if not whole or not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise HubRejected("a blob is named by its sha256 (64 hex digits) and its size", status=400)
    return str(oid), size


async def batch(hub: Hub, request: Request) -> Response:
    hub.need_owner(request)
    repo = await run_in_threadpool(hub.repo_of, request)
    content = await json_of(request)
    wanted = [_blob_name(one) for one in content.get("objects") or () if isinstance(one, dict)]
    missing = []
    for oid, size in wanted:
        if not hub.store.blobs.wanted(oid, size):
            href = str(request.base_url).rstrip("/") + f"/api/v1/repos/datasets/{repo.name}/blobs/{oid}/{size}"
            missing.append({"oid": oid, "size": size, "actions": {"upload": {"href": href}}})
    return success({"objects": missing})


async def blob(hub: Hub, request: Request) -> Response:
    hub.need_owner(request)
    text = request.path_params["size"]
    known = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
    oid, size = _blob_name({"oid": request.path_params["oid"], "size": known})
    if request.headers.get("content-length") != str(size):
        raise HubRejected(f"Content-Length must be {size}", status=411)
    received = hub.store.blobs.incoming()
    try:
        digest = hashlib.sha256()
        got = 0
        with received.open("xb") as stream:
            pending = bytearray()
            async for piece in request.stream():
                pending += piece
                got += len(piece)
                if len(pending) >= _PIECE or got > size:
                    await run_in_threadpool(_write_piece, stream, digest, bytes(pending))
                    pending.clear()
            await run_in_threadpool(_write_piece, stream, digest, bytes(pending))
        if got != size or digest.hexdigest() != oid:
            raise HubRejected("the content is not what its sha256 and size say", status=422)
        await run_in_threadpool(hub.store.blobs.add, received, oid)
    finally:
        received.unlink(missing_ok=True)
    return success(None)


def _write_piece(stream: Any, digest: Any, piece: bytes) -> None:
    stream.write(piece)
    digest.update(piece)


async def commit(hub: Hub, request: Request) -> Response:
    hub.need_owner(request)
    repo = await run_in_threadpool(hub.repo_of, request)
    if request.path_params["branch"] not in {"master", "main"}:
        raise HubRejected("You can only create or edit files when you are on a branch", status=400)
    content = await json_of(request)
    actions = content.get("actions") or []
    if not isinstance(actions, list) or not actions:
        raise HubRejected("a commit needs actions", status=400)
    if len(actions) > _MOST_ACTIONS:
        raise HubRejected(f"{len(actions)} actions, more than {_MOST_ACTIONS}", status=422)
    # Half a character could be stored, but never be sent again.
    message = str(content.get("commit_message") or "").encode("utf-8", "replace").decode()

    def work() -> str:
        if not all(isinstance(action, dict) and isinstance(action.get("path"), str) for action in actions):
            raise HubRejected("an action is an object with a path", status=400)
        changes = {action["path"]: _change(hub, action) for action in actions}
        return hub.store.commit(repo, changes, message, _USER)

    return success({"oid": await run_in_threadpool(work)})


def _change(hub: Hub, action: Mapping[str, Any]) -> dict[str, Any] | None:
    """What an action does to its path; inline content becomes a blob first."""
    if action.get("action") == "delete":
        return None
    if action.get("action") not in {"create", "update"}:
        raise HubRejected(f"unknown action {str(action.get('action'))[:40]!r}", status=400)
    if action.get("type") == "lfs":
        oid, size = _blob_name(action, "sha256")
        return {"sha256": oid, "size": size}
    text = str(action.get("content") or "")
    try:
        content = base64.b64decode(text, validate=True) if action.get("encoding") == "base64" else text.encode()
    except (binascii.Error, ValueError) as exc:
        raise HubRejected("inline content is not base64", status=400) from exc
    oid = hashlib.sha256(content).hexdigest()
    if not hub.store.blobs.wanted(oid, len(content)):
        received = hub.store.blobs.incoming()
        received.write_bytes(content)
        hub.store.blobs.add(received, oid)
    return {"sha256": oid, "size": len(content)}
