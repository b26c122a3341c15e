"""What the embedded hub's answers are made from: the store, the token, and the listings that were asked for last."""

import hashlib
import hmac
import threading
from collections.abc import Mapping

from starlette.exceptions import HTTPException
from starlette.requests import Request

from tools.core.errors import HubNotFound
from tools.hub_server.history import Entry
from tools.hub_server.store import HubStore, Repo


def number_of(name: str) -> int:
    """The number of a dataset, by which some clients ask for it."""
    return int(hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:12], 16)


Listing = list[tuple[str, Entry | None]]


class Hub:
    """One hub. A listing is asked for page by page, so the last ones are kept."""

    def __init__(self, store: HubStore, token: str, max_page_size: int) -> None:
        self.store = store
        self.token = token
        self.max_page_size = max_page_size
        self._listings: dict[tuple[str, str, str, bool], Listing] = {}
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
        """The dataset of the path, by its name or its number; a private one does not exist for strangers."""
        known = request.path_params
        name = self._named(known["number"]) if "number" in known else f"{known['owner']}/{known['name']}"
        repo = self.store.repo(name)
        if repo.is_private and not self.is_owner(request):
            raise HubNotFound(f"no dataset {repo.name}", status=404)
        return repo

    def _named(self, number: int) -> str:
        found = (name for name in self.store.names() if number_of(name) == number)
        return next(found, f"number/{number}")

    def listing(self, repo: Repo, commit: str, root: str, recursive: bool) -> Listing:
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


def _listed(tree: Mapping[str, Entry], root: str, recursive: bool) -> Listing:
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
