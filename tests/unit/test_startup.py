"""What every program does around its own work: what stops it is one line and a status, and its version is one."""

import argparse
import codecs
import errno
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from config import ROOT, ConfigError, Settings, settings_table
from tools import login, queue_commands, queue_redo, startup
from tools.core.errors import PipelineError
from tools.core.redo import Difference
from tools.report.checks import check_python
from tools.runtime.owner import whose
from tools.startup import run_program, version

PROGRAMS = [path for path in sorted((ROOT / "tools").glob("*.py")) if "main(argv" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize(
    ("exc", "status", "said"),
    [
        (ConfigError("CRF='x'"), 2, "p.py: CRF='x'\n"),
        (PipelineError("no encoder"), 1, "p.py: no encoder\n"),
        (
            PermissionError(errno.EACCES, "Permission denied", "/log/x"),
            1,
            f"p.py: can't use /log/x: Permission denied; {whose(Path('/log/x'))}\n",
        ),
        (OSError(errno.EIO, "Input/output error"), 1, "p.py: Input/output error\n"),
        (OSError("of a library"), 1, "p.py: of a library\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_what_stops_a_program_is_one_line_and_a_status(
    exc: BaseException, status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(_: argparse.Namespace) -> int:
        raise exc

    assert run_program(argparse.ArgumentParser(prog="p.py"), [], work) == status
    assert capsys.readouterr().err == said


def test_names_of_a_stranger_command_no_terminal(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    def work(parsed: argparse.Namespace) -> int:
        raise PipelineError("nothing is known of it; perhaps you mean \x1b[2J\u202e")

    assert run_program(argparse.ArgumentParser(prog="program.py"), [], work) == 1
    queue_commands._tell(["A\x1b[2J", "B\x9b2J"], "held")
    queue_redo._tell("A\x1b[2J", Difference({"1.mkv": ("CRF",)}, (), ("1.mkv",)))
    said = capsys.readouterr()
    assert said.err.endswith("perhaps you mean \\u001b[2J\\u202e\n")
    assert said.out.count("\\u001b[2J") == 2 and not re.search(r"[\x1b\x9b]", said.out)


def test_status_of_the_work_is_that_of_the_program_and_flags_reach_it() -> None:
    parser = argparse.ArgumentParser(prog="p.py")
    parser.add_argument("--status", type=int)
    assert run_program(parser, ["--status", "7"], lambda parsed: int(parsed.status)) == 7


def test_the_unexpected_keeps_its_traceback() -> None:
    def work(_: argparse.Namespace) -> int:
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        run_program(argparse.ArgumentParser(prog="p.py"), [], work)


def test_version_is_that_of_the_project_file() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", version())
    assert f'\nversion = "{version()}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_every_program_tells_its_version(path: object) -> None:
    done = subprocess.run([sys.executable, str(path), "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split()[1:] == [version()]


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "typed",
    [
        *(f"{path.name} --version" for path in PROGRAMS),
        "demo.py --help",
        "demo.py --free-port",
        "queue_processor.py --status",
        "queue_processor.py --status --json",
        "modelscope_monitor.py --queue",
        "doctor.py",
        "health.py",
    ],
)
def test_reader_that_went_away_ends_a_program_without_a_word(typed: str, unbuffered: str, tmp_path: Path) -> None:
    program, *flags = typed.split()
    command = [sys.executable, str(ROOT / "tools" / program), *flags]
    environ = {**os.environ, "PYTHONUNBUFFERED": unbuffered, "LOG_DIR": str(tmp_path), "WORK_DIR": str(tmp_path)}
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()  # long before the program prints
        assert process.stderr.read() == b""
    # What argparse itself prints unbuffered fails inside it, and it ends with 0 all the same.
    assert process.returncode == (0 if unbuffered and typed.endswith("--help") else 141)


def test_oldest_python_is_one() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(r'^requires-python = ">=(\d+)\.(\d+)"$', project, re.MULTILINE)
    assert found
    major, minor = map(int, found.groups())
    assert f'\npython_version = "{major}.{minor}"\n' in project  # what mypy checks for
    assert check_python((major, minor, 0)).ok and not check_python((major, minor - 1, 99)).ok
    for script in ("start_monitoring.sh", "start_worker.sh"):
        text = (ROOT / script).read_text(encoding="utf-8")
        assert set(re.findall(r"version_info < \((.+?)\)", text)) <= {f"{major}, {minor}"}, script


def test_scripts_pass_on_every_setting() -> None:
    """What is set in the environment of ``start_monitoring.sh`` reaches the programs in tmux."""
    script = (ROOT / "start_monitoring.sh").read_text(encoding="utf-8")
    listed = set(re.findall(r"[A-Z][A-Z_]+", script.partition("\nsettings=(")[2].partition(")")[0]))
    names = set(re.findall(r"^\| `([A-Z_]+)`", settings_table(), re.MULTILINE))
    assert names <= listed
    others = {"MODELSCOPE_HOME", "HUB_TOKEN", "ANIMATION_DOTENV", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"}
    others |= {"LANG", "LC_ALL", "LC_MESSAGES"}
    assert {name for name in listed - names - others if not name.endswith("_PROXY")} == set()


def settings_typed(**environ: str) -> Settings:
    parsed = argparse.Namespace()
    kept = {name: value for name, value in os.environ.items() if name not in settings_table()}
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ.keys() - kept.keys():
            patch.delenv(name)
        for name, value in environ.items():
            patch.setenv(name, value)
        return startup.read_command_settings(parsed)


def test_command_with_the_demo_s_log_folder_means_the_demo_and_no_other_token_goes_there(tmp_path: Path) -> None:
    (tmp_path / ".token").write_text("of-the-demo\n")
    real = tmp_path / "real.env"
    real.write_text("MODELSCOPE_API_TOKEN=of-the-real-hub\n", encoding="utf-8")
    note = f"MODELSCOPE_ENDPOINT=http://127.0.0.1:9\nINPUT_REPO=demo/a\nHUB_DIR={tmp_path}\nLOG_DIR={tmp_path}\n"
    (tmp_path / startup.DEMO_FILE).write_text(note, encoding="utf-8")
    typed = settings_typed(LOG_DIR=str(tmp_path), ANIMATION_DOTENV=str(real))
    assert (typed.hub.endpoint, typed.hub.input_repo) == ("http://127.0.0.1:9", "demo/a")
    assert typed.hub.token == "of-the-demo" and login.tokens(typed, None) == ["of-the-demo"]
    other = settings_typed(LOG_DIR=str(tmp_path), INPUT_REPO="me/in", ANIMATION_DOTENV=str(real))
    assert (other.hub.input_repo, other.hub.token) == ("me/in", "of-the-real-hub")


def test_command_without_settings_says_how_to_reach_the_demo_and_the_real_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(startup, "ROOT", tmp_path)
    settings_typed()
    assert capsys.readouterr().err == "", "no demo has run"
    (tmp_path / startup.DEMO_DIR).mkdir(parents=True)
    (tmp_path / startup.DEMO_DIR / startup.DEMO_FILE).write_text("INPUT_REPO=demo/a\n")
    settings_typed()
    said = capsys.readouterr().err
    assert (
        said.count("\n") == 1 and "LOG_DIR=log/demo python3 " in said and "INPUT_REPO and OUTPUT_REPO into .env" in said
    )
    for given in ({"INPUT_REPO": "me/in"}, {"LOG_DIR": str(tmp_path)}, {"MODELSCOPE_API_TOKEN": "x"}):
        settings_typed(**given)
    assert capsys.readouterr().err == ""


def test_demo_has_a_log_folder_of_its_own_which_its_printed_commands_name() -> None:
    script = (ROOT / "start_monitoring.sh").read_text(encoding="utf-8")
    functions = [re.search(rf"^{name}\(\) {{\n.*?^}}", script, re.MULTILINE | re.DOTALL) for name in FUNCTIONS]
    code = "\n".join(found[0] for found in functions if found)
    code = f". {shlex.quote(str(ROOT / 'tools/words.sh'))}\n{code}"
    code += '\nsay() { echo "$*"; }; root=/p session=s venv=/nowhere; set_demo >/dev/null 2>&1 || true; commands'
    kept = {name: value for name, value in os.environ.items() if name not in {"LOG_DIR", "HUB_DIR"}}
    done = subprocess.run(["bash", "-c", code], env=kept, capture_output=True, text=True, check=False)
    for command in ("queue_processor.py --status", "modelscope_monitor.py --queue", "doctor.py"):
        assert re.search(rf"LOG_DIR=/p/log/demo .*{command}", done.stdout), done.stdout + done.stderr


@pytest.mark.parametrize(
    ("machine", "ours", "slots", "threads"),
    [(8, 8, 1, None), (8, 8, 2, 4), (8, 8, 3, 3), (8, 2, 1, 2), (8, 2, 2, 1), (8, 2, 4, 1), (8, 3, 2, 2)],
)
def test_encodes_share_the_cores_that_may_be_used(
    machine: int, ours: int, slots: int, threads: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: machine)
    monkeypatch.setattr("tools.runtime.limits.cores", lambda: ours)
    assert startup.cores_for_each(slots) == threads


FUNCTIONS = ("set_demo", "quoted", "tmux_typed", "commands")


def test_there_are_programs() -> None:
    assert len(PROGRAMS) >= 9


def test_mark_at_the_beginning_of_the_env_file_is_no_part_of_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Newer versions of python-dotenv take it away themselves, the oldest allowed one does not."""

    def values(stream: IO[str], interpolate: bool) -> dict[str, str]:
        return {name: value for name, _, value in (line.partition("=") for line in stream.read().split())}

    monkeypatch.setattr("dotenv.dotenv_values", values)
    path = tmp_path / ".env"
    path.write_bytes(codecs.BOM_UTF8 + b"CRF=31\r\nPRESET=4\r\n")
    assert startup.read_dotenv(path) == {"CRF": "31", "PRESET": "4"}


def test_demo_s_summary_ends_with_whoever_runs_the_demo(tmp_path: Path) -> None:
    """With ``--foreground`` the supervisor's end is the demo's; the programs may have been there, or never."""
    waits = [sys.executable, str(ROOT / "tools/demo.py"), "--summary"]
    code = f"import subprocess, sys; print(subprocess.Popen({waits!r}, stdout=sys.stderr).pid); sys.stdin.read()"
    env = {**os.environ, "LOG_DIR": str(tmp_path), "ANIMATION_DOTENV": str(tmp_path / "none")}
    with subprocess.Popen(
        [sys.executable, "-c", code], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as supervisor:
        assert supervisor.stdin and supervisor.stdout and supervisor.stderr
        assert supervisor.stderr.readline().startswith(b"Waiting for the results")
        supervisor.stdin.close()
        assert supervisor.stderr.read() == b""  # at its end
