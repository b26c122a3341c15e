"""Benches, opt-in: ``.venv/bin/python3 -m tests.bench [NAME…]``; without a name all of them, which takes a while.

Prints one Markdown table: what, input, as whom, repeats, the median as measured, the target, and whether it is met.
Ratios are measured side by side in one run. A quiet machine gives better numbers than a busy one. Everything runs with
the rights of an ordinary user, since real-time threads, which only root gets, change what an encode takes.
"""

import argparse
import importlib
import logging
import os
import sys

from tests.bench.table import machine, table
from tests.rights import drop_all, whoami

NAMES = (
    *("poll", "detection", "queue_file", "idle", "conversion", "per_video", "folder", "big_file", "cores", "growth"),
    *("quality", "cluster", "damage", "mux", "renamed", "scenes", "frames"),
    *("race", "usable", "eta", "tuning", "target", "presets", "dashboard"),
)


def main() -> int:
    """Returns 1 if a target is not met."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    rights = parser.add_mutually_exclusive_group()
    rights.add_argument("--as-user", action="store_true", help="without root's rights (the default)")
    rights.add_argument("--as-root", action="store_true", help="with root's rights: with real-time threads")
    parsed = parser.parse_args()
    chosen = parsed.names or NAMES
    if unknown := set(chosen) - set(NAMES):
        parser.error(f"no bench is called {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    if parsed.as_root and os.geteuid() != 0:
        parser.error("--as-root: only root can")
    if not parsed.as_root:
        drop_all()
    logging.disable(logging.INFO)
    rows = []
    for name in chosen:
        print(f"{name} …", file=sys.stderr, flush=True)
        module = importlib.import_module(f"tests.bench.{name}")
        rows += module.run()
    print(f"Machine: {machine()}\nRun as: {whoami()}\n")
    print(table(rows, "root" if parsed.as_root else "user"))
    return 1 if any(row.met is False for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
