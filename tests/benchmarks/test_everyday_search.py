"""The everyday queries and the rule by which a result counts."""

from benchmarks.everyday_search import (
    base_emoji,
    first_hit,
    hit_rates,
    name_line,
    name_ranks,
    read_queries,
    substring_search,
)
from r2d2.search.searcher import Searcher


def test_list_alternates_between_its_halves():
    queries = read_queries()
    assert len(queries) == len({query.text for query in queries}) == 144
    assert [query.half for query in queries] == ["choosing", "measuring"] * 72
    assert all(query.accepted for query in queries)


def test_skin_tones_gender_signs_and_selectors_do_not_count():
    assert base_emoji("🏊🏽‍♀️") == base_emoji("🏊") == "🏊"
    assert base_emoji("☀️") == "☀"
    assert base_emoji("👨‍⚕️") == "👨‍⚕"  # a man is no gender sign
    assert base_emoji("♀️") == "♀"  # without a joiner it is an emoji of its own
    assert first_hit(["🎂", "🏊🏿‍♂️"], frozenset({"🏊"})) == 2
    assert first_hit(["🎂"], frozenset({"🏊"})) is None


def test_hit_rates_count_ranks_within_each_depth():
    assert hit_rates([1, 2, 6, None]) == [25.0, 50.0, 75.0]


def test_accepted_emoji_are_in_the_gallery():
    searcher = Searcher.open()
    items = searcher.gallery.items(range(len(searcher.gallery)))
    from r2d2.index.gallery.emoji import emoji_character

    there = {base_emoji(emoji_character(item.image_id) or "") for item in items}
    assert [query.text for query in read_queries() if not query.accepted & there] == []


def test_substring_search_lists_short_names_first():
    results = substring_search(Searcher.open())(["月亮", "没有这样的名字"])
    assert results[0]
    assert results[1] == []


def test_names_are_counted_by_the_rank_of_their_picture():
    assert name_line([1, 3, 4, None]) == (
        "4 names without a comma: at rank 1 25.0%, to 3 50.0%, to 10 75.0%"
    )


def test_a_name_finds_its_picture():
    """A twentieth of the names; the whole takes minutes: `python benchmarks/everyday_search.py`."""
    ranks = name_ranks(Searcher.open(), step=20)
    assert len(ranks) == 94
    assert sum(rank is not None and rank <= 3 for rank in ranks) >= 0.99 * len(ranks)
