"""All settings: flags > environment > ``.env`` > the defaults below. Standard library only; only programs import it.

Each field carries its type, default, unit, environment name, accepted range and one line of help side by side; the
parsers, ``--help`` and the table in the README are made of them. Nothing here reads a file or ``os.environ``:
``Settings.load`` is pure in its arguments.
"""

import argparse
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent
"""The project's folder; relative paths in settings count from here, whatever the current folder is."""


class ConfigError(Exception):
    """A setting is wrong; the message is one line: variable, value, what is accepted."""


@dataclass(frozen=True, slots=True)
class Spec:
    """What is known of one setting apart from its value."""

    env: str
    help: str
    parse: Callable[[str], Any]  # raises ValueError, whose text says what would be accepted
    shown: str  # the default, in the README's table and in --help
    flag: str | None  # None: no flag takes it
    secret: bool  # its value is in no message


def _setting(
    env: str,
    default: Any,
    help: str,
    parse: Callable[[str], Any],
    *,
    shown: str | None = None,
    flag: str | None = "",
    secret: bool = False,
) -> Any:
    """A dataclass field. ``flag`` "" = made from ``env``, None = has none."""
    spec = Spec(
        env=env,
        help=help,
        parse=parse,
        shown=str(default) if shown is None else shown,
        flag="--" + env.lower().replace("_", "-") if flag == "" else flag,
        secret=secret,
    )
    return field(default=default, repr=not secret, metadata={"spec": spec})


def _number_between(low: float, high: float, unit: str = "") -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise ValueError(f"a number from {low:g} to {high:g}{unit and ' ' + unit}")
        return value

    return parse


def _integer(low: int, high: int, unit: str = "") -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[+-]?\d{1,12}", text) or not low <= int(text) <= high:
            raise ValueError(f"a whole number from {low} to {high}{unit and ' ' + unit}")
        return int(text)

    return parse


def _auto_or(number: Callable[[str], int]) -> Callable[[str], int | None]:
    def parse(text: str) -> int | None:
        try:
            return None if text == "auto" else number(text)
        except ValueError as exc:
            raise ValueError(f"auto, or {exc}") from None

    return parse


def _off_or(number: Callable[[str], float]) -> Callable[[str], float]:
    """0 stands for off."""

    def parse(text: str) -> float:
        try:
            return 0.0 if text in {"off", "0"} else number(text)
        except ValueError as exc:
            raise ValueError(f"off, or {exc}") from None

    return parse


