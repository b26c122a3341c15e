"""Running something in a process of its own, and what that process used."""

import contextlib
import importlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True, slots=True)
class Used:
    """``wall`` and ``cpu`` s, ``peak`` bytes of memory, and what the function returned."""

    wall: float
    cpu: float
    peak: int
    value: Any


def in_process(function: Callable[..., Any], *arguments: Any) -> Used:
    """Call a module's function in a fresh process; arguments and value go through JSON."""
    command = [sys.executable, "-m", "tests.bench.measure", function.__module__, function.__name__]
    done = subprocess.run(
        [*command, json.dumps(arguments)], cwd=ROOT, stdout=subprocess.PIPE, check=True, stdin=subprocess.DEVNULL
    )
    return Used(**json.loads(done.stdout))


@contextlib.contextmanager
def serving(*arguments: str) -> Iterator[str]:
    """``python -m tests.bench.…`` in the background; gives the first line that it prints."""
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


def cpu_of(pid: int) -> float:
    """s of processor time of a living process and of the children that it has waited for."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in after_name[11:15]) / os.sysconf("SC_CLK_TCK")


def memory_of(pid: int) -> int:
    """Bytes of memory of a living process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Busy:
    """Samples how busy all cores are, as a share of 1, until ``shares`` is asked for."""

    def __init__(self, every: float = 0.25) -> None:
        self._every = every
        self._samples: list[tuple[float, float]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def _sample(self) -> None:
        before = jiffies()
        while not self._over.wait(self._every):
            now = jiffies()
            total, idle = now[0] - before[0], now[1] - before[1]
            self._samples.append((time.monotonic(), 1.0 - idle / total if total else 1.0))
            before = now

    def shares(self, begin: float, end: float) -> list[float]:
        """The samples between two monotonic times."""
        self._over.set()
        self._thread.join()
        return [share for when, share in self._samples if begin + self._every <= when <= end]


def jiffies() -> tuple[int, int]:
    """Of all cores since boot: all, and those in which nothing ran."""
    numbers = [int(part) for part in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return sum(numbers), numbers[3] + numbers[4]


def main() -> None:
    module, name, arguments = sys.argv[1:4]
    function = getattr(importlib.import_module(module), name)
    wall, cpu = time.perf_counter(), time.process_time()
    value = function(*json.loads(arguments))
    used = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "value": value}
    # The kernel's high-water mark, in kB, without what the parent had before the program began.
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    print(json.dumps({**used, "peak": int(peak.split()[1]) * 1024}))


if __name__ == "__main__":
    main()
