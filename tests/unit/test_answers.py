"""What is kept of a listing while it is read."""

from tools.hub.answers import Paths


def test_paths_know_each_of_many_and_count_it_once() -> None:
    paths, names = Paths(), [f"A/{number}.mp4" for number in range(40_000)]
    assert all([paths.add(name) for name in names])
    assert not any([paths.add(name) for name in names]) and len(paths) == len(names)
