"""What an answer of the hub counts as, and what is kept of a listing while it is read."""

import json
from typing import Any

import pytest

from tools.core.errors import HubError, HubForbidden, HubNotFound, HubUnavailable
from tools.hub.answers import Paths, Reading, content_of, list_of
from tools.hub.listing import Listing, _Answer


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"Success": True, "Code": 200}, None),
        ({}, None),
        ({"Success": False, "Code": 200}, HubUnavailable),
        ({"Success": False}, HubUnavailable),
        ({"Success": True, "Code": 500}, HubUnavailable),
        ({"Code": 10010205}, HubUnavailable),
        ({"Success": True, "Code": "404"}, HubNotFound),
        ({"Success": False, "Code": 403}, HubForbidden),
        ([], HubUnavailable),
        ("busy", HubUnavailable),
    ],
)
def test_answer_is_one_only_if_all_that_it_says_of_itself_is_well(answer: Any, error: type[HubError] | None) -> None:
    if error is None:
        assert content_of(json.dumps(answer).encode()) == answer
    else:
        with pytest.raises(HubError) as found:
            content_of(json.dumps(answer).encode())
        assert type(found.value) is error


@pytest.mark.parametrize(
    ("data", "found"),
    [
        ({"Files": [{"Path": "a"}]}, [{"Path": "a"}]),
        ({"Files": [], "TotalCount": 0}, []),
        ({"Files": None, "TotalCount": 0}, []),
        ({"Files": None}, None),
        ({}, None),
        ([], None),
        (None, None),
        ({"Files": ["a"]}, None),
    ],
)
def test_list_is_there_or_it_is_no_answer(data: Any, found: list[Any] | None) -> None:
    if found is not None:
        assert list_of({"Data": data}, "Files") == found
    else:
        with pytest.raises(HubUnavailable):
            list_of({"Data": data}, "Files")


def test_folder_in_a_listing_counts_as_an_entry_and_is_no_file() -> None:
    reading = Reading("me/in")
    entries: list[dict[str, Any]] = [{"Path": "A", "Type": "tree"}, {"Path": "A/1.mp4", "Type": "blob", "Size": 3}]
    assert [file.path for file in reading.new_files(entries)] == ["A/1.mp4"] and len(reading.seen) == 2


def test_hub_that_counts_nothing_is_not_read_in_smaller_pages_for_that(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    def get(listing: Listing, path: str, query: dict[str, Any], most: int = 0) -> _Answer:
        asked.append((query["PageNumber"], query["PageSize"]))
        names = ["a", "b", "c"] if query["PageNumber"] == 1 else []
        files = [{"Path": name, "Type": "blob", "Size": 1} for name in names[: query["PageSize"]]]
        return _Answer({}, json.dumps({"Code": 200, "Data": {"Files": files}}).encode())

    monkeypatch.setattr(Listing, "_get", get)
    listing = Listing("http://hub", "token", 1.0)
    first, second = ([file.path for file in listing.files("me/in", "c")] for _ in range(2))
    assert first == second == ["a", "b", "c"]
    sizes = [size for number, size in asked if number == 1]
    assert len(sizes) == 2 and sizes[0] == sizes[1] > 100


def test_paths_know_each_of_many_and_count_it_once() -> None:
    paths, names = Paths(), [f"A/{number}.mp4" for number in range(40_000)]
    assert all([paths.add(name) for name in names])
    assert not any([paths.add(name) for name in names]) and len(paths) == len(names)
