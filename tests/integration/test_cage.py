"""What a child that was taken over can do: nothing outside its cage, whatever it tries."""

import contextlib
import errno
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import config
from tests.patience import PATIENCE
from tools.runtime import sandbox, spawner
from tools.runtime.cage import cage_here
from tools.runtime.sandbox import can_refuse_calls, landlock_abi
from tools.runtime.spawn import Access, set_caged, spawn

pytestmark = pytest.mark.skipif(landlock_abi() < 1, reason="this kernel has no Landlock")

# Tries each thing and says what came of it. Perl, since every Debian has it and the cage lets it be read.
INTRUDER = r"""#!/usr/bin/perl
use Socket;
$| = 1;
sub told { my ($name, $done) = @_; print "$name ", ($done ? "ALLOWED" : "denied"), "\n" }
sub reads { my ($f, $x); told($_[0], open($f, '<', $_[1]) && defined(read($f, $x, 1))) }
while (my $line = <DATA>) {
  chomp $line;
  my ($what, $name, $path) = split / /, $line, 3;
  if ($what eq 'read') { reads($name, $path) }
  if ($what eq 'list') { told($name, opendir(my $d, $path)) }
  if ($what eq 'write') { told($name, open(my $f, '>', $path)) }
  if ($what eq 'append') { told($name, open(my $f, '>>', $path)) }
  if ($what eq 'remove') { told($name, unlink($path)) }
  if ($what eq 'link') { told($name, symlink($path, "$ENV{OWN}/way") && open(my $f, '<', "$ENV{OWN}/way")) }
  if ($what eq 'hardlink') { told($name, link($path, "$ENV{OWN}/hard") && open(my $f, '<', "$ENV{OWN}/hard")) }
  if ($what eq 'tcp') {
    my $s; told($name, socket($s, PF_INET, SOCK_STREAM, 0) && connect($s, sockaddr_in($path, INADDR_LOOPBACK)));
  }
  if ($what eq 'udp') { told($name, socket(my $s, PF_INET, SOCK_DGRAM, 0)) }
  if ($what eq 'unix') {
    my $s; told($name, socket($s, PF_UNIX, SOCK_STREAM, 0) && connect($s, pack('SZ*', AF_UNIX, $path)));
  }
  if ($what eq 'abstract') {
    my $s; told($name, socket($s, PF_UNIX, SOCK_STREAM, 0) && connect($s, pack('Sxa*', AF_UNIX, $path)));
  }
  if ($what eq 'kill') { told($name, kill(0, $path)) }
  if ($what eq 'ptrace') { told($name, syscall($path >> 32, 16, $path & 0xffffffff, 0, 0) == 0) }
  if ($what eq 'core') { my $f; open($f, '<', '/proc/self/limits'); told($name, !grep(/core file size\s+0\s+0/, <$f>)) }
}
__DATA__
"""
PTRACE = {"x86_64": 101, "aarch64": 117}
PRCTL = {"x86_64": 157, "aarch64": 167}


def intruder(folder: Path, *tries: str) -> Path:
    program = folder / "bin" / "intruder"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(INTRUDER + "\n".join(tries) + "\n")
    program.chmod(0o755)
    return program


def attempts(program: Path, access: Access, own: Path) -> dict[str, str]:
    child = spawn([program], access, {"OWN": str(own), "PATH": "/usr/bin:/bin"})
    with child.stdout, child.stderr:
        said, complaints = child.stdout.read().decode(), child.stderr.read().decode()
    assert child.wait() == 0, complaints
    return dict(line.split(" ", 1) for line in said.splitlines())


@pytest.fixture
def listening() -> Iterator[tuple[int, str, Path]]:
    """A TCP port, an abstract name and a socket in the file system (as tmux has one) that somebody listens on."""
    import tempfile

    abstract = f"animation-test-{os.getpid()}"
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_UNIX) as named,
        socket.socket(socket.AF_UNIX) as visible,
    ):
        named.bind("\0" + abstract)
        named.listen()
        visible.bind(f"{folder}/s")
        visible.listen()
        yield tcp.getsockname()[1], abstract, Path(folder) / "s"


