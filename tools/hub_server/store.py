"""The embedded hub's disk: plain folders that people see and copy files into, blobs stored once, commits kept for ever.

::

    ROOT/datasets/OWNER/NAME/…            the files, as the newest commit has them
    ROOT/.hub/blobs/ab/abcd…              content by sha256, hard links of the files above
    ROOT/.hub/repos/OWNER/NAME/commits.jsonl  one line per commit: {"id", "time", "message", "author", "changes":
                                          {PATH: {"sha256", "size", "stat": [size, mtime_ns, inode]} or null}}
    ROOT/.hub/repos/OWNER/NAME/repo.json  {"visibility", "created"}

The commit's line is the commit: it is appended and fsynced before the visible files are put in place, and a start (or
the next scan) puts in place what a crash left undone. Files that a person copies in become a commit at the next scan.
"""

import hashlib
import json
import os
import secrets
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from tools.core.errors import HubNotFound, HubRejected
from tools.core.folder import is_safe_path
from tools.runtime.files import replace_durably, sha256_of, sync_file, sync_folder

_SETTLED = 1.0  # s without a change after which a copied-in file is taken to be whole
_SCAN_EVERY = 0.5  # s
_TREES = 4  # older commits whose files are remembered per dataset
_PUBLIC, _PRIVATE = 5, 1

