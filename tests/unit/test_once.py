"""A problem is said when it begins and when it is over, never in between."""

from tools.runtime.once import Once


def test_problem_is_news_once_until_it_is_over() -> None:
    once = Once()
    assert [once.is_news("down") for _ in range(3)] == [True, False, False] and once
    assert [once.over(), once.over()] == [True, False] and not once
    assert once.is_news("down")


def test_problems_that_alternate_are_each_said_once() -> None:
    once = Once()
    assert [once.is_news(text) for text in ("refused", "timed out", "refused", "timed out")] == [
        True,
        True,
        False,
        False,
    ]


def test_kinds_are_over_one_by_one_or_all_together() -> None:
    once = Once()
    assert once.is_news("slow", "transfer") and once.is_news("slow", "publish") and once.is_news("slow", "open")
    assert once.over("transfer", "never said") and not once.over("transfer")
    assert once.is_news("slow", "transfer") and not once.is_news("slow", "publish")
    assert once.over() and not once
