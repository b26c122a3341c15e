"""How many cores and how much memory this process may use: the machine's, or less if a container or a service says so.

What the kernel's control groups allow is read anew at each call, since it may be changed while a program runs. Source:
cgroups(7), the kernel's Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_SYSTEM = Path("/")
_MEMORY_V1 = "memory.limit_in_bytes"
# By version: what a group may take, what it has, and the names of what the kernel takes back of that when it is needed:
# files that were read twice too, as a source is by the check of its sha256 and by its encode, so that the cache of one
# film would keep all other encodes waiting.
_USAGE = {
    1: ((_MEMORY_V1,), "memory.usage_in_bytes", ("total_inactive_file", "total_active_file")),
    2: (("memory.max", "memory.high"), "memory.current", ("inactive_file", "active_file")),
}


@dataclass(frozen=True, slots=True)
class _Groups:
    """The groups of this process in one hierarchy, its own first."""

    version: int
    controllers: frozenset[str]  # of version 1
    folders: tuple[Path, ...]


def cores(system: Path = _SYSTEM) -> int:
    """Whole cores that may be used at the same time, at least 1: a share of a core counts as one.

    The least of what the process may be scheduled on and of the quotas of its control groups. ``system``: where /proc
    and /sys are looked for.
    """
    found = [float(len(os.sched_getaffinity(0)))]
    for groups in _groups(system):
        for folder in groups.folders:
            quota = _quota(folder, groups)
            found += [quota] if quota is not None else []
    return max(1, -int(-min(found) // 1))


def memory(system: Path = _SYSTEM) -> int:
    """Bytes that may be used: the machine's, or the least that its control groups allow. ``system`` as in ``cores``."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for groups in _groups(system):
        if groups.version == 2 or "memory" in groups.controllers:
            # Version 1 without a limit says a number that no machine has.
            names = _USAGE[groups.version][0]
            found += [int(said[0]) for folder in groups.folders for name in names if (said := _numbers(folder / name))]
    return min(number for number in found if number > 0)


def free_memory(system: Path = _SYSTEM) -> int:
    """Bytes that may be used beside what is in use now: of the machine, or the least that its control groups leave.
    Source: proc(5), MemAvailable."""
    named = dict(line.split(":", 1) for line in _lines(system / "proc/meminfo") if ":" in line)
    found = [1024 * int(said) for said in named.get("MemAvailable", "").split()[:1] if said.isdecimal()]
    for groups in _groups(system):
        if groups.version == 2 or "memory" in groups.controllers:
            found += [left for folder in groups.folders if (left := _left(folder, groups.version)) is not None]
    return max(0, min(found, default=memory(system)))


def _left(folder: Path, version: int) -> int | None:
    """Bytes that a group may take beside what it has; None without a limit."""
    names, usage, spare = _USAGE[version]
    limits = [said[0] for name in names if (said := _numbers(folder / name)) and said[0] > 0]
    used = _numbers(folder / usage)
    if not limits or not used:
        return None
    about = dict(line.split(" ", 1) for line in _lines(folder / "memory.stat") if " " in line)
    return min(limits) - used[0] + sum(int(about.get(name, "0")) for name in spare)


def kills_for_memory(system: Path = _SYSTEM) -> int | None:
    """How many processes the kernel has killed since it started since memory ran out, its own or that of a control
    group; None if it does not tell. Source: proc(5), /proc/vmstat, since Linux 4.13."""
    found = (line.split() for line in _lines(system / "proc/vmstat") if line.startswith("oom_kill "))
    return next((int(words[1]) for words in found if len(words) == 2 and words[1].isdecimal()), None)


def _quota(folder: Path, groups: _Groups) -> float | None:
    """Cores that a group may use on average; None without a limit."""
    if groups.version == 2:
        said = _numbers(folder / "cpu.max")
    elif "cpu" in groups.controllers:
        said = [*_numbers(folder / "cpu.cfs_quota_us"), *_numbers(folder / "cpu.cfs_period_us")]
    else:
        return None
    # "max" or -1: no limit
    return said[0] / said[1] if len(said) == 2 and said[0] > 0 and said[1] > 0 else None


def _numbers(path: Path) -> list[int]:
    """The whole numbers in a file; none if it is not there, or says something else first."""
    try:
        words = path.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError):
        return []
    return [int(word) for word in words] if all(re.fullmatch(r"-?[0-9]{1,20}", word) for word in words) else []


def _groups(system: Path) -> Iterator[_Groups]:
    """Each hierarchy that is mounted, with the groups that this process is in."""
    mounts = _lines(system / "proc/self/mountinfo")
    for line in _lines(system / "proc/self/cgroup"):
        _, names, own = (*line.split(":", 2), "", "")[:3]
        version, controllers = (2 if names == "" else 1), frozenset(names.split(","))
        for mount in mounts:
            place, _, about = mount.partition(" - ")
            columns, (kind, _, options) = place.split(" "), (*about.split(" ", 2), "", "")[:3]
            held = frozenset(options.split(","))
            fits = kind == "cgroup2" if version == 2 else kind == "cgroup" and bool(controllers & held)
            if fits and len(columns) > 4:
                top = system / _unescaped(columns[4]).lstrip("/")
                yield _Groups(version, controllers, _upwards(top, own, _unescaped(columns[3])))
                break


def _upwards(top: Path, own: str, root: str) -> tuple[Path, ...]:
    """The folders from a process's own group up to the mount point ``top``, which shows the group ``root``."""
    inside = os.path.relpath(own, root) if root.startswith("/") and own.startswith("/") else "."
    if inside.split("/")[0] == "..":  # a container that sees its own group at the top, under another name
        inside = "."
    folder = top / inside
    return (folder, *(above for above in folder.parents if above == top or top in above.parents))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _unescaped(path: str) -> str:
    """As mountinfo writes spaces and the like."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), path)
