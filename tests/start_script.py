"""``start_monitoring.sh`` as tests run it: with an environment of their own, and under a tmux server of their own."""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.patience import PATIENCE
from tests.programs import ROOT

TOKEN = "made-up-for-tests"
SCRIPT = ROOT / "start_monitoring.sh"


def run_script(
    environ: Mapping[str, str], *arguments: str, script: Path = SCRIPT, within: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """A start script to its end; ``within`` is the beginning of a command that runs it."""
    command = [*within, "bash", str(script), *arguments]
    return subprocess.run(command, env=environ, cwd="/", capture_output=True, text=True, timeout=PATIENCE, check=False)


@dataclass(frozen=True, slots=True)
class Tmux:
    """A tmux server by its socket."""

    socket: str

    def __call__(self, *arguments: str) -> str:
        command = ["tmux", "-L", self.socket, "-f", "/dev/null", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False).stdout
