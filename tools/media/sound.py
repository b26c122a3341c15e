"""Re-encoded sound: what to ask of a decode of source and result, and what differs between the answers. Pure.

Without loss: the samples are the same. With loss: each channel is as long as before and, second by second, as loud.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tools.media.census import SYNC
from tools.media.encoding import OPUS_LAYOUTS
from tools.media.facts import Stream
from tools.media.plan import Plan

# Codec of the result → samples that hold what source and result decode to, so that equal sound has equal digests.
_SAMPLES = {
    "aac": "pcm_f32le",  # what its decoder gives
    "flac": "pcm_s24le",  # no deeper source becomes FLAC; decoders of sound that is less deep fill up with zeros
    **dict.fromkeys(("pcm_s16le", "pcm_s24le", "pcm_s32le"), "pcm_s32le"),
    **dict.fromkeys(("pcm_f32le", "pcm_f64le"), "pcm_f64le"),
}
_RATE = 48000  # Hz; that of Opus
_WINDOW = 1.0  # s
_SILENCE = -60.0  # dB of full scale; what is less loud counts as this: encoders leave it out as they like
# Music, speech and noise through Opus at its usual bit rate stay within 0.5 dB in the whole.
_LEVEL = 3.0  # dB that a channel's level may change by in the whole
_LEVEL_IN_WINDOW = 6.0  # dB, in more than one window after another
# Channels that were mixed for lack of a layout, by rules that depend on the format of samples; the channel for low
# frequencies, of which Opus keeps no others. Source: libswresample/rematrix.c; RFC 7845 §5.1.1.2, RFC 6716.
_LEVEL_CHANGED = 20.0  # dB
_UNMIXED = frozenset({*OPUS_LAYOUTS.split("|"), "quad(side)", "5.0(side)", "5.1(side)"})
_LOW_FREQUENCIES = {"5.1": 4, "5.1(side)": 4, "6.1": 4, "7.1": 4}  # channel, from 1


@dataclass(frozen=True, slots=True)
class Sound:
    """One stream of a file of which its sound is asked."""

    index: int  # in its file
    codec: str  # of the result
    source: int  # index in the source, for what is said
    layout: str  # of the source's channels, "" if unknown

    @property
    def is_exact(self) -> bool:
        return self.codec in _SAMPLES


def encoded_sounds(plan: Plan) -> tuple[list[Sound], list[Sound]]:
    """(of the source, of the result): the streams of sound that were re-encoded, or taken out of their framing, in the
    same order."""
    before, after = [], []
    for place, want in enumerate(plan.kept("video", "audio", "subtitle")):
        if want.source.kind == "audio" and (want.action == "encode" or want.is_unframed):
            before.append(Sound(want.source.index, want.codec, want.source.index, _layout(want.source)))
            after.append(Sound(place, want.codec, want.source.index, _layout(want.source)))
    return before, after


def _layout(source: Stream) -> str:
    usual = {1: "mono", 2: "stereo"}.get(int(source.facts.get("channels") or 0), "")
    return str(source.facts.get("channel_layout") or usual)


@dataclass(slots=True)
class Heard:
    """What a decode of these streams tells. ``arguments`` are for ffmpeg, ``line`` takes its standard output."""

    sounds: Sequence[Sound]
    digests: dict[int, str] = field(default_factory=dict)  # by place among the exact ones
    windows: dict[int, list["_Window"]] = field(default_factory=dict)  # by place among the others
    _filling: "_Window" = field(default_factory=lambda: _Window())

    def arguments(self) -> list[str]:
        """Outputs of their own beside the others of the run: nothing is decoded twice."""
        exact, others = self._exact(), self._others()
        asked: list[str] = []
        for place, sound in enumerate(exact):
            asked += ["-map", f"0:{sound.index}", f"-c:a:{place}", _SAMPLES[sound.codec]]
        if exact:
            asked += ["-f", "streamhash", "-hash", "md5", "-"]
        if others:
            # In one graph, so that the lines about one window are not torn apart by those about another stream.
            graph = ";".join(_graph(place, sound) for place, sound in enumerate(others))
            maps = [part for place in range(len(others)) for part in ("-map", f"[heard{place}]")]
            asked += ["-filter_complex", graph, *maps, "-f", "null", "-"]
        return asked

    def line(self, line: str) -> None:
        """One line of standard output; those of others are ignored."""
        name, _, value = line.partition("=")
        if name.endswith(",a,MD5"):
            self.digests[int(name.split(",")[0])] = value
        elif line.startswith("frame:"):
            self._filling = _Window()
        elif name == _PLACE:
            self.windows.setdefault(int(value), []).append(self._filling)
        elif name.startswith("lavfi.astats."):
            if name.endswith(".RMS_level"):
                level = float(value)
                self._filling.levels[int(name.split(".")[2])] = -math.inf if math.isnan(level) else level
            elif name.endswith(".Number_of_samples"):
                self._filling.seconds = float(value) / _RATE

    def _exact(self) -> list[Sound]:
        return [sound for sound in self.sounds if sound.is_exact]

    def _others(self) -> list[Sound]:
        return [sound for sound in self.sounds if not sound.is_exact]

    def differences(self, result: "Heard") -> list[str]:
        """What of the source, which this is, is not in the result."""
        differences = []
        for place, sound in enumerate(self._exact()):
            if self.digests.get(place) != result.digests.get(place):
                differences.append(f"audio stream {sound.source} does not decode to the source's samples")
        for place, sound in enumerate(self._others()):
            name = f"audio stream {sound.source}"
            said = _changed(self.windows.get(place, []), result.windows.get(place, []), sound.layout)
            differences += [f"{name} {said}"] if said else []
        return differences


@dataclass(slots=True)
class _Window:
    """A second of sound, or the rest at the end."""

    levels: dict[int, float] = field(default_factory=dict)  # dB of full scale (RMS), by channel from 1
    seconds: float = 0.0


_PLACE = "heard"  # the metadata that says of which stream a window is


def _graph(place: int, sound: Sound) -> str:
    """Filters that print the level of each channel of each second."""
    # The source's channels as the encoder got them.
    steps = [f"aformat=channel_layouts={OPUS_LAYOUTS}:sample_rates={_RATE}"]
    steps += [f"asetnsamples=n={int(_RATE * _WINDOW)}:p=0"]
    steps += ["ametadata=mode=delete", f"ametadata=mode=add:key={_PLACE}:value={place}"]
    steps += ["astats=metadata=1:reset=1:measure_perchannel=RMS_level:measure_overall=Number_of_samples"]
    steps += ["ametadata=mode=print:file=-:direct=1"]  # direct: line by line, beside the lines of others
    return f"[0:{sound.index}]{','.join(steps)}[{_PLACE}{place}]"


def _changed(source: Sequence[_Window], result: Sequence[_Window], layout: str) -> str:
    """The first thing that is not as it was; "" if nothing is."""
    before, after = (sum(window.seconds for window in windows) for windows in (source, result))
    if not source:
        return ""  # nothing in it decodes
    if abs(before - after) > SYNC:
        return f"lasts {after:.2f} s instead of {before:.2f} s"
    channels = _channels(source)
    if channels != _channels(result):
        return f"has {len(_channels(result))} of {len(channels)} channels"
    for channel in sorted(channels):
        was, now = (_level(windows, channel) for windows in (source, result))
        is_changed = layout not in _UNMIXED or _LOW_FREQUENCIES.get(layout) == channel
        if abs(was - now) > (_LEVEL_CHANGED if is_changed else _LEVEL):
            return f"has {now:.0f} dB instead of {was:.0f} dB in channel {channel}"
        if not is_changed and (second := _first_change(source, result, channel)) is not None:
            return f"has another level from {second * _WINDOW:.0f} s on in channel {channel}"
    return ""


def _channels(windows: Iterable[_Window]) -> set[int]:
    return {channel for window in windows for channel in window.levels}


def _level(windows: Sequence[_Window], channel: int) -> float:
    """Of the whole, dB."""
    power = sum(window.seconds * 10 ** (window.levels.get(channel, -math.inf) / 10) for window in windows)
    whole = sum(window.seconds for window in windows)
    return max(_SILENCE, 10 * math.log10(power / whole)) if power > 0 and whole > 0 else _SILENCE


def _first_change(source: Sequence[_Window], result: Sequence[_Window], channel: int) -> int | None:
    """The first of two windows after another whose levels changed; None without such."""
    changed = False
    for number, (old, new) in enumerate(zip(source, result, strict=False)):
        was, now = (_level_in(window.levels, channel) for window in (old, new))
        before, changed = changed, abs(was - now) > _LEVEL_IN_WINDOW
        if before and changed:
            return number - 1
    return None


def _level_in(levels: Mapping[int, float], channel: int) -> float:
    return max(_SILENCE, levels.get(channel, -math.inf))
