"""Words and vectors together: the fusion against plain loops, tables, conditions, pages."""

import numpy as np
import pytest

from helpers.pictures import picture, png
from helpers.runs import name, small_table
from helpers.searchers import COUNT, TEXTS, small_gallery, small_model
from r2d2.errors import R2D2Error
from r2d2.index.build import build_index
from r2d2.index.layout import open_lance
from r2d2.index.vectors.build_approximate import build_ann
from r2d2.search.first_stage import FUSED, RANK_OFFSET, WORDS_WEIGHT, by_vectors, by_words, fuse
from r2d2.search.query import SearchQuery
from r2d2.search.searcher import Searcher
from r2d2.table import Pair, PairsTable, Text, append_table, write_table


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hybrid")
    small_model().save(folder / "model")
    path = small_table(folder / "t.lance", rows=20, bad=(3,), textless=(4,))
    build_index(path, folder / "model")
    return path, folder / "model"


def naive_fusion(near, named):
    """{row: points}, of (row, cosine) and (row, score) lists."""
    points = {row: 1 / (RANK_OFFSET + rank) for rank, (row, _) in enumerate(near[:FUSED], 1)}
    for row, score in named:
        rank = 1 + sum(other > score for _, other in named)
        points[row] = points.get(row, 0) + WORDS_WEIGHT / (RANK_OFFSET + rank)
    return points


@pytest.mark.parametrize("seed", range(5))
def test_fusion_is_that_of_plain_loops(seed):
    random = np.random.default_rng(seed)
    cosine = np.sort(random.random(300).astype(np.float32))[::-1]
    near = by_vectors(random.permutation(300), cosine)
    of_row = dict(zip(near.rows.tolist(), cosine.tolist(), strict=True))
    scores = np.sort(random.integers(1, 9, 50).astype(np.float32))[::-1]
    named = by_words(random.permutation(300)[:50], scores)
    cosines = np.array([of_row[row] for row in named.rows.tolist()], np.float32)
    found = fuse(near, named, cosines)
    points = naive_fusion(
        list(zip(near.rows.tolist(), cosine, strict=True)),
        list(zip(named.rows.tolist(), scores, strict=True)),
    )
    wanted = sorted(of_row, key=lambda row: (-points.get(row, 0), -of_row[row]))
    assert found.rows.tolist() == wanted
    assert [of_row[row] for row in found.rows.tolist()] == pytest.approx(found.cosine.tolist())


def test_a_result_says_what_it_was_found_by():
    near = by_vectors(np.arange(100), np.linspace(1, 0, 100, dtype=np.float32))
    named = by_words(np.array([0, 99]), np.array([5, 4], np.float32))
    found = fuse(near, named, np.array([1, 0], np.float32))
    reasons = {int(row): found.reason(place) for place, row in enumerate(found.rows)}
    assert (reasons[0], reasons[1], reasons[99]) == ("both", "picture", "words")


def test_exact_names_come_first(searcher):
    for n in range(COUNT):
        found = searcher.search(TEXTS[n], k=3, two_stage=False)
        assert found.by == "both"
        assert TEXTS[n] in [hit.texts[0] for hit in found.hits]
        assert found.hits[0].found_by in ("words", "both")
        assert found.hits[0].words is not None


def test_words_alone_need_no_model(searcher):
    found = searcher.search(TEXTS[5], k=COUNT, by="words")
    assert found.hits[0].texts == (TEXTS[5],)
    assert all(hit.found_by == "words" and hit.words > 0 for hit in found.hits)
    assert all((h.cosine, h.match, h.score) == (None, None, None) for h in found.hits)
    assert [h.words for h in found.hits] == sorted((h.words for h in found.hits), reverse=True)
    assert found.reranked == 0
    assert searcher.search("龘", by="words").hits == ()


def test_traditional_characters_width_and_case_are_those_of_the_corpus(searcher):
    plain = searcher.search("红色的马", k=5)
    other = searcher.search("紅色的馬", k=5)
    assert [h.row for h in other.hits] == [h.row for h in plain.hits]
    assert [h.cosine for h in other.hits] == [h.cosine for h in plain.hits]
    assert [(n.code, n.about) for n in other.notes] == [("searched_as", "红色的马")]
    assert plain.notes == ()


@pytest.mark.parametrize("by", ["both", "words"])
@pytest.mark.parametrize("two_stage", [True, False])
def test_pages_join_to_the_whole(searcher, by, two_stage):
    whole = searcher.search(TEXTS[9], k=COUNT, by=by, two_stage=two_stage).hits
    assert len(whole) == (COUNT if by == "both" else len(whole))
    pages = [
        hit for offset in range(0, len(whole), 7)
        for hit in searcher.search(TEXTS[9], k=7, offset=offset, by=by, two_stage=two_stage).hits
    ]  # fmt: skip
    assert pages == list(whole)


def test_the_second_stage_orders_the_candidates_beside_the_words(searcher):
    first = searcher.search(TEXTS[9], k=COUNT, two_stage=False).hits
    found = searcher.search(TEXTS[9], k=COUNT).hits
    assert [hit.row for hit in found[8:]] == [hit.row for hit in first[8:]]
    head = {hit.row: hit for hit in first[:8]}
    score = {hit.row: 2.0 * hit.match + hit.cosine for hit in found[:8]}
    vectors = searcher.search(TEXTS[9], k=COUNT, two_stage=False, by="vectors").hits
    place = {hit.row: hit.rank for hit in vectors}
    points = sorted((1 / (RANK_OFFSET + place[row]) for row in head), reverse=True)
    words = searcher.search(TEXTS[9], k=COUNT, by="words").hits
    shared = {h.row: 1 + sum(o.words > h.words for o in words) for h in words}
    for row, dealt in zip(sorted(score, key=lambda row: -score[row]), points, strict=True):
        score[row] = dealt + (WORDS_WEIGHT / (RANK_OFFSET + shared[row]) if row in shared else 0)
    assert [hit.row for hit in found[:8]] == sorted(score, key=lambda row: -score[row])


