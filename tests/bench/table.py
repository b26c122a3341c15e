"""What a bench measured, as rows of a Markdown table beside its target."""

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Row:
    """``measured`` on ``data`` (median of ``repeats``); ``met`` None if there is no target."""

    what: str
    data: str
    repeats: int
    measured: str
    target: str = ""
    met: bool | None = None


def at_most(what: str, data: str, values: Sequence[float], limit: float, unit: str, shown: str = "") -> Row:
    """A row whose median may not pass ``limit``."""
    value = statistics.median(values)
    return Row(what, data, len(values), shown or f"{value:.3g} {unit}", f"≤ {limit:g} {unit}", value <= limit)


def at_least(what: str, data: str, values: Sequence[float], limit: float, unit: str, shown: str = "") -> Row:
    """A row whose median may not stay below ``limit``."""
    value = statistics.median(values)
    return Row(what, data, len(values), shown or f"{value:.3g} {unit}", f"≥ {limit:g} {unit}", value >= limit)


def told(what: str, data: str, values: Sequence[float], unit: str) -> Row:
    """A row without a target."""
    return Row(what, data, len(values), f"{statistics.median(values):.3g} {unit}")


def ratio(value: float, sides: tuple[float, float], unit: str, digits: tuple[int, int] = (2, 1)) -> str:
    """A ratio beside the two values that it is of, ``1.25 × (5.0 : 4.0 s)``; digits of the one and of the others."""
    one, other = (f"{side:.{digits[1]}f}" for side in sides)
    return f"{value:.{digits[0]}f} × ({one} : {other} {unit})"


def machine() -> str:
    """One line about where this runs."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    system = f"Linux {platform.release().split('-')[0]}, Python {platform.python_version()}"
    return f"{os.cpu_count()} cores of {model}, {memory:.0f} GB, {system}"


def table(rows: Sequence[Row], rights: str) -> str:
    """The rows as Markdown; ``rights``: whose they were measured with, "user" or "root"."""
    lines = ["| what | input | as | repeats | measured | target | met |", "| --- " * 7 + "|"]
    for row in rows:
        met = {None: "–", True: "yes", False: "**no**"}[row.met]
        measured = f"{row.repeats} | {row.measured} | {row.target or '–'} | {met}"
        lines.append(f"| {row.what} | {row.data} | {rights} | {measured} |")
    return "\n".join(lines)
