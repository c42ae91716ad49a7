"""The approximate index: recall as a count of what exact search finds; conditions; refusals."""

import os
import subprocess
import sys

import lance
import numpy as np
import pyarrow as pa
import pytest
from safetensors import safe_open
from typer.testing import CliRunner

from helpers.cli import refused
from r2d2.cli import app
from r2d2.index.calibration import Calibration, Gumbel, PictureChance, store_calibration
from r2d2.index.gallery import table as table_gallery
from r2d2.index.gallery.emoji import INDEX
from r2d2.index.gallery.table import TableGallery
from r2d2.index.layout import (
    BAD,
    TEXT,
    TEXT_KEY,
    TEXT_VECTOR,
    VECTOR,
    IndexInfo,
    as_matrix,
    open_lance,
    read_index_info,
    texts_uri,
    vector_type,
    write_index_info,
)
from r2d2.index.vectors import approximate as ann
from r2d2.index.vectors import build_approximate as ann_build
from r2d2.index.vectors.approximate import AnnVectors
from r2d2.index.vectors.build_approximate import AnnMeasurement, build_ann
from r2d2.index.vectors.table import VectorTable
from r2d2.saved_model import shipped_folder
from r2d2.table import SCHEMA
from r2d2.tokenizer import key_hash, text_key

WIDTH = 16


def unit(count, seed):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(30, WIDTH))
    x = centres[rng.integers(0, 30, count)] + 0.4 * rng.normal(size=(count, WIDTH))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def column(vectors, missing=()):
    width = vectors.shape[1]
    mask = np.isin(np.arange(len(vectors)), list(missing))
    return pa.FixedSizeListArray.from_arrays(
        pa.array(vectors.reshape(-1)), type=vector_type(width), mask=pa.array(mask)
    )


def indexed_table(path, count=3000, texts=500):
    """A table as `build_index` leaves one, with vectors from nowhere; row 5 has none.

    Text n is that of the images n, n + texts, n + 2 texts ...
    """
    return write_indexed(path, unit(count, 0), unit(texts, 1) if texts else None, {5})


def write_indexed(path, images, texts, missing=()):
    count, width = images.shape
    words = [f"t{n}" for n in range(len(texts) if texts is not None else 1)]
    rows = {
        "image_id": [f"i{n}" for n in range(count)],
        "image": [b""] * count,
        "texts": [[{"text": words[n % len(words)]}] for n in range(count)],
        "split": ["test" if n % 10 == 0 else "train" for n in range(count)],
    }
    fields = [SCHEMA.field(name) for name in rows]
    table = pa.table(rows, schema=pa.schema(fields))
    table = table.append_column(VECTOR, column(images, missing))
    bad = ["empty" if n in missing else None for n in range(count)]
    table = table.append_column(BAD, pa.array(bad, pa.string()))
    write_index_info(lance.write_dataset(table, str(path)), IndexInfo("f", width))
    if texts is not None:
        keys = pa.array([key_hash(text_key(word)) for word in words], pa.int64())
        beside = pa.table({TEXT: words, TEXT_KEY: keys, TEXT_VECTOR: column(texts)})
        write_index_info(lance.write_dataset(beside, texts_uri(str(path))), IndexInfo("f", width))
    return path