def _choice(*names: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in names:
            raise ValueError("one of " + ", ".join(names))
        return text

    return parse


def _text(text: str) -> str:
    return text


def _repo(text: str) -> str:
    """Also as the address of its page, or with the kind of repository in front of it."""
    found = _REPO.fullmatch(text) or _REPO_PAGE.fullmatch(text)
    if not found:
        raise ValueError("a dataset as owner/name, or the address of its page")
    return found["repo"]


_NAME = r"(?P<repo>[\w-][\w.-]*/[\w-][\w.-]*)"
_REPO = re.compile(rf"(datasets/)?{_NAME}/?")
_REPO_PAGE = re.compile(rf"(https?://)?(?P<hub>[^\s/@]+)/datasets/{_NAME}([/?#]\S*)?")


def _url(text: str) -> str:
    if not re.fullmatch(r"https?://[^\s/@]+(/\S*)?", text):
        raise ValueError("an address such as https://www.modelscope.cn, without user or password")
    return text.rstrip("/")


def _token(text: str) -> str:
    if not re.fullmatch(r"[\x21-\x7e]{1,4096}", text):
        raise ValueError("a token without blanks or line ends")
    return text


def _long_token(text: str) -> str:
    if not re.fullmatch(r"[\x21-\x7e]{16,4096}", text):
        raise ValueError("a token of 16 characters or more, without blanks or line ends")
    return text


def _extensions(text: str) -> frozenset[str]:
    names = frozenset(name.lower().lstrip(".") for name in re.split(r"[\s,]+", text) if name)
    if not names or not all(re.fullmatch(r"\w{1,16}", name) for name in names):
        raise ValueError("file name extensions separated by blanks or commas, such as mp4,mkv")
    return names


def _patterns(text: str) -> frozenset[str]:
    if text.lower() in {"off", "none"}:
        return frozenset()
    names = frozenset(name.lower() for name in re.split(r"[\s,]+", text) if name)
    if any("/" in name for name in names):
        raise ValueError("patterns of file names separated by blanks or commas, such as *.ass,*.ttf, or off")
    return names


_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY, _TIME = f"({'|'.join(_DAYS)})", r"(\d\d?):(\d\d)"
_SPAN = re.compile(rf"(?:{_DAY}(?:-{_DAY})?)?\s*(?:{_TIME}-{_TIME})?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class WeekHours:
    """Parts of the week, by the local clock; without any: always."""

    text: str = ""
    spans: tuple[tuple[int, int], ...] = ()  # minutes since Monday 0:00, [begin, end); an end may lie in the next week

    def __str__(self) -> str:
        return self.text


def _week_hours(text: str) -> WeekHours:
    spans: list[tuple[int, int]] = []
    for part in text.split(","):
        found = _SPAN.fullmatch(part.strip())
        if not found or not part.strip():
            raise ValueError("hours and days such as 22:00-08:00,Sat-Sun or Mon-Fri 19:00-07:00,Sat,Sun")
        first, last, *times = found.groups()
        begin, end = (0, 1440) if times[0] is None else (_minute(*times[:2]), _minute(*times[2:]))
        if begin == end or begin == 1440:
            raise ValueError("hours that begin and end at different times, such as 22:00-08:00")
        for day in _days(first, last):
            spans.append((day * 1440 + begin, day * 1440 + end + (1440 if end < begin else 0)))
    return WeekHours(text, tuple(sorted(set(spans))))


def _days(first: str | None, last: str | None) -> list[int]:
    if first is None:
        return list(range(7))
    begin = _DAYS.index(first.lower())
    end = begin if last is None else _DAYS.index(last.lower())
    return [(begin + step) % 7 for step in range((end - begin) % 7 + 1)]


def _minute(hour: str, minute: str) -> int:
    found = int(hour) * 60 + int(minute)
    if int(minute) > 59 or found > 1440:
        raise ValueError("times of a day, 00:00 to 24:00")
    return found


_EVENTS = ("completed", "failed", "paused", "recovered", "stalled", "empty", "mirror")


def _addresses(text: str) -> tuple[str, ...]:
    urls = re.split(r"[\s,;]+(?=[A-Za-z][\w+.-]*://)", text.strip())
    if not all(re.fullmatch(r"[A-Za-z][\w+.-]*://\S+", url) for url in urls):
        raise ValueError("addresses such as json://host/path, separated by blanks")
    return tuple(urls)


def _names_of(*known: str) -> Callable[[str], frozenset[str]]:
    def parse(text: str) -> frozenset[str]:
        names = frozenset(name.lower() for name in re.split(r"[\s,]+", text) if name)
        if not names or not names <= set(known):
            raise ValueError("some of " + ", ".join(known))
        return names

    return parse


_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}
_LEAST_RATE = 100_000  # bytes/s: below it, shared by all connections, each would look like one that hangs


def _rate(text: str) -> int:
    found = re.fullmatch(r"(\d{1,12}(?:\.\d{1,6})?)\s*([kmg]?i?)b?(?:/s)?", text, re.IGNORECASE)
    rate = int(float(found[1]) * _UNITS.get(found[2].lower(), 0)) if found else -1
    if rate != 0 and not _LEAST_RATE <= rate <= 10**12:
        raise ValueError("bytes per second such as 5MB, 800k or 2MiB, from 100k; 0 = no limit")
    return rate


def _file_name(text: str) -> str:
    if "/" in text or text in {".", ".."}:
        raise ValueError("a file name without a folder")
    return text


def _scheduler(text: str) -> str:
    if (
        not re.fullmatch(r"(tcp|tls)://([\w.-]+|\[[0-9a-fA-F:]+\]):\d{1,5}", text)
        or int(text.rpartition(":")[2]) > 65535
    ):
        raise ValueError("an address such as tcp://10.0.0.5:8786, or tls://… if certificates are in use")
    return text


def _host(text: str) -> str:
    if not re.fullmatch(r"[\w.-]+|[0-9a-fA-F]*(:[0-9a-fA-F]*){2,7}", text):
        raise ValueError("an address of this machine, such as 10.0.0.5, without a port")
    return text


def _path(text: str) -> Path:
    if "\0" in text:
        raise ValueError("a path")
    return ROOT / Path(text).expanduser()


_SIDECARS = (
    "*.ass *.ssa *.srt *.vtt *.sup *.idx *.sub *.smi *.mks *.ttf *.otf *.ttc *.woff *.woff2 "
    "*.jpg *.jpeg *.png *.webp *.gif *.bmp *.avif"
)
_VIDEO_EXTENSIONS = "mp4 mkv avi mov wmv flv webm m4v rmvb rm ts m2ts mts mpg mpeg vob ogv 3gp asf divx f4v"


@dataclass(frozen=True, kw_only=True)
class HubSettings:
    endpoint: str = _setting("MODELSCOPE_ENDPOINT", "https://www.modelscope.cn", "address of the hub", _url)
    token: str | None = _setting(
        "MODELSCOPE_API_TOKEN",
        None,
        "access token; a saved `modelscope login` works too",
        _token,
        shown="",
        flag=None,
        secret=True,
    )
    input_repo: str = _setting("INPUT_REPO", "ageless/3k-animation-mkv-av1", "dataset to watch", _repo)
    output_repo: str = _setting(
        "OUTPUT_REPO",
        "ageless/3k-animation-mkv-av1-output",
        "dataset that receives the MKVs; created private if missing",
        _repo,
    )


@dataclass(frozen=True, kw_only=True)
class MonitorSettings:
    interval: float = _setting(
        "MONITOR_INTERVAL", 300, "seconds between polls of the hub", _number_between(0.1, 86400, "s"), flag="--interval"
    )
    min_folder_stable_time: float = _setting(
        "MIN_FOLDER_STABLE_TIME",
        600,
        "seconds without a change after which a folder is complete",
        _number_between(0, 604800, "s"),
    )
    video_extensions: frozenset[str] = _setting(
        "VIDEO_EXTENSIONS",
        frozenset(_VIDEO_EXTENSIONS.split()),
        "file name extensions that are converted",
        _extensions,
        shown=_VIDEO_EXTENSIONS,
    )
    complete_marker: str = _setting(
        "COMPLETE_MARKER", "", "file name whose presence makes a folder complete at once; empty = off", _file_name
    )
    wait_for_partial: int = _setting(
        "WAIT_FOR_PARTIAL",
        1,
        "1 = a folder is not complete while half-uploaded files (`.aria2`, `.part`, …) are there; 0 = it may be",
        _integer(0, 1),
    )


@dataclass(frozen=True, kw_only=True)
class ProcessorSettings:
    check_interval: float = _setting(
        "CHECK_INTERVAL", 60, "seconds between checks of the queue", _number_between(0.1, 86400, "s"), flag="--interval"
    )
    max_concurrent: int | None = _setting(
        "MAX_CONCURRENT",
        None,
        "concurrent encodes; auto = as cores and memory allow",
        _auto_or(_integer(1, 256)),
        flag="--concurrent",
        shown="auto",
    )
    batch_size: int = _setting("BATCH_SIZE", 30, "videos per commit", _integer(1, 900))
    sidecars: frozenset[str] = _setting(
        "SIDECARS",
        frozenset(_SIDECARS.split()),
        "files that are carried over beside the videos of their folder, as patterns (`*.nfo`, `*`); off = none",
        _patterns,
        shown=_SIDECARS,
    )
    sidecars_max_mb: float = _setting(
        "SIDECARS_MAX_MB", 100, "MB above which such a file is not carried over", _number_between(0, 1e6, "MB")
    )
    max_attempts: int = _setting("MAX_ATTEMPTS", 3, "attempts for transient errors", _integer(1, 100))
    aging_hours: float = _setting(
        "AGING_HOURS",
        24,
        "hours of waiting after which an item moves up one priority; 0 = off",
        _number_between(0, 8760, "h"),
    )
    reuse: str = _setting(
        "REUSE",
        "same-settings",
        "published results that stand for other sources of the same bytes: those made with the settings in force, any, "
        "or none (off)",
        _choice("same-settings", "any-av1", "off"),
    )
    mirror: int = _setting(
        "MIRROR",
        0,
        "1 = take out of the output dataset what was taken out of the input dataset; 0 = leave it there",
        _integer(0, 1),
        flag=None,
    )
    mirror_max_percent: float = _setting(
        "MIRROR_MAX_PERCENT",
        10,
        "percent of the published videos, or files, that MIRROR may take out within a day without --mirror --yes",
        _number_between(0, 100, "%"),
    )
    stall_timeout: float = _setting(
        "STALL_TIMEOUT",
        300,
        "seconds without progress after which a download, encode or upload is retried",
        _number_between(1, 86400, "s"),
    )
    min_free_space_gb: float = _setting(
        "MIN_FREE_SPACE_GB", 10, "GB of disk space that always stay free", _number_between(0, 1e6, "GB")
    )
    active_hours: WeekHours = _setting(
        "ACTIVE_HOURS",
        WeekHours(),
        "when to encode, by the local clock, such as 22:00-08:00,Sat-Sun; empty = always",
        _week_hours,
        shown="",
    )
    active_stages: frozenset[str] = _setting(
        "ACTIVE_STAGES",
        frozenset({"encode"}),
        "what keeps to ACTIVE_HOURS: encode, download, upload",
        _names_of("encode", "download", "upload"),
        shown="encode",
    )
    after_hours: str = _setting(
        "AFTER_HOURS",
        "suspend",
        "what becomes of encodes under way when ACTIVE_HOURS end: suspend until the next ones, or finish",
        _choice("suspend", "finish"),
    )
    download_limit: int = _setting(
        "DOWNLOAD_LIMIT", 0, "bytes per second of all downloads together, such as 5MB; 0 = no limit", _rate
    )
    upload_limit: int = _setting(
        "UPLOAD_LIMIT", 0, "bytes per second of all uploads together, such as 800k; 0 = no limit", _rate
    )


@dataclass(frozen=True, kw_only=True)
class EncodeSettings:
    encoder: str = _setting(
        "ENCODER",
        "auto",
        "AV1 encoder; auto = the best that passes a trial encode",
        _choice("auto", "av1_nvenc", "av1_qsv", "av1_vaapi", "libsvtav1", "libaom-av1"),
    )
    preset: int = _setting("PRESET", 6, "speed of SVT-AV1, 13 = fastest", _integer(0, 13))
    target_vmaf: float = _setting(
        "TARGET_VMAF",
        95.0,
        "VMAF that each video is encoded to, its CRF searched; off = the fixed CRF; CRF alone turns it off, too",
        _off_or(_number_between(50, 99.5)),
        shown="95",
    )
    crf: float = _setting(
        "CRF",
        30,
        "quality, smaller = better and bigger; beside TARGET_VMAF only for a video whose search finds no CRF",
        _number_between(1, 63),
    )
    crf_min: int = _setting("CRF_MIN", 18, "no search goes below this CRF", _integer(1, 63))
    crf_max: int = _setting("CRF_MAX", 45, "no search goes above this CRF", _integer(1, 63))
    max_size_percent: float = _setting(
        "MAX_SIZE_PERCENT",
        100.0,
        "of the source's video that the encoded one may weigh; what is bigger is encoded smaller; off = any",
        _off_or(_number_between(1, 1000, "%")),
        shown="100",
    )
    when_bigger: str = _setting(
        "WHEN_BIGGER",
        "keep",
        "what becomes of a video that is bigger even so: keep the AV1, remux = keep the original video, or refuse it",
        _choice("keep", "remux", "refuse"),
    )
    pix_fmt: str = _setting("PIX_FMT", "yuv420p10le", "pixel format of the output", _choice("yuv420p10le", "yuv420p"))
    ffmpeg: str = _setting("FFMPEG", "auto", "ffmpeg program; auto = the most capable one found", _text)
    mkvmerge: str = _setting(
        "MKVMERGE", "auto", "mkvmerge program, which keeps all of a Matroska file; off = do without it", _text
    )
    guess_languages: int = _setting(
        "GUESS_LANGUAGES",
        0,
        "1 = take zh-Hans and zh-Hant from the names of subtitles (简体, CHT, …) of Matroska files that say no script",
        _integer(0, 1),
    )
    mux_subtitles: int = _setting(
        "MUX_SUBTITLES",
        0,
        "1 = put subtitles that are named after a video into its MKV, with the fonts of the folder",
        _integer(0, 1),
    )
    cage: str = _setting(
        "CAGE",
        "auto",
        "confine ffmpeg to its file; auto = as far as the kernel can, require = or do not start",
        _choice("auto", "require", "off"),
    )
    min_decoded_percent: float = _setting(
        "MIN_DECODED_PERCENT",
        99,
        "a damaged video is converted only if this share of its frames decodes",
        _number_between(0, 100, "%"),
    )
    quality_metric: str = _setting(
        "QUALITY_METRIC",
        "auto",
        "how results are measured against their sources; auto = VMAF, else XPSNR, else SSIM; off = not compared at all",
        _choice("auto", "vmaf", "xpsnr", "ssim", "off"),
    )
    quality_floor: float = _setting(
        "QUALITY_FLOOR",
        40,
        "a result whose VMAF is lower than this is refused, or its XPSNR or SSIM than what fits; 0 = none is",
        _number_between(0, 100),
    )
    max_encode_rss_gb: float = _setting(
        "MAX_ENCODE_RSS",
        0,
        "GB of memory above which an encode is restarted with fewer threads; 0 = three quarters of what is there",
        _number_between(0, 1e5, "GB"),
    )
    nice: int = _setting("NICE", 10, "niceness of encodes, 19 = everything else goes first", _integer(0, 19))
    ionice: str = _setting(
        "IONICE",
        "auto",
        "place of encodes at the disk: auto = by NICE, 0 (first) to 7 (last), idle = when nobody else wants it",
        _choice("auto", *"01234567", "idle"),
    )


@dataclass(frozen=True, kw_only=True)
class FrameSettings:
    repo: str = _setting(
        "FRAMES_REPO",
        "",
        "dataset that receives a picture of every scene, in archives; created private if missing; empty = off",
        _repo,
    )
    archive_mb: float = _setting(
        "FRAME_ARCHIVE_MB", 1024, "MiB of one archive of pictures at most", _number_between(1, 1e6, "MiB")
    )
    threshold: float = _setting(
        "FRAME_THRESHOLD",
        8,
        "how much a picture differs from the one before it where a scene begins, % of the range of luma",
        _number_between(0.1, 100, "%"),
    )
    shortest: float = _setting(
        "FRAME_SHORTEST_SCENE", 0.5, "seconds that a scene lasts at least", _number_between(0, 3600, "s")
    )
    most: int = _setting(
        "FRAME_MAX_SCENES", 5000, "scenes per video; of more the clearest cuts count", _integer(1, 5000)
    )
    max_size: int = _setting(
        "FRAME_MAX_SIZE", 2048, "pixels of the long side of a scene's picture at most", _integer(16, 16383, "pixels")
    )
    quality: int = _setting("FRAME_QUALITY", 90, "quality of the WebP pictures", _integer(1, 100))


@dataclass(frozen=True, kw_only=True)
class NotifySettings:
    urls: tuple[str, ...] = _setting(
        "NOTIFY_URLS",
        (),
        "addresses that are told what happens, as Apprise has them; empty = none",
        _addresses,
        shown="",
        flag=None,
        secret=True,
    )
    events: frozenset[str] = _setting(
        "NOTIFY_EVENTS",
        frozenset(_EVENTS),
        "of what: completed, failed, paused, recovered, stalled, empty, mirror",
        _names_of(*_EVENTS),
        shown=" ".join(_EVENTS),
    )
    interval: float = _setting(
        "NOTIFY_INTERVAL",
        1800,
        "seconds between two messages at least; what happens meanwhile is one message",
        _number_between(0, 604800, "s"),
    )


@dataclass(frozen=True, kw_only=True)
class ClusterSettings:
    scheduler: str = _setting(
        "CLUSTER",
        "",
        "address of a Dask scheduler, such as tcp://10.0.0.5:8786; empty = this machine alone",
        _scheduler,
    )
    host: str = _setting(
        "CLUSTER_HOST",
        "",
        "address at which a scheduler or worker on this machine listens; empty = 127.0.0.1 (scheduler), "
        "the address from which the scheduler is reached (worker)",
        _host,
    )
    tls_ca: Path | None = _setting(
        "CLUSTER_TLS_CA", None, "PEM file of the authority whose certificates a cluster trusts", _path, shown=""
    )
    tls_cert: Path | None = _setting(
        "CLUSTER_TLS_CERT", None, "PEM file of this machine's certificate for the cluster", _path, shown=""
    )
    tls_key: Path | None = _setting(
        "CLUSTER_TLS_KEY", None, "PEM file of its key; empty = in the certificate's file", _path, shown=""
    )


def default_work_dir(log_dir: Path) -> Path:
    """A folder per user and LOG_DIR, so that neither two users nor two checkouts of a machine meet in one."""
    place = hashlib.sha256(str(log_dir).encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return Path(f"/tmp/animation_work_{os.getuid()}_{place}")


@dataclass(frozen=True, kw_only=True)
class PathSettings:
    log_dir: Path = _setting("LOG_DIR", ROOT / "log", "log, queue and state files", _path, shown="log")
    work_dir: Path = _setting(
        "WORK_DIR",
        default_work_dir(ROOT / "log"),
        "videos in progress; by default a folder per user and LOG_DIR",
        _path,
        shown="/tmp/animation_work_…",
    )
    hub_dir: Path = _setting("HUB_DIR", ROOT / "log/hub", "files of the embedded hub", _path, shown="log/hub")


@dataclass(frozen=True, kw_only=True)
class DashboardSettings:
    host: str = _setting(
        "DASHBOARD_HOST",
        "127.0.0.1",
        "address at which the dashboard listens; one that others reach demands a token",
        _host,
        flag="--host",
    )
    port: int = _setting("DASHBOARD_PORT", 8030, "port of the dashboard", _integer(0, 65535), flag="--port")
    token: str | None = _setting(
        "DASHBOARD_TOKEN",
        None,
        "token that the dashboard demands; without one it makes one where others reach it",
        _long_token,
        shown="",
        flag=None,
        secret=True,
    )


@dataclass(frozen=True, kw_only=True)
class UiSettings:
    lang: str = _setting(
        "UI_LANG",
        "auto",
        "language of messages to people; auto = that of the terminal (LANG), both if that names none",
        _choice("auto", "zh", "en", "both"),
        flag=None,
    )


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Every setting of a run."""

    hub: HubSettings = field(default_factory=HubSettings)
    monitor: MonitorSettings = field(default_factory=MonitorSettings)
    processor: ProcessorSettings = field(default_factory=ProcessorSettings)
    encode: EncodeSettings = field(default_factory=EncodeSettings)
    frames: FrameSettings = field(default_factory=FrameSettings)
    notify: NotifySettings = field(default_factory=NotifySettings)
    cluster: ClusterSettings = field(default_factory=ClusterSettings)
    paths: PathSettings = field(default_factory=PathSettings)
    dashboard: DashboardSettings = field(default_factory=DashboardSettings)
    ui: UiSettings = field(default_factory=UiSettings)
    given: frozenset[str] = frozenset()  # environment names of those that a flag, the environment or .env set

    @classmethod
    def load(
        cls,
        env: Mapping[str, str],
        dotenv: Mapping[str, str | None] | None = None,
        flags: Mapping[str, str | None] | None = None,
    ) -> "Settings":
        """Settings of the three sources, each by environment name. An empty value is the default.

        Raises ConfigError, one line that names the variable, its value and what is accepted.
        """
        groups: dict[str, dict[str, Any]] = {}
        texts: dict[str, str] = {}
        for group, name, spec in specs():
            text, source = _lookup(spec.env, flags or {}, env, dotenv or {})
            if text:
                groups.setdefault(group, {})[name] = _parsed(spec, text, source)
                texts[spec.env] = text
        if "CRF" in texts and "TARGET_VMAF" not in texts:
            groups["encode"]["target_vmaf"] = 0.0  # who names a CRF means that one
        made = {group: _GROUPS[group](**values) for group, values in groups.items()}
        settings = cls(**made, given=frozenset(texts))
        _need_consistency(settings, texts)
        if "WORK_DIR" in texts:
            return settings
        return replace(settings, paths=replace(settings.paths, work_dir=default_work_dir(settings.paths.log_dir)))


_GROUPS: dict[str, type] = {
    "hub": HubSettings,
    "monitor": MonitorSettings,
    "processor": ProcessorSettings,
    "encode": EncodeSettings,
    "frames": FrameSettings,
    "notify": NotifySettings,
    "cluster": ClusterSettings,
    "paths": PathSettings,
    "dashboard": DashboardSettings,
    "ui": UiSettings,
}


def specs() -> Iterator[tuple[str, str, Spec]]:
    """Of every setting its group, its field there, and what is known of it."""
    for group, kind in _GROUPS.items():
        members: tuple[Field[Any], ...] = fields(kind)
        for member in members:
            yield group, member.name, member.metadata["spec"]


def _need_consistency(settings: Settings, texts: Mapping[str, str]) -> None:
    """Of settings that are right one by one. ``texts``: as they were given. Raises ConfigError."""
    secured, hub = settings.cluster, settings.hub
    if secured.scheduler.startswith("tls:") and not (secured.tls_ca and secured.tls_cert):
        raise ConfigError(f"CLUSTER={secured.scheduler!r} needs certificates: give CLUSTER_TLS_CA, CLUSTER_TLS_CERT")
    if settings.encode.crf_min > settings.encode.crf_max:
        raise ConfigError(
            f"CRF_MIN={settings.encode.crf_min} is above CRF_MAX={settings.encode.crf_max}: give the smaller one first"
        )
    if hub.input_repo == hub.output_repo:
        raise ConfigError(f"OUTPUT_REPO={hub.output_repo!r} is also INPUT_REPO: give two different datasets")
    for name, repo in (("INPUT_REPO", hub.input_repo), ("OUTPUT_REPO", hub.output_repo)):
        if settings.frames.repo == repo:
            raise ConfigError(f"FRAMES_REPO={repo!r} is also {name}: give a dataset of its own")
    for name in ("INPUT_REPO", "OUTPUT_REPO", "FRAMES_REPO"):
        page = _REPO_PAGE.fullmatch(texts.get(name, ""))
        if page and page["hub"].removeprefix("www.") != _host_of(hub.endpoint):
            raise ConfigError(f"{name}={texts[name]!r} is not on MODELSCOPE_ENDPOINT={hub.endpoint}: set that one too")


def _host_of(endpoint: str) -> str:
    return endpoint.split("/")[2].removeprefix("www.")


def _lookup(name: str, *sources: Mapping[str, str | None]) -> tuple[str, str]:
    """The first source that has a value that is not empty, and what to call that source."""
    for source, label in zip(sources, ("flag", "environment", ".env"), strict=True):
        text = (source.get(name) or "").strip()
        if text:
            return text, label
    return "", ""


def _parsed(spec: Spec, text: str, source: str) -> Any:
    shown = f"{spec.env} (from {source})" if spec.secret else f"{spec.env}={text!r} (from {source})"
    try:
        return spec.parse(text)
    except ValueError as exc:
        raise ConfigError(f"{shown}: expected {exc}") from None


def with_token(settings: Settings, token: str | None) -> Settings:
    """The same settings with another token."""
    return replace(settings, hub=replace(settings.hub, token=token))


def shown(settings: Settings, *groups: str) -> dict[str, str]:
    """The values of these groups' settings by environment name, as one would write them; never a secret."""
    found = {}
    for group, name, spec in specs():
        if group in groups and not spec.secret:
            value = getattr(getattr(settings, group), name)
            text = " ".join(sorted(value)) if isinstance(value, frozenset) else str(value)
            found[spec.env] = spec.shown if value is None else text.removesuffix(".0")
    return found


def add_other_name(parser: argparse.ArgumentParser, flag: str, env: str, help: str) -> None:
    """Give a parser one more flag for a setting, by its environment name."""
    parser.add_argument(flag, dest=_DEST + env, metavar="VALUE", help=help)


def add_flags(parser: argparse.ArgumentParser, *groups: str) -> None:
    """Give a parser one flag for each setting of these groups; ``flag_values`` reads them back."""
    section = parser.add_argument_group("settings", "each is also an environment variable and a line in .env")
    for group, _, spec in specs():
        if group in groups and spec.flag:
            default = f"default {spec.shown}" if spec.shown else "no default"
            section.add_argument(
                spec.flag,
                dest=_DEST + spec.env,
                metavar="VALUE",
                help=f"{spec.help} ({spec.env}, {default})".replace("%", "%%"),
            )


_DEST = "setting "  # a prefix no other flag's destination has


def flag_values(parsed: argparse.Namespace) -> dict[str, str | None]:
    """The values of ``add_flags``' flags by environment name."""
    return {name[len(_DEST) :]: value for name, value in vars(parsed).items() if name.startswith(_DEST)}


def names() -> list[str]:
    """Of all settings, as the environment and ``.env`` have them."""
    return [spec.env for _, _, spec in specs()]


def settings_table(heading: tuple[str, str, str] = ("name", "default", "meaning")) -> str:
    """The Markdown table of the README."""
    rows = [heading, ("---", "---", "---")]
    for _, _, spec in specs():
        rows.append((f"`{spec.env}`", f"`{spec.shown}`" if spec.shown else "–", spec.help))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"
