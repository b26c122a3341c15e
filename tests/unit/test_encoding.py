"""What is decided before ffmpeg runs, for sources that nothing here can make."""

from pathlib import Path
from typing import Any, cast

import pytest

from tools.core.errors import ProbeError
from tools.media.carried import dolby_vision_of
from tools.media.converter import _encoder_for
from tools.media.encoders import Encoder
from tools.media.encoding import OutputOptions, encoder_arguments
from tools.media.facts import Facts, Stream
from tools.media.ffmpeg import MediaPrograms
from tools.media.mkvmerge import Muxer
from tools.media.plan import make_plan


def facts(*streams: Stream, container: str = "mov") -> Facts:
    return Facts("", streams, (), {}, 10.0, 1000, container)


def video(**about: Any) -> Stream:
    return Stream(0, "video", "hevc", {"pix_fmt": "yuv420p10le", "width": 320, "height": 180, **about}, packets=240)


def dolby(profile: int, compatible: int) -> dict[str, Any]:
    record = {"side_data_type": "DOVI configuration record", "dv_profile": profile}
    return {"side_data_list": [{**record, "dv_bl_signal_compatibility_id": compatible}]}


@pytest.mark.parametrize(("profile", "compatible"), [(8, 1), (8, 4), (7, 6)])
def test_dolby_vision_keeps_its_base_layer_and_says_so(profile: int, compatible: int) -> None:
    plan = make_plan(facts(video(**dolby(profile, compatible))))
    assert plan.action == "transcode" and any("Dolby Vision" in line for line in plan.warnings())


def test_dolby_vision_without_a_base_layer_that_others_show_is_refused() -> None:
    with pytest.raises(ProbeError, match="profile 5"):
        make_plan(facts(video(**dolby(5, 0))))


def test_sound_that_the_muxer_refuses_is_not_copied() -> None:
    sounds = [Stream(n, "audio", codec, {}, packets=9) for n, codec in enumerate(["cook", "sipr", "ra_288"], 1)]
    assert [(one.action, one.codec) for one in make_plan(facts(video(), *sounds)).kept("audio")] == [
        ("encode", "opus")
    ] * 3


def test_aac_in_latm_is_copied_only_where_it_can_be_put_back_at_its_place() -> None:
    muxer = Muxer(Path("mkvmerge"), Path("mkvpropedit"), "74")

    def becomes(*streams: Stream, container: str = "mpegts", by: Muxer | None = muxer) -> list[tuple[str, str]]:
        sound = Stream(1, "audio", "aac_latm", {"start_time": "1.4"}, packets=9)
        plan = make_plan(facts(*streams, sound, container=container), by)
        return [(one.action, one.codec) for one in plan.kept("audio")]

    film = video(start_time="1.5")
    assert becomes(film) == [("copy", "aac")]
    for times in ([0.0, 20.0], [20.0, 0.0]):
        jumpy = video()
        jumpy.times.extend(times)
        assert becomes(jumpy) == [("encode", "opus")]
    early = Stream(2, "data", "epg", {"start_time": "1.3"}, packets=9)  # from which ffmpeg counts, or not
    uneven = video()
    uneven.has_even_times = True
    assert becomes(film, early) == becomes(uneven) == [("encode", "opus")]
    assert becomes(film, container="mpeg") == becomes(film, by=None) == [("encode", "opus")]


def test_adpcm_that_matroska_does_not_hold_becomes_flac() -> None:
    sounds = [Stream(n, "audio", codec, {}, packets=9) for n, codec in enumerate(["adpcm_ima_qt", "roq_dpcm"], 1)]
    plan = make_plan(facts(video(), *sounds))
    assert [(one.action, one.codec) for one in plan.kept("audio")] == [("encode", "flac")] * 2 and not plan.warnings()


def test_sound_that_would_be_copied_without_a_sample_rate_is_refused_before_anything_is_encoded() -> None:
    def sound(codec: str, packets: int) -> Stream:
        return Stream(3, "audio", codec, {"sample_rate": "0", "channels": 0}, packets=packets)

    with pytest.raises(ProbeError, match=r"stream 3 .* no sample rate"):
        make_plan(facts(video(), sound("aac", 2)))
    assert [one.action for one in make_plan(facts(video(), sound("aac", 0))).streams] == ["encode", "drop"]
    # A decoder may find it out later.
    assert [one.action for one in make_plan(facts(video(), sound("cook", 2))).streams] == ["encode", "encode"]


