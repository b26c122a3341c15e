"""What ffmpeg said is understood, whatever else is said 200 times before it, behind it or in between."""

import errno

import pytest

from tools.media.complaints import Complaints, bare

DAVS2 = "\x1b[0m\x1b[1;36m[davs2 info]: Manager 7f0f87c72020: Sequence Resolution: 320x180.\x1b[0m"
NOISE = ["Svt[warn]: Failed to set thread priority: Invalid argument"] * 200
OTHERS = [f"ERROR: ld.so: object 'lib{n}.so' from LD_PRELOAD can't be preloaded: ignored." for n in range(200)]
FULL = "av_interleaved_write_frame(): No space left on device"


def read(*lines: str, ignored: str = "") -> Complaints:
    complaints = Complaints(ignored)
    for line in lines:
        complaints.line(line)
    return complaints


@pytest.mark.parametrize("noise", [NOISE, OTHERS])
@pytest.mark.parametrize("said", [FULL, "[libx @ 0x5] broken: Invalid data found when processing input"])
def test_cause_is_seen_before_behind_and_amid_noise(said: str, noise: list[str]) -> None:
    for lines in ([said, *noise], [*noise, said], [*noise, said, *noise]):
        complaints = read(*lines)
        assert complaints.cause() == said and complaints.verdict() == said
        assert complaints.errnos == ({errno.ENOSPC} if said is FULL else set())


def test_noise_alone_is_no_complaint() -> None:
    complaints = read(*NOISE, "", "Svt[info]: SVT [version]:\tSVT-AV1 Encoder Lib v4.2.0", DAVS2)
    assert (complaints.count, complaints.cause(), complaints.verdict()) == (0, "", "")


@pytest.mark.parametrize(
    ("lines", "cause"),
    [
        # The cause is said before its consequences, and those are marked by the part of ffmpeg that has them.
        (["[libsvtav1 @ 0x1] Invalid crf", "[vost#0:0/x @ 0x2] Error while opening encoder", "Conversion failed!"], 0),
        (["Device creation failed: -5.", "Error parsing global options: Generic error"], 0),
        # A decoder says so for each picture; nothing else says why.
        ([*["[h264 @ 0x1] error while decoding MB 1 2"] * 90, "[out#0/null @ 0x2] Nothing was written"], 0),
        (["[out#0/null @ 0x2] Nothing was written", *["some library: not found"] * 90], 0),
        (["broken inside"], 0),
        (["a title", "Unknown encoder 'av1_nvenc'"], 1),
    ],
)
def test_cause_is_the_line_that_tells_most(lines: list[str], cause: int) -> None:
    assert read(*lines).cause() == lines[cause]


def test_more_different_lines_than_are_kept_do_not_hide_a_full_disk() -> None:
    def word(n: int) -> str:
        return "".join(chr(97 + n // 26**place % 26) for place in range(4))

    others = [f"strange {word(n)}" for n in range(2000)]
    complaints = read(*others, FULL, *others[::-1])
    assert complaints.errnos == {errno.ENOSPC} and complaints.count == 4001


def test_full_disk_in_a_file_s_name_is_none() -> None:
    assert not read("file:/a/No space left on device.mkv: Invalid data found").errnos


@pytest.mark.parametrize(
    ("line", "number"),
    [
        ("av_interleaved_write_frame(): Disk quota exceeded", errno.EDQUOT),
        ("[out#0/matroska @ 0x1] Error writing trailer: File too large", errno.EFBIG),
        ("[in#0 @ 0x1] Error opening input: No such file or directory", errno.ENOENT),
        ("file:/w/a.mp4: Input/output error", errno.EIO),
        ("/w/a.mkv: Permission denied", errno.EACCES),
        ("/w/a.mkv: Read-only file system", errno.EROFS),
        ("/w/a.mkv: Too many open files", errno.EMFILE),
        ("[libx @ 0x1] Cannot allocate memory.", errno.ENOMEM),
    ],
)
def test_error_of_the_system_is_told_by_its_number(line: str, number: int) -> None:
    assert read(line).errnos == {number}


def test_ignored_line_is_no_complaint() -> None:
    assert read("[null @ 0x1] non monotonically increasing dts to muxer", ignored="monotonically").count == 0


def test_parts_of_ffmpeg_and_their_addresses_are_left_out_for_people() -> None:
    assert bare("[vost#0:0/x @ 0x55d1] [enc:x @ 0x2f] Could not open [it @ 0x1]") == "Could not open [it @ 0x1]"
    assert bare("Unknown encoder 'x'") == "Unknown encoder 'x'"
