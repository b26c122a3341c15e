"""What an archivist sees of a Matroska file in MKVToolNix is in the result, or its loss is recorded."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.conversion import CONVERTER, convert, refusal, stand_in
from tests.media import SUBTITLES, facts_of, make, picture, times_of, tone
from tools.core.errors import DiskFull
from tools.media.converter import FfmpegConverter, MachineOptions, OutputOptions
from tools.media.mkvmerge import find_muxer

pytestmark = pytest.mark.skipif(find_muxer("auto")[0] is None, reason="MKVToolNix is not installed")
CODECS = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac"]
CHAPTERS = """<?xml version="1.0"?><Chapters>
<EditionEntry><EditionUID>1</EditionUID><EditionFlagDefault>1</EditionFlagDefault>
<ChapterAtom><ChapterUID>11</ChapterUID><ChapterTimeStart>00:00:00.000</ChapterTimeStart>
<ChapterTimeEnd>00:00:00.500</ChapterTimeEnd>
<ChapterDisplay><ChapterString>片头</ChapterString><ChapterLanguage>chi</ChapterLanguage>
<ChapLanguageIETF>zh-Hans</ChapLanguageIETF></ChapterDisplay>
<ChapterDisplay><ChapterString>Opening</ChapterString><ChapterLanguage>eng</ChapterLanguage></ChapterDisplay>
<ChapterAtom><ChapterUID>111</ChapterUID><ChapterTimeStart>00:00:00.250</ChapterTimeStart>
<ChapterDisplay><ChapterString>nested</ChapterString></ChapterDisplay></ChapterAtom></ChapterAtom>
<ChapterAtom><ChapterUID>12</ChapterUID><ChapterTimeStart>00:00:00.500</ChapterTimeStart>
<ChapterFlagHidden>1</ChapterFlagHidden><ChapterDisplay><ChapterString>A</ChapterString></ChapterDisplay></ChapterAtom>
</EditionEntry>
<EditionEntry><EditionUID>2</EditionUID><ChapterAtom><ChapterUID>21</ChapterUID>
<ChapterTimeStart>00:00:00.000</ChapterTimeStart>
<ChapterDisplay><ChapterString>second edition</ChapterString></ChapterDisplay></ChapterAtom></EditionEntry></Chapters>
"""
OTHER = "11111111111111111111111111111111"
ORDERED = f"""<?xml version="1.0"?><Chapters><EditionEntry><EditionUID>1</EditionUID>
<EditionFlagOrdered>1</EditionFlagOrdered><ChapterAtom><ChapterUID>1</ChapterUID>
<ChapterTimeStart>00:00:00.500</ChapterTimeStart><ChapterTimeEnd>00:00:01.000</ChapterTimeEnd></ChapterAtom>
<ChapterAtom><ChapterUID>2</ChapterUID><ChapterTimeStart>00:00:00.000</ChapterTimeStart>
<ChapterTimeEnd>00:00:02.000</ChapterTimeEnd><ChapterSegmentUID format="hex">{OTHER}</ChapterSegmentUID></ChapterAtom>
</EditionEntry></Chapters>"""
TAGS = """<?xml version="1.0"?><Tags>
<Tag><Targets><TargetTypeValue>70</TargetTypeValue><TargetType>COLLECTION</TargetType></Targets>
<Simple><Name>TITLE</Name><String>作品名</String></Simple></Tag>
<Tag><Targets><TargetTypeValue>60</TargetTypeValue></Targets>
<Simple><Name>PART_NUMBER</Name><String>3</String></Simple></Tag>
<Tag><Targets><EditionUID>2</EditionUID></Targets><Simple><Name>OF</Name><String>edition</String></Simple></Tag>
<Tag><Targets><ChapterUID>111</ChapterUID></Targets><Simple><Name>OF</Name><String>chapter</String></Simple></Tag>
</Tags>"""
TRACK_TAGS = """<?xml version="1.0"?><Tags><Tag><Simple><Name>DIRECTOR</Name><String>导演</String>
<Simple><Name>URL</Name><String>x</String></Simple></Simple></Tag></Tags>"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    both = [*picture(1, "160x120"), *tone(1), *tone(1), "-map", "0", "-map", "1", "-map", "2", *CODECS]
    (tmp_path / "words.srt").write_text(SUBTITLES, encoding="utf-8")
    for name, content in (("chapters", CHAPTERS), ("ordered", ORDERED), ("tags", TAGS), ("track", TRACK_TAGS)):
        (tmp_path / f"{name}.xml").write_text(content, encoding="utf-8")
    (tmp_path / "字体.ttf").write_bytes(b"\0\1\0\0" + bytes(range(256)) * 10)
    return make(both, tmp_path / "base.mkv")


