"""Each check of the doctor sees its trouble, and the program tells it without hanging or showing the token."""

import asyncio
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timezone
from email.utils import format_datetime
from pathlib import Path

import pytest

import config
from tests.fakes import MemoryHub
from tests.hub_server import Fault, RunningHub, running_hub
from tests.media import ffmpeg
from tests.patience import PATIENCE
from tools.hub.modelscope_client import ModelScopeHub
from tools.media.choice import Trial
from tools.media.encoders import Encoder
from tools.media.facts import Stream
from tools.media.frames import NEEDED, FrameOptions, FramesError, Making, look, scan
from tools.report import checks
from tools.report.cells import cells, wrapped
from tools.report.checks import Finding
from tools.startup import DEMO_FILE

NOW = 1_700_000_000.0


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[RunningHub]:
    with running_hub(tmp_path / "hub") as running:
        yield running


def line(finding: Finding) -> str:
    [found] = finding.lines(10_000)
    return found


def _header(seconds: float) -> str:
    return format_datetime(datetime.fromtimestamp(seconds, timezone.utc), usegmt=True)


def _trial(encoder: str, works: bool, reason: str = "", svt: tuple[int, ...] = (4, 2, 0)) -> Trial:
    ffmpeg = Path("/usr/bin/ffmpeg")
    usable = Encoder(name=encoder, ffmpeg=ffmpeg, svt_version=svt) if works else None
    return Trial(ffmpeg, "9.0", encoder, works, reason, usable)


@pytest.mark.parametrize(("version", "ok"), [((3, 9, 18), False), ((3, 10, 0), True), ((3, 14, 1), True)])
def test_python_older_than_3_10_is_a_problem(version: tuple[int, ...], ok: bool) -> None:
    assert checks.check_python(version).ok is ok


def test_missing_package_is_named(tmp_path: Path) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("# a comment\nrequests>=2,<3\nno-such-package-anywhere>=1\n", encoding="utf-8")
    finding = checks.check_packages(requirements)
    assert not finding.ok
    assert finding.seen == "missing: no-such-package-anywhere"
    assert "--setup-only" in finding.advice


def test_package_with_a_line_for_each_python_counts_once(tmp_path: Path) -> None:
    requirements = tmp_path / "requirements.txt"
    lines = ('requests>=2,<3; python_version >= "3.11"', 'requests>=2,<3; python_version < "3.11"', "tqdm>=4")
    requirements.write_text("\n".join(lines), encoding="utf-8")
    assert checks.check_packages(requirements).seen == "all 2 of requirements.txt are installed"


def test_packages_of_the_project_are_found() -> None:
    assert checks.check_packages(config.ROOT / "requirements.txt").ok


@pytest.mark.parametrize(("skew", "ok"), [(0, True), (299, True), (-299, True), (301, False), (-3600, False)])
def test_clock_that_is_off_by_minutes_is_a_problem(skew: float, ok: bool) -> None:
    finding = checks.judge_clock(_header(NOW), NOW + skew)
    assert finding is not None
    assert finding.ok is ok
    if not ok:
        assert ("ahead of" in finding.seen) == (skew > 0)


@pytest.mark.parametrize("header", [None, "", "yesterday"])
def test_clock_of_a_hub_that_does_not_tell_is_not_judged(header: str | None) -> None:
    assert checks.judge_clock(header, NOW) is None


def test_one_working_encoder_is_enough_and_the_others_have_their_reason() -> None:
    trials = [_trial("av1_nvenc", False, "no such card"), _trial("libsvtav1", True)]
    finding = checks.judge_trials(trials)
    used = "OK       encoder      libsvtav1 SVT-AV1 4.2.0 of ffmpeg 9.0 (/usr/bin/ffmpeg)"
    assert line(finding) == f"{used}; not used: av1_nvenc: no such card"
    lines = checks.trial_lines(trials)
    assert lines[0].split() == ["used", "libsvtav1", "ffmpeg", "9.0:", "works", "(libsvtav1", "SVT-AV1", "4.2.0)"]
    assert lines[1].endswith("no: no such card")


