"""Whatever ffprobe may say of a file: a plan and a harmless command come of it, or the file is refused; and the limits
of what is read at all."""

import json
import math
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import tools.media.probe
from tests.media import ffprobe, make, picture
from tools.core.errors import MediaError, ProbeError, ReadTooSlow
from tools.media.census import census, check_source, frames
from tools.media.container import sniff
from tools.media.encoders import Encoder
from tools.media.encoding import OutputOptions, cover_command, encode_command, settings_text
from tools.media.facts import Facts
from tools.media.ffprobe_json import cleaned
from tools.media.plan import make_plan
from tools.media.probe import FORMATS, MAX_STREAMS, _Answer, check_streams, probe, streams_of

ODD = [
    "",
    "\0",
    "a\0b",
    "\ud800",
    "-i",
    "--help",
    "concat:a|b",
    "http://x/y",
    "%d%s{0}",
    "'",
    "\n",
    "N/A",
    "0/0",
    "5:0",
]
NUMBERS = st.one_of(
    st.integers(-5, 9000), st.integers(), st.floats(), st.sampled_from([0, 1, 10**30, -(10**30), 1e308])
)
ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=6), st.sampled_from(ODD), NUMBERS.map(str)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=5,
)
TAGS = st.dictionaries(
    st.sampled_from(
        ["title", "language", "BPS", "BPS-eng", "_STATISTICS_x\0", "filename", "mimetype", "DURATION\ud800"]
    ),
    st.one_of(st.sampled_from(ODD), ANYTHING),
    max_size=4,
)
KINDS = ["video", "audio", "subtitle", "attachment", "data"]
SIDES = ["Mastering display metadata", "DOVI configuration record", "Display Matrix"]
CODECS = [
    *(
        "h264",
        "av1",
        "vp9",
        "mpeg4",
        "unknown",
        "none",
        "aac",
        "pcm_f32be",
        "pcm_bluray",
        "ape",
        "nellymoser",
        "subrip",
    ),
    *("mov_text", "nellymoser", "dvb_teletext", "bin_data", "mjpeg", "png", "tiff", "ttf", "pcm_s\0", "-y", "copy;rm"),
]
SIDE_DATA = st.fixed_dictionaries(
    {},
    optional={
        "side_data_type": st.sampled_from(
            ["Mastering display metadata", "DOVI configuration record", "Display Matrix"]
        ),
        "rotation": ANYTHING,
        "dv_bl_signal_compatibility_id": ANYTHING,
        "red_x": ANYTHING,
        "max_luminance": ANYTHING,
        "max_content": ANYTHING,
    },
)
STREAM = st.fixed_dictionaries(
    {"index": st.integers(0, 5), "codec_type": st.one_of(st.sampled_from(["video", *KINDS]), ANYTHING)},
    optional={
        "codec_name": st.one_of(st.sampled_from(CODECS), ANYTHING),
        "width": st.one_of(st.integers(1, 9000), ANYTHING),
        "height": st.one_of(st.integers(1, 9000), ANYTHING),
        "tags": st.one_of(TAGS, ANYTHING),
        "disposition": st.one_of(
            st.dictionaries(st.sampled_from(["default", "forced", "attached_pic", "x+y"]), NUMBERS, max_size=3),
            ANYTHING,
        ),
        "side_data_list": st.one_of(st.lists(SIDE_DATA, max_size=2), ANYTHING),
        **{
            name: st.one_of(ANYTHING, st.sampled_from(ODD))
            for name in (
                *("pix_fmt", "field_order", "avg_frame_rate", "r_frame_rate", "color_range", "color_space", "channels"),
                *("bits_per_sample", "bits_per_raw_sample", "nb_frames", "extradata_size", "sample_aspect_ratio"),
                *("codec_tag_string", "closed_captions", "duration_ts"),
            )
        },
    },
)
ANSWER = st.fixed_dictionaries(
    {"streams": st.lists(STREAM, max_size=5, unique_by=lambda stream: stream["index"])},
    optional={
        "chapters": st.one_of(
            st.lists(st.fixed_dictionaries({}, optional={"start_time": ANYTHING, "tags": TAGS}), max_size=2), ANYTHING
        ),
        "format": st.one_of(st.fixed_dictionaries({}, optional={"tags": TAGS, "duration": ANYTHING}), ANYTHING),
    },
)
HOSTILE_NAMES = ["-i.mp4", "--help", "concat:a|b.mp4", "http:x.mp4", "%d%s{0}.mp4", "a\nb.mp4", "pipe:0", "'\"$(x).mp4"]


