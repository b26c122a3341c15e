"""Benches, opt-in: ``.venv/bin/python3 -m tests.bench [NAME…]``; without a name all of them, which takes a while.

Prints one Markdown table: what, input, repeats, the median as measured, what is to be reached, and whether it is.
Ratios are measured side by side in one run. A quiet machine gives better numbers than a busy one.
"""

import argparse
import importlib
import logging
import sys

from tests.bench.table import machine, table

NAMES = (
    *("poll", "detection", "queue_file", "idle", "conversion", "folder", "big_file", "cores", "growth"),
    *("quality", "cluster"),
)


def main() -> int:
    """Returns 1 where something is not reached."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    chosen = parser.parse_args().names or NAMES
    if unknown := set(chosen) - set(NAMES):
        parser.error(f"no bench is called {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    logging.disable(logging.INFO)
    rows = []
    for name in chosen:
        print(f"{name} …", file=sys.stderr, flush=True)
        module = importlib.import_module(f"tests.bench.{name}")
        rows += module.run()
    print(f"Machine: {machine()}\n")
    print(table(rows))
    return 1 if any(row.reached is False for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