def merged(base: Path, arguments: str) -> Path:
    """A file that mkvmerge makes; FOLDER in the arguments is where the parts are."""
    target = base.with_name("in.mkv")
    words = arguments.replace("BASE", "FOLDER/base.mkv").replace("FOLDER", str(base.parent)).split()
    subprocess.run(["mkvmerge", "-q", "-o", str(target), *words], check=True)
    return target


def identified(path: Path) -> dict[str, Any]:
    done = subprocess.run(["mkvmerge", "-J", str(path)], capture_output=True, check=True)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def extracted(path: Path, what: str) -> list[str]:
    """XML of mkvextract, line by line; tags without the statistics, in any order."""
    target = path.with_name("extracted.xml")
    target.unlink(missing_ok=True)
    subprocess.run(["mkvextract", "-q", str(path), what, str(target)], check=True)
    root = ElementTree.parse(target).getroot() if target.exists() else ElementTree.Element("none")
    if what == "chapters":
        return ElementTree.tostring(root, "unicode").split("\n")
    found = []
    for tag in root:
        targets = tag.find("Targets")
        about = sorted((part.tag, part.text) for part in targets) if targets is not None else []
        for simple in tag.iter("Simple"):
            name, value = simple.findtext("Name") or "", simple.findtext("String")
            if not name.startswith(("BPS", "DURATION", "NUMBER_OF_", "_STATISTICS", "ENCODER")):
                found.append(f"{about} {name}={value}")
    return sorted(found)


# What belongs to the codec, and to what the encoder made anew.
OF_THE_CODEC = {"codec_id", "codec_private_data", "codec_private_length", "packetizer", "number", "tag_encoder"}
OF_STATISTICS = ("tag_bps", "tag_duration", "tag_number", "tag__statistics", "num_index_entries", "color", "chroma")


def shown(path: Path) -> dict[str, Any]:
    """What MKVToolNix's window shows of a file, without what a new encode changes."""
    told = identified(path)
    container = {k: v for k, v in told["container"]["properties"].items() if "application" not in k and k != "duration"}
    tracks = [
        {
            name: value
            for name, value in track["properties"].items()
            if name not in OF_THE_CODEC and not name.startswith(OF_STATISTICS)
        }
        for track in told["tracks"]
    ]
    return {"container": container, "tracks": tracks, "attachments": told["attachments"], "chapters": told["chapters"]}


