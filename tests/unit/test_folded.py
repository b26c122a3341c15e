"""Of many lines those that count are left: the first, the last, and each only once."""

from tools.runtime.folded import Folded


def told(lines: list[str], first: int = 3, last: int = 3) -> list[str]:
    folded = Folded(first, last)
    for line in lines:
        folded.add(line)
    return folded.text().splitlines()


def test_repeated_lines_are_one_with_their_number() -> None:
    assert told(["before", *["thread priority"] * 49, "after"]) == [
        "before",
        "thread priority … repeated 49 times",
        "after",
    ]


def test_lines_that_differ_in_numbers_and_addresses_alone_are_the_same() -> None:
    lines = [f"[h264 @ 0x55d{n:x}] error while decoding MB {n} 7" for n in range(20)]
    assert told(["a", *lines, "b"]) == ["a", f"{lines[0]} … repeated 20 times", "b"]


def test_repeated_lines_that_alternate_are_folded_too() -> None:
    assert told(["x", "y"] * 100 + ["end"]) == ["x … repeated 100 times", "y … repeated 100 times", "end"]


def test_the_first_and_the_last_lines_are_kept_and_the_rest_is_counted() -> None:
    lines = [f"line {chr(97 + n)}" for n in range(26)]
    assert told(lines) == [*lines[:3], "… 20 more lines …", *lines[-3:]]


def test_line_of_the_middle_that_comes_again_is_counted_where_it_stands() -> None:
    lines = [f"line {chr(97 + n)}" for n in range(26)]
    assert told([*lines, "line z", "line a"]) == [
        *("line a … repeated 2 times", "line b", "line c", "… 20 more lines …"),
        *("line x", "line y", "line z … repeated 2 times"),
    ]


def test_long_line_keeps_its_beginning_and_its_end() -> None:
    (line,) = told(["a" * 5000 + " No space left on device"])
    assert line.startswith("aaa") and line.endswith("No space left on device") and len(line) < 700
