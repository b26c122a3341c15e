"""Hostile media and names through the real programs: nothing else is opened, nothing is written elsewhere."""

import ctypes
import json
import os
import select
import socket
import struct
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench.damage import MOST_MEMORY, MUTANTS, SEED, attack
from tests.conversion import CONVERTER, convert, refusal
from tests.media import make, picture
from tests.patience import PATIENCE
from tests.programs import run_program
from tools.core.errors import MediaError
from tools.media.probe import SAFE_INPUT

_IN_OPEN = 0x20  # Source: inotify(7)


class Bait:
    """A file and a port that nobody may touch."""

    def __init__(self, folder: Path) -> None:
        self.file = make([*picture(0.2, "64x64"), "-c:v", "mpeg2video"], folder / "bait.ts")
        self._libc = ctypes.CDLL(None)
        self._watch = self._libc.inotify_init1(os.O_NONBLOCK)
        assert self._libc.inotify_add_watch(self._watch, os.fsencode(self.file), _IN_OPEN) > 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"

    def touched(self) -> list[str]:
        ready, _, _ = select.select([self._watch, self._listening], [], [], 0)
        if self._watch in ready:
            os.read(self._watch, 65536)
        if self._listening in ready:
            self._listening.accept()[0].close()
        return [name for one, name in ((self._watch, "file"), (self._listening, "port")) if one in ready]

    def close(self) -> None:
        os.close(self._watch)
        self._listening.close()


@pytest.fixture
def bait(tmp_path: Path) -> Iterator[Bait]:
    bait = Bait(tmp_path)
    yield bait
    bait.close()


def scripts(bait: Bait) -> dict[str, bytes]:
    """Files that tell a player to open others, by what they are."""
    name, path, url = bait.file.name, bait.file, f"http://{bait.address}/x.ts"
    m3u8 = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{0}\n#EXT-X-ENDLIST\n"
    svg = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:x="http://www.w3.org/1999/xlink"><image x:href="{0}"/></svg>'
    mpd = '<?xml version="1.0"?><MPD type="static"><Period><AdaptationSet><Representation><BaseURL>{0}</BaseURL>'
    sdp = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video {0} RTP/AVP 33\n"
    texts = {
        "hls": m3u8.format(name),
        "hls absolute": m3u8.format(path),
        "hls url": m3u8.format(url),
        "hls with a transport stream's marks": "#EXTM3U\n"
        + "\n".join("#" + "G" * 187 for _ in range(9))
        + f"\n{name}\n",
        "ffconcat": f"ffconcat version 1.0\nfile '{name}'\n",
        "ffconcat url": f"ffconcat version 1.0\nfile '{url}'\n",
        "svg": svg.format(f"file://{path}"),
        "svg url": svg.format(url),
        "dash": mpd.format(url),
        "sdp": sdp.format(bait.port),
        "asx": f'<asx version="3.0"><entry><ref href="{url}"/></entry></asx>',
        "asf redirector": f"[Reference]\r\nRef1={url}\r\n",
        "rm playlist": f"rtsp://{bait.address}/x.rm\n",
        "m3u after a box's name": f"\0\0\0\x08ftyp#EXTM3U\n{url}\n",
        "riff with a list": f"RIFF\0\0\0\0AVI #EXTM3U\n{name}\n",
    }
    return {kind: text.encode() for kind, text in texts.items()}


def test_script_under_the_name_of_a_video_opens_nothing(bait: Bait, tmp_path: Path) -> None:
    bait.file.read_bytes()
    assert bait.touched() == ["file"], "the watch itself works"
    ffprobe = CONVERTER._chosen().ffprobe
    for number, (kind, content) in enumerate(scripts(bait).items()):
        for extension in (".mp4", ".ts") if "hls" in kind or "concat" in kind else (".mkv",):
            source = tmp_path / f"{number}{extension}"
            source.write_bytes(content)
            assert refusal(source, tmp_path / "out.mkv")
            # The fence alone, where somebody found a way past the first bytes.
            fenced = [str(ffprobe), "-v", "error", *SAFE_INPUT, "-show_packets", "-i", f"file:{source}"]
            subprocess.run(fenced, capture_output=True, timeout=PATIENCE, check=False)
            assert bait.touched() == [], kind


def test_track_that_points_to_another_file_opens_nothing(bait: Bait, tmp_path: Path) -> None:
    """QuickTime keeps a reference to its data, which may lie elsewhere."""
    source = make([*picture(0.2, "64x64"), "-c:v", "mpeg4"], tmp_path / "in.mov")
    content = source.read_bytes()
    plain = b"\0\0\0\x0curl \0\0\0\x01"
    where = str(bait.file).encode() + b"\0"
    assert content.count(plain) >= 1
    source.write_bytes(content.replace(plain, b"\0\0\0\x0calis\0\0\0\0"))
    outcome(source, tmp_path / "out.mkv")
    source.write_bytes(content.replace(plain, b"\0\0\0\x0curl \0\0\0\0") + where)
    outcome(source, tmp_path / "out2.mkv")
    assert bait.touched() == []


def outcome(source: Path, target: Path) -> str:
    """Verified or refused; anything else is a bug."""
    try:
        convert(source, target)
    except MediaError as exc:
        assert not target.exists() and "\n" not in str(exc)
        return type(exc).__name__
    assert target.exists()
    target.unlink()
    return "converted"


