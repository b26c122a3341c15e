"""A ModelScope-compatible hub over ``HubStore``: the calls that the SDK, its command line and our client use.

Reads of public datasets are free; everything else needs the token. Answers have the shapes that modelscope_hub 0.5
reads. Source: the SDK's requests, and what it does with the answers.
"""

import base64
import binascii
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Mapping
from email.utils import formatdate
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tools.core.errors import HubNotFound, HubRejected
from tools.hub_server.store import Commit, Entry, HubStore, Repo

_MOST_ACTIONS = 2000  # per commit; as the live hub
_MOST_JSON = 64 << 20  # bytes of a request's body that is no blob
_MOST_LOGIN = 64 << 10  # bytes of a body that a stranger may send
_PIECE = 1 << 20  # bytes written at once
_USER = "local"
_EXISTS = 10020101001
_Listing = list[tuple[str, Entry | None]]


class _Hub:
    """The store, the token, and the listings asked for last: each is asked for page by page."""

    def __init__(self, store: HubStore, token: str, max_page_size: int) -> None:
        self.store = store
        self.token = token
        self.max_page_size = max_page_size
        self._listings: dict[tuple[str, str, str, bool], _Listing] = {}
        self._lock = threading.Lock()

    def is_owner(self, request: Request) -> bool:
        """Whether the request carries the token, as a header or the SDK's cookie."""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        candidates = [given.strip()] if scheme.lower() == "bearer" else []
        candidates.append(request.cookies.get("m_session_id", ""))
        return any(hmac.compare_digest(one.encode(), self.token.encode()) for one in candidates if one)

    def need_owner(self, request: Request) -> None:
        if not self.is_owner(request):
            raise HTTPException(401, "the token is missing or wrong")

    def repo_of(self, request: Request) -> Repo:
        """The dataset of the path; a private one does not exist for strangers."""
        repo = self.store.repo(f"{request.path_params['owner']}/{request.path_params['name']}")
        if repo.is_private and not self.is_owner(request):
            raise HubNotFound(f"no dataset {repo.name}", status=404)
        return repo

    def listing(self, repo: Repo, commit: str, root: str, recursive: bool) -> _Listing:
        """Folders (without entry) and files at a commit below ``root``, by path."""
        key = (repo.name, commit, root, recursive)
        with self._lock:
            found = self._listings.get(key)
        if found is None:
            found = _listed(self.store.tree_at(repo, commit), root, recursive)
            with self._lock:
                while len(self._listings) >= 4:
                    self._listings.pop(next(iter(self._listings)))
                self._listings[key] = found
        return found


def _listed(tree: Mapping[str, Entry], root: str, recursive: bool) -> _Listing:
    prefix = root.strip("/") + "/" if root.strip("/") else ""
    found: dict[str, Entry | None] = {}
    for path, entry in tree.items():
        if not path.startswith(prefix):
            continue
        parts = path[len(prefix) :].split("/")
        depth = len(parts) if recursive else 2
        for end in range(1, min(len(parts), depth)):
            found[prefix + "/".join(parts[:end])] = None
        if recursive or len(parts) == 1:
            found[path] = entry
    if prefix and not found:
        raise HubNotFound(f"no folder {root}", status=404)
    return sorted(found.items())


