"""Heads of a Matroska source and of its result → what is not in the result as it was. Pure.

The census of ``census`` compares what ffprobe shows, for any container; this one all that MKVToolNix shows. Languages
are compared as BCP 47 tags, since mkvmerge writes those beside the old codes.
"""

from collections import Counter
from collections.abc import Callable, Iterator

from tools.media.facts import Facts
from tools.media.matroska import Element
from tools.media.muxing import is_stale
from tools.media.plan import Plan, StreamPlan, linked_segments, said_language
from tools.media.turned import as_encoded

_LINKS = ("Title", "SegmentUUID", "SegmentFilename", "PrevUUID", "PrevFilename", "NextUUID", "NextFilename", "DateUTC")
# Flags with what holds without them. Source: RFC 9559 §5.1.4.1.
_FLAGS = {
    **{"FlagEnabled": 1, "FlagDefault": 1, "FlagForced": 0, "FlagHearingImpaired": 0, "FlagVisualImpaired": 0},
    **{"FlagTextDescriptions": 0, "FlagOriginal": -1, "FlagCommentary": 0},
}
_NUMBERS = frozenset({"TrackUID", "the segment's SegmentUUID"})  # which ffmpeg gives anew; nothing is seen of that
_SIDES = ("Left", "Top", "Right", "Bottom")
_UNKNOWN_UNIT = 4  # of DisplayUnit; RFC 9559, section 5.1.4.1.28.14
_POSES = ("ProjectionPoseYaw", "ProjectionPosePitch", "ProjectionPoseRoll")
_ATTACHED = ("FileName", "FileMediaType", "FileDescription", "FileUID", "FileData")
_EDITION = {"EditionFlagHidden": 0, "EditionFlagDefault": 0, "EditionFlagOrdered": 0}
_ATOM = {"ChapterFlagHidden": 0, "ChapterFlagEnabled": 1, "ChapterSkipType": 0, "ChapterSegmentEditionUID": 0}
_ATOM |= {"ChapterPhysicalEquiv": 0}
_LONGEST = 80  # characters of a value in a message
_NS_PER_S = 10**9

Rows = dict[str, object]
Canonical = Callable[[str], str]


def head_differences(plan: Plan, made: Facts) -> list[str]:
    """What the source's head says and the result's does not, or says otherwise; [] for sources that have none."""
    if plan.facts.head is None or plan.action == "copy":
        return _unnamed(plan, made)
    if made.head is None:
        return ["the head of the result can't be read"]
    differences = _compared(plan, _segment(plan.facts), _segment(made))
    for kind in ("video", "audio", "subtitle"):
        for want, have in zip(plan.kept(kind), made.of(kind), strict=False):
            name = f"{kind} stream {want.source.index}: "
            track, result = plan.facts.track(want.source), made.track(have)
            differences += [name + line for line in _compared(plan, _wanted(plan, want, track), _track(result))]
            said, now = said_language(track), said_language(result)
            wanted, found = plan.language(want.source) or "und", _canonical(plan)(now)
            if plan.muxer and wanted.lower() != found.lower():
                differences.append(f"{name}language is {found} instead of {wanted}")
            elif not plan.muxer and said not in {"und", now} and track.has("LanguageBCP47"):
                differences.append(f"{name}language is {now} instead of {said}")
    canonical = _canonical(plan)
    differences += _lost(
        "attachment", map(_attachment, plan.facts.head.attachments), map(_attachment, made.head.attachments)
    )
    differences += _lost("tag", _tags(plan, plan.facts, canonical), _tags(plan, made, canonical))
    before = tuple(_edition(one, canonical) for one in plan.facts.head.editions)
    after = tuple(_edition(one, canonical) for one in made.head.editions)
    if not _matches(before, after):
        differences.append("the chapters are not the source's in full (editions, order, names, flags)")
    return differences


def _unnamed(plan: Plan, made: Facts) -> list[str]:
    """Guessed languages that a file which ffmpeg made does not have."""
    both = zip(plan.kept("subtitle"), made.of("subtitle"), strict=False)
    wanted = [(plan.languages.get(want.source.index, ""), want, made.track(have)) for want, have in both]
    return [
        f"subtitle stream {want.source.index}: its language is not {language}"
        for language, want, track in wanted
        if language and plan.editor and track.text("LanguageBCP47") != language
    ]