def test_nothing_outside_the_cage_can_be_reached(tmp_path: Path, listening: tuple[int, str, Path]) -> None:
    home, log_dir, own, other = (tmp_path / name for name in ("home", "log", "own", "other"))
    for folder in (home / ".ssh", log_dir, own, other):
        folder.mkdir(parents=True)
    secrets = {
        "token": home / ".modelscope-token",
        "ssh": home / ".ssh" / "id_ed25519",
        "dotenv": tmp_path / ".env",
        "queue": log_dir / "processing_queue.json",
        "other-video": other / "source.mp4",
    }
    for path in secrets.values():
        path.write_text("hush")
    source = own / "source.mp4"
    source.write_text("pictures")
    port, abstract, visible = listening
    parent = os.getpid()
    number = PTRACE.get(os.uname().machine, 0)
    tries = [
        *(f"read {name} {path}" for name, path in secrets.items()),
        f"read environ /proc/{parent}/environ",
        f"read mem /proc/{parent}/mem",
        "read passwd /etc/passwd",
        f"list list-home {home}",
        f"list list-tmp {tmp_path}",
        f"write write-outside {log_dir}/planted",
        f"append append-outside {secrets['queue']}",
        f"remove remove-outside {secrets['queue']}",
        f"link link-to-secret {secrets['ssh']}",
        f"hardlink hardlink-to-secret {secrets['dotenv']}",
        f"tcp tcp {port}",
        "udp udp 0",
        f"unix unix {visible}",
        f"abstract abstract {abstract}",
        f"kill kill-parent {parent}",
        "core core 0",
    ]
    if number:
        tries.append(f"ptrace ptrace {number << 32 | parent}")
    program = intruder(tmp_path, *tries)
    found = attempts(program, Access(reads=(source,), writes=(own,)), own)
    allowed = {name for name, end in found.items() if end != "denied"}
    expected: set[str] = set()
    if landlock_abi() < 4 and not can_refuse_calls():
        expected |= {"tcp"}
    if not can_refuse_calls():
        expected |= {"udp", "unix"}
    if landlock_abi() < 6:
        expected |= {"kill-parent"} | (set() if can_refuse_calls() else {"abstract"})
    assert len(found) == len(tries) and allowed == expected
    assert secrets["queue"].read_text() == "hush" and not (log_dir / "planted").exists()


# Each by its libc's name, so by the number that this machine's kernel has for it.
CHANGES = """
import errno, os, sys
path, folder = sys.argv[1], os.open(os.path.dirname(sys.argv[1]), os.O_PATH)
name = os.path.basename(path)
held = os.open(path, os.O_RDONLY)
for what, change in {
    "chmod": lambda: os.chmod(path, 0o777),
    "chmod of a name in a folder": lambda: os.chmod(name, 0o777, dir_fd=folder),
    "chmod of a link": lambda: os.chmod(path, 0o777, follow_symlinks=False),
    "chown": lambda: os.chown(path, -1, -1),
    "chown of a name in a folder": lambda: os.chown(name, -1, -1, dir_fd=folder),
    "lchown": lambda: os.lchown(path, -1, -1),
    "setxattr": lambda: os.setxattr(path, "user.x", b"x"),
    "lsetxattr": lambda: os.setxattr(path, "user.x", b"x", follow_symlinks=False),
    "removexattr": lambda: os.removexattr(path, "user.kept"),
    "lremovexattr": lambda: os.removexattr(path, "user.kept", follow_symlinks=False),
    "truncate": lambda: os.truncate(path, 0),
    "fchmod": lambda: os.chmod(held, 0o777),
    "fchown": lambda: os.chown(held, -1, -1),
    "fsetxattr": lambda: os.setxattr(held, "user.x", b"x"),
    "fremovexattr": lambda: os.removexattr(held, "user.kept"),
    "times": lambda: os.utime(path, (0, 0)),
    "times of what is open": lambda: os.utime(held, (0, 0)),
}.items():
    try:
        change()
        print(what, "done")
    except OSError as exc:
        print(what, errno.errorcode[exc.errno])
"""


