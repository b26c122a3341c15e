"""Series, season and episode, as the names of folders and files tell them."""

import pytest

from tools.core.titles import told_by


@pytest.mark.parametrize(
    ("path", "series", "season", "episode"),
    [
        ("Frieren S01/Frieren - S01E02.mkv", "Frieren", "1", "2"),
        ("Frieren/Season 2/03.mp4", "Frieren", "2", "3"),
        ("Frieren/Specials/OVA.mp4", "Specials", "", ""),
        ("[Sub] 葬送的芙莉莲 [1080p]/[Sub] 葬送的芙莉莲 - 05v2 [1080p].mkv", "葬送的芙莉莲", "", "5"),
        ("番剧A/第二季/第十二话.mp4", "番剧A", "2", "12"),
        ("番剧A 第2季/第１０集.mp4", "番剧A", "2", "10"),
        ("百集/第一百零三集.mp4", "百集", "", "103"),
        ("A/ep 01.mp4", "A", "", "1"),
        ("A/E00.mp4", "A", "", "0"),
        ("X/1x05.mkv", "X", "1", "5"),
        ("Show 2nd Season/01.mkv", "Show", "2", "1"),
        ("Show/Show 12.5.mp4", "Show", "", "12.5"),
        ("Show/[G] Show [07][AVC 1080P].mp4", "Show", "", "7"),
        ("Show.Name.S02E10.1080p.x264.mkv", "Show Name", "2", "10"),
        ("Root - 07.mkv", "Root", "", "7"),
        ("第12話.mp4", "", "", "12"),
        ("movie.mp4", "", "", ""),
        ("Films/movie 1080p.mkv", "Films", "", ""),
        ("Films/movie 1920x1080.mkv", "Films", "", ""),
        ("2024-05-01/clip.mp4", "", "", ""),
        ("Show/20240501.mp4", "Show", "", ""),
        ("", "", "", ""),
    ],
)
def test_what_a_path_tells(path: str, series: str, season: str, episode: str) -> None:
    told = told_by(path)
    assert (told.series, told.season, told.episode) == (series, season, episode)


def test_names_of_any_length_are_read_quickly() -> None:
    for piece in ("第", "S1E", "[", "(", " - ", "十百", "9.", "a" * 50 + " "):
        told_by(f"A/{piece * 1_000}.mp4")
