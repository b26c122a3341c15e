"""Source's facts + plan + output's facts → every difference that the plan does not explain. Pure.

Times are compared on the source's own timeline: copied sound is the clock, since it can't have moved against itself.
"""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise

from tools.core.errors import VerifyError
from tools.core.message import plural
from tools.media.facts import JUMP, NO_PACKETS_OF_ITS_OWN, Facts, Stream, StreamKind
from tools.media.ffprobe_json import number
from tools.media.languages import OLD_CODES
from tools.media.plan import Plan, StreamPlan, colour_range, is_rgb, kept_flags
from tools.media.shapes import canvas, one_matrix, same_matrix

SYNC = 0.040  # s; a viewer notices more
ROUNDING = 0.002  # s; Matroska keeps milliseconds, and the source may have done so too
_END_SLACK, _END_SHARE = 1.0, 0.005  # s and share of the duration that a header may promise too much
_HOLE = 0.25  # s without a picture
_NEAR_END = 120.0  # s; a subtitle that begins earlier may last for the whole episode and proves nothing
_UNDECODABLE = 2  # pictures at a cut that no decoder gives
_BIGGEST_GROWTH, _GROWTH_SLACK = 20, 10_000_000  # times the source's size, and bytes
_COLOURS = ("color_primaries", "color_transfer", "color_space")
# What a decoder knows though the container does not say it. Source: RFC 6386 §9.2 (VP8 is BT.601).
_INTRINSIC = {("vp8", "color_space"): "bt470bg"}
_HDR = ("Mastering display metadata", "Content light level metadata")
_SAME_CODEC = {"ssa": "ass", "srt": "subrip"}


def check_source(plan: Plan, min_percent: float) -> list[str]:
    """Warnings about parts of the source that are missing. Raises VerifyError when that is more than may be."""
    missing: list[tuple[float, str]] = []  # (percentage that is there, what is said)
    facts = plan.facts
    if facts.share_there is not None and facts.share_there < 100:
        share = "nobody knows how much" if facts.share_there < 1e-6 else f"{facts.share_there:.1f} % of it"
        missing.append((facts.share_there, f"the file is cut: {share} is there"))
    missing += _ends_early(facts)
    missing += _hole_in_source(plan)
    for stream in facts.of("video"):
        announced = int(str(stream.facts.get("nb_frames") or 0) or 0) if facts.container == "mov" else 0
        found = stream.packets + stream.discarded
        if announced - found > _UNDECODABLE:
            said = f"{found} of {announced} announced pictures are in the file"
            missing.append((100 * found / announced, said))
    worst = [said for percent, said in missing if percent < min_percent]
    if worst:
        raise VerifyError(worst[0], differences=worst)
    return [said for _, said in missing]


def _ends_early(facts: Facts) -> list[tuple[float, str]]:
    """By the header's duration; a transport stream's is made of its packets and proves nothing."""
    if facts.duration is None or facts.container in NO_PACKETS_OF_ITS_OWN:
        return []
    last = facts.end
    for stream in facts.of("subtitle"):
        late = [end for begin, end in zip(stream.times, stream.ends, strict=True) if begin > facts.end - _NEAR_END]
        last = max([last, *late])
    duration = _promised(facts, facts.duration)
    missing = duration - max(last, last - min(0.0, facts.begin))
    endless = any(stream.ends and max(stream.ends) >= duration - _END_SLACK for stream in facts.of("subtitle"))
    if missing <= max(_END_SLACK, _END_SHARE * duration) or (endless and facts.share_there == 100):
        return []
    reached = duration - missing
    return [(100 * reached / duration, f"the file is cut: {reached:.1f} s of {duration:.1f} s are there")]


def _promised(facts: Facts, whole: float) -> float:
    """The header's duration (s) of what is compared: a QuickTime file's own counts chapters and other data too."""
    shown = [s for s in facts.streams if s.kind in {"video", "audio", "subtitle"}]
    own = [number(stream.facts.get("duration")) for stream in shown]
    known = [duration for duration in own if duration is not None]
    return min(whole, max(known)) if facts.container == "mov" and known and len(known) == len(own) else whole