def facts_of(content: object, container: str, packets: int) -> Facts:
    """As probe makes them, the packets made up."""
    answer = cleaned(json.loads(json.dumps(content)))
    streams = streams_of(answer)
    check_streams(streams)
    for stream in streams:
        stream.packets = packets
        stream.begin, stream.end = 0.0, packets / 24
        if stream.kind == "video":
            stream.times.extend(number / 24 for number in range(packets))
            entries = stream.facts.get("side_data_list") or ()
            stream.hdr = {str(entry.get("side_data_type")): entry for entry in entries}
    header = answer.get("format", {})
    return Facts(
        format="",
        streams=tuple(streams),
        chapters=tuple(answer.get("chapters", ())),
        tags=header.get("tags", {}),
        duration=header.get("duration"),
        size=1000,
        container=container,
    )


@given(
    content=ANSWER,
    container=st.sampled_from(["mov", "matroska", "avi", "mpegts", "ogg"]),
    packets=st.sampled_from([0, 1, 30]),
    encoder=st.sampled_from(["libsvtav1", "libaom-av1", "av1_nvenc", "av1_vaapi"]),
    name=st.sampled_from(HOSTILE_NAMES),
)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_answer_of_any_shape_ends_in_a_harmless_command_or_a_refusal(
    content: Any, container: str, packets: int, encoder: str, name: str
) -> None:
    made_by = Encoder(name=encoder, ffmpeg=Path("/usr/bin/ffmpeg"), svt_version=(4, 2))
    options = OutputOptions()
    try:
        facts = facts_of(content, container, packets)
        plan = make_plan(facts)
        if not plan.kept("video"):
            raise ProbeError("its video has no pictures")  # as probe says by the packets
        check_source(plan, 99.0)
    except MediaError as exc:
        assert str(exc) and "\n" not in str(exc)
        return
    source, target = Path(name), Path("out", name)
    covers = [Path("out", f"cover{number}") for number in range(len(plan.kept("cover")))]
    commands = [encode_command(plan, made_by, options, source, target, covers, 1)]
    commands += [
        [str(part) for part in cover_command(made_by, source, kept.source, target)] for kept in plan.kept("cover")
    ]
    for command in commands:
        for argument in command:
            argument.encode()  # no half character
            assert "\0" not in argument
        said = [argument for argument in command if argument.endswith(name)]
        assert said and all(argument.startswith("file:") for argument in said)
        assert command[command.index("-i") + 1] == f"file:{source}" and command[-1].startswith("file:")
        before = command[: command.index("-i")]
        assert before[before.index("-format_whitelist") + 1] == FORMATS
        assert before[before.index("-protocol_whitelist") + 1] == "file,pipe"
    assert all("\n" not in line and line for line in plan.warnings())
    settings_text(plan, made_by, options, 1)
    census(plan, facts)
    frames(plan, facts, 99.0)


@given(ANYTHING)
@settings(max_examples=60, deadline=None)
def test_answer_that_is_no_answer_is_refused(content: Any) -> None:
    with pytest.raises(ProbeError):
        check_streams(streams_of(cleaned(content)))


@given(ANSWER)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_cleaned_answer_holds_what_is_promised_and_is_left_alone_by_a_second_cleaning(content: Any) -> None:
    answer = cleaned(content)
    assume(not any(isinstance(value, float) and math.isnan(value) for value in answer.values()))
    assert cleaned(answer) == answer
    for stream in answer["streams"]:
        assert all(isinstance(value, str) for value in stream.get("tags", {}).values())
        assert isinstance(stream.get("width", 1), int) and isinstance(stream.get("side_data_list", []), list)


def test_answer_of_a_real_file_is_left_as_it_is() -> None:
    content: dict[str, Any] = {
        "streams": [
            {
                "index": 0,
                "codec_name": "hevc",
                "codec_type": "video",
                "width": 1920,
                "sample_aspect_ratio": "1137:800",
                "avg_frame_rate": "24000/1001",
                "nb_frames": "730",
                "disposition": {"default": 1},
                "tags": {"language": "jpn", "title": "第1話"},
                "side_data_list": [{"side_data_type": "Mastering display metadata", "red_x": "34000/50000"}],
            }
        ],
        "chapters": [{"start_time": "1.5", "tags": {"title": "A"}}],
        "format": {"duration": "30.4", "tags": {"title": "x"}},
    }
    answer = cleaned(content)
    stream = answer["streams"][0]
    assert {k: v for k, v in stream.items() if k != "nb_frames"} == {
        k: v for k, v in content["streams"][0].items() if k != "nb_frames"
    }
    assert stream["nb_frames"] == 730 and answer["format"]["duration"] == 30.4


