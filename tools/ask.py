"""What ``start_monitoring.sh`` asks: the settings as the programs read them, and who runs.

So the shell parses no ``.env``, looks for no token, and believes no pid.
"""

import os.path
import sys

if not __package__:
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))

from tools.entry import enter_venv

enter_venv(__name__)

import argparse

from tools.flags import Parser
from tools.login import has_token
from tools.runtime.language import in_use
from tools.startup import read_settings, run_program
from tools.state.liveness import life_of

_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # what listens at every address, from here


def main(argv: list[str] | None = None) -> int:
    """The program; returns the exit status: 0, 1 for no, 2 for wrong settings."""
    parser = Parser(prog="start_monitoring", description="Answer start_monitoring.sh.")
    parser.add_argument("--notify", action="store_true", help="exit with status 0 if messages are to be sent, 1 if not")
    parser.add_argument("--frames", action="store_true", help="exit with status 0 if scene frames are wanted, 1 if not")
    parser.add_argument("--dashboard", action="store_true", help="print the address of the dashboard: host and port")
    parser.add_argument("--running", action="store_true", help="print the programs that run, one per line")
    return run_program(parser, argv, _run)


def _run(parsed: argparse.Namespace) -> int:
    settings = read_settings(parsed)
    if parsed.notify:
        return 0 if settings.notify.urls else 1
    if parsed.frames:
        return 0 if settings.frames.repo else 1
    if parsed.dashboard:
        host = settings.dashboard.host
        print(_ANYWHERE.get(host, host), settings.dashboard.port)
        return 0
    log_dir = settings.paths.log_dir
    if not parsed.running:
        print(log_dir, settings.paths.hub_dir, "token" if has_token(settings) else "no token", in_use().value, sep="\n")
        return 0
    for program in ("monitor", "processor"):
        life = life_of(log_dir, program)
        if life.running:
            print(f"{program} ({life.holder})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