def test_av1_in_a_clean_matroska_is_carried_over_and_anything_else_is_not() -> None:
    av1 = Stream(0, "video", "av1", {}, packets=240)
    assert make_plan(facts(av1, container="matroska")).action == "copy"
    assert make_plan(facts(av1, container="webm")).action == "remux"
    text = Stream(1, "subtitle", "mov_text", {}, packets=3)
    assert make_plan(facts(av1, text, container="mov")).action == "remux"


@pytest.mark.parametrize(
    ("cores", "modern", "level"), [(1, 1, 1), (2, 1, 2), (4, 1, 3), (8, 1, 4), (16, 1, 5), (64, 1, 6), (8, 0, 8)]
)
def test_encoder_is_given_its_share_of_the_cores(cores: int, modern: int, level: int) -> None:
    encoder = Encoder(name="libsvtav1", ffmpeg=Path("ffmpeg"), generation=2 * modern)
    _, arguments = encoder_arguments(encoder, OutputOptions(), source=None, threads=cores, stream=0)
    assert f"lp={level}" in arguments[arguments.index("-svtav1-params:v:0") + 1].split(":")


@pytest.mark.parametrize(
    ("carried", "said"),
    [
        ("HDR Dynamic Metadata SMPTE2094-40 (HDR10+)", "HDR10+"),
        ("HDR Dynamic Metadata CUVA 005.1 2021 (Vivid)", "HDR Vivid"),
        ("Dolby Vision RPU Data", "Dolby Vision"),
        ("ATSC A53 Part 4 Closed Captions", "captions inside the pictures"),
        ("SMPTE 12-1 timecode", "time codes"),
        ("GOP timecode", "time codes"),
        ("Film grain parameters", "film grain"),
        ("Active format description", "active format description"),
        ("Bar data", "bar data"),
    ],
)
def test_what_travels_inside_the_pictures_is_said(carried: str, said: str) -> None:
    film = video()
    assert make_plan(facts(film)).warnings() == []
    film.carries = frozenset({carried, "H.26[45] User Data Unregistered SEI message", "Mastering display metadata"})
    (line,) = make_plan(facts(film)).warnings()
    assert line.startswith("stream 0: ") and said in line


@pytest.mark.parametrize(
    ("profile", "compatible", "has_rpu", "kept"),
    [(8, 1, True, "8.1 → 10.1"), (7, 6, True, "7.6 → 10.1"), (8, 4, True, "8.4 → 10.4"), (8, 1, False, "")],
)
def test_dolby_vision_is_kept_where_pictures_have_its_metadata(
    profile: int, compatible: int, has_rpu: bool, kept: str
) -> None:
    film = video(**dolby(profile, compatible))
    film.carries = frozenset({"Dolby Vision RPU Data"} if has_rpu else ())
    assert dolby_vision_of(film) == kept


@pytest.mark.parametrize(
    ("name", "crops", "can"),
    [("libsvtav1", True, True), ("libaom-av1", True, True), ("libsvtav1", False, False), ("av1_nvenc", True, False)],
)
def test_only_software_encoders_of_a_new_ffmpeg_keep_dolby_vision(name: str, crops: bool, can: bool) -> None:
    assert Encoder(name=name, ffmpeg=Path("ffmpeg"), crops=crops).has_dolby_vision == can


def test_encoder_that_keeps_dolby_vision_is_preferred_where_one_works() -> None:
    card, software = (Encoder(name=name, ffmpeg=Path("ffmpeg"), crops=True) for name in ("av1_nvenc", "libsvtav1"))

    class Programs:
        """Those that work."""

        def __init__(self, *encoders: Encoder) -> None:
            self.encoders = encoders

        def after(self, encoder: Encoder) -> Encoder | None:
            return next(iter(self.encoders[self.encoders.index(encoder) + 1 :]), None)

    for wanted, programs, chosen in (
        (True, Programs(card, software), software),
        (False, Programs(card, software), card),
        (True, Programs(card), card),
    ):
        assert _encoder_for(wanted, cast(MediaPrograms, programs)) is chosen
