"""``tools/frames.py`` with real ffmpeg and real readers: archives, and pictures that are what a screen shows."""

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.media import ffmpeg, make
from tests.programs import ROOT
from tools.core.errors import MediaError
from tools.media import scan

X264 = ["-c:v", "libx264", "-preset", "ultrafast", "-qp", "4"]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield tmp_path_factory.mktemp("clips")


def run(out: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "ANIMATION_DOTENV": "none", "NICE": "0"}
    command = [sys.executable, str(ROOT / "tools/frames.py"), *map(str, arguments), "--out", str(out)]
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=120)


def pictures(archive: Path) -> list[tuple[dict[str, object], Image.Image]]:
    """JSON and picture of each sample, which stand side by side."""
    with tarfile.open(archive) as tar:
        files = [(one.name, tar.extractfile(one).read()) for one in tar.getmembers()]  # type: ignore[union-attr]
    found = []
    for (name, text), (picture, content) in zip(files[::2], files[1::2], strict=True):
        assert name.removesuffix(".json") == picture.removesuffix(".webp")
        found.append((json.loads(text), Image.open(io.BytesIO(content)).convert("RGB")))
    return found


def two_shots(path: Path) -> Path:
    """A test picture for a second, then another for a second, then the first one again."""
    sources = [f"-f lavfi -i {name}=s=320x180:r=24:d=1" for name in ("testsrc2", "smptehdbars", "testsrc2")]
    joined = ["-filter_complex", "concat=n=3", *X264, "-pix_fmt", "yuv420p"]
    return make([*" ".join(sources).split(), *joined], path)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset leaves files to Python
