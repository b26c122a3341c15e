"""The tests whose outcome may depend on whose they are, run by root as a user without any right.

Files and their owners, locks, ``WORK_DIR``, tmux, set-up, the check and the units of the service: tests marked
``another_user``. That user may not be able to read the checkout (below ``/root``, say), nor to write into it. So it
gets a folder of its own with a copy of the project, with the packages (hard links if possible), a home and a folder
for temporary files. The folder is removed in the end.

    .venv/bin/python3 -m tests.another_user [arguments of pytest]
"""

import contextlib
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.programs import ROOT

_NAME = "nobody"
_OURS_ALONE = (".git", ".venv", ".env", "log", "__pycache__", ".*_cache", ".hypothesis")  # is not copied
_NO_TESTS = 5  # exit status of pytest


@dataclass(frozen=True, slots=True)
class User:
    """An account, and the folder that it gets."""

    name: str
    uid: int
    gid: int
    top: Path

    def call(self, command: Sequence[str | Path]) -> int:
        """Run a program as this user, in its copy of the project; returns the exit status."""
        return subprocess.run(
            command,
            cwd=self.top / "project" if (self.top / "project").exists() else "/",
            env=self._environment(),
            user=self.uid,
            group=self.gid,
            extra_groups=[],
            umask=0o022,
            check=False,
        ).returncode

    def can(self, *command: str | Path) -> bool:
        """Whether a program runs as this user and ends well."""
        return self.call(["sh", "-c", 'exec "$@" 2>/dev/null', "sh", *command]) == 0

    def own(self, folder: Path) -> None:
        """Make a folder and all in it this user's, but for files with another name elsewhere."""
        for path in (folder, *folder.rglob("*")):
            if path.is_symlink() or path.is_dir() or path.stat().st_nlink == 1:
                os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def _environment(self) -> dict[str, str]:
        about_root = ("XDG_", "SUDO_", "TMUX", "PYTEST_XDIST", "MODELSCOPE", "VIRTUAL_ENV", "SHELL", "MAIL")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(about_root)}
        home = str(self.top / "home")
        return kept | {"HOME": home, "USER": self.name, "LOGNAME": self.name, "TMPDIR": str(self.top / "tmp")}


def main() -> int:
    """Returns the exit status of pytest; 2 when nobody but root can start that."""
    if os.geteuid() != 0:
        print("only root can run the tests as another user", file=sys.stderr)
        return 2
    with _user() as user:
        _copy_project(user)
        python = _copy_packages(user)
        arguments = [argument.replace(str(ROOT), str(user.top / "project")) for argument in sys.argv[1:]]
        # The paths of sockets, which may not be long, begin with the folder that pytest gives to a test.
        base = f"--basetemp={user.top / 'pytest'}"
        status = user.call([python, "-m", "pytest", "--another-user-only", base, *arguments])
    return 0 if status == _NO_TESTS else status


@contextlib.contextmanager
def _user() -> Iterator[User]:
    account = pwd.getpwnam(_NAME)
    for parent in dict.fromkeys((tempfile.gettempdir(), "/tmp", "/var/tmp")):
        top = Path(tempfile.mkdtemp(prefix="animation-", dir=parent))
        user = User(_NAME, account.pw_uid, account.pw_gid, top)
        try:
            for folder in (top / "home", top / "tmp"):
                folder.mkdir()
            user.own(top)
            if user.can("test", "-w", top):
                yield user
                return
        finally:
            shutil.rmtree(top, ignore_errors=True)
    raise SystemExit(f"no folder for temporary files that the user {_NAME} can reach")


def _copy_project(user: User) -> None:
    project = user.top / "project"
    shutil.copytree(ROOT, project, ignore=shutil.ignore_patterns(*_OURS_ALONE), symlinks=True)
    (project / "log").mkdir()
    user.own(project)


def _copy_packages(user: User) -> Path:
    """A ``.venv`` with the same packages and an interpreter that the user can run; returns that one's path."""
    base = _interpreter(user)
    venv = user.top / "project" / ".venv"
    subprocess.run([base, "-m", "venv", "--without-pip", venv], check=True)
    for library in (ROOT / ".venv" / "lib").iterdir():
        shutil.copytree(library, venv / "lib" / library.name, copy_function=_link, symlinks=True, dirs_exist_ok=True)
    for mark in (ROOT / ".venv").glob(".requirements*"):
        shutil.copy2(mark, venv)
    user.own(venv)
    return venv / "bin" / "python3"


def _interpreter(user: User) -> Path:
    """The one that ``.venv`` was made with, unless root keeps it; then the system's, of the same version."""
    version = f"python3.{sys.version_info.minor}"
    made_with = Path(sys.executable).resolve()
    for found in (made_with, *(Path(folder, version) for folder in ("/usr/local/bin", "/usr/bin"))):
        if user.can(found, "-c", "import ctypes, ensurepip, ssl, venv"):
            return found
    raise SystemExit(f"the user {user.name} can run neither {made_with} nor /usr/bin/{version}: install that one")


def _link(source: str, target: str) -> None:
    """A second name for a file that everybody can read, else a copy of it."""
    if Path(source).stat().st_mode & 0o004:
        with contextlib.suppress(OSError):  # another file system
            os.link(source, target)
            return
    shutil.copy2(source, target)


if __name__ == "__main__":
    sys.exit(main())
