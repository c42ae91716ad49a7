"""What a model cannot read of a query is named, and nothing is made of it."""

import pytest
import torch

from helpers.searchers import TEXTS, small_searcher
from r2d2.errors import R2D2Error
from r2d2.index.text.reading import read_query
from r2d2.search.query import SearchQuery
from r2d2.search.searcher import Searcher


@pytest.fixture(scope="module")
def emoji():
    return Searcher.open()


@pytest.mark.parametrize(
    ("text", "unknown", "english", "understood"),
    [
        ("魑魅魍魉", ("魑魅魍魉",), (), False),
        ("魑魅和猫", ("魑魅",), (), True),
        ("𠮷 🎂 𠮷", ("𠮷", "🎂"), (), False),
        ("？！", (), (), False),
        ("dog", (), ("dog",), False),
        ("OK手势", (), (), True),
        ("红dog", (), ("dog",), True),
        ("貓", (), (), True),
    ],
)
def test_what_the_shipped_model_reads(emoji, text, unknown, english, understood):
    reading = read_query(text, emoji.model.tokenizer)
    assert (reading.unknown, reading.english) == (unknown, english)
    assert reading.understood is understood


def test_a_vocabulary_with_english_knows_english(tmp_path):
    from r2d2.tokenizer import SPECIAL_TOKENS, Tokenizer

    words = [f"{a}{b}{c}" for a in "bdfg" for b in "aeiou" for c in "bcdfghklmn"]
    vocab = tmp_path / "vocab.txt"
    vocab.write_text("\n".join([*SPECIAL_TOKENS, *words, "x", "##q"]), encoding="utf-8")
    reading = read_query("xq bab", Tokenizer.from_vocab(vocab))
    assert (reading.unknown, reading.english, reading.understood) == ((), (), True)


@pytest.mark.parametrize("text", ["魑魅魍魉", "？！", "dog", "𠮷"])
@pytest.mark.parametrize("by", ["both", "vectors"])
def test_nothing_is_found_for_what_cannot_be_read(emoji, text, by):
    found = emoji.search(text, by=by)
    assert found.hits == ()
    assert "not_understood" in [note.code for note in found.notes]


def test_texts_of_nothing_visible_are_empty(emoji):
    with pytest.raises(R2D2Error, match="the text holds no character that can be seen"):
        emoji.check(SearchQuery(text="\u200b\u2060"))


def test_what_the_model_cannot_read_is_found_by_words():
    from r2d2.index.gallery.memory import GalleryRow, MemoryGallery

    small = small_searcher()
    vectors = small.gallery.images.take(range(2))
    rows = [GalleryRow("a", "test", ("魑魅",)), GalleryRow("b", "test", (TEXTS[0],))]
    gallery = MemoryGallery("m", small.fingerprint, rows, vectors, vectors, lambda _: b"")
    found = Searcher(small.model, gallery).search("魑魅魍魉")
    assert [(h.image_id, h.found_by, h.cosine) for h in found.hits] == [("a", "words", None)]
    assert [note.about for note in found.notes][:1] == ["魑魅魍魉"]
    assert found.notes[1].note.endswith("so it is searched by words only")
    assert Searcher(small.model, gallery).search("魑魅魍魉", by="vectors").hits == ()


def test_a_batch_holds_queries_that_cannot_be_read(emoji):
    found = emoji.answer(
        [SearchQuery(text="猫"), SearchQuery(text="魑魅"), SearchQuery(text="狗", by="words")]
    )
    assert [bool(one.hits) for one in found] == [True, False, True]
    assert found[0].hits[0].row == emoji.search("猫").hits[0].row


def test_a_weight_of_zero_runs_no_second_stage():
    small = small_searcher(match_weight=0.0)
    found = small.search(TEXTS[3], k=5)
    assert (found.reranked, found.weight) == (0, None)
    assert all(hit.match is None for hit in found.hits)
    assert [note.code for note in found.notes] == ["second_stage_off"]
    assert small.search(TEXTS[3], two_stage=False).notes == ()
    with pytest.raises(R2D2Error, match="ranks best without it"):
        small.check(SearchQuery(text=TEXTS[3], candidates=4))


def test_cross_encoders_that_are_not_trained_run_no_second_stage():
    small = small_searcher()
    with torch.no_grad():  # as a new model has them, and one whose towers were imported
        for head in (small.model.model.match_head_text, small.model.model.match_head_image):
            for parameter in head.parameters():
                parameter.zero_()
    found = Searcher(small.model, small.gallery).search(TEXTS[3], k=5)
    assert (found.reranked, found.weight) == (0, None)
    assert [note.code for note in found.notes] == ["second_stage_untrained"]
    with pytest.raises(R2D2Error, match="not trained yet: leave"):
        Searcher(small.model, small.gallery).check(SearchQuery(text=TEXTS[3], candidates=4))
