"""What the server tells besides results: rows, columns, examples, families of emoji."""

import contextlib

import pytest
from fastapi.testclient import TestClient

import r2d2
from helpers.photo_folders import draw
from helpers.pictures import picture, png
from helpers.searchers import COUNT, TEXTS, small_model, small_searcher
from r2d2.index.build import build_index
from r2d2.index.gallery import conditions
from r2d2.index.gallery.conditions import Range, condition_of
from r2d2.index.gallery.emoji import emoji_family
from r2d2.index.gallery.memory import GalleryRow, MemoryGallery
from r2d2.search.searcher import Searcher
from r2d2.search.serve.config import ServeConfig
from r2d2.search.serve.examples import choose_examples, everyday_texts
from r2d2.search.serve.server import create_app
from r2d2.table import Pair, Text, write_table


@contextlib.contextmanager
def serving(searcher, **settings):
    app = create_app(searcher, ServeConfig(**settings))
    with TestClient(app, base_url="http://127.0.0.1") as client:
        yield client


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Eight pictures of a table: widths of 100 to 107, two splits, one text without clicks."""
    folder, model = tmp_path_factory.mktemp("rows"), small_model()
    model.save(folder / "model")
    pairs = [
        Pair(
            f"i{n}", png(picture(n)), (Text(TEXTS[n], "title"),), "test" if n < 3 else "train",
            width=100 + n, height=50,
        )
        for n in range(8)
    ]  # fmt: skip
    write_table(folder / "t.lance", pairs)
    build_index(folder / "t.lance", folder / "model")
    return Searcher.open(folder / "t.lance", model)


def test_a_row_is_told_with_its_columns(table):
    with serving(table) as client:
        row = client.get("/rows/2").json()
        assert (row["image_id"], row["texts"], row["path"]) == ("i2", [TEXTS[2]], None)
        assert (row["columns"]["split"], row["columns"]["width"]) == ("test", 102)
        assert client.get(row["image"]).status_code == 200
        assert client.get(row["whole"]).status_code == 200
        for wrong in ("/rows/8", "/rows/-1"):
            assert client.get(wrong).status_code == 404


def test_the_path_of_a_file_is_told_to_this_machine_only(tmp_path):
    small_model().save(tmp_path / "model")
    photos = draw(tmp_path / "photos", ["x/a.png"])
    searcher = Searcher.open(photos, str(tmp_path / "model"))
    with serving(searcher) as client:
        assert client.get("/rows/0").json()["path"] == str(photos / "x/a.png")
    for settings in (
        {"host": "0.0.0.0"},
        {"allowed_hosts": ("search.example",)},
        {"api_key": "0123456789abcdef"},
    ):
        with serving(searcher, **settings) as client:
            headers = {"x-api-key": settings.get("api_key", "")}
            assert client.get("/rows/0", headers=headers).json()["path"] is None


def test_columns_are_told_with_their_values(table):
    with serving(table) as client:
        columns = {one["name"]: one for one in client.get("/columns").json()["columns"]}
    assert columns["split"]["values"] == [
        {"value": "train", "count": 5}, {"value": "test", "count": 3},
    ]  # fmt: skip
    assert columns["split"]["complete"]
    assert (columns["width"]["min"], columns["width"]["max"]) == (100, 107)
    assert columns["url"] | {"name": ""} == {
        "name": "", "type": "string", "values": [], "complete": True, "min": None, "max": None,
    }  # fmt: skip


def test_columns_of_too_many_values_are_not_counted(table, monkeypatch):
    monkeypatch.setattr(conditions, "COUNTED", 4)
    monkeypatch.setattr(conditions, "OFFERED", 1)
    images = table.gallery._images
    found = conditions.column_values(images.dataset, table.gallery.columns)
    assert (found["width"].counted, found["width"].common()) == (False, [])
    assert found["width"].highest == 107
    assert found["split"].common() == [("train", 5)]
    assert not found["image_id"].counted


def test_a_range_is_a_condition(table):
    columns = table.gallery.columns
    assert condition_of({"width": Range(101, 103)}, columns) == "`width` >= 101 AND `width` <= 103"
    assert condition_of({"width": Range(high=3.5)}, columns) == "`width` <= 3.5"
    with serving(table) as client:
        asked = {"text": "猫", "where": {"width": {"min": 102}, "split": ["test", "val"]}}
        assert [hit["row"] for hit in client.post("/search", json=asked).json()["hits"]] == [2]
        form = {"text": (None, "猫"), "where": (None, '{"width": {"min": 103, "max": 104}}')}
        hits = client.post("/search", files=form).json()["hits"]
        assert {hit["row"] for hit in hits} == {3, 4}
        for where in ({"width": {}}, {"width": {"max": "x"}}, {"width": {"from": 3}}):
            found = client.post("/search", json={"text": "猫", "where": where})
            assert found.status_code == 422, where


def test_examples_find_a_picture_with_that_text():
    searcher = small_searcher()
    with serving(searcher) as client:
        examples = client.get("/examples").json()["texts"]
    assert len(examples) == 6
    firsts = [searcher.search(text, k=1).hits[0] for text in examples]
    assert all(text in hit.texts[0] for text, hit in zip(examples, firsts, strict=True))
    assert len({hit.row for hit in firsts}) == 6


def test_examples_out_of_long_captions_are_what_they_name():
    model = r2d2.load("emoji")
    captions = ["一只戴着帽子的小狗在草地上追一个红色的皮球", "两位老人坐在公园的长椅上看报纸"]
    pictures = [picture(n) for n in range(2)]
    images = model.encode_images(pictures).embedding.numpy()
    texts = model.encode_texts(captions).embedding.numpy()
    rows = [GalleryRow(f"i{n}", "train", (caption,)) for n, caption in enumerate(captions)]
    gallery = MemoryGallery("m", model.fingerprint, rows, images, texts, lambda _: b"")
    examples = choose_examples(Searcher(model, gallery))
    assert len(examples) == 2  # one a picture
    assert all(any(example in caption for caption in captions) for example in examples)
    assert not set(examples) & set(captions)


def captioned(captions, count):
    """A gallery of the emoji model's whose first pictures have captions and are what these say."""
    model = r2d2.load("emoji")
    texts = [*captions, *everyday_texts()][:count]
    vectors = model.encode_texts(texts).embedding.numpy()
    own = vectors[: len(captions)]
    rows = [GalleryRow(f"DSC_{n}.jpg", "train", tuple(captions[n : n + 1])) for n in range(count)]
    gallery = MemoryGallery("m", model.fingerprint, rows, vectors, own, lambda _: b"")
    return Searcher(model, gallery)