def test_archives_are_read_by_webdataset_and_the_same_input_gives_the_same_bytes(clips: Path, tmp_path: Path) -> None:
    import webdataset  # type: ignore[import-untyped]

    source = two_shots(clips / "番剧 第1.5集.mkv")
    done = run(tmp_path / "a", source, "--sheet")
    assert done.returncode == 0, done.stderr
    archive = tmp_path / "a" / "番剧 第1.5集.tar"
    samples = list(webdataset.WebDataset(str(archive), shardshuffle=False).decode("pil"))
    assert [sorted(key for key in sample if key[0] != "_") for sample in samples] == [["json", "webp"]] * 3
    rows = [sample["json"] for sample in samples]
    assert [sample["__key__"] for sample in samples] == [row["key"] for row in rows]
    assert [sample["webp"].size for sample in samples] == [(320, 180)] * 3
    assert [round(row["scene_begin_s"]) for row in rows] == [0, 1, 2] and rows[2]["duplicate_of"] == rows[0]["key"]
    table = (tmp_path / "a" / "metadata.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line) for line in table] == [{"archive": archive.name, **row} for row in rows]
    with Image.open(tmp_path / "a" / "番剧 第1.5集.jpg") as sheet:
        assert sheet.size[0] > 700
    again = run(tmp_path / "b", source)
    assert again.returncode == 0 and (tmp_path / "b" / archive.name).read_bytes() == archive.read_bytes()


BARS = {"yellow": (191, 191, 0), "cyan": (0, 191, 191), "green": (0, 191, 0), "blue": (0, 0, 191), "gray": (64, 64, 64)}


@pytest.mark.parametrize(
    ("matrix", "span", "pix_fmt"),
    [("bt709", "tv", "yuv420p"), ("smpte170m", "tv", "yuv420p"), ("bt709", "pc", "yuv444p10le")],
)
def test_colour_bars_come_out_as_the_colours_that_they_were(
    clips: Path, tmp_path: Path, matrix: str, span: str, pix_fmt: str
) -> None:
    bars = [
        f"color=0x{''.join(f'{one:02x}' for one in rgb)}:s=64x96:d=0.2:r=10[c{n}];"
        for n, rgb in enumerate(BARS.values())
    ]
    graph = "".join(bars) + "".join(f"[c{n}]" for n in range(len(BARS))) + f"hstack=inputs={len(BARS)},format=gbrp,"
    graph += f"scale=out_color_matrix={matrix}:out_range={span},format={pix_fmt}"
    tags = ["-colorspace", matrix, "-color_range", span]
    source = make(["-filter_complex", graph, *X264, *tags], clips / f"bars-{matrix}-{span}.mkv")
    assert run(tmp_path, source).returncode == 0
    ((_, picture),) = pictures(tmp_path / f"{source.stem}.tar")
    for place, (name, rgb) in enumerate(BARS.items()):
        found = picture.getpixel((64 * place + 32, 48))
        assert isinstance(found, tuple)
        assert max(abs(a - b) for a, b in zip(found, rgb, strict=True)) <= 2, (name, found, rgb)


def test_pictures_are_square_pixels_turned_and_no_larger_than_wanted(clips: Path, tmp_path: Path) -> None:
    picture = ["-f", "lavfi", "-i", "testsrc2=s=320x240:r=10:d=0.3"]
    wide = make([*picture, "-vf", "setsar=16/11", *X264, "-pix_fmt", "yuv420p"], clips / "wide.mkv")
    plain = make([*picture, *X264, "-pix_fmt", "yuv420p"], clips / "plain.mp4")
    turned = make(["-display_rotation", "90", "-i", str(plain), "-c", "copy"], clips / "turned.mp4")
    done = run(tmp_path, wide, turned, plain, "--frame-max-size", "200")
    assert done.returncode == 0, done.stderr
    sizes = {path.stem: pictures(path)[0][1].size for path in tmp_path.glob("*.tar")}
    assert sizes == {"wide": (200, 103), "turned": (150, 200), "plain": (200, 150)}


def test_picture_of_an_interlaced_video_has_no_comb(clips: Path, tmp_path: Path) -> None:
    bar = "color=black:s=160x96:r=50:d=0.4,format=gray,geq=lum='255*lt(mod(X-8*N,80),40)',format=yuv420p"
    woven = ["-filter_complex", f"{bar},interlace=lowpass=off", *X264, "-flags", "+ilme+ildct"]
    source = make(woven, clips / "woven.mkv")
    assert run(tmp_path, source).returncode == 0
    ((_, picture),) = pictures(tmp_path / "woven.tar")
    light = picture.convert("L").tobytes()
    rows = [light[start : start + 160] for start in range(0, len(light), 160)]
    combed = sum(
        abs(this - above) > 60 and abs(this - below) > 60
        for first, second, third in zip(rows, rows[1:], rows[2:], strict=False)
        for above, this, below in zip(first, second, third, strict=True)
    )
    assert combed < 0.02 * len(light), combed / len(light)


def test_hdr_is_mapped_to_what_a_usual_screen_shows(clips: Path, tmp_path: Path) -> None:
    graph = "color=white:s=128x96:d=0.2:r=10,format=yuv420p10le,drawbox=c=gray:w=64:t=fill"
    tags = ["-color_primaries", "bt2020", "-color_trc", "smpte2084", "-colorspace", "bt2020nc", "-color_range", "tv"]
    source = make(["-filter_complex", graph, *X264, *tags], clips / "hdr.mkv")
    assert run(tmp_path, source).returncode == 0
    ((_, picture),) = pictures(tmp_path / "hdr.tar")
    dark, bright = picture.getpixel((32, 48)), picture.getpixel((96, 48))
    assert isinstance(dark, tuple) and isinstance(bright, tuple)
    assert min(bright) > 240 and 100 < dark[1] < 235, "half of PQ's signal is no half of a screen's light"


def test_videos_without_a_picture_of_two_frames_and_broken_ones_end_in_one_line_each(
    clips: Path, tmp_path: Path
) -> None:
    black = make(["-f", "lavfi", "-i", "color=black:s=64x64:r=10:d=1", *X264], clips / "black.mkv")
    pair = make(["-f", "lavfi", "-i", "testsrc2=s=64x64:r=10", "-frames:v", "2", *X264], clips / "pair.mkv")
    whole = make(["-f", "lavfi", "-i", "testsrc2=s=320x180:r=24:d=2", *X264, "-g", "12"], clips / "broken.mkv")
    content = bytearray(whole.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 4000] = os.urandom(4000)
    whole.write_bytes(content)
    text = clips / "no \x1b[2J video.mkv"
    text.write_text("no video")
    done = run(tmp_path, black, pair, whole, text)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 2 and "no picture, only black" in done.stderr, done.stderr
    assert "\x1b" not in done.stderr
    assert sorted(path.name for path in tmp_path.glob("*.tar")) == ["broken.tar", "pair.tar"]
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".")] == [], "nothing is left behind"


def test_what_a_file_says_of_itself_is_no_picture_and_too_many_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forged, noted = PngInfo(), tmp_path / "scan.txt"
    forged.add_text("a", "b\n" + "frame:1 pts:1 pts_time:1\n" * 1000, zip=True)
    Image.new("RGB", (64, 64), "red").save(tmp_path / "a.png", pnginfo=forged)
    command = [ffmpeg(), "-v", "error", "-i", str(tmp_path / "a.png"), *scan.scan_output(0, noted)]
    subprocess.run(command, check=True, timeout=60)
    assert len(scan.read_scan(noted)) == 1
    monkeypatch.setattr(scan, "MOST_PICTURES", 2)
    line = "frame:1 pts:1 pts_time:1\n"
    assert len(scan.parse_scan([line] * 2)) == 2
    with pytest.raises(MediaError, match="more than 2 pictures"):
        scan.parse_scan([line] * 3)
