"""Of which pictures thumbnails are made."""

from pathlib import Path

from tools.media.scored import Choice, Group, Pictures
from tools.media.thumbnails import MOST, Thumbnails, spread


def test_of_a_short_video_all_of_a_long_one_parts_and_both_ends() -> None:
    assert spread([]) is None and spread([number / 24 for number in range(MOST)]) is None
    chosen = spread([5 + number / 24 for number in range(24 * 60 * 24)])
    assert chosen is not None
    assert chosen.expression("t") == "(lt(t,2)+gte(t,1437.958)+lt(mod(t,11.901),1))*lt(selected_n,6000)"


def test_both_count_from_their_first_pictures() -> None:
    long = spread([number / 24 for number in range(2 * MOST)])
    source, result = (Thumbnails("0:1", Path("/x"), "a", ("hflip",), long, True, first) for first in (5.0, None))
    assert "[0:1]hflip,select='(lt((t-5.000000),2)+" in " ".join(source.arguments())
    assert "select='(lt((t-start_t),2)+" in " ".join(result.arguments())
    assert "in_range=pc:out_range=pc" in " ".join(source.arguments())
    assert source.taken() == []


def test_no_more_are_read_than_are_kept(tmp_path: Path) -> None:
    (tmp_path / "a.times").write_text("#dimensions 0: 2x2\n" + "0, 0, 9, 1, 6, 0x0\n" * (2 * MOST + 1))
    (tmp_path / "a.yuv").write_bytes(bytes(6) * (2 * MOST + 1))
    assert len(Thumbnails("0:1", tmp_path, "a", (), None, True).taken()) == 2 * MOST


def test_pictures_that_are_scored_come_out_of_the_same_filters() -> None:
    scored = Pictures(Path("/y/a.nut"), "p010le", Choice((Group(-1.0, 2.0),), 4, 0))
    both = Thumbnails("0:1", Path("/x"), "a", ("hflip", "vflip"), None, True, None, scored)
    graph = both.arguments()[both.arguments().index("-filter_complex") + 1]
    assert graph.startswith("[0:1]hflip,vflip,split[ac][ad];[ac]scale=") and graph.count("hflip") == 1
    assert graph.endswith("*lt(selected_n,4)',format=yuv420p10le[ae]") and "file:/y/a.nut" in both.arguments()
