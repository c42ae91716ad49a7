"""Two-stage search against plain loops, in every direction; pages, conditions, refusals."""

import pytest
import torch
from PIL import Image

from helpers.cli import refused
from helpers.pictures import picture
from helpers.searchers import (
    COUNT,
    TEXTS,
    naive_ranking,
    small_gallery,
    small_model,
    small_searcher,
)
from r2d2.errors import R2D2Error
from r2d2.search.query import SearchQuery
from r2d2.search.searcher import Searcher


@pytest.mark.parametrize("text", [TEXTS[0], TEXTS[21], "蓝猫"])
def test_two_stages_are_those_of_plain_loops(searcher, text):
    found = searcher.search(text, k=COUNT, by="vectors")
    wanted = naive_ranking(searcher, text, 2.0, 8)
    assert [hit.row for hit in found.hits] == [row for row, _, _ in wanted]
    for hit, (_, cosine, match) in zip(found.hits, wanted, strict=True):
        assert hit.cosine == pytest.approx(cosine, abs=1e-5)
        assert hit.match == (None if match is None else pytest.approx(match, abs=1e-5))
        score = cosine if match is None else 2.0 * match + cosine
        assert hit.score == pytest.approx(score, abs=1e-5)
    assert (found.reranked, found.searched, found.weight) == (8, COUNT, 2.0)
    moved = [hit for hit in found.hits if hit.rank != hit.pre_rank]
    assert moved  # the second stage does something here
    assert sorted(hit.pre_rank for hit in found.hits) == list(range(1, COUNT + 1))


def test_pre_ranking_alone_is_by_cosine(searcher):
    found = searcher.search(TEXTS[3], k=COUNT, two_stage=False, by="vectors")
    assert [hit.cosine for hit in found.hits] == sorted(
        (h.cosine for h in found.hits), reverse=True
    )
    assert all(hit.match is None and hit.rank == hit.pre_rank for hit in found.hits)
    assert all(hit.score == hit.cosine for hit in found.hits)


def test_rows_carry_their_ids_texts_and_splits(searcher):
    for hit in searcher.search(TEXTS[5], k=COUNT).hits:
        assert (hit.image_id, hit.texts) == (f"i{hit.row}", (TEXTS[hit.row],))
        assert hit.split == ("test" if hit.row % 3 == 0 else "train")


@pytest.mark.parametrize("k", [1, 3, 7])
def test_pages_join_to_the_whole(searcher, k):
    whole = searcher.search(TEXTS[9], k=COUNT).hits
    pages = [
        hit for offset in range(0, COUNT, k)
        for hit in searcher.search(TEXTS[9], k=k, offset=offset).hits
    ]  # fmt: skip
    assert [(h.row, h.rank, h.pre_rank) for h in pages] == [
        (h.row, h.rank, h.pre_rank) for h in whole
    ]
    assert searcher.search(TEXTS[9], k=5, offset=COUNT).hits == ()


def test_a_batch_answers_as_one_by_one(searcher):
    queries = [
        SearchQuery(text=TEXTS[1], k=5),
        SearchQuery(image=picture(4), k=6),
        SearchQuery(text="白马", k=9, offset=3, where="split = 'test'"),
        SearchQuery(image=picture(2), target="texts", k=4),
        SearchQuery(text=TEXTS[1], k=5, two_stage=False),
        SearchQuery(text=TEXTS[1], k=12, candidates=3),
        SearchQuery(text=TEXTS[2], k=12, cascade=3),
    ]
    together = searcher.answer(queries)
    for query, found in zip(queries, together, strict=True):
        alone = searcher.answer([query])[0]
        assert [hit.row for hit in found.hits] == [hit.row for hit in alone.hits]
        for a, b in zip(found.hits, alone.hits, strict=True):
            assert a.score == pytest.approx(b.score, abs=1e-5)
    assert searcher.answer([]) == []


