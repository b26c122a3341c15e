"""Plan → what MKVToolNix is told: the encoded streams, and all the rest straight from a Matroska source. Pure.

An encoded stream gets what its track's head said in the source, by mkvpropedit, before mkvmerge takes it: so both
programs carry over one head, and no option of mkvmerge's decides anything.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from xml.etree.ElementTree import Element as XmlElement
from xml.etree.ElementTree import SubElement, tostring

from tools.media.facts import StreamKind
from tools.media.matroska import Element
from tools.media.mkvmerge import Muxer
from tools.media.plan import Added, Plan, StreamPlan
from tools.media.turned import as_encoded

STALE_TAGS = ("BPS", "DURATION", "NUMBER_OF_FRAMES", "NUMBER_OF_BYTES", "_STATISTICS_")
_KINDS: tuple[StreamKind, ...] = ("video", "audio", "subtitle")
_NONE_OF = {"video": "--no-video", "audio": "--no-audio", "subtitle": "--no-subtitles"}
# Elements of a track → names of mkvpropedit's properties.
_TRACK = {
    **{"TrackUID": "track-uid", "Name": "name", "FlagEnabled": "flag-enabled", "FlagDefault": "flag-default"},
    **{"FlagForced": "flag-forced", "FlagHearingImpaired": "flag-hearing-impaired"},
    **{"FlagVisualImpaired": "flag-visual-impaired", "FlagTextDescriptions": "flag-text-descriptions"},
    **{"FlagOriginal": "flag-original", "FlagCommentary": "flag-commentary"},
}
_VIDEO = {
    **{"PixelCropLeft": "pixel-crop-left", "PixelCropTop": "pixel-crop-top", "PixelCropRight": "pixel-crop-right"},
    **{"PixelCropBottom": "pixel-crop-bottom", "DisplayWidth": "display-width", "DisplayHeight": "display-height"},
    **{"DisplayUnit": "display-unit", "StereoMode": "stereo-mode"},
}
_PROJECTION = {
    **{"ProjectionType": "projection-type", "ProjectionPrivate": "projection-private"},
    **{"ProjectionPoseYaw": "projection-pose-yaw", "ProjectionPosePitch": "projection-pose-pitch"},
    **{"ProjectionPoseRoll": "projection-pose-roll"},
}
_SEGMENT = {
    **{"SegmentFilename": "SegmentFilename", "SegmentUUID": "SegmentUID", "PrevUUID": "PreviousSegmentUID"},
    **{"PrevFilename": "PreviousSegmentFilename", "NextUUID": "NextSegmentUID"},
    **{"NextFilename": "NextSegmentFilename", "SegmentFamily": "SegmentFamily"},
}
_BINARY = frozenset({"SegmentUUID", "PrevUUID", "NextUUID", "SegmentFamily"})
_EPOCH = "2001-01-01"  # of DateUTC, in ns. Source: RFC 8794 §7.6


@dataclass(frozen=True, slots=True)
class MuxJob:
    """The files of one run in their order, and what they hold."""

    command: tuple[str, ...]
    files: Mapping[Path, bytes] = field(default_factory=dict)  # to be written before


def encoded_streams(plan: Plan) -> list[StreamPlan]:
    """What ffmpeg makes, in the order of its file."""
    return [kept for kept in plan.kept("video", "audio", "subtitle") if kept.action == "encode"]


def edit_command(plan: Plan, muxer: Muxer, encoded: Path) -> list[str]:
    """Gives each encoded stream the head that it had."""
    command = [str(muxer.mkvpropedit), "--gui-mode", str(encoded)]
    for number, kept in enumerate(encoded_streams(plan), 1):
        track = plan.facts.track(kept.source)
        command += ["--edit", f"track:{number}"]
        command += _set(track, _TRACK)
        if language := plan.language(kept.source):
            command += ["--set", f"language={language}"]
        if kept.source.kind == "video":
            video = as_encoded(track.first("Video"), kept.source)
            command += _set(track, {"DefaultDuration": "default-duration"})
            command += _set(video, _VIDEO)
            command += _set(video.first("Projection"), _PROJECTION)
    return command


ROOM = " " * 60
"""Behind the name of a track that ``language_command`` is for, when ffmpeg writes it: without room for more the whole
head would move to the file's end."""