@pytest.mark.parametrize(
    "how",
    [
        "BASE --language 0:zh-Hans FOLDER/words.srt --language 0:zh-Hant FOLDER/words.srt",
        "--language 0:zh-Hant --language 1:yue --language 2:ja-Latn --track-name 0:正片 BASE",
        "--track-enabled-flag 2:0 --default-track-flag 1:0 --forced-display-flag 2:1 BASE",
        "--original-flag 1:1 --original-flag 2:0 --commentary-flag 2:1 --hearing-impaired-flag 1:1"
        " --visual-impaired-flag 2:1 BASE --text-descriptions-flag 0:1 FOLDER/words.srt",
        "--chapters FOLDER/chapters.xml BASE",
        "--chapters FOLDER/chapters.xml --global-tags FOLDER/tags.xml --tags 0:FOLDER/track.xml"
        " --tags 1:FOLDER/track.xml BASE",
        "--cropping 0:2,4,6,8 BASE",
        "--stereo-mode 0:side_by_side_left_first BASE",
        "--cropping 0:2,4,2,4 --stereo-mode 0:side_by_side_left_first --display-dimensions 0:320x90 BASE",
        "--projection-type 0:1 --projection-pose-yaw 0:1.5 BASE",
        "--title 片名 --segment-uid 0x11223344556677889900aabbccddeeff"
        " --link-to-previous 0xaaaabbbbccccddddeeeeffff00001111 BASE",
        "--attachment-name 字体.ttf --attachment-mime-type application/x-truetype-font"
        " --attachment-description 说明 --attach-file FOLDER/字体.ttf BASE",
        "--no-date --sync 0:1500 --sync 1:1700 --sync 2:1600 BASE",
    ],
)
def test_result_shows_what_the_source_showed(how: str, base: Path, tmp_path: Path) -> None:
    source, target = merged(base, how), tmp_path / "out.mkv"
    report = convert(source, target)
    assert shown(target) == shown(source)
    assert extracted(target, "chapters") == extracted(source, "chapters")
    assert extracted(target, "tags") == extracted(source, "tags")
    assert [time for time in times_of(target)] == pytest.approx(times_of(source), abs=0.0005)
    linked = "--link" in how
    assert bool([line for line in report.warnings if "mkvmerge" in line or "other files" in line]) == linked
    assert facts_of(target)["streams"][0]["codec_name"] == "av1"


def test_chapters_that_ffmpeg_numbered_are_kept(base: Path, tmp_path: Path) -> None:
    """It counts them from 1 in each file, and mkvmerge gives them other numbers, to tags that refer to them too."""
    chapter = ";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=100\nEND=400\ntitle=序章\n"
    (tmp_path / "chapters.txt").write_text(chapter + "artist=A\n", encoding="utf-8")
    inputs = ["-i", str(base), "-i", str(tmp_path / "chapters.txt"), "-map", "0", "-map_chapters", "1", "-c", "copy"]
    source, target = make(inputs, tmp_path / "in.mkv"), tmp_path / "out.mkv"
    report = convert(source, target)
    assert not [line for line in report.warnings if "mkvmerge" in line], report.warnings
    before, after = ([one["tags"] for one in facts_of(path)["chapters"]] for path in (source, target))
    assert before == after and before[0] == {"title": "序章", "ARTIST": "A"}


def test_statistics_are_those_of_the_program_that_wrote_the_file(base: Path, tmp_path: Path) -> None:
    source = merged(base, "BASE")
    source.write_bytes(source.read_bytes().replace(b"mkvmerge v", b"oldmerge v"))
    convert(source, tmp_path / "out.mkv")
    assert b"oldmerge" not in (tmp_path / "out.mkv").read_bytes()
    tags = ["ffprobe", "-v", "error", "-show_entries", "stream_tags", "-of", "json", str(tmp_path / "out.mkv")]
    done = subprocess.run(tags, capture_output=True, check=True)
    for stream in json.loads(done.stdout)["streams"]:
        assert stream["tags"]["_STATISTICS_WRITING_APP"].startswith("mkvmerge")
        assert int(stream["tags"]["NUMBER_OF_FRAMES"]) > 0


@pytest.mark.another_user
def test_ordered_chapters_are_kept_and_name_the_other_files(base: Path, tmp_path: Path) -> None:
    source = merged(base, "--chapters FOLDER/ordered.xml BASE")
    report = convert(source, tmp_path / "out.mkv")
    assert extracted(tmp_path / "out.mkv", "chapters") == extracted(source, "chapters")
    told = identified(tmp_path / "out.mkv")["container"]["properties"]["segment_uid"]
    assert told == identified(source)["container"]["properties"]["segment_uid"]  # by which others name it
    assert [line for line in report.warnings if OTHER in line]


