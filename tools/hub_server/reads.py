"""What the embedded hub is asked: who the token belongs to, what datasets there are, their commits, listings, files."""

import hmac
import time
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

from tools.core.errors import HubRejected
from tools.hub_server.answers import MOST_LOGIN, failure, json_of, success
from tools.hub_server.history import Commit, Entry
from tools.hub_server.state import Hub, number_of

_USER = "local"


async def login(hub: Hub, request: Request) -> Response:
    content = await json_of(request, MOST_LOGIN)
    given = str(content.get("AccessToken") or "").encode("utf-8", "replace")
    if not hmac.compare_digest(given, hub.token.encode()):
        return failure(400, "the token is wrong", 10010103009)
    answer = success({"AccessToken": hub.token, "Username": _USER, "Email": f"{_USER}@localhost"})
    answer.set_cookie("m_session_id", hub.token, httponly=True, max_age=30 * 24 * 3600)
    return answer


async def me(hub: Hub, request: Request) -> Response:
    if not hub.is_owner(request):
        said = {"success": False, "code": "InvalidAuthentication", "message": "the token is missing or wrong"}
        return JSONResponse(said, status_code=401)
    me = {"id": 1, "username": _USER, "email": f"{_USER}@localhost"}
    return JSONResponse({"success": True, "data": me, "request_id": ""})


async def region(_hub: Hub, _request: Request) -> Response:
    return success({"InternalRegionQueryAddress": ""})


_GENERAL = 4  # how a dataset is organized: as files. Source: modelscope, DatasetFormations


async def info(hub: Hub, request: Request) -> Response:
    repo = await run_in_threadpool(hub.repo_of, request)
    newest = int(repo.commits[-1].time) if repo.commits else 0
    created = int(repo.commits[0].time) if repo.commits else 0
    owner, name = repo.name.split("/")
    if request.url.path.startswith("/openapi/"):
        about = {"id": repo.name, "private": repo.is_private, "last_modified": newest, "created_at": created}
        return JSONResponse({"success": True, "data": about, "request_id": ""})
    facts = {"Id": number_of(repo.name), "Owner": owner, "Name": name, "Visibility": repo.visibility, "Type": _GENERAL}
    return success({**facts, "LastUpdatedTime": newest, "GmtCreate": created})


def _positive(request: Request, name: str, default: int, most: int) -> int:
    text = request.query_params.get(name, "")
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) < 1:
        raise HubRejected(f"{name}={text[:20]!r} is not a number from 1", status=400)
    return min(int(text), most)


async def tree(hub: Hub, request: Request) -> Response:
    page = _positive(request, "PageNumber", 1, 10**9)
    size = _positive(request, "PageSize", 100, hub.max_page_size)
    return await run_in_threadpool(_tree_page, hub, request, page, size)


def _tree_page(hub: Hub, request: Request, page: int, size: int) -> Response:
    repo = hub.repo_of(request)
    query = request.query_params
    commit = hub.store.find(repo, query.get("Revision", "master"))
    root = query.get("Root", "").strip("/")
    recursive = query.get("Recursive", "False").lower() == "true"
    listing = hub.listing(repo, commit, root, recursive)
    shown = [_tree_entry(path, entry) for path, entry in listing[(page - 1) * size : page * size]]
    newest = next((one for one in reversed(repo.commits) if one.id == commit), None)
    return success(
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


async def commits(hub: Hub, request: Request) -> Response:
    repo = await run_in_threadpool(hub.repo_of, request)
    page, size = _positive(request, "PageNumber", 1, 10**9), _positive(request, "PageSize", 20, 100)
    newest_first = repo.commits[::-1]
    shown = [_commit_entry(commit) for commit in newest_first[(page - 1) * size : page * size]]
    return success({"Commit": shown, "TotalCount": len(newest_first)}, TotalCount=len(newest_first))


async def revisions(hub: Hub, request: Request) -> Response:
    repo = await run_in_threadpool(hub.repo_of, request)
    newest = int(repo.commits[-1].time) if repo.commits else int(time.time())
    branches = [{"Revision": "master", "CreatedAt": newest}]
    return success({"RevisionMap": {"Branches": branches, "Tags": []}})


async def file(hub: Hub, request: Request) -> Response:
    def find() -> tuple[Path, Entry]:
        repo = hub.repo_of(request)
        revision = request.path_params.get("revision") or request.query_params.get("Revision", "master")
        path = request.path_params.get("path") or request.query_params.get("FilePath", "")
        return hub.store.content_of(repo, hub.store.find(repo, revision), path)

    path, entry = await run_in_threadpool(find)
    headers = {"X-Linked-ETag": entry.sha256, "ETag": f'"{entry.sha256}"', "Accept-Ranges": "bytes"}
    return FileResponse(path, media_type="application/octet-stream", headers=headers)
