"""Conditions are on the images' columns, whatever is searched, wherever it lies."""

import lance
import numpy as np
import pytest

from helpers.cli import refused
from helpers.pictures import picture, png
from helpers.searchers import TEXTS, small_model
from r2d2.index import table_texts
from r2d2.index.build import build_index
from r2d2.index.gallery.memory import GalleryRow, MemoryGallery
from r2d2.index.layout import texts_uri
from r2d2.search.searcher import Searcher
from r2d2.table import Pair, Text, append_table, write_table
from search.serve.test_server import form, serving

COUNT = 14
# Of each image: its own text, and for some "Shared" in several forms that count as one.
OWN = [TEXTS[n] for n in range(COUNT)]
SHARED = {1: "Shared", 4: "shared", 9: "Ｓｈａｒｅｄ"}
SPLITS = ["test" if n in (4, 5) else "train" for n in range(COUNT)]


def texts_of(n):
    return (OWN[n], SHARED[n]) if n in SHARED else (OWN[n],)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The same corpus in a table, of two fragments, and in memory."""
    folder, model = tmp_path_factory.mktemp("conditions"), small_model()
    model.save(folder / "model")
    pairs = [
        Pair(f"i{n}", png(picture(n)), tuple(Text(text, "title") for text in texts_of(n)), split)
        for n, split in enumerate(SPLITS)
    ]
    table = folder / "t.lance"
    write_table(table, pairs[:6])
    append_table(table, pairs[6:])
    build_index(table, folder / "model")
    rows = [GalleryRow(f"i{n}", split, texts_of(n)) for n, split in enumerate(SPLITS)]
    images = model.encode_images([picture(n) for n in range(COUNT)]).embedding.numpy()
    texts = model.encode_texts([t for row in rows for t in row.texts]).embedding.numpy()
    files = {f"i{n}": png(picture(n)) for n in range(COUNT)}
    memory = MemoryGallery("m", model.fingerprint, rows, images, texts, files.__getitem__)
    return Searcher.open(table, model), Searcher(model, memory)


CONDITIONS = {
    None: range(COUNT),
    "split = 'test'": [4, 5],
    "image_id = 'i4'": [4],
    "image_id IN ('i9', 'i12')": [9, 12],
    "split = 'train' AND image_id != 'i1'": [0, 2, 3, *range(6, COUNT)],
    "image_id = 'nobody'": [],
}


@pytest.mark.parametrize("where", CONDITIONS)
def test_texts_of_the_images_that_fulfil_it_in_both_galleries(both, where):
    answers = [s.search(picture(3), target="texts", k=50, where=where) for s in both]
    wanted = {text.lower() for n in CONDITIONS[where] for text in texts_of(n)}
    wanted = {"shared" if text in ("shared", "ｓｈａｒｅｄ") else text for text in wanted}
    for found in answers:
        assert sorted(hit.texts[0].lower() for hit in found.hits) == sorted(wanted)
        assert found.searched == COUNT + 1
    table, memory = (
        [(h.row, h.image_id, h.texts, h.split, h.image_row) for h in a.hits] for a in answers
    )
    assert table == memory


def test_images_in_both_galleries(both):
    for where in CONDITIONS:
        answers = [s.search(TEXTS[2], k=50, where=where).hits for s in both]
        assert [h.row for h in answers[0]] == [h.row for h in answers[1]]
        assert {h.row for h in answers[0]} == set(CONDITIONS[where])


def test_a_condition_that_fails_names_the_images_columns_alone(both):
    for searcher in both:
        message = refused(searcher.search, picture(3), target="texts", where="splt = 'test'")
        assert "splt" in message
        assert "of the columns image_id" in message
        message = refused(searcher.search, picture(3), target="texts", where="xyz = 1")
        for hidden in ("text_key", "image_address", "_rowid", "image_vector", "text_vector"):
            assert hidden not in message


def test_over_the_api(both):
    for searcher in both:
        with serving(searcher) as client:
            sent = form(png(picture(3)), target="texts", where='{"split": "test"}')
            found = client.post("/search", **sent)
            assert found.status_code == 200, found.text
            assert len(found.json()["hits"]) == 3


def test_a_table_whose_rows_have_moved(both, tmp_path):
    """Addresses change when fragments are joined; conditions still find their texts."""
    uri = both[0].gallery.name
    images, texts = lance.dataset(uri), lance.dataset(texts_uri(uri))
    chosen = table_texts.TextsOfImages(images, texts)("split = 'test'")
    moved = lance.write_dataset(images.to_table().slice(2), tmp_path / "moved.lance")
    np.testing.assert_array_equal(table_texts.TextsOfImages(moved, texts)("split = 'test'"), chosen)


def test_only_so_many_answers_are_kept(both, monkeypatch):
    monkeypatch.setattr(table_texts, "KEPT", 2)
    uri = both[0].gallery.name
    select = table_texts.TextsOfImages(lance.dataset(uri), lance.dataset(texts_uri(uri)))
    for _ in range(2):
        for n in range(4):
            assert len(select(f"image_id = 'i{n}'")) == len(texts_of(n))
    assert len(select._kept) == 2
