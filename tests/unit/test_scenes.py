"""Scenes by what was measured of real clips (``tests/scenes``), whose cuts people found by eye; and rules as tables."""

import json
from pathlib import Path

import pytest

from tools.core.scenes import Picture, SceneRules, find_cuts, find_scenes

CLIPS = sorted((Path(__file__).parent.parent / "scenes").glob("*.json"))
RULES = SceneRules()
FALSE = {"elephants_test7_damaged_cut.mkv": [24]}  # pictures are lost there


def _pictures(changes: list[float], rate: float = 24.0, detail: float = 0.8, blur: float = 4.0) -> list[Picture]:
    return [Picture(n / rate, change, detail, blur) for n, change in enumerate(changes)]


@pytest.mark.parametrize("clip", CLIPS, ids=[path.stem for path in CLIPS])
def test_every_cut_of_a_real_clip_is_found_and_nothing_else(clip: Path) -> None:
    known = json.loads(clip.read_text(encoding="utf-8"))
    found = find_cuts([Picture(*one) for one in known["pictures"]], RULES)
    of_dissolves = {cut for cut in found for middle in known["dissolves"] if abs(cut - middle) <= 8}
    assert set(found) - of_dissolves == {*known["cuts"], *FALSE.get(clip.stem, [])}


def test_chosen_picture_is_none_of_a_fade() -> None:
    known = json.loads(next(path for path in CLIPS if "bunny" in path.stem).read_text(encoding="utf-8"))
    pictures = [Picture(*one) for one in known["pictures"]]
    scenes, _ = find_scenes(pictures[:47], RULES)  # black for a third of a second, then a long fade
    assert [scene.frame for scene in scenes] == [pytest.approx(40, abs=6)], "not its middle, 23, which is dark gray"


def test_chosen_picture_is_no_blank_blurred_or_moving_one_but_the_nearest_to_the_middle_that_is_none() -> None:
    plain = _pictures([0.0, *[0.2] * 48])
    for number, worse in ((24, {"blur": 8.0}), (25, {"detail": 0.01}), (23, {"change": 30.0}), (26, {"blur": 0.0})):
        plain[number] = plain[number]._replace(**worse)
    scenes, _ = find_scenes(plain, SceneRules(threshold=50.0))
    assert [scene.frame for scene in scenes] == [21], "of 22 the next one is another picture"


def test_motion_on_threes_pans_and_a_single_flash_are_no_cuts() -> None:
    on_threes = [0.0, *[0.0, 0.0, 15.0] * 20]
    assert find_cuts(_pictures(on_threes), RULES) == []
    assert find_cuts(_pictures([0.0, *[12.0] * 60]), RULES) == []
    flash = [0.0] * 30 + [60.0, 0.0, 60.0] + [0.0] * 30
    assert find_cuts(_pictures(flash), RULES) == []
    cut = [Picture(n / 24, 30.0 if n == 30 else 0.1, 0.8 if n < 30 else 0.5, 4.0) for n in range(60)]
    assert find_cuts(cut, RULES) == [30]


def test_still_or_shortest_video_is_one_scene_and_one_without_a_picture_has_none() -> None:
    assert find_scenes([], RULES) == ([], 0)
    assert [tuple(scene) for scene in find_scenes(_pictures([0.0]), RULES)[0]] == [(0, 1, 0)]
    assert [tuple(scene) for scene in find_scenes(_pictures([0.0, 90.0]), RULES)[0]] == [(0, 1, 0), (1, 2, 1)]
    assert [tuple(scene) for scene in find_scenes(_pictures([0.0] * 25), RULES)[0]] == [(0, 25, 12)]
    assert find_scenes(_pictures([0.0] * 25, detail=0.01), RULES)[0][0].frame == -1, "all of it is black"


def test_of_too_many_cuts_the_clearest_count_and_how_many_do_not_is_said() -> None:
    changes = [0.0]
    for n in range(40):
        changes += [0.1] * 23 + [20.0 + n]
    scenes, left_out = find_scenes(_pictures(changes), SceneRules(most=11))
    assert (len(scenes), left_out) == (11, 30)
    assert scenes[0].end == 24 * 31, "the weaker cuts are left out"


def test_two_cuts_nearer_than_the_shortest_scene_are_one() -> None:
    changes = [0.1] * 30 + [20.0] + [0.1] * 7 + [40.0] + [0.1] * 30
    pictures = _pictures(changes)
    assert find_cuts(pictures, SceneRules(shortest=0.5)) == [38], "the clearer one"
    assert find_cuts(pictures, SceneRules(shortest=0.2)) == [30, 38]
