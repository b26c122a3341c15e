"""What decided an output against what is wanted now: only what had a part in it, and nothing of the machine."""

import pytest

from tools.core.options import ANY, Options, Wanted, options_of, options_text

IN_FORCE: Options = {"encoder": "libsvtav1", "preset": 6, "crf": 30.0, "guess_languages": 0, "muxer": "mkvmerge"}
DEFAULTS: Options = {"encoder": ANY, "preset": 6, "crf": 30.0, "guess_languages": 0}
ENCODED: Options = {"encoder": "libsvtav1", "preset": 6, "crf": 30.0, "guess_languages": 0}


@pytest.mark.parametrize(
    ("made", "changes", "differs"),
    [
        (ENCODED, {}, []),
        (ENCODED, {"crf": 24.0}, ["crf"]),
        (ENCODED, {"crf": 24, "preset": 4}, ["crf", "preset"]),
        ({**ENCODED, "crf": 30}, {}, []),
        (ENCODED, {"encoder": "libaom-av1"}, ["encoder"]),
        ({**ENCODED, "encoder": "av1_nvenc"}, {"encoder": ANY}, []),
        (ENCODED, {"target": 95}, ["target"]),  # younger than the result, and set
        (ENCODED, {"target": 0}, []),  # younger, and as it was
        ({**ENCODED, "retired": 1}, {}, []),
        ({"guess_languages": 0}, {"crf": 24.0, "encoder": "libaom-av1", "target": 95}, []),  # its video was copied
        ({"guess_languages": 1}, {}, ["guess_languages"]),
        ({**ENCODED, "muxer": "ffmpeg"}, {}, ["muxer"]),
        ({**ENCODED, "muxer": "ffmpeg"}, {"muxer": ANY}, []),
        (ENCODED, {"muxer": "ffmpeg"}, []),  # of no Matroska source
    ],
)
def test_result_differs_by_the_options_that_had_a_part_in_it(
    made: Options, changes: Options, differs: list[str]
) -> None:
    wanted = Wanted({**IN_FORCE, **changes}, {**DEFAULTS, "target": 0})
    assert wanted.differs(options_of(options_text(made)) or {}) == differs


def test_options_are_one_text_whatever_their_order() -> None:
    assert options_text({"b": 1, "a": 2.5}) == options_text({"a": 2.5, "b": 1}) == '{"a":2.5,"b":1}'


@pytest.mark.parametrize("text", ["", None, 7, "crf=30", "[]", '"x"', '{"crf":[1]}', '{"crf":null}', "[" * 100_000])
def test_what_tells_no_options_is_none(text: object) -> None:
    assert options_of(text) is None