def create_app(store: HubStore, token: str, *, max_page_size: int = 3000) -> Starlette:
    """The hub as an ASGI application, which dates its answers. ``max_page_size`` clamps listings, as servers do."""
    hub = _Hub(store, token, max_page_size)

    def route(path: str, handler: Callable[[_Hub, Request], Any], *methods: str) -> Route:
        async def call(request: Request) -> Response:
            answer: Response = await handler(hub, request)
            return answer

        return Route(path, call, methods=list(methods))

    dataset = "/api/v1/datasets/{owner}/{name}"
    routes = [
        route("/api/v1/login", _login, "POST"),
        route("/openapi/v1/users/me", _me, "GET"),
        route("/api/v1/repos/internalAccelerationInfo", _region, "GET"),
        route("/api/v1/datasets", _create, "POST"),
        route("/openapi/v1/datasets/{owner}/{name}", _info, "GET"),
        route(dataset, _info, "GET"),
        route(dataset + "/repo/tree", _tree, "GET"),
        route(dataset + "/commits", _commits, "GET"),
        route(dataset + "/revisions", _revisions, "GET"),
        route(dataset + "/repo", _file, "GET", "HEAD"),
        route("/datasets/{owner}/{name}/resolve/{revision}/{path:path}", _file, "GET", "HEAD"),
        route("/api/v1/repos/datasets/{owner}/{name}/info/lfs/objects/batch", _batch, "POST"),
        route("/api/v1/repos/datasets/{owner}/{name}/blobs/{oid}/{size}", _blob, "PUT"),
        route("/api/v1/repos/datasets/{owner}/{name}/commit/{branch}", _commit, "POST"),
    ]
    handlers = {HubRejected: _refused, HTTPException: _http_refused, ClientDisconnect: _disconnected}
    app = Starlette(routes=routes, exception_handlers=handlers, middleware=[Middleware(_DateHeader)])
    app.state.hub = hub
    return app


class _DateHeader:
    """Gives each answer the time at which it is made: readers take the hub's clock from it, and compare that with the
    times of commits. A server's own header is renewed only once per second (uvicorn: ``date_header=False``)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def dated(message: Message) -> None:
            if message["type"] == "http.response.start":
                date = formatdate(time.time(), usegmt=True)
                message = {**message, "headers": [*message["headers"], (b"date", date.encode())]}
            await send(message)

        await self._app(scope, receive, dated)


# --- answers ---------------------------------------------------------------------------------------------------------


def _success(data: Any, **root: Any) -> JSONResponse:
    return JSONResponse({"Code": 200, "Data": data, "Message": "success", "Success": True, **root})


def _failure(status: int, message: str, code: int | None = None) -> JSONResponse:
    said = {"Code": code or status, "Message": message, "Success": False, "Data": None, "message": message}
    return JSONResponse(said, status_code=status)


async def _refused(_request: Request, exc: Exception) -> Response:
    status = getattr(exc, "status", None) or 400
    return _failure(400, str(exc), _EXISTS) if status == 409 else _failure(status, str(exc))


async def _http_refused(_request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)
    return _failure(exc.status_code, str(exc.detail))


async def _disconnected(_request: Request, _exc: Exception) -> Response:
    return Response(status_code=400)  # which nobody reads


async def _json(request: Request, most: int = _MOST_JSON) -> dict[str, Any]:
    """A request's JSON body, bounded. Raises HubRejected."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > most:
            raise HubRejected(f"the body is larger than {most} bytes", status=413)
    try:
        content = json.loads(bytes(body) or b"{}")
    except (ValueError, RecursionError) as exc:
        raise HubRejected("the body is not JSON", status=400) from exc
    if not isinstance(content, dict):
        raise HubRejected("the body is not a JSON object", status=400)
    return content


# --- who, what -------------------------------------------------------------------------------------------------------


async def _login(hub: _Hub, request: Request) -> Response:
    content = await _json(request, _MOST_LOGIN)
    given = str(content.get("AccessToken") or "").encode("utf-8", "replace")
    if not hmac.compare_digest(given, hub.token.encode()):
        return _failure(400, "the token is wrong", 10010103009)
    answer = _success({"AccessToken": hub.token, "Username": _USER, "Email": f"{_USER}@localhost"})
    answer.set_cookie("m_session_id", hub.token, httponly=True, max_age=30 * 24 * 3600)
    return answer


async def _me(hub: _Hub, request: Request) -> Response:
    if not hub.is_owner(request):
        said = {"success": False, "code": "InvalidAuthentication", "message": "the token is missing or wrong"}
        return JSONResponse(said, status_code=401)
    me = {"id": 1, "username": _USER, "email": f"{_USER}@localhost"}
    return JSONResponse({"success": True, "data": me, "request_id": ""})