def naive_cascade(searcher, text, weight, top_k, head):
    """(row, match, stage) best first: plain sorts, a pair at a time."""
    model = searcher.model
    side = model.encode_texts([text])
    first = naive_ranking(searcher, text, 0.0, top_k)
    cosine = {row: c for row, c, _ in first}
    sides = {row: model.encode_images([picture(3 if row == 7 else row)]) for row, _, _ in first}
    p_text, p_image = (
        {row: float(half(sides[row], side)) for row, _, _ in first[:top_k]}
        for half in (model.model.match_text, model.model.match_image)
    )
    cheap = sorted(p_text, key=lambda row: -(weight * p_text[row] + cosine[row]))
    both = {row: (p_text[row] + p_image[row]) / 2 for row in cheap[:head]}
    top = sorted(both, key=lambda row: -(weight * both[row] + cosine[row]))
    return (
        [(row, both[row], "both") for row in top]
        + [(row, p_text[row], "text") for row in cheap[head:]]
        + [(row, None, "cosine") for row, _, _ in first[top_k:]]
    )


@pytest.mark.parametrize("head", [1, 3, 8, 20])
@torch.inference_mode()
def test_a_cascade_as_plain_sorting_has_it(searcher, head):
    for text in TEXTS[:6]:
        found = searcher.search(text, k=COUNT, cascade=head, by="vectors")
        wanted = naive_cascade(searcher, text, 2.0, 8, head)
        assert [(hit.row, hit.stage) for hit in found.hits] == [(r, s) for r, _, s in wanted]
        for hit, (_, match, _) in zip(found.hits, wanted, strict=True):
            assert hit.match == (None if match is None else pytest.approx(match, abs=1e-5))
    whole = searcher.search(TEXTS[0], k=COUNT, by="vectors")
    assert searcher.search(TEXTS[0], k=COUNT, cascade=8, by="vectors").hits == whole.hits


def test_a_cascade_of_texts_and_of_pictures_that_broke():
    whole = small_searcher()
    found = whole.search(picture(6), target="texts", k=COUNT, cascade=2)
    assert [hit.stage for hit in found.hits] == ["both"] * 2 + ["text"] * 6 + ["cosine"] * 32
    best = whole.search(TEXTS[0], k=8, cascade=2, by="vectors").hits[0]
    broken = small_searcher(files={best.image_id: b"no picture"})
    hits = broken.search(TEXTS[0], k=COUNT, cascade=2, by="vectors").hits
    assert [hit.stage for hit in hits] == ["both"] * 2 + ["text"] * 5 + ["cosine"] * 33
    assert hits[7].image_id == best.image_id


def test_an_image_finds_itself_and_its_twin(searcher):
    found = searcher.search(picture(3), k=3)
    assert [hit.row for hit in found.hits[:2]] == [3, 7]  # equal: the earlier row first
    assert found.hits[0].cosine == pytest.approx(1, abs=1e-5)
    assert found.reranked == 0  # cross encoders compare texts with images


def test_texts_for_an_image(searcher):
    found = searcher.search(picture(6), target="texts", k=COUNT)
    side = searcher.model.encode_images([picture(6)])
    texts = searcher.model.encode_texts(TEXTS)
    cosine = (texts.embedding @ side.embedding[0]).tolist()
    for hit in found.hits:
        assert hit.texts == (TEXTS[hit.row],)
        assert (hit.image_row, hit.image_id) == (hit.row, f"i{hit.row}")
        assert hit.cosine == pytest.approx(cosine[hit.row], abs=1e-5)
        if hit.match is not None:
            match = searcher.model.match([picture(6)], [TEXTS[hit.row]])
            assert hit.match == pytest.approx(float(match[0]), abs=1e-5)
    assert sum(hit.match is not None for hit in found.hits) == 8


def test_a_condition(searcher):
    rows = range(0, COUNT, 3)
    found = searcher.search(TEXTS[0], k=COUNT, where="split = 'test'", by="vectors")
    wanted = naive_ranking(searcher, TEXTS[0], 2.0, 8, rows)
    assert [hit.row for hit in found.hits] == [row for row, _, _ in wanted]
    none = searcher.search(TEXTS[0], where="image_id = 'nobody'")
    assert none.hits == ()
    assert (none.level, [note.code for note in none.notes]) == (None, ["filter_matches_nothing"])
    texts = searcher.search(picture(1), target="texts", k=COUNT, where="image_id IN ('i4', 'i5')")
    assert {hit.row for hit in texts.hits} == {4, 5}


def test_without_cross_encoders_cosine_decides():
    searcher = small_searcher("prd2")
    found = searcher.search(TEXTS[2], k=5)
    assert (found.reranked, found.weight) == (0, None)
    assert all(hit.match is None for hit in found.hits)