Stat = tuple[int, int, int]
"""Size in bytes, modification time in ns, inode."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file at some commit."""

    sha256: str
    size: int  # bytes
    stat: Stat  # of the visible file when it was read
    commit: str  # id of the commit that changed it last
    time: float  # epoch s of that commit


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit, as its line in ``commits.jsonl`` has it."""

    id: str
    time: float  # epoch s
    message: str
    author: str
    changes: Mapping[str, Mapping[str, Any] | None]  # by path; None: deleted


@dataclass(slots=True)
class Repo:
    """One dataset, loaded: its commits, and the tree of the newest one. ``lock`` guards all of it."""

    name: str  # OWNER/NAME
    files: Path  # the visible folder
    about: Path  # the folder of its commits
    commits: list[Commit] = field(default_factory=list)
    tree: dict[str, Entry] = field(default_factory=dict)
    visibility: int = _PUBLIC
    trees: dict[str, dict[str, Entry]] = field(default_factory=dict)  # of a few older commits, latest asked last
    scanned: float = 0.0  # monotonic s of the last scan
    lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def is_private(self) -> bool:
        return self.visibility == _PRIVATE


class HubStore:
    """All datasets below one root. Threads may share it, processes may not."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._repos: dict[str, Repo] = {}
        self._lock = threading.Lock()

    def prepare(self) -> None:
        """Make the folders. Raises OSError."""
        (self.root / "datasets").mkdir(parents=True, exist_ok=True)
        (self.root / ".hub" / "incoming").mkdir(parents=True, exist_ok=True)
        for left in (self.root / ".hub" / "incoming").iterdir():
            left.unlink()

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
        try:
            repo.visibility = int(json.loads((repo.about / "repo.json").read_bytes())["visibility"])
        except (OSError, ValueError, KeyError):
            repo.visibility = _PUBLIC  # a folder made by hand
        log = repo.about / "commits.jsonl"
        if log.exists():
            whole = 0
            with log.open("rb") as stream:
                for line in stream:
                    try:
                        commit = _commit(json.loads(line))
                    except (ValueError, KeyError, TypeError):
                        break  # torn by a crash: it never became a commit
                    whole += len(line)
                    repo.commits.append(commit)
                    _apply(repo.tree, commit)
            os.truncate(log, whole)
        self._put_in_place(repo, repo.commits[-1].changes if repo.commits else {})
        return repo

    # --- files that people copy in -------------------------------------------------------------------------------

    def _commit_disk_changes(self, repo: Repo) -> None:
        """Commit what changed on disk without us; files still being written wait for a later scan."""
        with repo.lock:
            now = time.monotonic()
            if now - repo.scanned < _SCAN_EVERY:
                return
            found = dict(_scan(repo.files))
            changes: dict[str, dict[str, Any] | None] = {}
            for path, stat in found.items():
                entry = repo.tree.get(path)
                if entry is not None and entry.stat == stat:
                    continue
                if abs(time.time() - stat[1] / 1e9) < _SETTLED:
                    continue
                if entry is not None and entry.stat[2] == stat[2]:
                    self._drop_edited(entry, stat)
                change = self._stored(repo.files / path, stat)
                if change is not None and (entry is None or entry.sha256 != change["sha256"]):
                    changes[path] = change
                elif change is not None and entry is not None:
                    repo.tree[path] = Entry(entry.sha256, entry.size, stat, entry.commit, entry.time)
            changes |= {path: None for path in repo.tree.keys() - found.keys()}
            if changes:
                self._append(repo, changes, "Files changed on disk", "disk")
            repo.scanned = time.monotonic()

    def _stored(self, path: Path, stat: Stat) -> dict[str, Any] | None:
        """Hash a visible file and keep its content as a blob; None if it changed meanwhile."""
        try:
            sha256 = sha256_of(path)
            if _stat(path) != stat:
                return None
            self._link_as_blob(path, sha256)
        except OSError:
            return None
        return {"sha256": sha256, "size": stat[0], "stat": list(stat)}

    def _drop_edited(self, entry: Entry, stat: Stat) -> None:
        """A visible file was edited in place, and with it the blob that is the same file on disk."""
        blob = self.blob_path(entry.sha256)
        if blob.exists() and _stat(blob)[2] == stat[2]:
            blob.unlink()

    def _link_as_blob(self, path: Path, sha256: str) -> None:
        """Give the content a second name, among the blobs."""
        blob = self.blob_path(sha256)
        if blob.exists() and blob.stat().st_size == path.stat().st_size:
            return
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.unlink(missing_ok=True)
        try:
            os.link(path, blob)
        except OSError:
            shutil.copyfile(path, blob)  # a file system without hard links

    # --- blobs ---------------------------------------------------------------------------------------------------

    def blob_path(self, sha256: str) -> Path:
        return self.root / ".hub" / "blobs" / sha256[:2] / sha256

    def has_blob(self, sha256: str, size: int) -> bool:
        path = self.blob_path(sha256)
        return path.exists() and path.stat().st_size == size

    def incoming(self) -> Path:
        """A new file name to receive into."""
        return self.root / ".hub" / "incoming" / f"{os.getpid()}-{threading.get_ident()}-{time.time_ns()}"

    def add_blob(self, received: Path, sha256: str) -> None:
        """Take a received file whose content has this sha256, durably."""
        blob = self.blob_path(sha256)
        blob.parent.mkdir(parents=True, exist_ok=True)
        sync_file(received)
        received.replace(blob)
        sync_folder(blob.parent)

    def content_of(self, repo: Repo, commit: str, path: str) -> tuple[Path, Entry]:
        """Where a file's content lies, as some commit has it. Raises HubNotFound if there is none, or it is gone."""
        entry = self.tree_at(repo, commit).get(path)
        if entry is None:
            raise HubNotFound(f"no file {path} at {commit[:8]}", status=404)
        visible, blob = repo.files / path, self.blob_path(entry.sha256)
        if visible.is_file() and _stat(visible) == entry.stat:
            return visible, entry
        if blob.is_file() and blob.stat().st_size == entry.size:
            return blob, entry
        raise HubNotFound(f"the content of {path} at {commit[:8]} is gone", status=404)

    # --- commits -------------------------------------------------------------------------------------------------

    def find(self, repo: Repo, revision: str) -> str:
        """A commit's id by branch name, full or short id. Raises HubNotFound; "" for a branch without commits."""
        if revision in {"", "master", "main"}:
            return repo.commits[-1].id if repo.commits else ""
        matching = [commit.id for commit in repo.commits if len(revision) >= 7 and commit.id.startswith(revision)]
        if len(matching) != 1:
            raise HubNotFound(f"no revision {revision!r}", status=404)
        return matching[0]

    def tree_at(self, repo: Repo, commit: str) -> dict[str, Entry]:
        """Every file at a commit, by path; not to be changed."""
        with repo.lock:
            if not commit:
                return {}
            if repo.commits and commit == repo.commits[-1].id:
                return repo.tree.copy()
            tree = repo.trees.pop(commit, None)
            if tree is None:
                tree = {}
                for one in repo.commits:
                    _apply(tree, one)
                    if one.id == commit:
                        break
            repo.trees[commit] = tree  # a folder is fetched file by file from the commit at which it was opened
            while len(repo.trees) > _TREES:
                del repo.trees[next(iter(repo.trees))]
            return tree

    def commit(self, repo: Repo, changes: Mapping[str, Mapping[str, Any] | None], message: str, author: str) -> str:
        """Make blobs visible at paths (``{"sha256", "size"}``) or delete (None), all or nothing; returns the id.

        Raises HubRejected for a path or a blob that can't be.
        """
        with repo.lock:
            for path, change in changes.items():
                if not is_safe_path(path) or path.split("/")[0] in {".git", ".hub"}:
                    raise HubRejected(f"{path!r} is not a path for a file", status=400)
                if change is not None and not self.has_blob(change["sha256"], change["size"]):
                    raise HubRejected(f"no blob {change['sha256']} of {change['size']} bytes is stored", status=400)
            _refuse_files_as_folders(repo, changes)
            filled = {path: None if c is None else self._filled(c) for path, c in changes.items()}
            commit = self._append(repo, filled, message, author)
            self._put_in_place(repo, commit.changes)
            return commit.id

    def _filled(self, change: Mapping[str, Any]) -> dict[str, Any]:
        stat = _stat(self.blob_path(change["sha256"]))
        return {"sha256": change["sha256"], "size": change["size"], "stat": list(stat)}

    def _append(self, repo: Repo, changes: Mapping[str, Any], message: str, author: str) -> Commit:
        parent = repo.commits[-1].id if repo.commits else ""
        now = time.time()
        facts = {"time": now, "message": message, "author": author, "changes": changes}
        identity = hashlib.sha1(f"{parent}\0{json.dumps(facts, sort_keys=True)}".encode("utf-8", "surrogatepass"))
        commit = Commit(identity.hexdigest(), now, message, author, changes)
        line = json.dumps({"id": commit.id, **facts}, ensure_ascii=True) + "\n"
        with (repo.about / "commits.jsonl").open("ab") as stream:
            stream.write(line.encode())
            stream.flush()
            os.fsync(stream.fileno())
        repo.commits.append(commit)
        _apply(repo.tree, commit)
        return commit

    def _put_in_place(self, repo: Repo, changes: Mapping[str, Mapping[str, Any] | None]) -> None:
        """Show a commit's files in the plain folder; done again after a crash, it changes nothing."""
        for path, change in changes.items():
            visible = repo.files / path
            if change is None:
                visible.unlink(missing_ok=True)
                continue
            entry = repo.tree.get(path)
            if entry is None or (visible.exists() and _stat(visible)[:2] == entry.stat[:2]):
                continue
            blob = self.blob_path(entry.sha256)
            if not blob.exists():
                continue
            visible.parent.mkdir(parents=True, exist_ok=True)
            temporary = visible.with_name(f".hub-{entry.sha256[:16]}")
            temporary.unlink(missing_ok=True)
            try:
                os.link(blob, temporary)
            except OSError:
                shutil.copy2(blob, temporary)
            temporary.replace(visible)
            stat = _stat(visible)
            repo.tree[path] = Entry(entry.sha256, entry.size, stat, entry.commit, entry.time)


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