async def _region(_hub: _Hub, _request: Request) -> Response:
    return _success({"InternalRegionQueryAddress": ""})


async def _create(hub: _Hub, request: Request) -> Response:
    hub.need_owner(request)
    form = await request.form(max_files=0, max_fields=50)
    name = f"{form.get('Owner')}/{form.get('Name')}"
    visibility = str(form.get("Visibility") or "1")
    if visibility not in {"1", "3", "5"}:
        raise HubRejected(f"Visibility {visibility!r} is none of 1, 3, 5", status=400)
    await run_in_threadpool(hub.store.create, name, int(visibility))
    return _success({"Id": 1, "Owner": str(form.get("Owner")), "Name": str(form.get("Name"))})


async def _info(hub: _Hub, request: Request) -> Response:
    repo = await run_in_threadpool(hub.repo_of, request)
    newest = int(repo.commits[-1].time) if repo.commits else 0
    created = int(repo.commits[0].time) if repo.commits else 0
    owner, name = repo.name.split("/")
    if request.url.path.startswith("/openapi/"):
        about = {"id": repo.name, "private": repo.is_private, "last_modified": newest, "created_at": created}
        return JSONResponse({"success": True, "data": about, "request_id": ""})
    facts = {"Id": 1, "Owner": owner, "Name": name, "Visibility": repo.visibility, "Type": "dataset"}
    return _success({**facts, "LastUpdatedTime": newest, "GmtCreate": created})


# --- reads -----------------------------------------------------------------------------------------------------------


def _positive(request: Request, name: str, default: int, most: int) -> int:
    text = request.query_params.get(name, "")
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) < 1:
        raise HubRejected(f"{name}={text[:20]!r} is not a number from 1", status=400)
    return min(int(text), most)


async def _tree(hub: _Hub, request: Request) -> Response:
    page = _positive(request, "PageNumber", 1, 10**9)
    size = _positive(request, "PageSize", 100, hub.max_page_size)
    return await run_in_threadpool(_tree_page, hub, request, page, size)


def _tree_page(hub: _Hub, request: Request, page: int, size: int) -> Response:
    repo = hub.repo_of(request)
    query = request.query_params
    commit = hub.store.find(repo, query.get("Revision", "master"))
    root = query.get("Root", "").strip("/")
    recursive = query.get("Recursive", "False").lower() == "true"
    listing = hub.listing(repo, commit, root, recursive)
    shown = [_tree_entry(path, entry) for path, entry in listing[(page - 1) * size : page * size]]
    newest = next((one for one in reversed(repo.commits) if one.id == commit), None)
    return _success(
        {
            "Files": shown,
            "TotalCount": len(listing),
            "LatestCommitter": None if newest is None else _commit_entry(newest),
        },
        TotalCount=len(listing),
    )


def _tree_entry(path: str, entry: Entry | None) -> dict[str, Any]:
    name = path.rpartition("/")[2]
    if entry is None:
        return {"Path": path, "Name": name, "Type": "tree", "Size": 0, "Sha256": "", "Mode": "40000"}
    return {
        "Path": path,
        "Name": name,
        "Type": "blob",
        "Size": entry.size,
        "Sha256": entry.sha256,
        "Revision": entry.commit,
        "CommitId": entry.commit,
        "CommittedDate": int(entry.time),
        "IsLFS": True,
        "Mode": "100644",
    }


def _commit_entry(commit: Commit) -> dict[str, Any]:
    when = int(commit.time)
    return {
        "Id": commit.id,
        "ShortId": commit.id[:8],
        "Title": commit.message.split("\n")[0],
        "Message": commit.message,
        "AuthorName": commit.author,
        "AuthorEmail": f"{commit.author}@localhost",
        "AuthoredDate": when,
        "CommitterName": commit.author,
        "CommittedDate": when,
        "CreatedAt": when,
    }