def language_command(plan: Plan, muxer: Muxer, target: Path) -> list[str]:
    """Gives tracks of an output that ffmpeg made the languages that were guessed."""
    command = [str(muxer.mkvpropedit), "--gui-mode", str(target)]
    for number, kept in enumerate(plan.kept("video", "audio", "subtitle"), 1):
        if language := plan.languages.get(kept.source.index):
            title = kept.source.tag("title")
            named = ["--set", f"name={title}"] if title else ["--delete", "name"]
            command += ["--edit", f"track:{number}", "--set", f"language={language}", *named]
    return command


def _set(element: Element, names: Mapping[str, str]) -> Iterator[str]:
    for name, own in names.items():
        yield from ("--set", f"{own}={element.first(name).value}") if element.has(name) else ("--delete", own)


def mux_job(plan: Plan, muxer: Muxer, encoded: Path | None, source: Path, target: Path, label: str) -> MuxJob:
    """The run that makes the output. ``label`` names the encoder."""
    files: dict[Path, bytes] = {}
    command = [str(muxer.mkvmerge), "--gui-mode", "--output", str(target), "--deterministic", _seed(plan)]
    command += ["--normalize-language-ietf", "off"]
    if about := _segment(plan):
        files[target.with_name("segment.xml")] = about
        command += ["--segmentinfo", str(target.with_name("segment.xml"))]
    places: dict[int, str] = {}
    if encoded is not None:
        for place, kept in enumerate(encoded_streams(plan)):
            places[kept.source.index] = f"0:{place}"
            if about := _tags(plan, kept, label if kept.source.kind == "video" else ""):
                path = target.with_name(f"tags{place}.xml")
                files[path] = about
                command += ["--tags", f"{place}:{path}"]
        command += ["--no-chapters", "--no-global-tags", "--no-track-tags", str(encoded)]
    from_source = 0 if encoded is None else 1
    for kind in _KINDS:
        numbers = []
        for kept in plan.kept(kind):
            if kept.source.index not in places:
                number = plan.facts.track_number(kept.source)
                places[kept.source.index] = f"{from_source}:{number}"
                numbers.append(str(number))
                if language := plan.languages.get(kept.source.index):
                    command += ["--language", f"{number}:{language}"]
        command += [f"--{kind}-tracks", ",".join(numbers)] if numbers else [_NONE_OF[kind]]
    order = [places[kept.source.index] for kept in plan.kept("video", "audio", "subtitle")]
    command.append(str(source))
    for number, path in enumerate(dict.fromkeys(one.path for one in plan.added), from_source + 1):
        for one in (one for one in plan.added if one.path == path):
            order.append(f"{number}:{one.index}")
            command += _about_added(one)
        command.append(str(path))
    for font in plan.fonts:
        command += ["--attachment-name", font.name, "--attachment-mime-type", font.mimetype]
        command += ["--attach-file", str(font.path)]
    command += ["--track-order", ",".join(order)]
    if any(
        argument.startswith("@") for argument in command
    ):  # which mkvmerge takes for a file of options: a font's name
        options = target.with_name("options.json")
        files[options] = json.dumps(command[1:]).encode()
        command = [command[0], f"@{options}"]
    return MuxJob((*command,), files)


def _about_added(one: Added) -> Iterator[str]:
    said = {
        "--language": one.language,
        "--track-name": one.title,
        "--default-track-flag": "0",
        "--forced-display-flag": str(int("forced" in one.flags)),
        "--hearing-impaired-flag": "1" if "hearing_impaired" in one.flags else "",
        "--sub-charset": "UTF-8" if one.codec in _TEXTS else "",
    }
    for option, value in said.items():
        if value:
            yield from (option, f"{one.index}:{value}")


