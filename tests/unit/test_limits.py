"""Cores and memory that this process may use, on made-up trees of control groups."""

import os
from pathlib import Path

import pytest

from tools.runtime import limits

V2 = "30 20 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"
CPU_V1 = "31 20 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct"
MEMORY_V1 = "32 20 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"
NO_LIMIT_V1 = "9223372036854771712"
GB = 10**9
MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)))


def system(root: Path, groups: str, mounts: list[str], files: dict[str, str]) -> Path:
    """What a kernel shows of control groups."""
    files = {"proc/self/cgroup": groups, "proc/self/mountinfo": "\n".join(["1 0 8:1 / / rw - ext4 x rw", *mounts])} | {
        f"sys/fs/cgroup/{name}": content for name, content in files.items()
    }
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n", encoding="utf-8")
    return root


def test_without_control_groups_it_is_the_machine(tmp_path: Path) -> None:
    assert limits.cores(tmp_path) == 8
    assert limits.memory(tmp_path) == MACHINE


def test_a_group_without_limits_has_the_machine(tmp_path: Path) -> None:
    files = {"cpu.max": "max 100000", "memory.max": "max", "memory.high": "max"}
    here = system(tmp_path, "0::/", [V2], files)
    assert (limits.cores(here), limits.memory(here)) == (8, MACHINE)


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("200000 100000", 2), ("150000 100000", 2), ("10000 100000", 1), ("6400000 100000", 8), ("nonsense", 8)],
)
def test_a_container_has_the_cores_of_its_quota(tmp_path: Path, quota: str, cores: int) -> None:
    assert limits.cores(system(tmp_path, "0::/", [V2], {"cpu.max": quota})) == cores


def test_the_least_of_all_groups_up_to_the_top_counts(tmp_path: Path) -> None:
    files = {
        "system.slice/cpu.max": "100000 100000",
        "system.slice/animation.service/cpu.max": "400000 100000",
        "system.slice/animation.service/memory.max": str(3 * GB),
        "system.slice/memory.max": str(4 * GB),
        "system.slice/memory.high": str(2 * GB),
        "other.slice/memory.max": str(GB),
    }
    here = system(tmp_path, "0::/system.slice/animation.service", [V2], files)
    assert (limits.cores(here), limits.memory(here)) == (1, 2 * GB)


def test_version_1_is_read_where_it_is_mounted(tmp_path: Path) -> None:
    files = {
        "cpu,cpuacct/box/cpu.cfs_quota_us": "250000",
        "cpu,cpuacct/box/cpu.cfs_period_us": "100000",
        "cpu,cpuacct/cpu.cfs_quota_us": "-1",
        "cpu,cpuacct/cpu.cfs_period_us": "100000",
        "memory/box/memory.limit_in_bytes": str(GB),
        "memory/memory.limit_in_bytes": NO_LIMIT_V1,
    }
    here = system(tmp_path, "9:memory:/box\n4:cpu,cpuacct:/box\n0::/", [CPU_V1, MEMORY_V1, V2], files)
    assert (limits.cores(here), limits.memory(here)) == (3, GB)


def test_a_container_of_version_1_sees_its_own_group_at_the_top(tmp_path: Path) -> None:
    mount = MEMORY_V1.replace(" / /sys", " /docker/abc /sys")
    here = system(tmp_path, "9:memory:/docker/abc", [mount], {"memory/memory.limit_in_bytes": str(GB)})
    assert limits.memory(here) == GB


def test_a_group_outside_of_what_is_mounted_counts_as_the_top(tmp_path: Path) -> None:
    mount = MEMORY_V1.replace(" / /sys", " /docker/abc /sys")
    here = system(tmp_path, "9:memory:/elsewhere", [mount], {"memory/memory.limit_in_bytes": str(GB)})
    assert limits.memory(here) == GB


def test_a_mount_point_with_a_space_is_found(tmp_path: Path) -> None:
    mount = V2.replace("/sys/fs/cgroup", r"/sys/fs/cgroup/my\040groups")
    here = system(tmp_path, "0::/", [mount], {"my groups/memory.max": str(GB)})
    assert limits.memory(here) == GB


def test_this_machine_can_be_asked() -> None:
    assert 1 <= limits.cores() <= 8
    assert 0 < limits.memory() <= MACHINE
    assert 0 < limits.free_memory() < MACHINE


def test_free_is_what_the_machine_or_a_group_has_left_with_the_cache_that_can_go(tmp_path: Path) -> None:
    files = {
        "a/memory.max": str(4 * GB),
        "a/memory.current": str(3 * GB),
        "a/memory.stat": f"anon 1\ninactive_file {GB // 4}\nactive_file {GB // 4}\nshmem {GB}",
    }
    here = system(tmp_path, "0::/a", [V2], files)
    (here / "proc/meminfo").write_text(f"MemTotal: 9 kB\nMemAvailable:   {2 * 10**6} kB\n")
    assert limits.free_memory(here) == 1.5 * GB
    (here / "proc/meminfo").write_text(f"MemTotal: 9 kB\nMemAvailable:   {10**6} kB\n")
    assert limits.free_memory(here) == 1024 * 10**6
    (here / "sys/fs/cgroup/a/memory.current").write_text(str(5 * GB))
    assert limits.free_memory(here) == 0


def test_free_of_version_1_and_of_a_kernel_that_does_not_tell(tmp_path: Path) -> None:
    files = {
        "memory/box/memory.limit_in_bytes": str(4 * GB),
        "memory/box/memory.usage_in_bytes": str(3 * GB),
        "memory/box/memory.stat": "inactive_file 9\ntotal_inactive_file 200\ntotal_active_file 300",
        "memory/memory.limit_in_bytes": NO_LIMIT_V1,
        "memory/memory.usage_in_bytes": str(5 * GB),
    }
    here = system(tmp_path, "9:memory:/box", [MEMORY_V1], files)
    assert limits.free_memory(here) == GB + 500
    assert limits.free_memory(tmp_path / "nothing") == MACHINE


def test_kernel_says_how_often_it_killed_for_memory(tmp_path: Path) -> None:
    assert limits.kills_for_memory(tmp_path) is None
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/vmstat").write_text("drop_slab 0\noom_kill_x 9\noom_kill 3\n")
    assert limits.kills_for_memory(tmp_path) == 3