async def _commits(hub: _Hub, request: Request) -> Response:
    repo = await run_in_threadpool(hub.repo_of, request)
    page, size = _positive(request, "PageNumber", 1, 10**9), _positive(request, "PageSize", 20, 100)
    newest_first = repo.commits[::-1]
    shown = [_commit_entry(commit) for commit in newest_first[(page - 1) * size : page * size]]
    return _success({"Commit": shown, "TotalCount": len(newest_first)}, TotalCount=len(newest_first))


async def _revisions(hub: _Hub, request: Request) -> Response:
    repo = await run_in_threadpool(hub.repo_of, request)
    newest = int(repo.commits[-1].time) if repo.commits else int(time.time())
    branches = [{"Revision": "master", "CreatedAt": newest}]
    return _success({"RevisionMap": {"Branches": branches, "Tags": []}})


async def _file(hub: _Hub, request: Request) -> Response:
    def find() -> tuple[Path, Entry]:
        repo = hub.repo_of(request)
        revision = request.path_params.get("revision") or request.query_params.get("Revision", "master")
        path = request.path_params.get("path") or request.query_params.get("FilePath", "")
        return hub.store.content_of(repo, hub.store.find(repo, revision), path)

    path, entry = await run_in_threadpool(find)
    headers = {"X-Linked-ETag": entry.sha256, "ETag": f'"{entry.sha256}"', "Accept-Ranges": "bytes"}
    return FileResponse(path, media_type="application/octet-stream", headers=headers)


# --- writes ----------------------------------------------------------------------------------------------------------


def _blob_name(entry: Mapping[str, Any], oid_key: str = "oid") -> tuple[str, int]:
    oid, size = entry.get(oid_key), entry.get("size")
    whole = isinstance(oid, str) and len(oid) == 64 and not set(oid) - set("0123456789abcdef")
    if not whole or not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise HubRejected("a blob is named by its sha256 (64 hex digits) and its size", status=400)
    return str(oid), size


async def _batch(hub: _Hub, request: Request) -> Response:
    hub.need_owner(request)
    repo = await run_in_threadpool(hub.repo_of, request)
    content = await _json(request)
    wanted = [_blob_name(one) for one in content.get("objects") or () if isinstance(one, dict)]
    missing = []
    for oid, size in wanted:
        if not hub.store.has_blob(oid, size):
            href = str(request.base_url).rstrip("/") + f"/api/v1/repos/datasets/{repo.name}/blobs/{oid}/{size}"
            missing.append({"oid": oid, "size": size, "actions": {"upload": {"href": href}}})
    return _success({"objects": missing})


async def _blob(hub: _Hub, request: Request) -> Response:
    hub.need_owner(request)
    text = request.path_params["size"]
    known = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
    oid, size = _blob_name({"oid": request.path_params["oid"], "size": known})
    if request.headers.get("content-length") != str(size):
        raise HubRejected(f"Content-Length must be {size}", status=411)
    received = hub.store.incoming()
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
        await run_in_threadpool(hub.store.add_blob, received, oid)
    finally:
        received.unlink(missing_ok=True)
    return _success(None)


def _write_piece(stream: Any, digest: Any, piece: bytes) -> None:
    stream.write(piece)
    digest.update(piece)


async def _commit(hub: _Hub, request: Request) -> Response:
    hub.need_owner(request)
    repo = await run_in_threadpool(hub.repo_of, request)
    if request.path_params["branch"] not in {"master", "main"}:
        raise HubRejected("You can only create or edit files when you are on a branch", status=400)
    content = await _json(request)
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

    return _success({"oid": await run_in_threadpool(work)})


def _change(hub: _Hub, action: Mapping[str, Any]) -> dict[str, Any] | None:
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
    if not hub.store.has_blob(oid, len(content)):
        received = hub.store.incoming()
        received.write_bytes(content)
        hub.store.add_blob(received, oid)
    return {"sha256": oid, "size": len(content)}