def told_by_python(program: str, argument: object, *reads: Path) -> dict[str, str]:
    child = spawn(
        [sys.executable, "-c", program, str(argument)],
        Access(reads=(Path(sys.base_prefix), Path(sys.prefix), *reads)),
        {},
    )
    with child.stdout, child.stderr:
        said, complaints = child.stdout.read().decode(), child.stderr.read().decode()
    assert child.wait() == 0, complaints
    return dict(line.rsplit(" ", 1) for line in said.splitlines())


@pytest.mark.skipif(not can_refuse_calls(), reason="this kernel takes no filters of calls")
def test_nothing_about_a_file_is_changed_but_what_is_in_it(tmp_path: Path) -> None:
    """Of the file's owner Landlock alone would allow most of it, and on older kernels truncation."""
    kept = tmp_path / ".env"
    kept.write_text("token")
    kept.chmod(0o600)
    with contextlib.suppress(OSError):  # a file system may have none
        os.setxattr(kept, "user.kept", b"x")
    before = kept.stat()
    told = told_by_python(CHANGES, kept, kept)
    assert len(told) == 17 and set(told.values()) == {"EPERM"}, told
    after = kept.stat()
    assert kept.read_text() == "token" and (after.st_mode, after.st_mtime) == (before.st_mode, before.st_mtime)


# What processes of one user may do to each other, or share, without files. ``keyctl`` has no name in the libc.
SHARED = """
import ctypes, errno, os, resource, sys
libc = ctypes.CDLL(None, use_errno=True)
victim, keyctl = (int(word) for word in sys.argv[1].split())
def limit(*new):
    try:
        resource.prlimit(victim, resource.RLIMIT_FSIZE, *new)
        return 0
    except OSError as exc:
        ctypes.set_errno(exc.errno)
        return -1
for what, use in {
    "its limits": lambda: limit(),
    "memory": lambda: libc.shmget(0, 4096, 0o600),
    "semaphores": lambda: libc.semget(0, 1, 0o600),
    "queues": lambda: libc.msgget(0, 0o600),
    "queues with a name": lambda: libc.mq_open(b"/animation-test", os.O_RDONLY),
    "keys": lambda: libc.syscall(keyctl, 0, -4, 1),
    "own limits": lambda: -1 if resource.getrlimit(resource.RLIMIT_CORE) != (0, 0) else 0,
}.items():
    print(what, "done" if use() >= 0 else errno.errorcode[ctypes.get_errno()])
"""
KEYCTL = {"x86_64": 250, "aarch64": 219}


@pytest.mark.skipif(not can_refuse_calls(), reason="this kernel takes no filters of calls")
def test_nothing_is_shared_with_other_processes_and_none_is_limited() -> None:
    told = told_by_python(SHARED, f"{os.getpid()} {KEYCTL[os.uname().machine]}")
    system_v = {name: told.pop(name) for name in ("memory", "semaphores", "queues")}
    assert told == {
        **dict.fromkeys(("its limits", "queues with a name", "keys"), "EPERM"),
        "own limits": "done",
    }
    if not Path("/dev/dri").is_dir():
        assert set(system_v.values()) == {"EPERM"}


def test_what_the_child_was_given_works(tmp_path: Path) -> None:
    own, shared = tmp_path / "own", tmp_path / "shared"
    own.mkdir()
    shared.mkdir()
    (shared / "source.mp4").write_text("pictures")
    tries = [f"read source {shared}/source.mp4", f"write result {own}/result.mkv", f"remove gone {own}/result.mkv"]
    program = intruder(tmp_path, *tries, f"write beside {shared}/planted", f"write over {shared}/source.mp4")
    found = attempts(program, Access(reads=(shared / "source.mp4",), writes=(own,)), own)
    assert found == {"source": "ALLOWED", "result": "ALLOWED", "gone": "ALLOWED", "beside": "denied", "over": "denied"}


