"""The embedded hub's disk: plain folders that people see and copy files into, blobs stored once, commits kept for ever.

::

    ROOT/datasets/OWNER/NAME/…            the files, as the newest commit has them
    ROOT/.hub/blobs/ab/abcd…              content by sha256, hard links of the files above
    ROOT/.hub/repos/OWNER/NAME/commits.jsonl  one line per commit
    ROOT/.hub/repos/OWNER/NAME/repo.json  {"visibility", "created"}

The commit's line is the commit: it is appended and fsynced before the visible files are put in place, and a start (or
the next scan) puts in place what a crash left undone. Files that a person copies in become a commit at the next scan.
"""

import hashlib
import json
import logging
import os
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from tools.core.errors import HubNotFound, HubRejected
from tools.core.folder import is_safe_path
from tools.hub_server.below import is_in_the_way, remove, scan, show, stat_of
from tools.hub_server.blobs import Blobs
from tools.hub_server.history import Commit, Entry, Stat, append, apply, entry_of, read_history
from tools.runtime.files import replace_durably, sha256_of

log = logging.getLogger("animation.hub_server")
_SETTLED = 1.0  # s without a change after which a copied-in file is taken to be whole
_SCAN_EVERY = 0.5  # s
_PUBLIC, _PRIVATE = 5, 1
VISIBILITIES = frozenset({_PRIVATE, 3, _PUBLIC})
_OLD_TREES = 4  # of a dataset, kept for whoever reads an old commit page by page


@dataclass(slots=True)
class Repo:
    """One dataset, loaded: its commits, and the tree of the newest one. ``lock`` guards all of it."""

    name: str  # OWNER/NAME
    files: Path  # the visible folder
    about: Path  # the folder of its commits
    commits: list[Commit] = field(default_factory=list)
    tree: dict[str, Entry] = field(default_factory=dict)
    unplaced: set[str] = field(default_factory=set)  # paths of files that could not be put in their place yet
    old_trees: dict[str, dict[str, Entry]] = field(default_factory=dict)  # by commit
    visibility: int = _PUBLIC
    scanned: float = 0.0  # monotonic s of the last scan
    lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def is_private(self) -> bool:
        return self.visibility == _PRIVATE