def test_table_of_encoders_fits_its_columns_whatever_paths_and_reasons_are_like() -> None:
    far = Path("/a/very/long/way/" + "folder/" * 20 + "ffmpeg")
    trials = [Trial(far, "9.0", encoder, False, "它不能用 " * 40) for encoder in ("av1_nvenc", "libaom-av1")]
    lines = checks.trial_lines(trials)
    assert len(lines) == 2 and all(60 < cells(line) <= checks.WIDTH for line in lines)
    assert not any("very/long" in line for line in lines)


def test_names_in_the_env_file_that_nobody_reads_and_readers_of_it_are_warned_of(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    assert checks.check_dotenv(path, {}, config.names()) == []
    path.write_text("x")
    path.chmod(0o600)
    good: dict[str, str | None] = {"CRF": "20", "MODELSCOPE_API_TOKEN": "x"}
    assert [line(found)[:8].strip() for found in checks.check_dotenv(path, good, config.names())] == ["OK"]
    typo, odd = checks.check_dotenv(path, good | {"CFR": "20", "UNHEARD_OF_ANYWHERE": ""}, config.names())
    assert line(typo).startswith("WARNING  .env") and "did you mean CRF?" in line(typo)
    assert line(odd).startswith("WARNING") and "UNHEARD_OF_ANYWHERE is no setting" in line(odd)
    path.chmod(0o644)
    (readable,) = checks.check_dotenv(path, good, config.names())
    assert readable.ok and readable.advice == f"`chmod 600 {path}`"


def test_much_older_encoder_is_a_warning_and_no_problem() -> None:
    finding = checks.judge_trials([_trial("libsvtav1", True, svt=(1, 4, 1))])
    assert finding.ok and line(finding).startswith("WARNING  encoder ") and "older than the bundled" in finding.advice


def test_no_working_encoder_is_a_problem() -> None:
    assert not checks.judge_trials([_trial("av1_nvenc", False, "no such card")]).ok


def test_missing_ffmpeg_is_a_problem() -> None:
    finding = checks.check_ffprobe("/no/such/ffmpeg")
    assert not finding.ok
    assert "/no/such/ffmpeg" in finding.seen


@pytest.mark.parametrize(("library", "is_old"), [("59. 37.100", True), ("61. 19.101", False)])
def test_prober_that_has_never_heard_of_a_codec_is_a_warning(
    library: str, is_old: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("ffmpeg", "ffprobe"):  # as where no wheel brings one
        (tmp_path / name).write_text(f"#!/bin/sh\necho '{name} version 1'\necho 'libavcodec     {library} / 1'\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setattr("tools.media.installed._of_package", lambda name, pattern: [])
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    finding = checks.check_ffprobe("auto")
    assert finding.ok and ("newer one" in finding.advice) == is_old, str(finding)


def test_mkvmerge_that_is_missing_or_old_is_a_warning_and_one_that_is_off_is_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def said(setting: str, version: str = "") -> str:
        for name in ("mkvmerge", "mkvpropedit") if version else ():
            (tmp_path / name).write_text(f"#!/bin/sh\necho 'mkvmerge v{version} (name) 64-bit'\n")
            (tmp_path / name).chmod(0o755)
        finding = checks.check_mkvmerge(setting)
        assert finding.ok  # conversion does without it
        return finding.lines(10_000)[0]

    monkeypatch.setenv("PATH", str(tmp_path))
    assert re.match("WARNING .*not found.*install mkvtoolnix", said("auto"))
    assert re.match("OK .*not used: MKVMERGE=off$", said("off"))
    assert re.match("WARNING .*mkvmerge 73.0.0 is older than 74.*install mkvtoolnix", said("auto", "73.0.0"))
    assert re.match(f"OK .*74.0.0 at {tmp_path}/mkvmerge$", said("auto", "74.0.0"))
    (tmp_path / "mkvpropedit").unlink()
    assert re.match("WARNING .*no mkvpropedit", said(str(tmp_path / "mkvmerge")))


def test_tmux_is_missed_when_it_is_not_on_the_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not checks.check_tmux().ok


@pytest.mark.another_user
def test_space_counts_for_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free / 1e9
    folder = tmp_path / "not" / "yet"
    assert checks.check_space(folder, free / 2).ok
    assert not checks.check_space(folder, free * 2).ok
    assert not folder.exists()


@pytest.mark.another_user
def test_folder_that_cannot_be_written_is_a_problem_and_nothing_is_left_behind(tmp_path: Path) -> None:
    assert checks.check_writable("LOG_DIR", tmp_path / "log").ok
    assert list(tmp_path.iterdir()) == []
    finding = checks.check_writable("LOG_DIR", Path("/proc/animation"))
    assert not finding.ok
    assert "LOG_DIR" in finding.advice


def test_question_without_an_answer_is_given_up() -> None:
    never = threading.Event()

    def ask() -> Finding:
        never.wait(PATIENCE)
        return Finding("token", True, "late")

    finding = checks.within(0.2, ask, "token")
    never.set()
    assert not finding.ok


def test_endpoint_that_accepts_and_never_answers_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        finding, clock = checks.check_endpoint(f"http://127.0.0.1:{silent.getsockname()[1]}", 0.3)
    assert not finding.ok
    assert clock is None


@pytest.mark.parametrize(
    ("answer", "subjects", "said"),
    [
        (["tcp://a:1", "tcp://b:2"], ["scheduler OK", "workers OK"], "2: tcp://a:1, tcp://b:2"),
        ([], ["scheduler OK", "workers PROBLEM"], "start_worker.sh --scheduler tcp://s:8786"),
        (OSError("Timed out\nin detail"), ["scheduler PROBLEM"], "can't be used: Timed out -> start it there"),
        (asyncio.TimeoutError(), ["scheduler PROBLEM"], "TimeoutError"),
    ],
)
def test_cluster_is_its_scheduler_and_its_workers(
    answer: list[str] | Exception, subjects: list[str], said: str
) -> None:
    def ask() -> list[str]:
        if isinstance(answer, Exception):
            raise answer
        return answer

    found = checks.check_scheduler("tcp://s:8786", ask)
    assert [f"{one.subject} {'OK' if one.ok else 'PROBLEM'}" for one in found] == subjects
    assert said in line(found[-1])


def _doctor(hub: RunningHub, tmp_path: Path, **changes: str) -> tuple[int, dict[str, str], str]:
    """Exit status, state by subject, and all that was printed, each finding in one line again."""
    environ = {
        name: value for name, value in os.environ.items() if name in {"PATH", "LANG"} or name.startswith("PYTHON")
    }
    environ |= {
        "HOME": str(tmp_path),
        "ANIMATION_DOTENV": str(tmp_path / "none.env"),
        "ANIMATION_VENV": str(config.ROOT / ".venv"),  # stay under this Python
        "MODELSCOPE_ENDPOINT": hub.endpoint,
        "MODELSCOPE_API_TOKEN": hub.token,
        "INPUT_REPO": "me/animation",
        "OUTPUT_REPO": "me/result",
        "ENCODER": "libsvtav1",
        "LOG_DIR": str(tmp_path / "log"),
        "WORK_DIR": str(tmp_path / "work"),
        "MIN_FREE_SPACE_GB": "0",
        **changes,
    }
    ended = subprocess.run(
        [sys.executable, config.ROOT / "tools" / "doctor.py"],
        env=environ,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.stderr == "" or ended.returncode == 2, ended.stderr
    states = {}
    for line in ended.stdout.splitlines():
        if line.startswith(("OK", "PROBLEM")):
            states[line[9:21].strip()] = line.split()[0]
    assert [line for line in ended.stdout.splitlines() if cells(line) > checks.WIDTH] == []
    return ended.returncode, states, re.sub(rf"\n {{{checks.INDENT}}}(?=\S)", " ", ended.stdout) + ended.stderr


def test_long_line_is_broken_at_blanks_and_a_command_stays_whole() -> None:
    text = "WARNING  .env         others can read it, 其他用户可以读取 this file -> `chmod 600 '/a b/.env'` now, please"
    lines = wrapped(text, 44, checks.INDENT)
    assert [line[checks.INDENT :] for line in lines] == [
        "others can read it, 其",
        "他用户可以读取 this",
        "file ->",
        "`chmod 600 '/a b/.env'`",
        "now, please",
    ]
    assert lines[0] == text[:43] and all(line.startswith(" " * checks.INDENT) for line in lines[1:])
    assert wrapped("short  and as it is", 44, 4) == ["short  and as it is"]


def test_right_to_write_is_asked_without_a_byte_moved(hub: RunningHub, tmp_path: Path) -> None:
    client = ModelScopeHub(hub.endpoint, hub.token, cache_dir=tmp_path)
    missing = checks.check_output(client, "them/out", True, "me")
    assert missing.ok and "me must be a member" in missing.seen and "OUTPUT_REPO=me/out" in missing.advice
    assert not checks.check_output(client, "ME/out", True, "me").advice
    hub.store.create("them/out", 1)
    finding = checks.check_output(client, "them/out", True, "me")
    assert finding.ok and not finding.advice and "can be written" in finding.seen
    body = '{"Code": 10040300001, "Message": "%s", "Success": false}'
    for kind, says, seen in (
        ("status:403", body % "no permission to them/quota-videos", "may not write to them/out: it belongs to me"),
        ("status:403", '{"code": "QuotaLimitExceed", "message": "no"}', "nothing more can be stored"),
        ("status:400", body % "存储空间不足，请扩容", "nothing more can be stored"),
        ("status:400", body % "Dataset storage quota exceeded", "nothing more can be stored"),
        ("status:503", body % "Quota service is down", "can't store a blob"),
    ):
        hub.faults[:] = [Fault("/objects/batch", kind, says=says)]
        finding = checks.check_output(client, "them/out", True, "me")
        assert not finding.ok and seen in finding.seen, (finding, says)
    assert not hub.asked("PUT") and not hub.asked("/commit/")


def test_one_dataset_under_two_names_is_told_if_the_hub_says_so() -> None:
    hub = MemoryHub()
    hub.put("me/in", {"A/1.mp4": b"1"})
    hub.put("me/other", {"A/1.mp4": b"1"})
    others = {"OUTPUT_REPO": "me/other", "INPUT_REPO": "me/in"}
    assert checks.check_apart(hub, "ME/IN", others) is None, "this one tells them apart"
    hub._repos["ME/IN"] = hub._repos["me/in"]
    for wanted in (checks.OUTPUT, checks.FRAMES):
        seen = f"{wanted.setting}=ME/IN is the same dataset as INPUT_REPO=me/in"
        finding = checks.check_apart(hub, "ME/IN", others, wanted)
        assert finding is not None and (finding.subject, finding.ok, finding.seen) == (wanted.subject, False, seen)
    assert checks.check_apart(hub, "me/third", others) is None


@pytest.mark.another_user
def test_all_is_well_with_a_hub_that_has_the_input(hub: RunningHub, tmp_path: Path) -> None:
    (hub.root / "datasets" / "me" / "animation").mkdir(parents=True)
    status, states, printed = _doctor(hub, tmp_path)
    assert status == 0, printed
    assert set(states.values()) == {"OK"}
    assert {"python", "packages", "tmux", "ffmpeg", "encoder", "disk", "LOG_DIR", "endpoint", "clock"} <= states.keys()
    assert "me/result will be created, private" in printed
    assert hub.token not in printed
    assert not (tmp_path / "log").exists()
    assert hub.store.names() == ["me/animation"]


def test_what_a_program_says_of_itself_commands_nothing_to_the_terminal(hub: RunningHub, tmp_path: Path) -> None:
    program = tmp_path / "odd"
    program.write_text("#!/bin/sh\nprintf 'ffmpeg version \\033]0;mine\\007\\n'\n")
    program.chmod(0o755)
    _, _, printed = _doctor(hub, tmp_path, FFMPEG=str(program))
    assert "mine" in printed and "\x1b" not in printed and "\x07" not in printed


def test_wrong_token_is_one_problem_and_what_depends_on_it_can_not_be_told(hub: RunningHub, tmp_path: Path) -> None:
    status, states, printed = _doctor(hub, tmp_path, MODELSCOPE_API_TOKEN="not-the-right-one")
    assert status == 1
    assert [subject for subject, state in states.items() if state == "PROBLEM"] == ["token"]
    assert re.search("WARNING +input repo", printed)
    assert "not-the-right-one" not in printed
    assert states["endpoint"] == "OK"
    assert printed.count("can't tell without a valid token") == 2 and "will be created" not in printed


def test_demo_is_known_by_its_log_folder(hub: RunningHub, tmp_path: Path) -> None:
    (hub.root / "datasets" / "demo" / "animation").mkdir(parents=True)
    (hub.root / ".token").write_text(f"{hub.token}\n", encoding="utf-8")
    log_dir = tmp_path / "log"
    log_dir.mkdir()
    noted = {"MODELSCOPE_ENDPOINT": hub.endpoint, "INPUT_REPO": "demo/animation", "OUTPUT_REPO": "demo/out"}
    noted |= {"HUB_DIR": str(hub.root), "LOG_DIR": str(log_dir)}
    (log_dir / DEMO_FILE).write_text("".join(f"{name}={value}\n" for name, value in noted.items()))
    typed = dict.fromkeys(("MODELSCOPE_ENDPOINT", "INPUT_REPO", "OUTPUT_REPO", "MODELSCOPE_API_TOKEN"), "")
    status, states, printed = _doctor(hub, tmp_path, **typed)
    assert status == 0 and set(states.values()) == {"OK"}, printed
    assert "demo/animation" in printed and hub.endpoint in printed


def test_no_token_is_a_problem_that_says_what_to_do(hub: RunningHub, tmp_path: Path) -> None:
    status, states, printed = _doctor(hub, tmp_path, MODELSCOPE_API_TOKEN="")
    assert status == 1
    assert states["token"] == "PROBLEM"
    assert "modelscope login" in printed


def test_hub_that_is_down_is_one_problem_told_quickly(hub: RunningHub, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    status, states, _ = _doctor(hub, tmp_path, MODELSCOPE_ENDPOINT=address)
    assert status == 1
    assert [subject for subject, state in states.items() if state == "PROBLEM"] == ["endpoint"]


def test_hub_that_fails_after_the_token_was_told_is_one_problem(hub: RunningHub, tmp_path: Path) -> None:
    for name in ("me/animation", "me/result"):
        hub.store.create(name, 1)
    hub.faults[:] = [Fault("/api/v1/", "status:500", times=99)]
    status, states, printed = _doctor(hub, tmp_path)
    assert status == 1 and states["token"] == "OK"
    assert [subject for subject, state in states.items() if state == "PROBLEM"] == ["hub"], printed
    assert "1 problem" in printed and "wait, no work is lost" in printed and "lines above" not in printed
    hub.faults[:] = [Fault("/objects/batch", "status:500", times=99)]
    client = ModelScopeHub(hub.endpoint, hub.token, cache_dir=tmp_path)
    assert checks.check_output(client, "me/result").subject == "hub"


def test_wrong_setting_is_one_line_and_status_2(hub: RunningHub, tmp_path: Path) -> None:
    status, _, printed = _doctor(hub, tmp_path, CRF="1000")
    assert status == 2
    assert len(printed.splitlines()) == 1
    assert "CRF" in printed


@pytest.mark.parametrize(
    "name",
    [
        "requirements.txt",
        "requirements-cluster.txt",
        "requirements-notify.txt",
        "requirements-dev.txt",
        "requirements-frames.txt",
        "requirements-frame-readers.txt",
    ],
)
def test_every_requirement_is_bounded_on_both_sides(name: str) -> None:
    lines = [line.split("  #")[0] for line in (config.ROOT / name).read_text(encoding="utf-8").splitlines()]
    wanted = [line for line in lines if line and not line.startswith(("#", "-r"))]
    assert wanted and not [
        line for line in wanted if not re.fullmatch(r"[\w.-]+(>=\d[\d.]*,<|==)\d[\d.]*(; .*)?", line)
    ]


def test_every_requirement_stands_in_one_file_and_the_tests_set_up_again_if_any_of_theirs_changes() -> None:
    texts = {file.name: file.read_text(encoding="utf-8") for file in config.ROOT.glob("requirements*.txt")}
    names = {name: set(re.findall(r"^([\w-]+)(?:\[.*\])?[>=]=", text, re.MULTILINE)) for name, text in texts.items()}
    doubled = {one for one in set().union(*names.values()) if sum(one in found for found in names.values()) > 1}
    assert doubled <= {"modelscope"}, "which readers want with an extra"

    def included(name: str) -> set[str]:
        return {name}.union(*map(included, re.findall(r"^-r (\S+)", texts[name], re.MULTILINE)))

    script = (config.ROOT / "tests/run.sh").read_text(encoding="utf-8")
    (hashed,) = re.findall(r"cat (requirements.*) \| sha256sum", script)
    assert set(hashed.split()) == included("requirements-dev.txt")
    assert "requirements-frames.txt" in included("requirements-readers.txt")


def test_what_scene_frames_need_and_this_machine_lacks_is_no_word_about_a_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = tmp_path / "ffmpeg"
    bare.write_text("#!/bin/sh\necho ' ..C scdet V->V x'\n")
    bare.chmod(0o755)
    found = checks.check_frames([bare])
    assert not found.ok and "bwdif" in found.seen and "scdet" not in found.seen
    making = Making(bare, FrameOptions(), threading.Event())
    lacks = "blurdetect, bwdif, entropy, libwebp, metadata"
    for transfer, needed in (("smpte2084", f"{lacks}, tonemap, zscale"), ("bt709", lacks)):
        video = Stream(0, "video", "hevc", {"color_transfer": transfer})
        with pytest.raises(FramesError, match=f"^frames were not made: they need an ffmpeg with {needed}$"):
            scan(tmp_path / "none.mkv", video, 1.0, making, tmp_path)
    (tmp_path / "00000001.webp").write_bytes(b"RIFF")
    with pytest.raises(FramesError, match=r"^frames were not made: their check failed: "):  # a broken Pillow, or disk
        look(tmp_path, making, None, [])
    large = tmp_path / "large" / "ffmpeg"
    large.parent.mkdir()
    names = "\n".join(f" .. {name} V->V x" for name in NEEDED)
    large.write_text(f"#!/bin/sh\ncase $2 in -filters|-encoders) echo '{names}';; *) exec sleep 60;; esac\n")
    large.chmod(0o755)
    with pytest.raises(FramesError, match=r"^frames were not made: making them used "):
        scan(tmp_path / "none.mkv", video, 1.0, replace(making, ffmpeg=large, max_rss=1), tmp_path)
    assert checks.check_frames([Path(ffmpeg())]).ok
    monkeypatch.setitem(sys.modules, "PIL", None)
    found = checks.check_frames([Path(ffmpeg())])
    assert not found.ok and found.seen == "Pillow is not installed" and "--setup-only" in found.advice