def _commit(entry: Mapping[str, Any]) -> Commit:
    return Commit(
        str(entry["id"]), float(entry["time"]), str(entry["message"]), str(entry["author"]), dict(entry["changes"])
    )


def _apply(tree: dict[str, Entry], commit: Commit) -> None:
    for path, change in commit.changes.items():
        if change is None:
            tree.pop(path, None)
        else:
            size, mtime, inode = change["stat"]
            tree[path] = Entry(change["sha256"], change["size"], (size, mtime, inode), commit.id, commit.time)


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


def _scan(top: Path) -> Iterator[tuple[str, Stat]]:
    """(path, stat) of every plain file; links and our own temporary files are skipped."""
    pending = [(top, "")]
    while pending:
        folder, prefix = pending.pop()
        try:
            entries = list(os.scandir(folder))
        except OSError:
            continue
        for entry in entries:
            path = f"{prefix}{entry.name}"
            if entry.is_symlink() or entry.name.startswith(".hub-") or not is_safe_path(path):
                continue
            if entry.is_dir():
                pending.append((Path(entry.path), path + "/"))
            elif entry.is_file():
                stat = entry.stat()
                yield path, (stat.st_size, stat.st_mtime_ns, stat.st_ino)


def _stat(path: Path) -> Stat:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns, stat.st_ino
