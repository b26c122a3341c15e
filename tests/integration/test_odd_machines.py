"""start_monitoring.sh where something is odd: an old Python, a read-only checkout, other shells, no room, no net."""

import os
import shlex
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import filelock
import pip
import pytest

import config
from tests.integration.test_deploy import copy_project
from tests.programs import run_program
from tests.start_script import Tmux, run_script
from tests.unit.test_startup import PROGRAMS
from tools.state.liveness import life_of
from tools.state.singleton import Singleton

pytestmark = pytest.mark.another_user

OLD = """
import dataclasses, os, sys
os.environ.pop("PYTHONPATH")  # what this one starts is another one
sys.version_info = (3, 9, 2, "final", 0)
del sys.orig_argv
new = dataclasses.dataclass
def dataclass(*args, slots=None, kw_only=None, **more):
    if slots is not None or kw_only is not None:
        raise TypeError("dataclass() got an unexpected keyword argument 'slots'")
    return new(*args, **more)
dataclasses.dataclass = dataclass
"""


@pytest.fixture
def old_python(environ: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """``environ`` with a Python 3.9 first in PATH: a real one if there is any, else one that lacks what that lacks."""
    fakes = tmp_path / "old"
    fakes.mkdir()
    asked = ["python3.9", "-c", "import sys; print(sys.executable)"]
    found = subprocess.run(asked, capture_output=True, text=True, check=False) if shutil.which(asked[0]) else None
    if found is not None and found.returncode == 0:
        (fakes / "python3").symlink_to(found.stdout.strip())
    else:
        print("no python3.9 in PATH: a stand-in for it is used")
        (fakes / "sitecustomize.py").write_text(OLD, encoding="utf-8")
        starter = '#!/bin/sh\n[ "$1" != -V ] || exec echo Python 3.9.2\n'
        starter += f'PYTHONPATH={fakes} exec {Path(sys.executable).resolve()} "$@"\n'
        (fakes / "python3").write_text(starter, encoding="utf-8")
        (fakes / "python3").chmod(0o755)
    return environ | {"PATH": f"{fakes}:{environ['PATH']}"}


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_program_under_an_old_python_continues_under_the_venv(old_python: dict[str, str], path: Path) -> None:
    done = subprocess.run(
        ["python3", path, "--version"], env=old_python, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0 and done.stdout.endswith(" 1.0.0\n"), done.stderr


def test_old_python_is_no_hindrance_to_set_up_and_check(old_python: dict[str, str], tmp_path: Path) -> None:
    done = run_script(old_python, "--setup-only")
    assert done.returncode == 0 and done.stdout.count("\n") == 1 and done.stderr == ""
    check = run_script(old_python, script=config.ROOT / "deploy" / "check_animation_service.sh")
    assert check.returncode == 2 and check.stdout.startswith("CRITICAL - monitor is not running"), check.stderr


@pytest.mark.parametrize("typed", ["start_monitoring.sh --setup-only", "tools/health.py", "tools/doctor.py"])
def test_old_python_alone_is_told_in_one_line(old_python: dict[str, str], tmp_path: Path, typed: str) -> None:
    project = copy_project(tmp_path / "project")
    (project / ".venv").unlink()
    for newer in range(10, 15):
        (tmp_path / "old" / f"python3.{newer}").symlink_to(tmp_path / "old" / "python3")
    name, *flags = typed.split()
    command = ["bash" if name.endswith(".sh") else "python3", str(project / name), *flags]
    done = subprocess.run(command, env=old_python, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1 and done.stdout == "" and done.stderr.count("\n") == 1, done.stderr
    assert "Python 3.10 or newer is needed, this is" in done.stderr and "3.9." in done.stderr


# --- other shells, other checkouts ----------------------------------------------------------------------------------


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return copy_project(tmp_path / "my 番剧 it's" / "project")


@pytest.fixture
def own_server(environ: dict[str, str]) -> Iterator[dict[str, str]]:
    """``environ`` with a tmux server that the script itself starts."""
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    socket = f"test-{uuid.uuid4().hex[:12]}"
    yield environ | {"TMUX_SOCKET": socket, "TMUX_SESSION": "tested"}
    Tmux(socket)("kill-server")


@pytest.mark.parametrize("shell", ["bash", "dash", "fish", "csh", "tcsh", "nologin"])
def test_login_shell_that_is_another_one(
    own_server: dict[str, str], checkout: Path, tmp_path: Path, shell: str
) -> None:
    """In a folder with a Chinese name, under LANG=C; what is printed is pasted into that shell."""
    found = shutil.which(shell, path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        pytest.skip(f"{shell} is not installed")
    env = own_server | {"SHELL": found, "LANG": "C", "LC_ALL": "C", "LOG_DIR": str(tmp_path / "it's 日志")}
    started = run_script(env, script=checkout / "start_monitoring.sh")
    assert started.returncode == 0 and started.stderr == "", started.stderr
    for program in ("monitor", "processor"):
        assert life_of(tmp_path / "it's 日志", program).running
    if shell == "nologin":
        return
    printed = {line.split()[0]: line for line in started.stdout.splitlines() if line.startswith("  ")}
    bare = {name: env[name] for name in ("PATH", "HOME", "LC_ALL")}
    for word, expected in (("status", "\nMonitor: running"), ("queue", "\nMonitor: running"), ("stop", "")):
        line = printed[word]
        command = line[line.index("tmux " if word == "stop" else "env ") :]
        done = subprocess.run([found, "-c", command], env=bare, cwd="/", capture_output=True, timeout=60, check=False)
        assert done.returncode == 0 and expected in f"\n{done.stdout.decode()}", done.stderr


def test_line_for_cron_starts_everything_at_boot_with_the_little_that_cron_gives(
    environ: dict[str, str], checkout: Path, tmp_path: Path
) -> None:
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    readme = (config.ROOT / "README.md").read_text(encoding="utf-8")
    line = next(line for line in readme.splitlines() if line.startswith("@reboot "))
    command = line.removeprefix("@reboot ").replace("/opt/animation", shlex.quote(str(checkout)))
    names = ("MODELSCOPE_ENDPOINT", "MODELSCOPE_API_TOKEN", "INPUT_REPO", "WORK_DIR")
    (checkout / ".env").write_text("".join(f"{name}={environ[name]}\n" for name in names), encoding="utf-8")
    python = f"{Path(sys.executable).resolve().parent}:/usr/bin:/bin"
    given = {"HOME": str(tmp_path), "PATH": python, "SHELL": "/bin/sh", "TMUX_TMPDIR": str(tmp_path)}
    done = subprocess.run(["sh", "-c", command], env=given, cwd=tmp_path, check=False, capture_output=True, timeout=120)
    try:
        said = (checkout / "log" / "boot.log").read_text(encoding="utf-8")
        assert done.returncode == 0 and "Started in tmux session animation_monitor" in said
        assert all(life_of(checkout / "log", program).running for program in ("monitor", "processor"))
    finally:
        subprocess.run(["tmux", "kill-server"], env=given, check=False)


def test_check_from_another_pid_namespace_sees_by_the_locks_who_runs(environ: dict[str, str], tmp_path: Path) -> None:
    within = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc")
    if subprocess.run([*within, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("no other PID namespace can be made here")
    check = config.ROOT / "deploy" / "check_animation_service.sh"
    locks = [Singleton(tmp_path / "log", program) for program in ("monitor", "processor")]
    for lock in locks:
        lock.acquire()
    told = run_script(environ, script=check, within=within).stdout
    for lock in locks:
        lock.release()
    assert told.startswith("OK"), told  # they have only just begun
    assert "monitor is not running; processor is not running" in run_script(environ, script=check, within=within).stdout


@pytest.fixture
def read_only(checkout: Path) -> Iterator[tuple[str, ...]]:
    """The beginning of a command that can change nothing in ``checkout``."""
    if os.geteuid() == 0:
        mount = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1"'
        if subprocess.run(["unshare", "--mount", "sh", "-c", mount, "sh", checkout], check=False).returncode != 0:
            pytest.skip("a folder can't be mounted read-only here")
        yield ("unshare", "--mount", "sh", "-c", mount + ' && shift && exec "$@"', "sh", str(checkout))
        return
    folders = [checkout, *(path for path in checkout.rglob("*") if path.is_dir() and not path.is_symlink())]
    for folder in folders:
        folder.chmod(0o555)
    yield ()
    for folder in folders:
        folder.chmod(0o755)


def test_read_only_checkout_with_its_log_folder_elsewhere_works_and_home_may_be_unset(
    own_server: dict[str, str], checkout: Path, tmp_path: Path, read_only: tuple[str, ...]
) -> None:
    env = {name: value for name, value in own_server.items() if name != "HOME"}
    started = run_script(env, script=checkout / "start_monitoring.sh", within=read_only)
    assert started.returncode == 0 and started.stderr == "", started.stderr
    assert all(life_of(tmp_path / "log", program).running for program in ("monitor", "processor"))


@pytest.mark.parametrize("arguments", [(), ("--demo",), ("--foreground",)])
def test_read_only_checkout_with_its_log_folder_inside_is_one_line(
    own_server: dict[str, str], checkout: Path, read_only: tuple[str, ...], arguments: tuple[str, ...]
) -> None:
    env = {name: value for name, value in own_server.items() if name != "LOG_DIR"}
    ended = run_script(env, *arguments, script=checkout / "start_monitoring.sh", within=read_only)
    assert ended.returncode == 1 and ended.stdout == "" and ended.stderr.count("\n") == 1, ended.stderr
    assert f"{checkout}/log" in ended.stderr and "LOG_DIR" in ended.stderr


def test_read_only_checkout_is_no_place_for_the_demo_s_clips(
    own_server: dict[str, str], checkout: Path, read_only: tuple[str, ...]
) -> None:
    env = {name: value for name, value in own_server.items() if name != "HUB_DIR"}
    ended = run_script(env, "--demo", script=checkout / "start_monitoring.sh", within=read_only)
    assert ended.returncode == 1 and ended.stderr.count("\n") == 1 and "set HUB_DIR" in ended.stderr, ended.stderr


def test_checkout_of_a_git_that_prefers_other_line_ends_runs(environ: dict[str, str], tmp_path: Path) -> None:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    origin, clone = copy_project(tmp_path / "origin"), tmp_path / "clone"
    shutil.copy2(config.ROOT / ".gitattributes", origin)
    (origin / ".venv").unlink()
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "core.autocrlf=true", "-c", "core.eol=crlf"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "all"], ["clone", "-q", ".", str(clone)]):
        subprocess.run([*git, *words], cwd=origin, env=environ, check=True, capture_output=True, timeout=60)
    files = [path for path in clone.rglob("*") if path.is_file() and ".git" not in path.parts]
    assert len(files) > 50 and not [path for path in files if b"\r\n" in path.read_bytes()]
    (clone / ".venv").symlink_to(config.ROOT / ".venv")
    done = run_script(environ, "--setup-only", script=clone / "start_monitoring.sh")
    assert done.returncode == 0 and done.stderr == "", done.stderr


def test_commands_of_a_moved_project_are_rebuilt(environ: dict[str, str], tmp_path: Path) -> None:
    before, project = tmp_path / "before", tmp_path / "the new place"
    copy_project(before)
    (before / ".venv").unlink()
    subprocess.run([sys.executable, "-m", "venv", before / ".venv"], check=True, timeout=120)
    packages = next((before / ".venv" / "lib").glob("python*/site-packages"))
    (packages / "real.pth").write_text(str(Path(filelock.__file__).parent.parent), encoding="utf-8")
    stamp = subprocess.run(["sha256sum", "requirements.txt"], cwd=before, capture_output=True, text=True, check=True)
    (before / ".venv" / ".requirements").write_text(stamp.stdout, encoding="utf-8")
    before.rename(project)
    with pytest.raises(FileNotFoundError):
        subprocess.run([project / ".venv/bin/pip", "--version"], check=True, capture_output=True)
    done = run_script(environ, "--setup-only", script=project / "start_monitoring.sh")
    assert done.returncode == 0 and "was moved" in done.stdout, done.stderr
    subprocess.run([project / ".venv/bin/pip", "--version"], check=True, capture_output=True, timeout=60)
    done = run_script(environ, "--setup-only", script=project / "start_monitoring.sh")
    assert done.stdout.count("\n") == 1, "once is enough"


@pytest.fixture(params=["small disk", "disk", "small limit", "limit"])
def cramped(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, tuple[str, ...], str]]:
    """A folder without room for the demo's clips, or ("small") not even for what they are made of; the beginning of a
    command that may write there; the cause that is told."""
    place = tmp_path / "small"
    place.mkdir()
    is_small = request.param.startswith("small")
    if request.param.endswith("limit"):  # blocks of 512 bytes, per file; a layer has 1.5 MB, a clip 3 MB
        yield place, ("sh", "-c", f'ulimit -f {64 if is_small else 3500} && exec "$@"', "sh"), "File too large"
        return
    command = ["mount", "-t", "tmpfs", "-o", f"size={'128k' if is_small else '4500k'}", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("only root can mount a small disk")
    yield place, (), "No space left on device"
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_disk_that_fills_while_the_demo_s_clips_are_made_is_one_line(
    own_server: dict[str, str], tmp_path: Path, cramped: tuple[Path, tuple[str, ...], str]
) -> None:
    place, within, cause = cramped
    env = own_server | {"HUB_DIR": str(place)}
    done = run_script(env, "--demo", within=within)
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert f"can't make the demo's clips in {place}: {cause}; set HUB_DIR to" in done.stderr
    assert not [path for path in place.rglob("*") if path.is_file() and path.suffix in {".mp4", ".mkv"}]
    assert Tmux(own_server["TMUX_SOCKET"])("list-windows") == ""


def test_cause_is_found_in_a_screen_of_the_demo_s_ffmpeg(environ: dict[str, str], tmp_path: Path) -> None:
    ffmpeg = tmp_path / "ffmpeg"
    screen = 'for n in $(seq 40); do echo "[out#0 @ 0x$n] Error writing: No space left on device" >&2; done'
    ffmpeg.write_text(f"#!/bin/sh\n{screen}; echo Conversion failed! >&2; exit 228\n", encoding="utf-8")
    ffmpeg.chmod(0o755)
    done = run_program("demo.py", env=environ | {"FFMPEG": str(ffmpeg)})
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert f"in {tmp_path}/hub: No space left on device; set HUB_DIR to" in done.stderr


# --- pip ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["start_monitoring.sh", "start_worker.sh"])
def test_pip_that_reaches_no_index_is_its_own_last_line_and_one_that_names_proxy_and_mirror(
    environ: dict[str, str], tmp_path: Path, name: str
) -> None:
    project = copy_project(tmp_path / "project")
    (project / ".venv").unlink()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", project / ".venv"], check=True, timeout=120)
    packages = next((project / ".venv" / "lib").glob("python*/site-packages"))
    (packages / "pip").symlink_to(Path(pip.__file__).parent)
    wanted = "requirements.txt"
    if name == "start_worker.sh":
        stamp = subprocess.run(["sha256sum", wanted], cwd=project, capture_output=True, text=True, check=True).stdout
        (project / ".venv" / ".requirements").write_text(stamp, encoding="utf-8")
        wanted = "requirements-cluster.txt"
    unreachable = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "1", "PIP_CONFIG_FILE": os.devnull}
    done = run_script(environ | unreachable, "--setup-only", script=project / name)
    assert done.returncode == 1
    pips, ours = done.stderr.splitlines()
    assert pips.startswith("ERROR: ") and "Retrying" not in pips
    assert wanted in ours and "https_proxy=" in ours and "PIP_INDEX_URL=" in ours