def test_conditions_hold_for_words_and_vectors(searcher, table):
    for by in ("both", "words", "vectors"):
        hits = searcher.search(TEXTS[0], k=COUNT, where="split = 'test'", by=by).hits
        assert hits
        assert all(hit.split == "test" for hit in hits)
    opened = Searcher.open(*table)
    hits = opened.search(name(9), k=50, where="split = 'val'", by="words").hits
    assert hits
    assert all(hit.split == "val" for hit in hits)
    with pytest.raises(R2D2Error, match="the condition 'nothing = 1' does not work"):
        opened.search(name(9), where="nothing = 1", by="words")


def test_a_table_finds_by_words_what_a_gallery_in_memory_finds(tmp_path):
    model = small_model()
    model.save(tmp_path / "model")
    rows = [Pair(f"i{n}", png(picture(3 if n == 7 else n)), (Text(TEXTS[n], "title"),), "train")
            for n in range(COUNT)]  # fmt: skip
    write_table(tmp_path / "t.lance", rows)
    build_index(tmp_path / "t.lance", tmp_path / "model")
    opened, memory = Searcher.open(tmp_path / "t.lance", model), small_gallery(model)
    for text in (TEXTS[2], "猫", "红色的狗和马"):
        a, b = opened.gallery.words.best(text, 100), memory.words.best(text, 100)
        assert a[0].tolist() == b[0].tolist()
        assert a[1].tolist() == pytest.approx(b[1].tolist(), abs=1e-3)


def test_bad_pictures_and_rows_without_texts_are_not_found_by_words(table):
    found = {hit.image_id for hit in Searcher.open(*table).search(name(3), k=50, by="words").hits}
    assert "i3" not in found  # it cannot be read
    assert "i4" not in found  # it has no text
    assert found


def test_new_rows_are_found_by_words_once_they_are_indexed(tmp_path):
    small_model().save(tmp_path / "model")
    path = small_table(tmp_path / "t.lance", rows=8)
    build_index(path, tmp_path / "model")
    fresh = Pair("fresh", png(picture(50)), (Text("紫水晶项链", "title"),), "train")
    append_table(path, [fresh])
    before = Searcher.open(path, tmp_path / "model").search("水晶项链", by="words").hits
    build_index(path, tmp_path / "model")
    after = Searcher.open(path, tmp_path / "model")
    assert "fresh" not in [hit.image_id for hit in before]
    assert after.search("水晶项链", by="words").hits[0].image_id == "fresh"
    assert after.search(name(2), by="words").hits  # and the old ones still
    assert len(PairsTable.open(path)) == len(after.gallery)


def test_overwrite_writes_the_words_anew(tmp_path):
    small_model().save(tmp_path / "model")
    path = small_table(tmp_path / "t.lance", rows=8)
    build_index(path, tmp_path / "model")
    build_index(path, tmp_path / "model", overwrite=True)
    assert Searcher.open(path, tmp_path / "model").search(name(2), by="words").hits


def test_an_approximate_index_is_fused_too(tmp_path):
    model = small_model()
    model.save(tmp_path / "model")
    path = small_table(tmp_path / "t.lance", rows=300)
    build_index(path, tmp_path / "model")
    exact = Searcher.open(path, model).search(name(5), k=10, two_stage=False).hits
    build_ann(path, "ivf_flat", probes=16)
    found = Searcher.open(path, model).search(name(5), k=10, two_stage=False).hits
    assert [hit.words for hit in found[:3]] == [hit.words for hit in exact[:3]]
    assert all(hit.cosine is not None for hit in found)


def test_a_table_without_texts_is_searched_by_vectors(tmp_path):
    model = small_model()
    model.save(tmp_path / "model")
    write_table(tmp_path / "t.lance", [Pair(f"i{n}", png(picture(n)), (), "train")
                                       for n in range(5)])  # fmt: skip
    build_index(tmp_path / "t.lance", tmp_path / "model")
    opened = Searcher.open(tmp_path / "t.lance", model)
    assert opened.search("红色的猫").by == "vectors"
    for by in ("words", "both"):
        with pytest.raises(
            R2D2Error, match=r"there is no full-text index of .*t.lance: its images have no texts"
        ):
            opened.check(SearchQuery(text="红色的猫", by=by))


def test_an_image_has_no_words(searcher):
    assert searcher.search(picture(1), k=3).by == "vectors"
    with pytest.raises(R2D2Error, match="by is words, and an image has no words"):
        searcher.check(SearchQuery(image=picture(1), by="words"))
    with pytest.raises(R2D2Error, match="candidates and cascade are of the second stage"):
        searcher.check(SearchQuery(text="猫", by="words", candidates=4))
    with pytest.raises(R2D2Error, match="choose both, vectors or words"):
        searcher.check(SearchQuery(text="猫", by="pictures"))


def test_the_columns_of_words_are_kept_from_users(table):
    assert "image_words" in open_lance(str(table[0])).schema.names
    assert "image_words" not in Searcher.open(*table).gallery.columns