def test_examples_are_no_words_glued_together():
    """男孩手 is no word: neighbours in a caption are not always one thing."""
    captions = ["一个戴着黄色帽子的男孩手里拿着一个很大的球，在草地上跑", "女孩手里拿着花"]
    examples = choose_examples(captioned(captions, 2))
    assert examples
    phrases = {"男孩", "女孩", "黄色", "帽子", "草地", "在草地上跑", "女孩手里拿着花"}
    assert set(examples) <= phrases


def test_examples_of_few_captions_are_filled_up_with_everyday_texts():
    examples = choose_examples(captioned(["两只小狗，在草地上跑"], 12))
    assert len(examples) == 6
    assert examples[0] in ("两只小狗", "在草地上跑", "小狗", "草地")
    assert set(examples[1:]) <= set(everyday_texts())


def test_examples_without_texts_are_everyday_ones_that_find_different_pictures():
    model = r2d2.load("emoji")
    texts = everyday_texts()
    count = 12
    vectors = model.encode_texts(texts[:count]).embedding.numpy()  # each text has its picture
    rows = [GalleryRow(f"i{n}", "train", ()) for n in range(count)]
    gallery = MemoryGallery("m", model.fingerprint, rows, vectors, vectors[:0], lambda _: b"")
    searcher = Searcher(model, gallery)
    examples = choose_examples(searcher)
    assert len(examples) == 6
    assert set(examples) <= set(texts)
    firsts = [searcher.search(text, k=1).hits[0].row for text in examples]
    assert len(set(firsts)) == 6
    own = [texts.index(text) == row for text, row in zip(examples, firsts, strict=True)]
    assert sum(own) >= 4  # those that fit a picture better than the other texts do


def test_there_are_no_examples_of_an_empty_gallery():
    model = small_model()
    vectors = model.encode_texts(["猫"]).embedding.numpy()[:0]
    gallery = MemoryGallery("m", model.fingerprint, [], vectors, vectors, lambda _: b"")
    assert choose_examples(Searcher(model, gallery)) == []


def test_the_family_of_an_emoji_is_what_its_skin_tones_share():
    wave = ["1f44b", "1f44b-1f3fb", "1f44b-1f3ff"]
    assert {emoji_family(one) for one in wave} == {"1f44b"}
    assert emoji_family("261d-fe0f") == emoji_family("261d-1f3fd") == "261d"
    couple = "1f468-1f3fb-200d-2764-fe0f-200d-1f468-1f3ff"
    assert emoji_family(couple) == emoji_family("1f468-200d-2764-fe0f-200d-1f468")
    assert emoji_family("photos/a.jpg") is None
    searcher = small_searcher()
    with serving(searcher) as client:
        hits = client.post("/search", json={"text": TEXTS[1], "k": COUNT}).json()["hits"]
    assert {hit["family"] for hit in hits} == {None}