# --- damaged on purpose ----------------------------------------------------------------------------------------------


def check_damaged(seed: int, first: int, count: int) -> None:
    """So many damaged clips: each is refused for good, or what came out of it has every picture of the clip."""
    found = attack(seed, first, count)
    assert found["faults"] == []
    assert sum(found["ended"].values()) == count and set(found["ended"]) == {"converted", "refused"}
    assert 0 < found["memory"] <= MOST_MEMORY


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("first", [0, 25])
def test_damaged_clips_are_refused_or_published_with_every_picture_and_leave_nothing_behind(first: int) -> None:
    check_damaged(SEED, first, 25)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("first", range(50, MUTANTS, 350))
def test_many_damaged_clips(first: int) -> None:
    check_damaged(SEED, first, min(350, MUTANTS - first))


# --- names -----------------------------------------------------------------------------------------------------------

NAMES = [
    *(b"-i.mp4", b"--help.mp4", b"a:b.mp4", b"concat:a|b.mp4", b"http:x.mp4", b"%d %03d%s{0}.mp4", b"'\"`$(x)\\.mp4"),
    *(b"a\nb.mp4", "番剧 🎬 é.mp4".encode(), b"\xff\xfe.mp4", b"x" * 251 + b".mp4"),
]


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {
        **os.environ,
        "ANIMATION_DOTENV": str(tmp_path / "none"),
        "PRESET": "12",
        "TARGET_VMAF": "off",
        "MAX_SIZE_PERCENT": "off",
    }


def test_names_of_every_shape_are_converted(env: dict[str, str], tmp_path: Path) -> None:
    clip = make([*picture(0.1, "64x64"), "-c:v", "mpeg4"], tmp_path / "clip.mp4").read_bytes()
    folder = tmp_path / "in"
    folder.mkdir()
    paths = [folder / os.fsdecode(name) for name in NAMES]
    for path in paths:
        path.write_bytes(clip)
    done = run_program("convert.py", "--json", "--", *(path.name for path in paths), env=env, cwd=str(folder))
    assert done.returncode == 0 and done.stderr == "", done.stderr
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    assert [report["file"] for report in reports] == [path.name for path in paths]
    results = {path.name for path in folder.iterdir()} - {path.name for path in paths}
    short = {os.fsdecode(name.removesuffix(b".mp4") + b".mkv") for name in NAMES if len(name) <= 240}
    (cut,) = results - short
    assert short <= results and len(os.fsencode(cut)) <= 240 and cut.startswith("x" * 200), "of the name of 255 bytes"


def test_refusal_is_one_line_whatever_the_name(env: dict[str, str], tmp_path: Path) -> None:
    paths = [tmp_path / os.fsdecode(name) for name in NAMES]
    for path in paths:
        path.write_bytes(b"#EXTM3U\nother.ts\n")
    done = run_program("convert.py", *map(str, paths), env={**env, "LC_ALL": "C.UTF-8"})
    assert done.returncode == 1 and len(done.stderr.splitlines()) == len(NAMES), done.stderr
    assert all("not a video file" in line for line in done.stderr.splitlines())


# --- bombs -----------------------------------------------------------------------------------------------------------


def test_bombs_are_refused_before_anything_is_decoded(tmp_path: Path) -> None:
    black = ["-f", "lavfi", "-i", "color=black:s=8200x8200:r=1:d=1", "-frames:v", "1", "-c:v", "mjpeg"]
    wide = make(black, tmp_path / "wide.mkv")
    assert wide.stat().st_size < 3_000_000, "67 million pixels in little"
    assert "8200x8200" in refusal(wide, tmp_path / "a.mkv")
    # One picture a week: endless by its timestamps alone.
    slow = make([*picture(0.2, "64x64"), "-c:v", "mpeg4", "-bsf:v", "setts=ts=N*604800/TB"], tmp_path / "slow.mkv")
    assert "lasts" in refusal(slow, tmp_path / "b.mkv")


def test_pictures_that_unpack_to_gigabytes_are_ended_by_the_memory_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Covers of 16000x16000: 250 kB each in the file, 256 MB unpacked, and a demuxer unpacks them all."""
    cover = _grey_png(tmp_path / "cover.png", 16_000)
    attached = ["-attach", str(cover)] * 3
    kinds = [word for n in range(3) for word in (f"-metadata:s:{1 + n}", "mimetype=image/png")]
    named = [word for n in range(3) for word in (f"-metadata:s:{1 + n}", f"filename=cover{n}.png")]
    source = make([*picture(0.2, "64x64"), *attached, *kinds, *named, "-c:v:0", "mpeg4"], tmp_path / "covers.mkv")
    assert source.stat().st_size < 1_500_000
    monkeypatch.setattr("tools.media.probe._MAX_RSS", 400_000_000)
    assert "GB of memory" in refusal(source, tmp_path / "out.mkv")


def _grey_png(path: Path, side: int) -> Path:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    packer, row = zlib.compressobj(6), bytes(1 + side)
    packed = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    parts = [chunk(b"IHDR", head), chunk(b"IDAT", packed), chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path