def test_file_larger_than_its_limit_is_refused(tmp_path: Path) -> None:
    child = spawn(
        ["dd", "if=/dev/zero", f"of={tmp_path}/big", "bs=64k", "count=100"],
        Access(writes=(tmp_path,), largest_file=1 << 20),
        {},
    )
    with child.stdout, child.stderr:
        complaints = child.stderr.read().decode()
    assert child.wait() != 0 and "File too large" in complaints
    assert (tmp_path / "big").stat().st_size == 1 << 20


def test_child_has_no_new_privileges_and_no_real_time_rights() -> None:
    child = spawn(["cat", "/proc/self/status"], Access(), {})
    with child.stdout, child.stderr:
        status = dict(line.split(":", 1) for line in child.stdout.read().decode().splitlines())
    assert child.wait() == 0
    assert status["NoNewPrivs"].strip() == "1"
    held = ("CapPrm", "CapBnd") if os.geteuid() == 0 else ("CapPrm",)  # only root may lower the bound, or needs to
    assert [name for name in held if int(status[name], 16) >> 23 & 1] == [], "CAP_SYS_NICE"


def test_without_the_cage_a_child_runs_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hush")
    program = intruder(tmp_path, f"read secret {tmp_path}/secret")
    set_caged(False)
    try:
        assert attempts(program, Access(), tmp_path) == {"secret": "ALLOWED"}
    finally:
        set_caged(True)