class HubStore:
    """All datasets below one root. Threads may share it, processes may not."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.blobs = Blobs(root / ".hub")
        self._repos: dict[str, Repo] = {}
        self._lock = threading.Lock()

    def prepare(self) -> None:
        """Make the folders. Raises OSError."""
        (self.root / "datasets").mkdir(parents=True, exist_ok=True)
        self.blobs.prepare()

    # --- repos ---------------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """Every dataset as owner/name."""
        found = (self.root / "datasets").glob("*/*")
        return sorted(f"{path.parent.name}/{path.name}" for path in found if path.is_dir())

    def repo(self, name: str) -> Repo:
        """A dataset, its files scanned for changes. Raises HubNotFound."""
        files = self.root / "datasets" / name
        if not is_safe_path(name) or name.count("/") != 1 or not files.is_dir():
            raise HubNotFound(f"no dataset {name}", status=404)
        with self._lock:
            repo = self._repos.get(name)
            if repo is None:
                repo = self._repos[name] = self._load(name)
        self._commit_disk_changes(repo)
        return repo

    def create(self, name: str, visibility: int) -> None:
        """A new, empty dataset. Raises HubRejected (409) if it exists."""
        owner, _, short = name.partition("/")
        if not is_safe_path(name) or name.count("/") != 1 or owner.startswith(".") or short.startswith("."):
            raise HubRejected(f"{name!r} is not a name for a dataset: owner/name", status=400)
        files = self.root / "datasets" / name
        about = self.root / ".hub" / "repos" / name
        with self._lock:
            if files.exists():
                raise HubRejected(f"{name} exists already", status=409)
            about.mkdir(parents=True, exist_ok=True)
            replace_durably(
                about / "repo.json", json.dumps({"visibility": visibility, "created": time.time()}).encode()
            )
            files.mkdir(parents=True)

    def _load(self, name: str) -> Repo:
        repo = Repo(name, self.root / "datasets" / name, self.root / ".hub" / "repos" / name)
        repo.about.mkdir(parents=True, exist_ok=True)
        repo.visibility = _visibility(repo.about / "repo.json")
        repo.commits = read_history(_history(repo))
        for commit in repo.commits:
            apply(repo.tree, commit)
        self._put_in_place(repo, repo.commits[-1].changes if repo.commits else {})
        return repo

    # --- files that people copy in -------------------------------------------------------------------------------

    def _commit_disk_changes(self, repo: Repo) -> None:
        """Commit what changed on disk without us; files still being written wait for a later scan."""
        with repo.lock:
            now = time.monotonic()
            if now - repo.scanned < _SCAN_EVERY:
                return
            self._put_in_place(repo, {path: {} for path in repo.unplaced & repo.tree.keys()})
            found = dict(scan(repo.files))
            changes: dict[str, dict[str, Any] | None] = {}
            for path, stat in found.items():
                entry = repo.tree.get(path)
                if entry is not None and entry.stat == stat:
                    continue
                if abs(time.time() - stat[1] / 1e9) < _SETTLED:
                    continue
                if entry is not None and entry.stat[2] == stat[2]:
                    self.blobs.drop_edited(entry.sha256, stat[2])
                change = self._stored(repo.files / path, stat)
                if change is not None and (entry is None or entry.sha256 != change["sha256"]):
                    changes[path] = change
                elif change is not None and entry is not None:
                    repo.tree[path] = Entry(entry.sha256, entry.size, stat, entry.commit, entry.time)
            changes |= {path: None for path in repo.tree.keys() - found.keys() - repo.unplaced}
            if changes:
                self._append(repo, changes, "Files changed on disk", "disk")
            repo.scanned = time.monotonic()

    def _stored(self, path: Path, stat: Stat) -> dict[str, Any] | None:
        """Hash a visible file and keep its content as a blob; None if it changed meanwhile."""
        try:
            sha256 = sha256_of(path)
            if stat_of(path.lstat()) != stat:
                return None
            self.blobs.link(path, sha256, stat)
        except OSError:
            return None
        return {"sha256": sha256, "size": stat[0], "stat": list(stat)}

    # --- reads --------------------------------------------------------------------------------------------------

    def content_of(self, repo: Repo, commit: str, path: str) -> tuple[Path, Entry]:
        """Where a file's content lies, as some commit has it. Raises HubNotFound if there is none, or it is gone."""
        entry = _entry_at(repo, commit, path)
        if entry is None:
            raise HubNotFound(f"no file {path} at {commit[:8]}", status=404)
        visible, blob = repo.files / path, self.blobs.path(entry.sha256)
        if visible.is_file() and stat_of(visible.stat()) == entry.stat:
            return visible, entry
        if blob.is_file() and blob.stat().st_size == entry.size:
            return blob, entry
        raise HubNotFound(f"the content of {path} at {commit[:8]} is gone", status=404)

    def find(self, repo: Repo, revision: str) -> str:
        """A commit's id by branch name, full or short id. Raises HubNotFound; "" for a branch without commits."""
        if revision in {"", "master", "main"}:
            return repo.commits[-1].id if repo.commits else ""
        matching = [commit.id for commit in repo.commits if len(revision) >= 7 and commit.id.startswith(revision)]
        if len(matching) != 1:
            raise HubNotFound(f"no revision {revision!r}", status=404)
        return matching[0]

    def tree_at(self, repo: Repo, commit: str) -> Mapping[str, Entry]:
        """Every file at a commit, by path; not to be changed."""
        with repo.lock:
            if not commit:
                return {}
            if repo.commits and commit == repo.commits[-1].id:
                return repo.tree.copy()
            if commit in repo.old_trees:
                return repo.old_trees[commit]
            commits = repo.commits.copy()
        tree: dict[str, Entry] = {}
        for one in commits:
            apply(tree, one)
            if one.id == commit:
                break
        with repo.lock:
            while len(repo.old_trees) >= _OLD_TREES:
                repo.old_trees.pop(next(iter(repo.old_trees)))
            repo.old_trees[commit] = tree
        return tree

    # --- commits -------------------------------------------------------------------------------------------------

    def commit(self, repo: Repo, changes: Mapping[str, Mapping[str, Any] | None], message: str, author: str) -> str:
        """Make blobs visible at paths (``{"sha256", "size"}``) or delete (None), all or nothing; returns the id.

        Raises HubRejected for a path or a blob that can't be.
        """
        with repo.lock, self.blobs.lock:
            for path, change in changes.items():
                if not is_safe_path(path) or path.split("/")[0] in {".git", ".hub"}:
                    raise HubRejected(f"{path!r} is not a path for a file", status=400)
                if change is not None and not self.blobs.has(change["sha256"], change["size"]):
                    raise HubRejected(f"no blob {change['sha256']} of {change['size']} bytes is stored", status=400)
            _refuse_files_as_folders(repo, changes)
            filled = {path: None if c is None else self._filled(c) for path, c in changes.items()}
            commit = self._append(repo, filled, message, author)
            self._put_in_place(repo, commit.changes)
            return commit.id

    def _filled(self, change: Mapping[str, Any]) -> dict[str, Any]:
        stat = stat_of(self.blobs.path(change["sha256"]).stat())
        return {"sha256": change["sha256"], "size": change["size"], "stat": list(stat)}

    def _append(self, repo: Repo, changes: Mapping[str, Any], message: str, author: str) -> Commit:
        parent = repo.commits[-1].id if repo.commits else ""
        now = time.time()
        facts = {"time": now, "message": message, "author": author, "changes": changes}
        identity = hashlib.sha1(f"{parent}\0{json.dumps(facts, sort_keys=True)}".encode("utf-8", "surrogatepass"))
        commit = Commit(identity.hexdigest(), now, message, author, changes)
        append(_history(repo), (json.dumps({"id": commit.id, **facts}, ensure_ascii=True) + "\n").encode())
        repo.commits.append(commit)
        apply(repo.tree, commit)
        return commit

    def _put_in_place(self, repo: Repo, changes: Mapping[str, Mapping[str, Any] | None]) -> None:
        """Show a commit's files in the plain folder; done again after a crash, it changes nothing.

        What is in the way of a file (a link instead of its folder) is somebody's change on disk; what fails otherwise
        (a full disk) is tried again at the next scan.
        """
        for path, change in changes.items():
            entry = repo.tree.get(path)
            repo.unplaced.discard(path)
            try:
                if change is None and entry is None:
                    remove(repo.files, path)
                elif entry is not None and self.blobs.path(entry.sha256).exists():
                    stat = show(repo.files, path, self.blobs.path(entry.sha256), entry.stat)
                    repo.tree[path] = Entry(entry.sha256, entry.size, stat, entry.commit, entry.time)
            except OSError as exc:
                log.warning("%s: %s is not in its place: %s", repo.name, path, exc.strerror or exc)
                if not is_in_the_way(exc):
                    repo.unplaced.add(path)

    def collect(self) -> tuple[int, int]:
        """Remove what no commit holds, see ``Blobs.collect``; (how many blobs, bytes). Raises OSError."""
        return self.blobs.collect(time.time())


