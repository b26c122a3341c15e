"""How a program gets under the project's ``.venv``: the first thing that it does, before it imports any package.

The standard library alone, and little of that: a program that is replaced by another Python imports it all again.
"""

import os.path
import sys
from importlib.machinery import PathFinder  # a tenth of importlib.util

_ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))  # without pathlib, half of a start
_ENTERED = "ANIMATION_VENV"
_OLDEST = (3, 10)  # an older one may come first in PATH


def enter_venv(module: str) -> None:
    """Continue under the project's ``.venv`` if that is needed. A program calls it with its ``__name__`` before it
    imports any package, or any module of ours that an old Python can't read.

    Run as a file: always under the ``.venv``, if there is one. Imported (``python3 -c 'from tools.… import main'``):
    only if this Python lacks the packages. If nothing has them: one line, exit status 1. The process is replaced; it
    keeps its arguments, terminal and process id.
    """
    if module == "__main__" or _are_packages_missing():
        _replace_process()
    _refuse_old_python()
    if _are_packages_missing():
        sys.exit(
            "Python packages are missing: run `bash start_monitoring.sh --setup-only` once "
            "缺少 Python 软件包：请运行一次 `bash start_monitoring.sh --setup-only`"
        )


def prefer_venv() -> None:
    """For a program that does without packages: continue under the project's ``.venv`` where there is one."""
    if sys.version_info < _OLDEST or _are_packages_missing():
        _replace_process()
    _refuse_old_python()


def _refuse_old_python() -> None:
    if sys.version_info < _OLDEST:
        shown = ".".join(map(str, sys.version_info[:3]))
        sys.exit(
            f"Python 3.10 or newer is needed, this is {shown}: run `bash start_monitoring.sh --setup-only` once "
            f"需要 Python 3.10 以上，当前为 {shown}：请运行一次 `bash start_monitoring.sh --setup-only`"
        )


def _are_packages_missing() -> bool:
    return not (PathFinder.find_spec("filelock") and PathFinder.find_spec("dotenv"))


def _replace_process() -> None:
    venv = os.path.join(_ROOT, ".venv")
    python = os.path.join(venv, "bin", "python3")
    here_already = os.path.realpath(sys.prefix) == os.path.realpath(venv) or os.environ.get(_ENTERED) == venv
    # Code that came through a pipe or is being typed is gone with the process that read it.
    given = getattr(sys, "orig_argv", [])  # since Python 3.10
    if not given and os.path.isfile(sys.argv[0]):
        given = [sys.executable, *sys.argv]
    repeatable = len(given) > 1 and sys.argv[0] not in {"", "-"}
    if repeatable and not here_already and os.path.exists(python):
        os.environ[_ENTERED] = venv
        os.execv(python, [python, *given[1:]])
