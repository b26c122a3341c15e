"""How a program gets under the project's ``.venv``: the first thing that it does, before it imports any package.

The standard library alone, and little of that: a program that goes on elsewhere imports it all over again.
"""

import os
import sys
from importlib.machinery import PathFinder  # a tenth of importlib.util
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
_ENTERED = "ANIMATION_VENV"


def enter_venv(module: str) -> None:
    """Go on under the project's ``.venv`` where that is needed. A program calls it with its ``__name__`` before it
    imports any package.

    Run as a file: always under the ``.venv`` where there is one. Imported (``python3 -c 'from tools.… import main'``):
    only where this Python lacks the packages. Where nothing has them: one line, exit status 1. When the process is
    replaced it keeps its arguments, terminal and process id.
    """
    if module == "__main__" or _are_packages_missing():
        _replace_process()
    if _are_packages_missing():
        sys.exit("Python packages are missing: run `bash start_monitoring.sh --setup-only` once")


def _are_packages_missing() -> bool:
    return not (PathFinder.find_spec("filelock") and PathFinder.find_spec("dotenv"))


def _replace_process() -> None:
    venv = _ROOT / ".venv"
    python = venv / "bin" / "python3"
    here_already = Path(sys.prefix).resolve() == venv.resolve() or os.environ.get(_ENTERED) == str(venv)
    # Code that came through a pipe or is being typed is gone with the process that read it.
    repeatable = len(sys.orig_argv) > 1 and sys.argv[0] not in {"", "-"}
    if repeatable and not here_already and python.exists():
        os.environ[_ENTERED] = str(venv)
        os.execv(python, [str(python), *sys.orig_argv[1:]])