def test_two_runs_make_the_same_file(base: Path, tmp_path: Path) -> None:
    source = merged(base, "--chapters FOLDER/chapters.xml BASE FOLDER/words.srt")
    converter = FfmpegConverter(OutputOptions(preset=12, crf=50))
    made = [convert(source, tmp_path / f"out{number}.mkv", converter).sha256 for number in range(2)]
    assert made[0] == made[1]


WORDS = "1\n00:00:00,100 --> 00:00:00,400\n你好 \n世界\n\n2\n00:00:00,500 --> 00:00:00,800\nagain\n"


def with_words(base: Path, tmp_path: Path) -> Path:
    """As ffmpeg and fansubs write them: lines end as on Unix, with blanks before that."""
    (tmp_path / "lines.srt").write_bytes(WORDS.encode())
    added = ["-i", str(base), "-i", str(tmp_path / "lines.srt"), "-map", "0", "-map", "1", "-map", "1"]
    return make([*added, "-c", "copy", "-c:s:0", "srt", "-c:s:1", "ass"], tmp_path / "words.mkv")


def test_ends_of_lines_and_blanks_before_them_are_no_loss(base: Path, tmp_path: Path) -> None:
    report = convert(with_words(base, tmp_path), tmp_path / "out.mkv")
    assert not [line for line in report.warnings if "ffmpeg did" in line], report.warnings
    assert [line for line in report.warnings if "subtitle stream" in line and "ends of lines" in line]
    kept = extracted_text(tmp_path / "out.mkv", 3, tmp_path)
    assert kept.split() == WORDS.split()


@pytest.mark.usefixtures("uncaged")
def test_other_words_are_not_taken_for_the_source_s(base: Path, tmp_path: Path) -> None:
    source = with_words(base, tmp_path)
    other = tmp_path / "other.srt"
    other.write_bytes(WORDS.replace("again", "never").encode())
    instead = f'/usr/bin/mkvmerge -q -o "$out" --no-subtitles "$out.x" "{other}" "{other}"'
    deed = f'/usr/bin/mkvmerge "${{args[@]}}" && mv "$out" "$out.x" && {instead}'
    report = convert(source, tmp_path / "out.mkv", spoiling(tmp_path, deed))
    assert [line for line in report.warnings if "ffmpeg did" in line], report.warnings
    assert "again" in extracted_text(tmp_path / "out.mkv", 3, tmp_path)


def extracted_text(path: Path, track: int, tmp_path: Path) -> str:
    target = tmp_path / "extracted.txt"
    subprocess.run(["mkvextract", str(path), "tracks", f"{track}:{target}"], check=True, capture_output=True)
    return target.read_text(encoding="utf-8-sig")


def test_samples_whose_bytes_lie_the_other_way_round_stay_so(base: Path, tmp_path: Path) -> None:
    source = make(["-i", str(base), "-map", "0", "-c", "copy", "-c:a", "pcm_s24be"], tmp_path / "be.mkv")
    report = convert(source, tmp_path / "out.mkv")
    assert not [line for line in report.warnings if "could not make" in line], report.warnings
    assert facts_of(tmp_path / "out.mkv")["streams"][1]["codec_name"] == "pcm_s24be"


def test_what_is_no_language_is_said(base: Path, tmp_path: Path) -> None:
    odd = make(["-i", str(base), "-map", "0", "-c", "copy", "-metadata:s:a:0", "language=chs"], tmp_path / "odd.mkv")
    report = convert(odd, tmp_path / "out.mkv")
    assert [line for line in report.warnings if "'chs' is no language" in line]


