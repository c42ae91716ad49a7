"""Embedding a table: once, only what is new, after a stop; its vectors, its texts, its refusals."""

import shutil
import signal

import lance
import numpy as np
import pyarrow as pa
import pytest
import torch

from helpers.calls import PowerCutError, watched
from helpers.cli import refused, start_cli, wait_until
from helpers.pictures import picture, png
from helpers.runs import contents, name, small_pairs, small_table
from helpers.searchers import TEXTS, small_gallery, small_model
from r2d2.corpus.runner import Runner
from r2d2.index import build as index
from r2d2.index import embed
from r2d2.index.build import build_index
from r2d2.index.gallery.table import TableGallery
from r2d2.index.layout import (
    BAD,
    LOCK,
    VECTOR,
    as_matrix,
    open_lance,
    read_index_info,
    staging_uri,
    texts_uri,
    write_index_info,
)
from r2d2.index.vectors.build_approximate import build_ann
from r2d2.search.searcher import Searcher
from r2d2.table import Pair, Text, append_table, write_table


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A saved one, and its folder."""
    path = tmp_path_factory.mktemp("model") / "model"
    model = small_model()
    model.save(path)
    return model, path


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(index, "BLOCK_ROWS", (5, 8))
    monkeypatch.setattr(index, "TEXTS_AT_ONCE", 7)
    monkeypatch.setattr(index, "WAVE", 2)
    monkeypatch.setattr(embed, "FILES_AT_ONCE", 3)


def vectors_of(path):
    """By image id; None where there is no vector."""
    table = lance.dataset(str(path)).to_table(columns=["image_id", VECTOR, BAD])
    return {r["image_id"]: (r[VECTOR], r[BAD]) for r in table.to_pylist()}


def test_images_and_texts_get_the_models_vectors(tmp_path, model):
    net, folder = model
    path = small_table(tmp_path / "t.lance", rows=20, bad=(3, 4), empty=(11,))
    done = build_index(path, folder)
    assert (done.images.seen, done.images.kept, done.rows, done.vectors) == (32, 29, 32, 29)
    assert dict(done.images.dropped) == {"unreadable": 2, "empty": 1}
    found = vectors_of(path)
    assert found["i3"] == (None, "unreadable")
    assert found["i11"] == (None, "empty")
    good = [n for n in range(32) if n not in (3, 4, 11)]
    wanted = net.encode_images([picture(n) for n in good]).embedding.numpy()
    np.testing.assert_allclose([found[f"i{n}"][0] for n in good], wanted, atol=1e-5)
    assert all(found[f"i{n}"][1] is None for n in good)
    texts = lance.dataset(texts_uri(str(path))).to_table()
    words = texts["text"].to_pylist()
    assert sorted(words) == sorted(set(words))
    assert set(words) >= {name(n) for n in range(32)}
    assert done.texts.kept == len(words)
    wanted = net.encode_texts(words).embedding.numpy()
    np.testing.assert_allclose(as_matrix(texts["text_vector"].combine_chunks()), wanted, atol=1e-5)
    assert open_lance(staging_uri(str(path))) is None


def test_rows_and_everything_else_in_them_stay(tmp_path, model):
    path = small_table(tmp_path / "t.lance", rows=20)
    before = lance.dataset(str(path)).to_table()
    build_index(path, model[1])
    after = lance.dataset(str(path)).to_table(columns=before.schema.names)
    assert after.equals(before)


def test_a_second_run_does_nothing_and_a_grown_table_needs_its_new_rows_only(tmp_path, model):
    net, folder = model
    path = tmp_path / "t.lance"
    write_table(path, small_pairs(17))
    build_index(path, folder)
    again = build_index(path, folder)
    assert (again.images.seen, again.texts.seen) == (0, 0)
    assert again.vectors == 17
    before = vectors_of(path)
    more = [
        Pair(f"i{n}", png(picture(n)), (Text(name(n % 20), "title"),), "test")
        for n in range(17, 30)
    ]
    append_table(path, more)
    third = build_index(path, folder)
    assert (third.images.seen, third.texts.seen) == (13, 3)  # texts 0 to 16 were there
    after = vectors_of(path)
    assert {k: after[k] for k in before} == before
    wanted = net.encode_images([picture(29)]).embedding[0].numpy()
    np.testing.assert_allclose(after["i29"][0], wanted, atol=1e-5)


def broken(net, folder):
    """A model whose images have no embedding, as one of weights that are NaN."""
    with torch.no_grad():
        for parameter in net.model.towers.vision.parameters():
            parameter.fill_(torch.nan)
    net.save(folder)
    return folder


def test_vectors_that_are_not_finite_are_left_out_and_named(tmp_path):
    path = small_table(tmp_path / "t.lance", rows=8)
    folder = broken(small_model(), tmp_path / "broken")
    done = build_index(path, folder, texts=False)
    (kind,) = done.images.dropped
    assert "NaN" in kind
    assert (done.images.seen, done.images.kept, done.vectors) == (20, 0, 0)
    assert done.images.examples[kind][:2] == ("i0", "i1")
    assert vectors_of(path)["i0"] == (None, kind)


def test_a_table_whose_vectors_are_damaged_is_not_searched(tmp_path, model):
    path = small_table(tmp_path / "t.lance", rows=8)
    build_index(path, model[1])
    assert TableGallery(path).images is not None
    dataset = open_lance(str(path))
    about, rows = read_index_info(dataset, str(path)), dataset.to_table()
    place, column = rows.schema.get_field_index(VECTOR), rows[VECTOR].combine_chunks()
    matrix = as_matrix(column).copy()
    matrix[3, 0] = np.nan
    column = pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1)), type=column.type)
    lance.write_dataset(rows.set_column(place, VECTOR, column), str(path), mode="overwrite")
    write_index_info(open_lance(str(path)), about)
    said = refused(lambda: TableGallery(path).images)
    assert "1 of 20 embeddings" in said
    assert "row 3" in said
    assert "--overwrite" in said


@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_run_that_was_stopped_goes_on(tmp_path, model, monkeypatch, after):
    path = small_table(tmp_path / "t.lance", rows=20, bad=(3,))
    whole = small_table(tmp_path / "whole.lance", rows=20, bad=(3,))
    build_index(whole, model[1])
    calls = []

    def stop(call):
        calls.append(call)
        if len(calls) > 2 * after:  # two passes a block
            raise PowerCutError

    with watched(type(model[0]).encode_pixels, begin=stop), pytest.raises(PowerCutError):
        build_index(path, model[1])
    done = build_index(path, model[1])
    assert done.images.seen == 32 - 5 * after
    assert vectors_of(path) == vectors_of(whole)


def test_several_fragments_and_deleted_rows(tmp_path, model):
    net, folder = model
    path = tmp_path / "t.lance"
    write_table(path, small_pairs(10))
    append_table(path, [*small_pairs(26)][10:])
    lance.dataset(str(path)).delete("image_id IN ('i2', 'i15')")
    done = build_index(path, folder)
    assert (done.rows, done.vectors) == (24, 24)
    searcher = Searcher.open(path, net)
    for n in (0, 3, 14, 16, 25):
        hit = searcher.search(picture(n), k=1).hits[0]
        assert (hit.image_id, hit.texts) == (f"i{n}", (name(n),))
        text = searcher.search(picture(n), k=40, target="texts").hits
        found = next(hit for hit in text if hit.texts == (name(n),))
        assert searcher.gallery.items([found.image_row])[0].image_id == f"i{n}"
    only = searcher.search(TEXTS[0], k=40, where="image_id IN ('i3', 'i15', 'i16')").hits
    assert {hit.image_id for hit in only} == {"i3", "i16"}


def test_a_table_and_memory_answer_alike(tmp_path, model):
    net, folder = model
    path = tmp_path / "t.lance"
    pairs = [
        Pair(f"i{n}", png(picture(3 if n == 7 else n)), (Text(name(n), "title"),),
             "test" if n % 3 == 0 else "train")
        for n in range(40)
    ]  # fmt: skip
    write_table(path, pairs)
    build_index(path, folder)
    table, memory = Searcher.open(path, net), Searcher(net, small_gallery(net))
    for options in ({}, {"where": "split = 'test'"}, {"two_stage": False, "offset": 7}):
        a, b = (s.search(TEXTS[5], k=12, **options) for s in (table, memory))
        assert [(h.row, h.image_id, h.texts, h.split) for h in a.hits] == [
            (h.row, h.image_id, h.texts, h.split) for h in b.hits
        ]
        assert [h.score for h in a.hits] == pytest.approx([h.score for h in b.hits], abs=1e-5)
    assert table.gallery.columns["split"] == "string"
    assert "image_vector_bad" not in table.gallery.columns


# Refusals


def test_another_model_is_refused_and_may_take_over(tmp_path, model):
    path = small_table(tmp_path / "t.lance", rows=6)
    build_index(path, model[1])
    other = small_model(seed=9)
    other.save(tmp_path / "other")
    before = contents(path)
    message = refused(build_index, path, tmp_path / "other")
    assert "another model" in message
    assert "--overwrite" in message
    assert contents(path) == before
    assert "another model" in refused(Searcher.open, path, other)
    done = build_index(path, tmp_path / "other", overwrite=True)
    assert done.images.seen == 18
    assert Searcher.open(path, other).search(picture(2), k=1).hits[0].image_id == "i2"


def test_what_is_no_index(tmp_path, model):
    assert "no table" in refused(build_index, tmp_path / "none.lance", model[1])
    path = small_table(tmp_path / "t.lance", rows=4)
    assert "no model" in refused(build_index, path, tmp_path / "none")
    assert "r2d2 index" in refused(TableGallery, path)
    assert "--runner" in refused(build_index, path, model[1], runner="slurm")
    build_index(path, model[1], texts=False)
    searcher = Searcher.open(path, model[0])
    assert "texts" in refused(searcher.search, picture(1), target="texts")


def test_one_run_at_a_time_and_a_dead_one_is_in_nobodys_way(tmp_path, model):
    path = small_table(tmp_path / "t.lance", rows=20)
    lock = path / LOCK
    other = start_cli("index", path, "--model", model[1])
    try:
        wait_until(other, lambda: lock.exists() and lock.read_text() == str(other.pid))
        other.send_signal(signal.SIGSTOP)  # it holds the lock, and cannot end
        message = refused(build_index, path, model[1])
        assert f"process {other.pid} indexes {path}: wait for it" in message
        assert f"process {other.pid}" in refused(build_ann, path)
        second = start_cli("index", path, "--model", model[1], "--overwrite")
        out, err = second.communicate()
        assert (second.returncode, out) == (2, "")
        assert len(err.strip().splitlines()) == 1
        assert f"process {other.pid} indexes" in err
    finally:
        other.kill()
        other.communicate()
    done = build_index(path, model[1])
    assert done.vectors == done.rows == 32


def test_an_empty_table(tmp_path, model):
    path = tmp_path / "t.lance"
    write_table(path, [Pair("a", b"", (), "train")])
    done = build_index(path, model[1])
    assert (done.images.kept, done.vectors, done.texts.kept) == (0, 0, 0)
    searcher = Searcher.open(path, model[0])
    assert "is empty" in refused(searcher.search, "猫")


def test_new_rows_are_told_of(tmp_path, model, caplog):
    path = tmp_path / "t.lance"
    write_table(path, small_pairs(6))
    build_index(path, model[1])
    append_table(path, [*small_pairs(9)][6:])
    found = Searcher.open(path, model[0]).search(TEXTS[0], k=20)
    assert len(found.hits) == 6
    assert "3 new rows" in caplog.text


def same_vectors(here, there):
    one, other = vectors_of(here), vectors_of(there)
    assert one.keys() == other.keys()
    for key, (vector, bad) in one.items():
        assert other[key][1] == bad
        if vector is not None:
            np.testing.assert_allclose(other[key][0], vector, atol=1e-5)
    words = [
        sorted(lance.dataset(texts_uri(str(path))).to_table(columns=["text"])["text"].to_pylist())
        for path in (here, there)
    ]
    assert words[0] == words[1]


@pytest.mark.slow
def test_workers_of_their_own_give_the_same(tmp_path, model):
    """Processes of this machine: the work travels and lands as it does on a cluster."""
    path = small_table(tmp_path / "t.lance", rows=20, bad=(3,))
    shutil.copytree(path, tmp_path / "here.lance")
    build_index(tmp_path / "here.lance", model[1])
    done = build_index(path, model[1], runner=Runner(2))
    assert dict(done.images.dropped) == {"unreadable": 1}
    same_vectors(tmp_path / "here.lance", path)


@pytest.mark.slow
def test_ray_gives_the_same(tmp_path, model):
    pytest.importorskip("ray")
    path = small_table(tmp_path / "t.lance", rows=20, bad=(3,))
    shutil.copytree(path, tmp_path / "here.lance")
    build_index(tmp_path / "here.lance", model[1])
    # Ray keeps its hands on the process that began it
    process = start_cli("index", path, "--model", model[1], "--runner", "ray", "--workers", 2)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert "images: 31 embedded, left out: 1 unreadable" in out
    same_vectors(tmp_path / "here.lance", path)