def _canonical(plan: Plan) -> Canonical:
    muxer = plan.muxer
    return (lambda language: muxer.canonical(language) or "und") if muxer else str


def _compared(plan: Plan, wanted: Rows, found: Rows) -> list[str]:
    ignored = frozenset() if plan.muxer or linked_segments(plan.facts) else _NUMBERS
    return [
        f"{name} is {_short(found.get(name, ''))} instead of {_short(value)}"
        for name, value in wanted.items()
        if value != found.get(name) and name not in ignored
    ]


def _short(value: object) -> str:
    text = str(value) if value != "" else "unset"
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _segment(facts: Facts) -> Rows:
    info = facts.head.info if facts.head is not None else Element("Info")
    rows: Rows = {f"the segment's {name}": info.first(name).value for name in _LINKS if info.has(name)}
    if info.has("DateUTC"):
        rows["the segment's DateUTC"] = info.number("DateUTC") // _NS_PER_S
    if families := sorted(str(part.value) for part in info.all("SegmentFamily")):
        rows["the segment's SegmentFamily"] = families
    return rows


def _wanted(plan: Plan, want: StreamPlan, track: Element) -> Rows:
    if want.action != "encode":
        return _track(track)
    video = as_encoded(track.first("Video"), want.source)
    parts = tuple(video if part.name == "Video" else part for part in track.parts)
    rows = _track(Element(track.name, "", parts))
    gone = {"CodecName", "CodecDelay", "SeekPreRoll"} | ({"DefaultDuration"} if want.source.kind != "video" else set())
    return {name: value for name, value in rows.items() if name not in gone}


def _track(track: Element) -> Rows:
    rows: Rows = {name: track.number(name, default) for name, default in _FLAGS.items()}
    rows["Name"] = track.text("Name")
    for name in ("TrackUID", "CodecName", "CodecDelay", "SeekPreRoll", "DefaultDuration"):
        if track.has(name) and track.first(name).value != 0:
            rows[name] = track.first(name).value
    if track.has("Video"):
        rows |= _shape(track.first("Video"))
    return rows


def _shape(video: Element) -> Rows:
    left, top, right, bottom = (video.number(f"PixelCrop{side}") for side in _SIDES)
    pixels = video.number("PixelWidth") - left - right, video.number("PixelHeight") - top - bottom
    unit = video.number("DisplayUnit")
    width = video.number("DisplayWidth", pixels[0] if unit == 0 else 0)
    height = video.number("DisplayHeight", pixels[1] if unit == 0 else 0)
    if unit == _UNKNOWN_UNIT:  # says nothing of the shape: ffmpeg writes it without sizes, mkvmerge adds the pixels'
        width, height, unit = *pixels, 0
    projection = video.first("Projection")
    rows: Rows = {"cropping": (left, top, right, bottom), "StereoMode": video.number("StereoMode")}
    rows["display size"] = (width, height, unit)
    rows["projection"] = (
        projection.number("ProjectionType"),
        projection.text("ProjectionPrivate").strip("0"),
        *(round(float(projection.first(pose).value or 0), 3) for pose in _POSES),
    )
    return rows


def _attachment(attached: Element) -> object:
    return tuple(attached.first(name).value for name in _ATTACHED)


def _lost(what: str, wanted: Iterator[object], found: Iterator[object]) -> list[str]:
    missing = Counter(wanted) - Counter(found)
    return [f"the {what} {_short(one)} is lost or changed" for one in missing]