def test_links_that_no_muxer_writes_are_said(base: Path, tmp_path: Path) -> None:
    source = merged(base, "--attachment-mime-type font/ttf --attach-file FOLDER/字体.ttf BASE")
    # Elements of the same length in the place of FlagLacing and Language: TrackOverlay or AttachmentLink, and a void.
    plain, void = b"\x9c\x81\x00\x22\xb5\x9c\x83und", b"\xec\x84\0\0\0\0"
    linked = source.read_bytes().replace(plain, b"\x74\x46\x81\x01" + void, 1)
    assert linked != source.read_bytes()
    source.write_bytes(linked)
    overlaid = tmp_path / "overlaid.mkv"
    overlaid.write_bytes(linked.replace(b"\x74\x46\x81\x01", b"\x6f\xab\x81\x02", 1))
    report = convert(source, tmp_path / "out.mkv")
    said = [*report.warnings, *CONVERTER.plan(overlaid).warnings()]
    assert not [line for line in said if "could not make" in line], said
    for name in ("AttachmentLink", "TrackOverlay"):
        assert [line for line in said if f"stream 0: its {name} is lost" in line], said
    assert identified(tmp_path / "out.mkv")["attachments"] == identified(source)["attachments"]


def test_loss_without_mkvmerge_is_recorded(base: Path, tmp_path: Path) -> None:
    how = "--chapters FOLDER/chapters.xml --global-tags FOLDER/tags.xml --track-enabled-flag 2:0 --cropping 0:2,4,2,4"
    source = merged(base, f"{how} --stereo-mode 0:side_by_side_left_first BASE --language 0:zh-Hans FOLDER/words.srt")
    converter = FfmpegConverter(OutputOptions(preset=12), MachineOptions(mkvmerge="off"))
    report = convert(source, tmp_path / "out.mkv", converter)
    said = "\n".join(report.warnings)
    for loss in ("FlagEnabled", "zh-Hans", "chapters are not the source's", "作品名", "cropping"):
        assert loss in said, said


@pytest.mark.usefixtures("uncaged")
@pytest.mark.parametrize("deed", ["exit 2", "again --no-audio", "again --no-chapters", "again --no-global-tags"])
def test_ffmpeg_does_what_mkvmerge_fails_at(deed: str, base: Path, tmp_path: Path) -> None:
    source = merged(base, "--chapters FOLDER/chapters.xml --global-tags FOLDER/tags.xml BASE")
    report = convert(source, tmp_path / "out.mkv", spoiling(tmp_path, deed))
    assert [line for line in report.warnings if "ffmpeg did" in line]
    assert [line for line in report.warnings if "作品名" in line]
    assert times_of(tmp_path / "out.mkv") == pytest.approx(times_of(source), abs=0.0005)


def test_languages_are_guessed_in_other_containers_too(base: Path, tmp_path: Path) -> None:
    words = ["-i", str(base), "-i", str(tmp_path / "words.srt"), "-map", "0", "-map", "1", "-c", "copy"]
    named = ["-c:s", "mov_text", "-metadata:s:s:0", "language=chi", "-metadata:s:s:0", "handler_name=繁體中文"]
    source = make([*words, *named], tmp_path / "in.mp4")
    asked, without = OutputOptions(preset=12, guess_languages=1), MachineOptions(mkvmerge="off")
    report = convert(source, tmp_path / "out.mkv", FfmpegConverter(asked))
    told = identified(tmp_path / "out.mkv")["tracks"][-1]["properties"]
    assert (told["language_ietf"], told["language"], told.get("track_name")) == ("zh-Hant", "chi", None)
    assert not [line for line in report.warnings if "languages" in line]
    content = (tmp_path / "out.mkv").read_bytes()
    tracks, cluster = (re.search(rb"(?<!\x53\xab\x84)" + one, content) for one in (rb"\x16T\xaek", rb"\x1fC\xb6u"))
    assert tracks and cluster and tracks.start() < cluster.start()  # the head is at the head
    report = convert(source, tmp_path / "plain.mkv", FfmpegConverter(asked, without))
    assert [line for line in report.warnings if "that needs mkvmerge" in line]