def _hole_in_source(plan: Plan) -> list[tuple[float, str]]:
    """Pictures and sound that are missing at the same time, or pictures if the demuxer complained."""
    lost = 0.0
    video = plan.main_video
    sounds = sorted(plan.kept("audio"), key=lambda kept: -kept.source.packets)
    silent = sounds[0].source.gaps if sounds else []
    for begin, end in gaps(sorted(video.times), _HOLE):
        if plan.facts.container in NO_PACKETS_OF_ITS_OWN and end - begin > JUMP:
            continue
        if not sounds and plan.facts.complaints:
            lost += end - begin
        lost += sum(max(0.0, min(end, until) - max(begin, since)) for since, until in silent)
    if plan.facts.container == "ogg" and plan.facts.complaints and video.rate:
        # A page with a wrong checksum is left out as a whole; Theora's rate is constant.
        lost = max(lost, (video.end or 0.0) - (video.begin or 0.0) - video.packets / video.rate)
    if lost < _HOLE:
        return []
    span = max(lost, (video.end or 0.0) - (video.begin or 0.0))
    return [(100 * (1 - lost / span), f"damaged source: {lost:.1f} s of {span:.1f} s are missing in the middle")]


def gaps(times: list[float], longest: float) -> list[tuple[float, float]]:
    """Where sorted times stand further apart than ``longest`` s and than five times what is usual among them."""
    if len(times) < 3:
        return []
    usual = sorted(after - before for before, after in pairwise(times))[len(times) // 2]
    return [(before, after) for before, after in pairwise(times) if after - before > max(longest, 5 * usual)]


def census(plan: Plan, made: Facts) -> list[str]:
    """Streams, tags, flags, attachments, chapters, colours, sizes: what the plan does not explain."""
    differences = []
    kinds: tuple[StreamKind, ...] = ("video", "audio", "subtitle")
    for kind in kinds:
        wanted, found = plan.kept(kind), made.of(kind)
        planned = len(wanted) + (len(plan.added) if kind == "subtitle" else 0)
        if planned != len(found):
            differences.append(f"{kind} streams: {planned} planned, {len(found)} there")
        for want, have in zip(wanted, found, strict=False):
            differences += _stream_differences(plan, want, have)
            if kind == "video" and want.action == "encode":
                differences += _picture_differences(want.source, have)
    if plan.facts.tag("title") != made.tag("title"):
        differences.append("the title is lost")
    return differences + _added(plan, made) + _attachments(plan, made) + _chapters(plan.facts, made) + _size(plan, made)


def _added(plan: Plan, made: Facts) -> list[str]:
    """Subtitles from beside the source: they stand behind its own."""
    differences = []
    for want, have in zip(plan.added, made.of("subtitle")[len(plan.kept("subtitle")) :], strict=False):
        if _SAME_CODEC.get(have.codec, have.codec) != want.codec:
            differences.append(f"{want.name} is {have.codec} instead of {want.codec}")
        # Subtitles of pictures come in packets that each muxer cuts in its own way.
        if have.packets != want.packets if want.codec in _ADDED_TEXTS else not have.packets:
            differences.append(f"{want.name} has {have.packets} of {want.packets} texts")
        if want.begin is not None and abs((have.begin or 0.0) - want.begin) > _HOLE:
            differences.append(f"{want.name} begins at {have.begin} s instead of {want.begin}")
        if have.tag("title") != want.title:
            differences.append(f"{want.name} lost its title")
        if not want.flags <= have.flags:
            differences.append(f"{want.name} has flags {sorted(have.flags)} instead of {sorted(want.flags)}")
        said = made.track(have).text("LanguageBCP47") if plan.muxer else have.tag("language")
        wanted = want.language if plan.muxer else OLD_CODES.get(want.language.partition("-")[0], "")
        if wanted and said.lower() != wanted.lower():
            differences.append(f"{want.name} is in {said or 'no language'} instead of {wanted}")
    return differences


_ADDED_TEXTS = frozenset({"subrip", "ass"})


def _stream_differences(plan: Plan, want: StreamPlan, have: Stream) -> list[str]:
    source = want.source
    name = f"{source.kind} stream {source.index}"
    differences = []
    if _SAME_CODEC.get(have.codec, have.codec) != _SAME_CODEC.get(want.codec, want.codec):
        differences.append(f"{name} is {have.codec} instead of {want.codec}")
    if have.packets == 0 and source.packets > 0:
        differences.append(f"{name} is empty")
    if source.kind != "video":
        differences += _content_differences(plan, want, have, name)
    wanted_flags = source.flags & kept_flags(source)
    if have.flags & kept_flags(have) != wanted_flags:
        differences.append(f"{name} has flags {sorted(have.flags)} instead of {sorted(wanted_flags)}")
    language = source.tag("language")
    if plan.muxer is None and language not in {"", "und"} and have.tag("language") != language:
        differences.append(f"{name} lost its language {language}")
    if source.tag("title") != have.tag("title"):
        differences.append(f"{name} lost its title")
    return differences


def _content_differences(plan: Plan, want: StreamPlan, have: Stream, name: str) -> list[str]:
    source = want.source
    if want.is_unframed:
        if have.packets != source.packets:
            return [f"{name} has {have.packets} of {source.packets} packets"]
        keys = ("sample_rate", "channels", "channel_layout")
        return [f"{name} has another {key}" for key in keys if source.facts.get(key) != have.facts.get(key)]
    if want.action == "copy":
        moved = abs(have.packets - source.packets) > 1
        if moved and plan.facts.container not in NO_PACKETS_OF_ITS_OWN:
            return [f"{name} has {have.packets} of {source.packets} packets"]
    elif source.codec == "mov_text":
        if have.packets < source.cues:
            return [f"{name} has {have.packets} of {source.cues} texts"]
    elif source.kind == "audio" and None not in (source.end, have.end):
        before, after = _span(source), _span(have)
        if after < before - SYNC - 0.01 * before:
            return [f"{name} lasts {after:.1f} s instead of {before:.1f} s"]
    return []


def _span(stream: Stream) -> float:
    return (stream.end or 0.0) - (stream.begin or 0.0)


def _picture_differences(source: Stream, have: Stream) -> list[str]:
    differences = []
    for name in _COLOURS:
        before = _known(source.facts.get(name)) or _INTRINSIC.get((source.codec, name), "")
        if name == "color_space":  # as a filter made it
            before = one_matrix(source.shapes) or ("bt709" if is_rgb(source) else before)
        after = _known(have.facts.get(name))
        if before != after and not (one_matrix(source.shapes) and same_matrix(before, after)):
            differences.append(f"{name} is {after or 'unset'} instead of {before or 'unset'}")
    if (colour_range(source) == "pc") != (str(have.facts.get("color_range")) == "pc"):
        differences.append(f"the colour range is {have.facts.get('color_range')}")
    for kind in _HDR:
        if (kind in source.hdr or source.side_data(kind)) and not (kind in have.hdr or have.side_data(kind)):
            differences.append(f"{kind} is lost")
    size = _shown_size(source)
    if size != (have.facts.get("width"), have.facts.get("height")):
        differences.append(f"pictures are {have.facts.get('width')}x{have.facts.get('height')} instead of {size}")
    target = canvas(source.shapes)
    shape = target.aspect if target else str(source.facts.get("sample_aspect_ratio") or "0:1")
    if shape not in {"0:1", "1:1", "N/A"} and source.rotation == 0:
        above, _, below = shape.partition(":")
        got_above, _, got_below = str(have.facts.get("sample_aspect_ratio") or "1:1").partition(":")
        # Matroska keeps the display size in whole pixels.
        if abs(int(above) * int(got_below) - int(below) * int(got_above)) > 0.02 * int(below) * int(got_above):
            differences.append(f"pixels are {got_above}:{got_below} instead of {shape}")
    return differences


def _shown_size(source: Stream) -> tuple[object, object]:
    size = source.facts.get("width"), source.facts.get("height")
    if target := canvas(source.shapes):
        size = target.width, target.height
    return size if source.rotation % 180 == 0 else (size[1], size[0])


def _known(value: object) -> str:
    return "" if value in {None, "unknown", "reserved", "unspecified"} else str(value)


def _attachments(plan: Plan, made: Facts) -> list[str]:
    """A cover that was attached shows up as an attached picture again."""
    wanted = plan.kept("attachment", "cover")
    found = [*made.of("attachment"), *made.of("cover")]
    if len(wanted) + len(plan.fonts) != len(found):
        return [f"attachments: {len(wanted) + len(plan.fonts)} planned, {len(found)} there"]
    names = {stream.tag("filename") for stream in found}
    differences = [
        f"the attachment {kept.source.tag('filename')} is lost"
        for kept in wanted
        if kept.source.tag("filename") not in {"", *names}
    ]
    differences += [f"the font {font.name} is lost" for font in plan.fonts if font.name not in names]
    before = sorted(
        [
            *(_bytes(kept.source) for kept in wanted if kept.source.kind == "attachment"),
            *(font.size for font in plan.fonts),
        ]
    )
    if before != sorted(_bytes(stream) for stream in found if stream.kind == "attachment"):
        differences.append("an attachment has another size")
    return differences


def _bytes(attachment: Stream) -> int:
    return int(attachment.facts.get("extradata_size") or 0)


def _chapters(source: Facts, made: Facts) -> list[str]:
    if len(source.chapters) != len(made.chapters):
        return [f"chapters: {len(source.chapters)} planned, {len(made.chapters)} there"]
    for want, have in zip(source.chapters, made.chapters, strict=True):
        shift = abs(float(want.get("start_time") or 0) - float(have.get("start_time") or 0))
        title_lost = (want.get("tags") or {}).get("title", "") != (have.get("tags") or {}).get("title", "")
        if title_lost or shift > ROUNDING + abs(source.begin):
            return ["a chapter lost its title or moved"]
    return []


def largest_result(source_size: int) -> int:
    """Bytes that no result of a source of that size has unless something is wrong."""
    return _BIGGEST_GROWTH * source_size + _GROWTH_SLACK


def largest_output(plan: Plan) -> int:
    """The same of a plan that adds something."""
    added = sum(one.path.stat().st_size for one in plan.added) + sum(font.size for font in plan.fonts)
    return largest_result(plan.facts.size) + 2 * added


def _size(plan: Plan, made: Facts) -> list[str]:
    if made.size > largest_output(plan):
        return [f"the result has {made.size} bytes, the source {plan.facts.size}"]
    empty = [stream for stream in made.of("video") if stream.bytes < 2 * stream.packets]
    return ["pictures without content"] if empty else []


def frames(plan: Plan, made: Facts, min_percent: float) -> tuple[list[str], list[str]]:
    """(differences, warnings): number of pictures and their times, for every video stream."""
    differences, warnings = [], []
    for want, have in zip(plan.kept("video"), made.of("video"), strict=False):
        source = want.source
        if want.action == "copy":
            if source.packets != have.packets:
                differences.append(f"{have.packets} of {source.packets} video packets")
            continue
        lost = _lost(plan, source, have, made)
        if have.packets == 0 or lost > tolerated(source.packets, min_percent):
            differences.append(f"only {max(0, source.packets - lost)} of {source.packets} frames decode")
        elif lost > 0:
            warnings.append(f"damaged source: {source.packets - lost} of {source.packets} frames decode")
        if source.lead and source.key_begin is not None:
            lead = plural(source.lead, "picture that needs one before it", "pictures that need one before them")
            warnings.append(f"the file begins with {lead}")
        if not differences:
            more, said = _moved(plan, source, have, made, whole=lost == 0)
            differences += more
            warnings += said
    return differences, warnings


def tolerated(pictures: int, min_percent: float) -> float:
    """How many pictures may be missing: the share of the setting, and a few at the ends of a cut clip."""
    return max(_UNDECODABLE, pictures * (1 - min_percent / 100))


def _lost(plan: Plan, source: Stream, have: Stream, made: Facts) -> int:
    """Pictures of the source that are not in the output, those before its first keyframe aside."""
    expected = source.packets - (source.lead if source.key_begin is not None else 0)
    if not _hides_frames(source):
        return max(0, expected - source.blanks - have.packets)
    # Packets are no pictures here; the timeline must have no hole that the source's has not.
    if not source.has_times or not have.times or plan.facts.is_jumpy(source):
        return max(0, expected // 2 - have.packets)
    shift = _shift(plan, source, made)
    before = sorted(time + shift for time in source.times)
    after = [before[0], *sorted(have.times), before[-1]]
    first = (source.key_begin or 0.0) + shift
    return sum(
        bisect_left(before, end - ROUNDING) - bisect_left(before, max(begin, first) + ROUNDING)
        for begin, end in pairwise(after)
        if end - begin > _HOLE and end > first
    )


def _hides_frames(source: Stream) -> bool:
    """Codecs with packets that are no picture of their own: VP8/VP9 references, fields, packed B-frames."""
    progressive = str(source.facts.get("field_order")) in {"progressive", "unknown", "None"}
    return source.codec in {"vp8", "vp9", "mpeg4", "msmpeg4v3"} or not progressive


def _shift(plan: Plan, source: Stream, made: Facts) -> float:
    """What to add to a time of the source to have the output's."""
    for want, have in zip(plan.kept("audio"), made.of("audio"), strict=False):
        if want.source.begin is not None and have.begin is not None:
            return have.begin - want.source.begin
    video = made.of("video")[0]
    begin = source.begin if source.key_begin is None else source.key_begin
    return (video.begin or 0.0) - (begin or 0.0)


def _moved(plan: Plan, source: Stream, have: Stream, made: Facts, *, whole: bool) -> tuple[list[str], list[str]]:
    """(differences, warnings): pictures against the sound, and each picture's time against the others'."""
    if not have.times or not source.times or plan.facts.is_jumpy(source):
        return [], []
    shift = _shift(plan, source, made)
    before, after = sorted(source.times), sorted(time - shift for time in have.times)
    if plan.facts.container == "avi":  # no timestamps: the first picture is at 0
        late = abs(after[0] + shift - max(0.0, shift))
    else:
        # Of what comes before the first keyframe nobody knows how much decodes.
        late = max(before[0] - after[0], after[0] - max(before[0], source.key_begin or 0.0), 0.0)
    if late > SYNC + (0.0 if whole else _UNDECODABLE / (source.rate or 24.0)):
        return [f"audio moved by {1000 * late:.0f} ms against the picture"], []
    if plan.facts.container == "avi" or _hides_frames(source) or not source.has_times or not whole:
        return [], []
    if source.blanks and len(before) != len(after):
        worst = max(_distance(before, time) for time in after)
    else:
        worst = _worst_move(before[-len(after) :], after[-len(before) :], 1 / (source.rate or 24.0))
    if worst > SYNC + ROUNDING:
        return [f"the time of a picture moved by {1000 * worst:.0f} ms"], []
    return [], [f"times of pictures moved by up to {1000 * worst:.0f} ms"] if worst > ROUNDING else []


def _worst_move(before: Sequence[float], after: Sequence[float], distance: float) -> float:
    """How far apart the moves of single pictures are, s; ``distance`` from one picture to the next.

    A picture or two may move by more: if the source's own times go back, or stand twice, one has to give way.
    """
    moves = sorted(new - old for old, new in zip(before, after, strict=True))
    middle = moves[len(moves) // 2]
    for _ in range(_UNDECODABLE):
        far = max(moves, key=lambda move: abs(move - middle))
        if len(moves) > 1 and SYNC / 2 < abs(far - middle) <= 2 * distance:
            moves.remove(far)
    return moves[-1] - moves[0]


def _distance(times: Sequence[float], time: float) -> float:
    """From the nearest of sorted ``times``, s."""
    place = bisect_left(times, time)
    return min(abs(time - near) for near in times[max(0, place - 1) : place + 1])