def _history(repo: Repo) -> Path:
    return repo.about / "commits.jsonl"


def _visibility(path: Path) -> int:
    """As ``repo.json`` says: public without one, which is a folder made by hand; private if it can't be read."""
    try:
        visibility = int(json.loads(path.read_bytes())["visibility"])
    except FileNotFoundError:
        return _PUBLIC
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        visibility = 0
    if visibility in VISIBILITIES:
        return visibility
    log.warning("can't read %s: the dataset is private until it is fixed or deleted", path)
    return _PRIVATE


def _entry_at(repo: Repo, commit: str, path: str) -> Entry | None:
    """One file at a commit, found without the others."""
    with repo.lock:
        if repo.commits and commit == repo.commits[-1].id:
            return repo.tree.get(path)
        commits = repo.commits.copy()
    is_there = False
    for one in reversed(commits):
        is_there = is_there or one.id == commit
        if is_there and path in one.changes:
            change = one.changes[path]
            return None if change is None else entry_of(one, change)
    return None


def read_token(root: Path) -> tuple[str, str]:
    """The token that writes need and where a person finds it; made at the first call, readable by its owner alone."""
    given = os.environ.get("HUB_TOKEN", "").strip()
    if given:
        return given, "HUB_TOKEN"
    path = root / ".token"
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(secrets.token_hex(24) + "\n")
    return path.read_text(encoding="utf-8").strip(), str(path)


def _refuse_files_as_folders(repo: Repo, changes: Mapping[str, Any]) -> None:
    for path, change in changes.items():
        above = [repo.files / parent for parent in PurePosixPath(path).parents if str(parent) != "."]
        if any(folder.is_symlink() for folder in above):
            raise HubRejected(f"{path} is below a link, which may lead out of the dataset", status=400)
        if change is not None and (repo.files / path).is_dir():
            raise HubRejected(f"{path} is a folder, so it can't be a file", status=400)
    after = (repo.tree.keys() | {path for path, c in changes.items() if c is not None}) - {
        path for path, c in changes.items() if c is None
    }
    for path in changes:
        parts = path.split("/")
        for depth in range(1, len(parts)):
            if "/".join(parts[:depth]) in after and path in after:
                raise HubRejected(f"{'/'.join(parts[:depth])} is a file, so {path} can't be below it", status=400)