@pytest.mark.usefixtures("uncaged")
def test_full_disk_under_mkvmerge_is_one(base: Path, tmp_path: Path) -> None:
    said = "An exception occurred when writing the destination file. The drive may be full. Exception details: reading"
    deed = f'echo "#GUI#error {said} from/writing to the file error; No space left to write to"; exit 2'
    with pytest.raises(DiskFull):
        convert(merged(base, "BASE"), tmp_path / "out.mkv", spoiling(tmp_path, deed))


@pytest.mark.usefixtures("uncaged")
def test_fault_of_the_encode_is_not_tried_again_with_another_muxer(base: Path, tmp_path: Path) -> None:
    lossy = f"""echo "$*" >> {tmp_path}/runs
case "$*" in *libsvtav1*) exec "$real" "${{@:1:$#-1}}" -frames:v 9 "${{@: -1}}" ;; esac"""
    machine = MachineOptions(ffmpeg=str(stand_in(tmp_path, lossy)))
    said = refusal(
        merged(base, "BASE"),
        tmp_path / "out.mkv",
        FfmpegConverter(OutputOptions(preset=12, quality_metric="off"), machine),
    )
    assert "only 9 of 24 frames decode" in said
    runs = (tmp_path / "runs").read_text().splitlines()
    assert len([run for run in runs if "-f matroska" in run]) == 1, runs  # the encode, and no second muxer


def spoiling(tmp_path: Path, deed: str) -> FfmpegConverter:
    """One whose mkvmerge does this instead of writing a file."""
    folder = tmp_path / "programs"
    folder.mkdir()
    rule = """#!/bin/bash
case "$*" in *--output*) ;; *) exec /usr/bin/mkvmerge "$@" ;; esac
again() { /usr/bin/mkvmerge "${args[@]}" && mv "$out" "$out.x" && exec /usr/bin/mkvmerge -q -o "$out" "$1" "$out.x"; }
args=("$@") out=$3
"""
    (folder / "mkvmerge").write_text(rule + deed)
    (folder / "mkvmerge").chmod(0o755)
    return FfmpegConverter(OutputOptions(preset=12), MachineOptions(mkvmerge=str(folder / "mkvmerge")))


def test_picture_beside_the_video_is_kept_as_it_is(base: Path, tmp_path: Path) -> None:
    inputs = ["-i", str(base), "-f", "lavfi", "-i", "color=red:s=64x64:d=0.04:r=25"]
    source = make([*inputs, "-map", "1", "-map", "0", "-c", "copy", "-c:v:0", "png"], tmp_path / "in.mkv")
    report = convert(source, tmp_path / "out.mkv")
    assert [stream["codec_name"] for stream in facts_of(tmp_path / "out.mkv")["streams"]] == [
        "av1",
        "png",
        "aac",
        "aac",
    ]
    assert [line for line in report.warnings if "png" in line and "one picture" in line]
    assert CONVERTER.plan(tmp_path / "out.mkv").action == "copy"


def test_languages_are_guessed_only_if_asked(base: Path, tmp_path: Path) -> None:
    names = {"简体中文": "zh-Hans", "[CHT_JP] 繁體": "zh-Hant", "JPSC": "zh-Hans", "简繁": "zh", "script": "zh"}
    source, command = tmp_path / "in.mkv", ["mkvmerge", "-q", "-o", str(tmp_path / "in.mkv"), str(base)]
    for name in names:
        command += ["--track-name", f"0:{name}", "--language", "0:chi", str(tmp_path / "words.srt")]
    subprocess.run(command, check=True)
    for guess, expected in ((False, ["zh"] * len(names)), (True, list(names.values()))):
        convert(source, tmp_path / "out.mkv", FfmpegConverter(OutputOptions(preset=12, guess_languages=guess)))
        found = identified(tmp_path / "out.mkv")["tracks"][-len(names) :]
        assert [track["properties"]["language_ietf"] for track in found] == expected
