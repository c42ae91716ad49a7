"""How sure a result is: the calibration against plain loops, in every gallery, and what it says."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from fastapi.testclient import TestClient

from benchmarks.answerable_queries import NO_ANSWER
from benchmarks.everyday_search import read_queries
from helpers.pictures import picture, png
from helpers.runs import small_table
from helpers.searchers import TEXTS, reading_model, small_gallery, small_model
from r2d2.index import calibrate as calibrating
from r2d2.index.build import build_index
from r2d2.index.calibrate import calibrate, unrelated_texts
from r2d2.index.calibration import (
    LIKELY,
    POSSIBLE,
    Calibration,
    Gumbel,
    is_current,
    level_of,
    stored_calibration,
)
from r2d2.index.gallery.notes import NOT_CALIBRATED, PICTURES_NOT_CALIBRATED, notes_of_gallery
from r2d2.index.gallery.table import TableGallery
from r2d2.index.layout import CALIBRATION, TODO, VECTOR, open_lance
from r2d2.index.text.terms import count_terms, text_terms
from r2d2.index.text.words import write_words
from r2d2.index.vectors import build_approximate as ann_build
from r2d2.index.vectors.build_approximate import build_ann
from r2d2.search.display import as_table
from r2d2.search.query import SearchQuery
from r2d2.search.searcher import Searcher
from r2d2.search.serve.server import create_app
from r2d2.table import Pair, Text, append_table


@pytest.fixture(scope="module")
def model():
    return reading_model()


@pytest.fixture(scope="module")
def searcher(model):
    gallery = small_gallery(model)
    gallery.calibration = calibrate(model, gallery)
    return Searcher(model, gallery)


@pytest.fixture(scope="module")
def emoji():
    return Searcher.open()


def test_the_unrelated_texts_are_many_and_none_is_a_query_of_the_benchmarks():
    texts = unrelated_texts()
    assert len(texts) == len(set(texts)) >= 400
    queries = {line.split("\t")[0] for line in NO_ANSWER.read_text("utf-8").splitlines()}
    assert not set(texts) & (queries | {query.text for query in read_queries()})


def test_the_chance_of_maxima_is_their_share():
    drawn = np.random.default_rng(0).gumbel(3, 0.5, 20_000)
    fitted = Gumbel.fit(drawn[:2000])
    for share in (0.3, 0.1, 0.01):
        assert (fitted.chance(drawn) <= share).mean() == pytest.approx(share, rel=0.25)


def test_texts_that_do_have_an_answer_matter_little_to_the_fit():
    drawn = np.random.default_rng(0).gumbel(3, 0.5, 2000)
    mixed = np.concatenate([drawn, np.full(500, 20.0)])
    clean = Gumbel.fit(drawn).chance(np.array([4.1]))[0]
    assert clean == pytest.approx(0.1, abs=0.02)
    assert Gumbel.fit(mixed).chance(np.array([4.1]))[0] < 0.25
    assert np.quantile(mixed, 0.9) == 20  # which a quantile of them would take for chance


def test_extreme_and_equal_values_have_a_chance():
    equal = Gumbel.fit(np.full(100, 0.5))
    assert equal.chance(np.array([-1e9, 1e9])) == pytest.approx([1, 0])
    assert math.isfinite(equal.chance(np.array([0.5]))[0])


def test_levels():
    assert [level_of(c) for c in (0.0, LIKELY, 0.02, POSSIBLE, 0.11, None)] == [
        "likely", "likely", "possible", "possible", "unlikely", "unlikely",
    ]  # fmt: skip


def naive_nearness(model, images, text, mean):
    vector = model.encode_texts([text]).embedding[0].numpy()
    return [math.log((1 - float(i @ mean)) / (1 - float(i @ vector))) for i in images]


def test_a_calibration_is_that_of_plain_loops(model, searcher):
    gallery, found = searcher.gallery, searcher.gallery.calibration
    images = gallery.images.take(np.arange(len(gallery)))
    texts = list(unrelated_texts())
    mean = np.mean([model.encode_texts([text]).embedding[0].numpy() for text in texts], 0)
    assert np.allclose(found.pictures.mean, mean, atol=1e-5)
    maxima = [max(naive_nearness(model, images, text, mean)) for text in texts]
    low, middle = np.quantile(maxima, (0.25, 0.5))
    scale = (middle - low) / (math.log(math.log(4)) - math.log(math.log(2)))
    assert found.pictures.nearness.scale == pytest.approx(scale, rel=1e-3)
    location = middle + scale * math.log(math.log(2))
    assert found.pictures.nearness.location == pytest.approx(location, rel=1e-3)

    documents = [set(text_terms([text])[0]) for text in TEXTS]
    weight = {
        term: math.log((len(TEXTS) + 1) / (sum(term in d for d in documents) + 0.5))
        for text in (*texts, *TEXTS)
        for term in text_terms([text])[0]
    }
    for text in (TEXTS[3], "红色的大象", texts[1]):
        terms = set(text_terms([text])[0])
        for document in documents[:5]:
            covered = sum(weight[t] for t in terms & document if t in weight)
            total = sum(weight.get(t, math.log((len(TEXTS) + 1) / 0.5)) for t in terms)
            given = found.words.weights.coverage(list(terms), document)
            if given:
                assert given == pytest.approx(covered / total)


def test_a_result_has_the_smaller_of_its_chances(model, searcher):
    found = searcher.search(TEXTS[3], k=40)
    by_vectors = {h.row: h.chance for h in searcher.search(TEXTS[3], k=40, by="vectors").hits}
    by_words = {h.row: h.chance for h in searcher.search(TEXTS[3], k=40, by="words").hits}
    calibration = searcher.gallery.calibration
    images = searcher.gallery.images.take(np.arange(len(searcher.gallery)))
    near = naive_nearness(model, images, TEXTS[3], calibration.pictures.mean)
    for hit in found.hits:
        wanted = calibration.pictures.nearness.chance(np.array([near[hit.row]]))[0]
        assert by_vectors[hit.row] == pytest.approx(wanted, rel=1e-3)
        assert hit.chance == min(by_vectors[hit.row], by_words.get(hit.row, 1.0))
        assert hit.level == level_of(hit.chance)
    assert next(hit for hit in found.hits if hit.row == 3).level == "likely"  # its own name


def test_the_level_of_an_answer_is_the_same_on_every_page(emoji):
    pages = [emoji.search("微波炉", k=3, offset=offset) for offset in (0, 3, 500)]
    assert [page.level for page in pages] == ["unlikely"] * 3
    assert [page.notes[-1].code for page in pages] == ["nothing_fits"] * 3
    cake = [emoji.search("生日蛋糕", k=k, offset=offset) for k, offset in ((1, 0), (5, 900))]
    assert [page.level for page in cake] == ["likely", "likely"]
    assert cake[1].hits[0].level == "unlikely"


@pytest.mark.parametrize("text", ["的", "人", "大", "的？", "大，人"])
def test_common_characters_alone_are_no_words_that_fit(emoji, text):
    found = emoji.search(text, by="words", k=20)
    assert found.level == "unlikely"
    assert all(hit.level == "unlikely" for hit in found.hits)


@pytest.mark.parametrize("text", ["生日蛋糕", "狗", "火锅", "宇航员"])
def test_exact_words_fit(emoji, text):
    assert emoji.search(text, by="words").hits[0].level == "likely"


@pytest.mark.parametrize("by", ["both", "vectors", "words"])
@pytest.mark.parametrize("text", ["魑魅魍魉", "？！…", "dog", "𠮷", "\u200b龘\u200d"])
def test_what_the_model_cannot_read_gets_no_confident_answer(emoji, text, by):
    assert emoji.search(text, by=by).level == "unlikely"


def test_a_picture_speaks_for_nothing_where_part_of_the_text_is_unknown(emoji):
    found = emoji.search("魑魅猫", by="vectors")
    assert found.hits
    assert {(hit.chance, hit.level) for hit in found.hits} == {(None, "unlikely")}


def test_images_as_queries_have_no_level(emoji):
    found = emoji.search(picture(3))
    assert (found.level, found.hits[0].level, found.hits[0].chance) == (None, None, None)


def test_a_model_that_reads_too_little_is_judged_by_words_alone():
    model = small_model()  # of a vocabulary of 40 names
    gallery = small_gallery(model)
    gallery.calibration = calibrate(model, gallery)
    assert gallery.calibration.pictures is None
    assert notes_of_gallery(gallery) == [PICTURES_NOT_CALIBRATED]
    searcher = Searcher(model, gallery)
    assert searcher.search(TEXTS[3], by="vectors").level is None
    assert searcher.search(TEXTS[3]).level == "likely"


def test_it_can_be_stored_and_another_version_or_damage_is_none(searcher):
    made = searcher.gallery.calibration
    text = made.to_json()
    read = Calibration.from_json(text)
    assert read.to_json() == text
    assert np.array_equal(read.pictures.mean, made.pictures.mean)
    assert Calibration.from_json(json.dumps(json.loads(text) | {"version": 2})) is None
    assert Calibration.from_json(text[:-9]) is None
    assert Calibration.from_json("[]") is None
    assert Calibration.from_json("{}") is None


def test_terms_are_counted_in_bounded_memory(monkeypatch):
    from r2d2.index.text import terms

    monkeypatch.setattr(terms, "COUNTED", 10)
    monkeypatch.setattr(terms, "KEPT", 3)
    documents = [{"a", "b", f"rare {n}"} for n in range(100)] + [{"a"}]
    weights = count_terms(documents)
    assert weights.documents == 101
    assert (weights.counts["a"], weights.counts["b"]) == (101, 100)
    assert len(weights.counts) == 3
    assert weights.weight("rare 7") > weights.weight("b") > weights.weight("a")


def test_an_index_keeps_it_and_makes_it_anew_where_the_table_changed(tmp_path, model):
    table = small_table(tmp_path / "t.lance", rows=12, bad=(3,))  # 12 of each of two splits
    model.save(tmp_path / "model")
    build_index(table, tmp_path / "model")
    first = TableGallery(table).calibration
    assert (first.count, first.words.weights.documents) == (23, 23)
    version = open_lance(str(table)).version
    build_index(table, tmp_path / "model")
    assert open_lance(str(table)).version == version  # nothing changed, nothing was written
    pair = Pair("new", png(picture(30)), (Text("红色的马", "title"),), "train")
    append_table(table, [pair])
    build_index(table, tmp_path / "model")
    second = TableGallery(table)
    assert second.calibration.count == 24
    batches = calibrate(model, second)
    assert second.calibration.pictures.nearness == batches.pictures.nearness
    assert Searcher.open(table, tmp_path / "model").search("红色的马", k=1).level == "likely"


def assert_counted(path, caplog):
    """Equal to what Lance counts in the column itself."""
    caplog.clear()
    gallery = TableGallery(path)
    dataset = open_lance(str(path))
    assert gallery._images.count == dataset.count_rows(filter=f"{VECTOR} IS NOT NULL")
    left = dataset.count_rows(filter=TODO)
    told = [r.getMessage() for r in caplog.records if "not indexed" in r.getMessage()]
    assert told == ([f"{left} new rows of {path} are not indexed: run `r2d2 index`"] * bool(left))
    return gallery._images.count, left


def test_vectors_and_rows_without_are_counted_in_every_state_of_a_table(tmp_path, model, caplog):
    table = small_table(tmp_path / "t.lance", rows=12, bad=(3,))
    model.save(tmp_path / "model")
    build_index(table, tmp_path / "model")
    assert assert_counted(table, caplog) == (23, 0)
    open_lance(str(table)).delete("image_id = 'i5'")
    assert assert_counted(table, caplog) == (22, 0)
    append_table(table, [Pair("new", png(picture(30)), (), "train")])
    assert assert_counted(table, caplog) == (22, 1)
    assert build_index(table, tmp_path / "model").vectors == 23
    assert assert_counted(table, caplog) == (23, 0)
    assert build_index(table, tmp_path / "model").vectors == 23


def test_progress_of_words_is_shown_where_there_are_new_ones(tmp_path, model):
    table = small_table(tmp_path / "t.lance", rows=12)
    model.save(tmp_path / "model")
    build_index(table, tmp_path / "model", texts=False)
    shown = []
    write_words(str(table), lambda *progress: shown.append(progress))
    assert shown == [("words", 24, 24)]
    write_words(str(table), lambda *progress: shown.append(progress))
    assert len(shown) == 1
    append_table(table, [Pair("new", png(picture(30)), (Text("红色的马", "title"),), "train")])
    write_words(str(table), lambda *progress: shown.append(progress))
    assert shown[-1] == ("words", 25, 25)


def test_an_approximate_index_keeps_it_unless_rows_came_meanwhile(tmp_path, model, monkeypatch):
    monkeypatch.setattr(ann_build, "MIN_ROWS", 16)
    table = small_table(tmp_path / "t.lance", rows=12)
    model.save(tmp_path / "model")
    build_index(table, tmp_path / "model")
    first = TableGallery(table).calibration

    def built_while(told):
        build_ann(table, "ivf_flat", progress=told)
        dataset = open_lance(str(table))
        kept = stored_calibration(dataset)
        stamped = replace(first, table_version=kept.table_version)
        assert kept.to_json() == stamped.to_json()
        return is_current(kept, dataset)

    assert built_while(lambda line: None)
    came = [Pair("new", png(picture(30)), (), "train")]

    def append_once(line):
        append_table(table, came)
        came.clear()

    assert not built_while(append_once)


def test_an_index_without_it_works_and_says_so(tmp_path, model):
    table = small_table(tmp_path / "t.lance", rows=8)
    model.save(tmp_path / "model")
    build_index(table, tmp_path / "model")
    dataset = open_lance(str(table))
    dataset.update_metadata({CALIBRATION: None})
    searcher = Searcher.open(table, tmp_path / "model")
    found = searcher.search("红色的马", k=3)
    assert len(found.hits) == 3
    assert {(h.chance, h.level) for h in found.hits} == {(None, None)}
    assert (found.level, found.notes) == (None, ())
    assert notes_of_gallery(searcher.gallery) == [NOT_CALIBRATED]
    build_index(table, tmp_path / "model")
    again = Searcher.open(table, tmp_path / "model")
    assert notes_of_gallery(again.gallery) == []
    assert again.search("红色的马", k=3).level is not None


def test_vectors_of_another_model_drop_it(tmp_path, model):
    table = small_table(tmp_path / "t.lance", rows=8)
    model.save(tmp_path / "model")
    reading_model(seed=6).save(tmp_path / "other")
    build_index(table, tmp_path / "model")
    build_index(table, tmp_path / "other", overwrite=True)
    gallery = TableGallery(table)
    assert gallery.calibration.fingerprint == gallery.fingerprint


def test_dual_encoders_without_a_second_stage_have_levels(searcher):
    found = searcher.answer([SearchQuery(text=TEXTS[3], two_stage=False)])[0]
    assert (found.reranked, found.level) == (0, "likely")


def test_the_terminal_says_how_sure_it_is(emoji, capsys):
    for text, shown in (
        ("生日蛋糕", "likely"),
        ("微波炉", "没有合适的图片"),
        ("魑魅", "nothing found"),
    ):
        as_table(emoji.search(text, k=3), SearchQuery(text=text, k=3), emoji)
        out = capsys.readouterr().out
        assert shown in out
        assert ("no" in out and "没有合适的图片" in out) == (text == "微波炉")


def test_the_terminal_says_that_it_does_not_know_how_sure_it_is(model, capsys):
    searcher = Searcher(model, small_gallery(model))
    as_table(searcher.search(TEXTS[3]), SearchQuery(text=TEXTS[3]), searcher)
    out = " ".join(capsys.readouterr().out.split())
    assert "it is not known how sure a result is" in out
    assert "likely" not in out
    as_table(searcher.search(picture(3)), SearchQuery(image=picture(3)), searcher)
    assert "not known" not in " ".join(capsys.readouterr().out.split())


def test_the_server_says_how_sure_it_is(emoji):
    with TestClient(create_app(emoji), base_url="http://localhost") as client:
        assert client.get("/health").json()["calibrated"] is True
        levels = {}
        for text in ("生日蛋糕", "微波炉", "魑魅", "dog"):
            found = client.post("/search", json={"text": text, "k": 5}).json()
            levels[text] = found["level"]
            codes = {note["code"] for note in found["notes"]}
            assert ("nothing_fits" in codes) == (text == "微波炉")
            assert all(hit["level"] != "likely" or hit["chance"] <= LIKELY for hit in found["hits"])
        assert levels == {
            "生日蛋糕": "likely", "微波炉": "unlikely", "魑魅": "unlikely", "dog": "unlikely",
        }  # fmt: skip
        schema = client.get("/openapi.json").json()["components"]["schemas"]
        for name in ("HitOut", "SearchResponse"):
            assert "level" in schema[name]["required"]
            assert "at most 1 of 100" in schema[name]["properties"]["level"]["description"]


def test_the_server_says_that_it_does_not_know_how_sure_it_is(model):
    app = create_app(Searcher(model, small_gallery(model)))
    with TestClient(app, base_url="http://localhost") as client:
        health = client.get("/health").json()
        assert health["calibrated"] is False
        assert [note["code"] for note in health["notes"]] == ["not_calibrated"]
        found = client.post("/search", json={"text": TEXTS[3]}).json()
        assert (found["level"], found["hits"][0]["chance"]) == (None, None)


@pytest.mark.parametrize("text", ["\u200b", "\u200d\u2060", " \u00ad ", ""])
def test_the_server_refuses_what_cannot_be_seen(emoji, text):
    with TestClient(create_app(emoji), base_url="http://localhost") as client:
        answer = client.post("/search", json={"text": text})
        assert (answer.status_code, answer.json()["code"]) == (422, "text_empty")


def test_the_best_coverage_is_that_of_plain_loops(emoji):
    documents = list(calibrating._documents(emoji.gallery))[::40]
    weights = count_terms(documents)
    queries = text_terms([*unrelated_texts()[:60], "的", "我的狗"])
    found = calibrating._best_coverage(weights, queries, documents)
    for query, value in zip(queries, found, strict=True):
        assert value == pytest.approx(max(weights.coverage(query, d) for d in documents))