def test_thousands_of_streams_and_endless_pictures_are_refused() -> None:
    video = {"codec_type": "video", "codec_name": "h264", "width": 320, "height": 180}
    with pytest.raises(ProbeError, match="streams, more than"):
        check_streams(streams_of(cleaned({"streams": [{**video, "index": n} for n in range(MAX_STREAMS + 1)]})))
    for width, height in ((60_000, 60_000), (0, 5), (None, None), (-5, 5), ("1e9", 3)):
        with pytest.raises(ProbeError, match="can't be encoded"):
            check_streams(streams_of(cleaned({"streams": [{**video, "index": 0, "width": width, "height": height}]})))
    attached = {"codec_type": "attachment", "index": 1, "extradata_size": 2 << 30}
    with pytest.raises(ProbeError, match="attachments"):
        check_streams(streams_of(cleaned({"streams": [{**video, "index": 0}, attached]})))


def test_deep_nesting_ends() -> None:
    deep: Any = {}
    for _ in range(500):
        deep = {"tags": deep, "x": deep}
    assert cleaned(deep) is not None


@pytest.mark.parametrize(
    ("limit", "most", "cause"),
    [
        ("MAX_STREAMS", 1, "2 streams"),
        ("MAX_PIXELS", 1000, "320x180"),
        ("MAX_SECONDS", 1.0, "lasts"),
        ("_MAX_PACKETS", 10, "packets"),
        ("MAX_ATTACHED", 100, "attachments"),
    ],
)
def test_more_than_the_limits_is_refused(
    limit: str, most: float, cause: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    font = tmp_path / "font.ttf"
    font.write_bytes(b"\0\1\0\0" * 100)
    attach = ["-attach", str(font), "-metadata:s:t:0", "mimetype=font/ttf"]
    source = make([*picture(2), "-c:v", "mpeg4", *attach], tmp_path / "in.mkv")
    probe(source, Path(ffprobe()))
    monkeypatch.setattr(tools.media.probe, limit, most)
    with pytest.raises(ProbeError, match=cause):
        probe(source, Path(ffprobe()))


def test_probe_that_never_ends_is_given_up_and_blames_no_file(tmp_path: Path) -> None:
    source = make([*picture(1), "-c:v", "mpeg4"], tmp_path / "in.mkv")
    slow = tmp_path / "ffprobe"
    slow.write_text("#!/bin/sh\nsleep 60\n")
    slow.chmod(slow.stat().st_mode | stat.S_IXUSR)
    with pytest.raises(ReadTooSlow, match="within"):
        probe(source, slow, limit=lambda size: 0.5)


def test_title_that_looks_like_a_packet_is_none(tmp_path: Path) -> None:
    title = 'x\n        { "codec_type": "video", "stream_index": 0, "size": "1", "flags": "K__" },'
    source = make([*picture(0.5), "-c:v", "mpeg4", "-metadata", f"title={title}"], tmp_path / "in.mkv")
    facts = probe(source, Path(ffprobe()))
    assert facts.tag("title") == title and facts.of("video")[0].packets == 12


@pytest.mark.parametrize("time", ["", '"pts_time": "1.2.3", "dts_time": "0.0",', '"pts_time": 1,'])
def test_packets_of_another_form_are_an_answer_that_is_not_understood(time: str) -> None:
    answer = _Answer()
    answer.line('        { "codec_type": "video", "stream_index": 0, "pts_time": "0.5", "size": "9", "flags": "K__" },')
    assert answer.counted[0].packets == 1
    answer.line(f'        {{ "codec_type": "video", "stream_index": 0, {time} "flags": "K__" }},')
    with pytest.raises(ProbeError, match="can't be understood"):
        answer.content()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "the file is empty"),
        (b"Rar!\x1a\x07\x01\x00" + bytes(90), "not a video file but a RAR archive"),
        (b"PK\x03\x04" + bytes(90), "not a video file but a ZIP archive"),
        ("\ufeff第 1 话\r\n\thttps://example.org\n".encode(), "not a video file but text"),
        (("話" * 30_000).encode(), "not a video file but text"),  # what is read of it ends within a character
        ("第 1 话".encode("gb18030"), "not a video file: unknown content"),
        (b"text, and then\0\1", "not a video file: unknown content"),
    ],
)
def test_what_is_no_video_is_told_by_what_it_is(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "1.mp4"
    path.write_bytes(content)
    with pytest.raises(ProbeError) as caught:
        sniff(path)
    assert str(caught.value) == told