def _tags(plan: Plan, facts: Facts, canonical: Canonical) -> Iterator[object]:
    """Each simple tag with its targets; without those of tracks that are dropped, and what is no longer true."""
    uids = {facts.track(stream).number("TrackUID") for stream in facts.streams} - {0}
    encoded, kept = set(), uids
    if facts is plan.facts:
        encoded = {facts.track(p.source).number("TrackUID") for p in plan.streams if p.action == "encode"} - {0}
        kept = {facts.track(p.source).number("TrackUID") for p in plan.streams if p.is_kept} - {0}
    places = _places_of_chapters(facts)
    for tag in facts.head.tags if facts.head is not None else ():
        targets = tag.first("Targets")
        tracks = {int(part.value) for part in targets.all("TagTrackUID") if isinstance(part.value, int)} - {0}
        if tracks and not tracks & kept:
            continue
        owners = tuple(sorted(tracks & kept)) if plan.muxer else bool(tracks & kept)
        about = targets.number("TargetTypeValue", 50), targets.text("TargetType"), owners
        meant = ((part.name, part.value) for part in targets.parts if part.name in _OTHER_TARGETS)
        others = tuple(sorted((n, places.get(v, str(v)) if n == "TagChapterUID" else str(v)) for n, v in meant))
        for simple in tag.all("SimpleTag"):
            of_encoder = bool(tracks & encoded) or plan.muxer is None  # ffmpeg's muxer names itself
            of_file = plan.muxer is None and _is_signature(simple)
            if not (is_stale(simple, is_encoded=of_encoder) if tracks else of_file):
                yield about, others, _simple(simple, canonical)


def _places_of_chapters(facts: Facts) -> dict[object, str]:
    """By number: where each chapter stands."""
    places: dict[object, str] = {}

    def note(parent: Element, place: str) -> None:
        for number, atom in enumerate(parent.all("ChapterAtom")):
            places.setdefault(atom.first("ChapterUID").value, own := f"{place}.{number}")
            note(atom, own)

    for number, edition in enumerate(facts.head.editions if facts.head is not None else ()):
        note(edition, str(number))
    return places


def _is_signature(simple: Element) -> bool:
    """Whether it is what ffmpeg's muxer says of itself, which tells nothing of the video. It puts its present name
    there, or, asked for the same bytes each time, leaves it out."""
    return simple.text("TagName").upper() == "ENCODER" and simple.text("TagString").startswith("Lavf")


_OTHER_TARGETS = frozenset({"TagEditionUID", "TagChapterUID", "TagAttachmentUID"})


def _simple(simple: Element, canonical: Canonical) -> object:
    language = simple.text("TagLanguageBCP47") or simple.text("TagLanguage") or "und"
    inner = tuple(_simple(part, canonical) for part in simple.all("SimpleTag"))
    value = simple.text("TagString"), simple.text("TagBinary"), simple.number("TagDefault", 1)
    return simple.text("TagName"), *value, canonical(language), inner


_INVENTED = ""  # stands where an element is missing that a muxer may make up: numbers of chapters, ends


def _matches(wanted: object, found: object) -> bool:
    """Whether they are the same but for what is missing in the first."""
    if isinstance(wanted, tuple) and isinstance(found, tuple):
        return len(wanted) == len(found) and all(map(_matches, wanted, found))
    return wanted in (_INVENTED, found)


def _edition(edition: Element, canonical: Canonical) -> object:
    flags = tuple(edition.number(name, default) for name, default in _EDITION.items())
    names = tuple(one.text("EditionString") for one in edition.all("EditionDisplay"))
    return (
        edition.first("EditionUID").value,
        flags,
        names,
        tuple(_atom(a, canonical) for a in edition.all("ChapterAtom")),
    )


def _atom(atom: Element, canonical: Canonical) -> object:
    flags = tuple(atom.number(name, default) for name, default in _ATOM.items())
    times = atom.number("ChapterTimeStart"), atom.first("ChapterTimeEnd").value
    # Not its number: mkvmerge gives new ones to the chapters of ffmpeg, which counts from 1 in each file; what refers
    # to one is compared by its place.
    uids = atom.text("ChapterStringUID"), atom.text("ChapterSegmentUUID")
    tracks = tuple(part.value for part in atom.first("ChapterTrack").all("ChapterTrackUID"))
    names = tuple(_display(one, canonical) for one in atom.all("ChapterDisplay"))
    return uids, times, flags, tracks, names, tuple(_atom(one, canonical) for one in atom.all("ChapterAtom"))


def _display(display: Element, canonical: Canonical) -> object:
    tags = [str(part.value) for part in display.all("ChapLanguageBCP47")]
    if not tags:
        countries = [str(part.value) for part in display.all("ChapCountry")]
        old = [str(part.value) for part in display.all("ChapLanguage")] or ["eng"]
        tags = [f"{language}-{country}" for language in old for country in countries] or old
    return display.text("ChapString"), tuple(sorted(canonical(tag).lower() for tag in tags))
