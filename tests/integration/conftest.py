"""Fixtures of the integration tests."""

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.patience import PATIENCE
from tests.programs import ROOT
from tests.start_script import TOKEN, Tmux
from tools.runtime.spawn import set_caged


@pytest.fixture
def uncaged() -> Iterator[None]:
    """For stand-ins of ffmpeg, which start the real one and leave marks where a confined child may touch nothing."""
    set_caged(False)
    yield
    set_caged(True)


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """What ``start_monitoring.sh`` may see: little, and everything below a folder of the test."""
    if not (ROOT / ".venv" / ".requirements").exists():
        pytest.skip("the project is not set up: bash start_monitoring.sh --setup-only")
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    return kept | {
        "HOME": str(tmp_path),
        "ANIMATION_DOTENV": str(tmp_path / "none.env"),
        "LOG_DIR": str(tmp_path / "log"),
        "WORK_DIR": str(tmp_path / "work"),
        "HUB_DIR": str(tmp_path / "hub"),
        "MODELSCOPE_ENDPOINT": "http://127.0.0.1:9",
        "MODELSCOPE_API_TOKEN": TOKEN,
        "INPUT_REPO": "me/the-right-one",
        "TARGET_VMAF": "off",
        "MAX_SIZE_PERCENT": "off",
    }


@pytest.fixture
def tmux() -> Iterator[Tmux]:
    """A server that was started with another environment and by a user whose shell runs nothing."""
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    server = Tmux(f"test-{uuid.uuid4().hex[:12]}")
    stale = {"PATH": os.environ["PATH"], "INPUT_REPO": "me/a-stale-one", "CRF": "1000", "SHELL": "/bin/false"}
    subprocess.run(
        ["tmux", "-L", server.socket, "-f", "/dev/null", "new-session", "-d", "-s", "other", "sleep", "300"],
        env=stale,
        timeout=PATIENCE,
        check=True,
    )
    yield server
    server("kill-server")


@pytest.fixture
def tmux_environ(environ: dict[str, str], tmux: Tmux) -> dict[str, str]:
    return environ | {"TMUX_SOCKET": tmux.socket, "TMUX_SESSION": "tested"}
