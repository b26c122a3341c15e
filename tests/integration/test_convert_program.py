"""``tools/convert.py`` as a person uses it: a bar on the terminal, a report of one screen, a plan, an exit status."""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from tests.media import ffmpeg, make, make_clip, picture, tone
from tests.programs import ROOT, run_program


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {
        **os.environ,
        "ANIMATION_DOTENV": str(tmp_path / "none"),
        "PRESET": "8",
        "TARGET_VMAF": "off",
        "MAX_SIZE_PERCENT": "off",
        "COLUMNS": "120",
        "TERM": "xterm",
    }


def test_bar_shows_percent_speed_and_time_left_and_the_report_fits_a_screen(
    env: dict[str, str], tmp_path: Path
) -> None:
    codecs = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac"]
    source = make([*picture(12, "640x360"), *tone(12), *codecs], tmp_path / "第1集.mp4")
    mine, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    command = [sys.executable, str(ROOT / "tools/convert.py"), str(source)]
    env["PRESET"] = "11"  # a second or two: long enough for the bar to know its pace
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=theirs, text=True) as process:
        os.close(theirs)
        shown = ""
        while True:
            try:
                piece = os.read(mine, 4096)
            except OSError:  # the terminal's other end is closed
                break
            if not piece:
                break
            shown += piece.decode("utf-8", "replace")
        assert process.stdout is not None
        report = process.stdout.read()
    os.close(mine)
    assert process.returncode == 0
    assert "fps" in shown and "x " in shown and "ETA" in shown and "%|" in shown and "第1集.mp4" in shown
    assert len(report.splitlines()) <= 24
    for told in ("640x360", "288 frames", "verified", "h264 → av1", "aac → aac", "libsvtav1"):
        assert told in report
    assert (tmp_path / "第1集.mkv").is_file()


@pytest.mark.another_user
def test_in_a_pipe_there_is_no_bar_and_json_is_one_object_a_file(env: dict[str, str], tmp_path: Path) -> None:
    clips = [make_clip(tmp_path / name, seconds=0.3) for name in ("a.mp4", "b.mp4")]
    (tmp_path / "c.mp4").write_bytes(b"#EXTM3U\nother.ts\n")
    done = run_program("convert.py", "--json", *map(str, clips), str(tmp_path / "c.mp4"), env=env)
    assert done.returncode == 1 and done.stderr == ""
    first, second, third = (json.loads(line) for line in done.stdout.splitlines())
    assert first["action"] == second["action"] == "transcode" and first["frames"] == 8
    assert "not a video" in third["refused"]


def test_what_a_file_says_of_itself_commands_nothing_to_the_terminal(env: dict[str, str], tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mkv", seconds=0.3)
    evil = "\x1b]0;mine\x07"
    tags = ["-metadata:s:a:0", f"language={evil}", "-metadata:s:a:0", f"title={evil}", "-metadata", f"title={evil}"]
    source = make(["-i", str(clip), "-map", "0", "-c", "copy", *tags], tmp_path / f"{evil}.mkv")
    for asked in ([], ["--plan"]):
        done = run_program("convert.py", *asked, "--out", str(tmp_path / "out"), str(source), env=env)
        assert done.returncode == 0 and "mine" in done.stdout, done.stderr
        assert not set("\x1b\x07") & set(done.stdout + done.stderr)


def test_plan_converts_nothing_and_says_why(env: dict[str, str], tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", seconds=0.3, subtitles=True)
    done = run_program("convert.py", "--plan", str(source), env=env)
    assert done.returncode == 0 and "mov_text → subrip (encode): text of mov_text becomes SubRip" in done.stdout
    planned = json.loads(run_program("convert.py", "--plan", "--json", str(source), env=env).stdout)
    assert [stream["action"] for stream in planned["streams"]] == ["encode", "copy", "encode"]
    assert not (tmp_path / "a.mkv").exists()


def test_first_line_tells_the_encoder_and_an_old_one_is_warned_of(env: dict[str, str], tmp_path: Path) -> None:
    old = tmp_path / "ffmpeg"
    old.write_text(f"""#!/bin/bash\n{ffmpeg()} "$@" 2> >(sed 's/Lib v[0-9.]*/Lib v1.4.1/' >&2)\n""", encoding="utf-8")
    old.chmod(0o755)
    source = make_clip(tmp_path / "a.mp4", seconds=0.3)
    env |= {"PATH": f"{tmp_path}:{env['PATH']}", "CAGE": "off"}  # the old one starts another program, elsewhere
    done = run_program("convert.py", "--plan", str(source), env=env)
    first = done.stdout.splitlines()[0]
    assert re.match(
        r"encoder: libsvtav1 SVT-AV1 4\.\S+ of ffmpeg \S+ \(bundled\), ffprobe of the package \S+; not used: ", first
    )
    assert f"({old}): SVT-AV1 1.4.1 is older" in first and done.stderr == "" and len(first) < 500
    done = run_program("convert.py", "--plan", str(source), env={**env, "FFMPEG": str(old)})
    assert done.stdout.startswith("encoder: libsvtav1 SVT-AV1 1.4.1 of ffmpeg ")
    assert done.stderr.startswith(f"WARNING SVT-AV1 1.4.1 of {old} is much older than the bundled ")


@pytest.mark.parametrize(
    ("arguments", "status"), [([], 2), (["--preset", "99", "x.mp4"], 2), (["missing.mp4"], 1), (["--nonsense"], 2)]
)
def test_exit_status_tells_usage_from_refusal(arguments: list[str], status: int, env: dict[str, str]) -> None:
    done = run_program("convert.py", *arguments, env=env)
    assert done.returncode == status and "Traceback" not in done.stderr


@pytest.mark.another_user
def test_a_result_that_is_there_is_not_overwritten(env: dict[str, str], tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", seconds=0.3)
    (tmp_path / "a.mkv").write_bytes(b"mine")
    assert run_program("convert.py", str(source), env=env).returncode == 1
    assert (tmp_path / "a.mkv").read_bytes() == b"mine"