def test_the_states_of_candidates_are_kept_only_as_far_as_memory_allows():
    model = small_model()
    small = Searcher(model, small_gallery(model), kept_bytes=2000)
    large = Searcher(model, small_gallery(model))
    for n in range(6):
        a, b = small.search(TEXTS[n], k=COUNT), large.search(TEXTS[n], k=COUNT)
        assert [hit.row for hit in a.hits] == [hit.row for hit in b.hits]
    assert small._states._bytes <= 2000 < large._states._bytes
    held = sum(s.states.nbytes + s.embedding.nbytes for s in large._states._held.values())
    assert held == large._states._bytes
    for side in large._states._held.values():
        assert side.states.untyped_storage().nbytes() == side.states.nbytes  # no view of a batch


def test_a_candidate_whose_file_broke_falls_behind_those_that_were_ranked():
    whole = small_searcher()
    best = whole.search(TEXTS[0], k=8, by="vectors").hits[0]
    broken = small_searcher(files={best.image_id: b"no picture"})
    found = broken.search(TEXTS[0], k=COUNT, by="vectors")
    assert found.hits[7].row == best.row
    assert (found.hits[7].match, found.hits[7].score) == (None, found.hits[7].cosine)


# Refusals


def test_another_models_vectors_are_refused():
    message = refused(Searcher, small_model(seed=6), small_gallery(small_model()))
    assert "another model" in message
    assert "--overwrite" in message


def test_the_fingerprint_is_of_what_embeddings_depend_on():
    model, other = small_model(), small_model()
    assert model.fingerprint == other.fingerprint
    with torch.no_grad():
        other.model.match_head_text.weight.add_(1)
    other.match_weight = 9.0
    assert model.fingerprint == other.fingerprint
    with torch.no_grad():
        next(other.model.towers.parameters()).view(-1)[0].add_(1e-3)
    assert model.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    ("query", "part"),
    [
        (SearchQuery(), "a text or an image"),
        (SearchQuery(text="猫", image=Image.new("RGB", (2, 2))), "a text or an image"),
        (SearchQuery(text=""), "empty"),
        (SearchQuery(text=" \n"), "empty"),
        (SearchQuery(text="a" * 2001), "2001 characters"),
        (SearchQuery(text="猫", k=0), "k is 0"),
        (SearchQuery(text="猫", k=1001), "k is 1001"),
        (SearchQuery(text="猫", offset=-1), "-1"),
        (SearchQuery(text="猫", offset=9999), "10000"),
        (SearchQuery(text="猫", candidates=0), "candidates is 0"),
        (SearchQuery(text="猫", cascade=0), "cascade is 0"),
        (SearchQuery(text="猫", target="texts"), "among images"),
        (SearchQuery(text="猫", target="sounds"), "sounds"),
    ],
)
def test_what_cannot_be_answered(searcher, query, part):
    assert part in refused(searcher.answer, [query])


def test_the_longest_text_that_the_model_reads(searcher):
    assert searcher.search("猫" * 14, k=1).hits


@pytest.mark.parametrize("where", ["splt = 'test'", "split = = 'x'", "image_id", "split = 'a"])
def test_a_condition_that_does_not_work(searcher, where):
    message = refused(searcher.search, TEXTS[0], where=where)
    assert where in message
    assert "image_id, split" in message


def test_text_that_is_no_unicode(searcher):
    with pytest.raises(R2D2Error):
        searcher.search("\ud800")


@pytest.mark.parametrize("by", ["both", "vectors", "words"])
def test_a_condition_that_lets_nothing_through_is_told_from_a_text_that_finds_nothing(by):
    """Whether the text has words in the gallery or none, and whatever is compared."""
    emoji = Searcher.open()
    for text in ("生日蛋糕", "魑魅"):
        found = emoji.search(text, by=by, where="image_id = 'nobody'")
        assert (found.hits, found.level) == ((), None)
        assert [note.code for note in found.notes][-1] == "filter_matches_nothing"
    found = emoji.search("魑魅", by=by, where="split = 'test'")
    assert (found.hits, found.level) == ((), "unlikely")
    assert "filter_matches_nothing" not in [note.code for note in found.notes]
    deep = emoji.search("猫", by=by, where="split = 'test'", offset=9000)
    assert "filter_matches_nothing" not in [note.code for note in deep.notes]