def test_many_children_at_once_end_each_with_its_own_status() -> None:
    found: dict[int, int | None] = {}

    def one(number: int) -> None:
        child = spawn(["bash", "-c", f"exit {number}"], Access(), {})
        child.stdout.close()
        child.stderr.close()
        found[number] = child.wait()

    threads = [threading.Thread(target=one, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: number for number in range(40)}


def test_children_go_with_a_spawner_that_is_killed_and_the_next_one_starts(tmp_path: Path) -> None:
    from tools.runtime.spawn import _spawner

    child = spawn(["sleep", "600"], Access(), {})
    assert isinstance(_spawner._process, subprocess.Popen)
    _spawner._process.kill()
    _spawner._process.wait()
    assert child.wait(PATIENCE) == -9
    again = spawn(["true"], Access(), {})
    assert again.wait(PATIENCE) == 0
    for stream in (child.stdout, child.stderr, again.stdout, again.stderr):
        stream.close()


CARDS = (
    *("dev/dri/renderD128", "dev/dri/by-path/pci-card", "dev/kfd"),
    *("dev/nvidia0", "dev/nvidiactl", "dev/nvidia-uvm", "dev/nvidia-caps/nvidia-cap1"),
)
ABOUT = ("sys/class/drm/card0/device/vendor", "proc/self/maps", "proc/driver/nvidia/version", "proc/devices")
NOT_OF_CARDS = (
    "dev/sda",
    "dev/mem",
    "dev/input/event0",
    "dev/tty",
    "dev/shm/of-another",
    "proc/1/environ",
    "proc/kcore",
    "root/.env",
)
OPENS = """
import json, os, sys
from tools.runtime import sandbox
rules, files = json.load(sys.stdin)
sandbox.restrict_access([(path, rights) for path, rights in rules])
told = {}
for path in files:
    told[path] = ""
    for way, flags in (("r", os.O_RDONLY), ("w", os.O_RDWR)):
        try:
            os.close(os.open(path, flags))
            told[path] += way
        except OSError:
            pass
print(json.dumps(told))
"""


def test_hardware_encoders_reach_their_cards_and_nothing_beside_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rules of every child, laid over a made-up system with cards in it, which the kernel then enforces."""
    for name in (*CARDS, *ABOUT, *NOT_OF_CARDS):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    there = [path.name for path in (tmp_path / "dev").iterdir()]
    with monkeypatch.context() as patched:
        patched.setattr(os, "listdir", lambda folder: there)
        granted = spawner._rules("/usr/bin/ffmpeg", [], [])
    rules = [(f"{tmp_path}{path}", rights) for path, rights in granted]
    files = {name: str(tmp_path / name) for name in (*CARDS, *ABOUT, *NOT_OF_CARDS)}
    done = subprocess.run(
        [sys.executable, "-c", OPENS],
        input=json.dumps([rules, list(files.values())]),
        capture_output=True,
        text=True,
        check=True,
        cwd=config.ROOT,
    )
    told = json.loads(done.stdout)
    opened = {name: told[path] for name, path in files.items()}
    wanted = dict.fromkeys(CARDS, "rw") | dict.fromkeys(ABOUT, "r") | dict.fromkeys(NOT_OF_CARDS, "")
    assert opened == wanted


# A program under a kernel, or in a container, to which one call of these is unknown: (its number, 0 or the first
# argument that matters, the errno it answers with).
LACKING = """
import ctypes, os, struct, sys
from tools.runtime import sandbox
number, argument, answer = (int(word) for word in sys.argv[1].split())
steps = [(0x20, 0, 0, 0), (0x15, 0, 3 if argument else 1, number)]
steps += [(0x20, 0, 0, 16), (0x15, 0, 1, argument)] if argument else []
steps += [(0x06, 0, 0, 0x00050000 | answer), (0x06, 0, 0, 0x7FFF0000)]
program = b"".join(struct.pack("HBBI", *step) for step in steps)
sandbox.libc.prctl(sandbox._PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
sandbox._checked(sandbox.libc.prctl(22, 2, ctypes.byref(sandbox._Program(len(steps), program)), 0, 0))
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""
LANDLOCK = f"{sandbox._CREATE_RULESET} 0 {errno.ENOSYS}"
SECCOMP = f"{PRCTL[os.uname().machine]} {sandbox._PR_SET_SECCOMP} {errno.EINVAL}"
PARTS = "from tools.runtime.cage import cage_here; print(cage_here(), cage_here().parts())"
TRIED = "from tools.runtime.spawn import Access, spawn; print(spawn(['true'], Access(), {}).wait())"


def lacking(call: str, tmp_path: Path, *program: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", LACKING, call, *program],
        cwd=config.ROOT,
        env={**os.environ, "LOG_DIR": str(tmp_path), "PYTHONPATH": str(config.ROOT), **env},
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_landlock_it_is_said_what_holds_and_nothing_starts_that_requires_it(tmp_path: Path) -> None:
    told = lacking(LANDLOCK, tmp_path, "-c", PARTS).stdout
    assert told == "network (not files, signals: this kernel can't) ('network',)\n"
    refused = lacking(LANDLOCK, tmp_path, "tools/convert.py", "--plan", str(tmp_path / "no.mp4"), CAGE="require")
    assert refused.returncode == 1 and not refused.stdout
    assert refused.stderr.startswith("convert.py: CAGE=require, but this kernel can confine ffmpeg only in: network")
    assert len(refused.stderr.splitlines()) <= 2, "a line for each language"
    assert lacking(LANDLOCK, tmp_path, "-c", TRIED).stdout == "0\n", "children run as before"


def test_without_filters_of_calls_children_run_and_what_holds_is_what_landlock_does(tmp_path: Path) -> None:
    told = lacking(SECCOMP, tmp_path, "-c", PARTS).stdout
    assert "network" not in told.partition("(")[0], "Landlock alone leaves UDP"
    assert told.startswith("files")
    assert lacking(SECCOMP, tmp_path, "-c", TRIED).stdout == "0\n", "children run as before"


def test_32_bit_program_under_a_64_bit_kernel_takes_none_of_its_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its filter would refuse each of its own calls."""
    monkeypatch.setattr(sandbox, "_POINTER", 4)
    assert (sandbox.machine(), can_refuse_calls()) == ("", False)
    assert not cage_here().network