@pytest.fixture(scope="module", autouse=True)
def few_queries():
    """A tenth of those that a user gets: each takes some 20 ms, and there are many steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ann_build, "QUERIES", 10)
        yield


@pytest.fixture(scope="module", params=["ivf_sq", "ivf_flat"])
def built(request, tmp_path_factory):
    path = indexed_table(tmp_path_factory.mktemp("ann") / "t.lance")
    exact = {name: table_gallery.open_vectors(part) for name, part in parts_of(path).items()}
    return path, build_ann(path, request.param), exact


def parts_of(path):
    uri = str(path)
    return {"images": VectorTable(uri, VECTOR), "texts": VectorTable(texts_uri(uri), TEXT_VECTOR)}


def test_the_recall_that_is_told_is_the_recall_that_users_get(built):
    path, every, exact = built
    assert {name: set(one.recall) for name, one in every.items()} == {
        "images": {"texts", "images"}, "texts": {"images"},
    }  # fmt: skip
    for of, measured in every.items():
        assert measured.enough
        vectors = getattr(TableGallery(path), of)
        assert isinstance(vectors, AnnVectors)
        assert (len(vectors), vectors.width) == ({"images": 2999, "texts": 500}[of], WIDTH)
        for name, asked in ann_build._queries(of, parts_of(path)).items():
            pairs = zip(vectors.best(asked, 100), exact[of].best(asked, 100), strict=True)
            shares = [len(set(a) & set(b)) / 100 for (a, _), (b, _) in pairs]
            assert np.mean(shares) == pytest.approx(measured.recall[name], abs=0.005)
        about = read_index_info(parts_of(path)[of].dataset, "")
        assert (about.probes, about.refine) == (measured.probes, measured.refine)


def test_texts_too_many_for_memory_are_searched_by_their_index(built, tmp_path, monkeypatch):
    monkeypatch.setattr(table_gallery, "EXACT_BYTES", 1000)
    new = TableGallery(indexed_table(tmp_path / "t.lance", count=20, texts=300))
    message = refused(lambda: new.texts)
    assert "300 vectors" in message
    assert "take 0.02 MB of memory" in message
    assert "r2d2 index TABLE --ann ivf_sq" in message
    rows, _ = TableGallery(built[0]).texts.best(unit(1, 2), 10)[0]
    assert len(rows) == 10


@pytest.mark.parametrize(
    ("k", "few", "block"), [(5, 100_000, 7), (5, 100_000, 8192), (5, 30, 50), (60, 200, 50)]
)
def test_texts_by_a_condition_on_their_images(built, k, few, block, monkeypatch):
    """Whether the chosen are compared one and all, or more than are asked for are searched."""
    monkeypatch.setattr(ann, "FEW", few)
    monkeypatch.setattr(ann, "BLOCK", block)
    texts, every, asked = TableGallery(built[0]).texts, unit(500, 1), unit(20, 2)
    found = []  # shares of what exact search gives, where the index was asked
    for where, there in (
        ("split = 'test'", np.arange(500) % 10 == 0),  # each of its images
        ("image_id = 'i1003'", np.arange(500) == 3),  # its third image
        ("split = 'train'", np.arange(500) % 10 != 0),
        ("image_id != 'i7'", np.ones(500, bool)),
    ):
        for query, (rows, cosine) in zip(asked, texts.best(asked, k, where), strict=True):
            scores = np.where(there, every @ query, -2)
            assert there[rows].all()
            np.testing.assert_allclose(cosine, scores[rows], atol=1e-4)
            wanted = np.argsort(-scores)[: min(k, there.sum())]
            assert len(rows) == len(wanted)
            share = len(set(rows) & set(wanted)) / len(wanted)
            if there.sum() > few:
                found.append(share)
            else:
                assert share == 1
    # The index is made of clusters that nobody can seed: one query may well miss one text.
    assert not found or np.mean(found) > 0.9
    assert "splt" in refused(texts.best, asked, 5, "splt = 'x'")


@pytest.fixture(scope="module")
def emoji_table(tmp_path_factory):
    """Vectors of the model that comes along, of real pictures and names, 128 numbers each."""
    with safe_open(shipped_folder() / INDEX, "np") as stored:
        images, texts = (stored.get_tensor(name).astype(np.float32) for name in ("images", "texts"))
    return write_indexed(tmp_path_factory.mktemp("emoji") / "t.lance", images, texts)


@pytest.mark.parametrize("kind", ann_build.KINDS)
def test_every_kind_on_real_vectors(emoji_table, kind):
    """Recall that is told against recall counted by a matrix product of our own."""
    both = build_ann(emoji_table, kind)
    questions = {of: ann_build._queries(of, parts_of(emoji_table)) for of in both}
    assert list(both) == ["images", "texts"]
    for of, measured in both.items():
        assert measured.enough, measured
        assert "below" not in " ".join(measured.lines())
        assert_measured(emoji_table, of, kind, measured, questions[of])


def assert_measured(path, of, kind, measured, asked):
    part = parts_of(path)[of]
    dataset, name = part.dataset, part.column
    index = dataset.list_indices()[0]
    built = dataset.stats.index_stats(index["name"])["indices"][0]
    assert built["index_type"].lower() == kind
    assert built["num_partitions"] == measured.partitions
    every = as_matrix(dataset.to_table(columns=[name])[name].combine_chunks())
    vectors = getattr(TableGallery(path), of)
    assert isinstance(vectors, AnnVectors)
    for name, queries in asked.items():
        shares = []
        for query, (rows, cosine) in zip(queries, vectors.best(queries, 100), strict=True):
            scores = every @ query
            np.testing.assert_allclose(cosine, scores[rows], atol=1e-4)
            least = np.sort(scores)[-100]
            shares.append(np.mean(scores[rows] >= least - 1e-6))
        assert np.mean(shares) == pytest.approx(measured.recall[name], abs=0.01)


def test_too_little_is_told_in_the_terminal(emoji_table):
    found = CliRunner().invoke(app, ["index", str(emoji_table), "--ann", "ivf_pq", "--probes", "1"])
    assert found.exit_code == 0, found.output
    assert "that is below 0.95: build it with more --probes, or as ivf_hnsw_sq" in found.output
    for of in ("images", "texts"):
        assert f"{of}: ivf_pq, 15 partitions: recall@100 against exact" in found.output
        assert f"{of}: that is below 0.95" in found.output


def test_the_remedy_is_another_than_what_was_tried():
    def remedy(kind, probes=4):
        return AnnMeasurement("images", kind, 4, probes, 2, {"images": 0.5}, 0.1, 0.1).lines()[-1]

    assert "--probes" in remedy("ivf_sq", 1)
    assert "--probes" not in remedy("ivf_sq")
    assert "as ivf_hnsw_sq" in remedy("ivf_sq")
    assert "as ivf_flat" in remedy("ivf_hnsw_sq")
    assert "ivf_sq" in remedy("ivf_pq")


def test_cosines_and_order(built):
    path, _, _ = built
    vectors, every, asked = TableGallery(path).images, unit(3000, 0), unit(4, 2)
    for query, (rows, cosine) in zip(asked, vectors.best(asked, 30), strict=True):
        np.testing.assert_allclose(cosine, every[rows] @ query, atol=1e-4)
        assert (np.diff(cosine) <= 1e-6).all()
        assert 5 not in rows


def test_a_condition_is_applied_before_the_search(built):
    rows, _ = TableGallery(built[0]).images.best(unit(1, 2), 50, "split = 'test'")[0]
    assert len(rows) == 50
    assert (rows % 10 == 0).all()
    assert "splt" in refused(TableGallery(built[0]).images.best, unit(1, 2), 5, "splt = 'x'")


def test_too_little_is_told(tmp_path):
    path = indexed_table(tmp_path / "t.lance", texts=0)
    measured = build_ann(path, "ivf_sq", probes=1)["images"]
    assert not measured.enough
    assert set(measured.recall) == {"images"}
    assert "--probes" in measured.lines()[-1]


def test_refusals(tmp_path):
    path = indexed_table(tmp_path / "t.lance", count=200, texts=0)
    assert "256" in refused(build_ann, path)
    told, texts = [], indexed_table(tmp_path / "few.lance", count=200, texts=300)
    assert list(build_ann(texts, "ivf_flat", progress=told.append)) == ["texts"]
    assert "199 vectors, too few" in told[0]
    assert "--ann" in refused(build_ann, path, "hnsw")


def test_parts_divide_the_width():
    for width in (1, 7, 16, 100, 128, 768):
        parts = ann_build._parts(width)
        assert width % parts == 0
        assert parts <= max(1, width // 8)
    assert ann_build._parts(768) == 96


def test_no_index_is_built_over_a_vector_that_is_no_number(tmp_path):
    images = unit(300, 0)
    images[7, 2] = np.nan
    path = write_indexed(tmp_path / "t.lance", images, None)
    said = refused(build_ann, path, "ivf_flat")
    assert "1 of 300 embeddings" in said
    assert "row 7" in said
    assert not lance.dataset(str(path)).list_indices()


def vectors_read(path):
    """How often opening a table reads as many bytes as its vectors have."""
    gallery = TableGallery(path)
    dataset = gallery._images.dataset
    size = 4 * gallery._images.about.width * len(gallery)
    return dataset.io_stats_snapshot().read_bytes // size


def test_opening_an_indexed_table_reads_no_vectors(tmp_path):
    table = write_indexed(tmp_path / "t.lance", unit(3000, 0), None, {5})
    assert vectors_read(table) == 1  # it is not calibrated
    dataset = open_lance(str(table))
    mean = np.zeros(WIDTH, np.float32)
    store_calibration(dataset, Calibration("f", 2999, PictureChance(mean, Gumbel(0, 1)), None))
    assert vectors_read(table) == 0


@pytest.mark.parametrize(("own", "warned"), [({}, False), ({"LANCE_LOG": "warn"}, True)])
def test_lance_warns_of_its_partitions_only_where_the_user_wants_it(tmp_path, own, warned):
    equal = np.repeat(unit(1, 0), 300, axis=0)  # all in one partition: the others are empty
    path = write_indexed(tmp_path / "t.lance", equal, None)
    environment = {k: v for k, v in os.environ.items() if k != "LANCE_LOG"} | own
    command = [sys.executable, "-m", "r2d2", "index", str(path), "--ann", "ivf_sq"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "recall@100" in done.stdout
    assert ("WARN" in done.stderr) == warned