_TEXTS = frozenset({"subrip", "ass"})


def date_command(plan: Plan, muxer: Muxer, target: Path) -> list[str]:
    """Gives the result the date that the source had; [] if it had none. mkvmerge itself writes none that is not now."""
    info = plan.facts.head.info if plan.facts.head is not None else Element("Info")
    if not info.has("DateUTC"):
        return []
    return [str(muxer.mkvpropedit), "--gui-mode", str(target), "--edit", "info", "--set", f"date={_date(info)}"]


def _date(info: Element) -> str:
    return (datetime.fromisoformat(_EPOCH) + timedelta(seconds=info.number("DateUTC") // 10**9)).isoformat() + "Z"


def _seed(plan: Plan) -> str:
    """Of the numbers that mkvmerge has to invent: the same for the same source."""
    return hashlib.sha256(f"{plan.facts.size} {plan.facts.head}".encode("utf-8", "replace")).hexdigest()


def _segment(plan: Plan) -> bytes:
    """The segment's own names and those it is linked with, as ``--segmentinfo`` takes them; b"" if it has none."""
    root = XmlElement("Info")
    for part in plan.facts.head.info.parts if plan.facts.head is not None else ():
        if part.name in _SEGMENT:
            made = SubElement(root, _SEGMENT[part.name], {"format": "hex"} if part.name in _BINARY else {})
            made.text = str(part.value)
    return tostring(root, "utf-8") if len(root) else b""


def _tags(plan: Plan, kept: StreamPlan, label: str) -> bytes:
    """The tags of an encoded stream without those that are no longer true, as ``--tags`` takes them."""
    root = XmlElement("Tags")
    uid = plan.facts.track(kept.source).number("TrackUID")
    for tag in plan.facts.head.tags if plan.facts.head is not None else ():
        targets = tag.first("Targets")
        if uid and any(part.value == uid for part in targets.all("TagTrackUID")):
            simples = [part for part in tag.all("SimpleTag") if not is_stale(part, is_encoded=True)]
            if simples:
                _add_tag(root, targets, simples)
    if label:
        _add_tag(
            root,
            Element("Targets"),
            [Element("SimpleTag", "", (Element("TagName", "ENCODER"), Element("TagString", label)))],
        )
    return tostring(root, "utf-8") if len(root) else b""


def is_stale(simple: Element, *, is_encoded: bool) -> bool:
    """Whether a track's tag tells of the file it was in: statistics, and of what was encoded the encoder."""
    name = simple.text("TagName").upper()
    return name.startswith(STALE_TAGS) or (is_encoded and name in {"ENCODER", "ENCODER_OPTIONS"})


def _add_tag(root: XmlElement, targets: Element, simples: list[Element]) -> None:
    made = SubElement(root, "Tag")
    about = SubElement(made, "Targets")
    for name in ("TargetTypeValue", "TargetType"):
        if targets.has(name):
            SubElement(about, name).text = targets.text(name)
    for simple in simples:
        _add_simple(made, simple)


_SIMPLE = {"TagName": "Name", "TagString": "String", "TagDefault": "DefaultLanguage"}
_SIMPLE |= {"TagLanguage": "TagLanguage", "TagLanguageBCP47": "TagLanguageIETF"}


def _add_simple(parent: XmlElement, simple: Element) -> None:
    made = SubElement(parent, "Simple")
    for part in simple.parts:
        if part.name == "SimpleTag":
            _add_simple(made, part)
        elif part.name == "TagBinary":
            SubElement(made, "Binary", {"format": "hex"}).text = str(part.value)
        elif part.name in _SIMPLE:
            SubElement(made, _SIMPLE[part.name]).text = str(part.value)
