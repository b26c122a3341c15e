"""What every program does before its own work: find the project's packages, read the settings.

Imported before any package is sure to exist, so the top of this module is the standard library alone.
"""

import argparse
import importlib.util
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from config import ROOT, ConfigError, Settings, flag_values

_REENTERED = "ANIMATION_VENV_ENTERED"


def ensure_venv() -> None:
    """Go on under the project's ``.venv`` where there is one and this is another Python. Returns where it is not.

    Called when a file is run as a program, before it imports a package. Does not return when it replaces the process:
    same arguments, same terminal, same process id.
    """
    venv = ROOT / ".venv"
    python = venv / "bin" / "python3"
    if Path(sys.prefix).resolve() == venv.resolve() or os.environ.get(_REENTERED) == str(venv) or not python.exists():
        return
    os.environ[_REENTERED] = str(venv)
    os.execv(python, [str(python), *sys.orig_argv[1:]])


def ensure_packages() -> None:
    """For ``python3 -c 'from tools.… import main; main()'``: under the system's Python go on under ``.venv``,
    and where neither has the packages end with one line (SystemExit 1)."""
    if importlib.util.find_spec("filelock") and importlib.util.find_spec("dotenv"):
        return
    if sys.orig_argv[1:] and not sys.flags.interactive and sys.argv[0] != "-":
        ensure_venv()
    sys.exit("Python packages are missing: run `bash start_monitoring.sh --setup-only` once")


def read_settings(parsed: argparse.Namespace, environ: Mapping[str, str] = os.environ) -> Settings:
    """Settings of the flags, the environment and the project's ``.env``. Raises ConfigError."""
    return Settings.load(
        environ, _read_dotenv(Path(environ.get("ANIMATION_DOTENV") or ROOT / ".env")), flag_values(parsed)
    )


def _read_dotenv(path: Path) -> dict[str, str | None]:
    """The lines of a ``.env`` file, never executed and nothing in them expanded; {} without the file."""
    from dotenv import dotenv_values

    try:
        with path.open(encoding="utf-8-sig") as stream:
            return dotenv_values(stream=stream, interpolate=False)
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "is not UTF-8 text"
        raise ConfigError(f"can't read {path}: {reason}; mend it, or delete it") from exc
