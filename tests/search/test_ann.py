"""The approximate index: recall as a count of what exact search finds; conditions; refusals."""

import lance
import numpy as np
import pyarrow as pa
import pytest

from r2d2.search import ann_build
from r2d2.search.ann import AnnVectors
from r2d2.search.ann_build import build_ann
from r2d2.search.layout import (
    BAD,
    TEXT_VECTOR,
    VECTOR,
    About,
    open_lance,
    read_about,
    texts_uri,
    vector_type,
    write_about,
)
from r2d2.search.table_gallery import Indexed, TableGallery
from r2d2.table import SCHEMA
from training.small import refused

WIDTH = 16


def unit(count, seed):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(30, WIDTH))
    x = centres[rng.integers(0, 30, count)] + 0.4 * rng.normal(size=(count, WIDTH))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def column(vectors, missing=()):
    mask = np.isin(np.arange(len(vectors)), list(missing))
    return pa.FixedSizeListArray.from_arrays(
        pa.array(vectors.reshape(-1)), type=vector_type(WIDTH), mask=pa.array(mask)
    )


def indexed_table(path, count=3000, texts=500):
    """A table as `build_index` leaves one, with vectors from nowhere; row 5 has none."""
    rows = {
        "image_id": [f"i{n}" for n in range(count)],
        "image": [b""] * count,
        "texts": [[]] * count,
        "split": ["test" if n % 10 == 0 else "train" for n in range(count)],
    }
    fields = [SCHEMA.field(name) for name in rows]
    table = pa.table(rows, schema=pa.schema(fields))
    table = table.append_column(VECTOR, column(unit(count, 0), {5}))
    table = table.append_column(
        BAD, pa.array([None] * 5 + ["empty"] + [None] * (count - 6), pa.string())
    )
    dataset = lance.write_dataset(table, str(path))
    write_about(dataset, About("f", WIDTH))
    if texts:
        beside = lance.write_dataset(
            pa.table({TEXT_VECTOR: column(unit(texts, 1))}), texts_uri(str(path))
        )
        write_about(beside, About("f", WIDTH))
    return path


@pytest.fixture(scope="module", params=["ivf_sq", "ivf_flat"])
def built(request, tmp_path_factory):
    path = indexed_table(tmp_path_factory.mktemp("ann") / "t.lance")
    exact = Indexed(str(path), VECTOR).vectors
    return path, build_ann(path, request.param), exact


def test_the_recall_that_is_told_is_the_recall_that_users_get(built):
    path, measured, exact = built
    assert measured.enough
    assert set(measured.recall) == {"texts", "images"}
    vectors = TableGallery(path).images
    assert isinstance(vectors, AnnVectors)
    assert (len(vectors), vectors.width) == (2999, WIDTH)
    for name, asked in ann_build._queries(Indexed(str(path), VECTOR), 2999).items():
        found, wanted = vectors.best(asked, 100), exact.best(asked, 100)
        shares = [len(set(a) & set(b)) / 100 for (a, _), (b, _) in zip(found, wanted, strict=True)]
        assert np.mean(shares) == pytest.approx(measured.recall[name], abs=0.005)
    about = read_about(open_lance(str(path)), "")
    assert (about.probes, about.refine) == (measured.probes, measured.refine)


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
    measured = build_ann(path, "ivf_sq", probes=1)
    assert not measured.enough
    assert set(measured.recall) == {"images"}
    assert "--probes" in measured.lines()[-1]


def test_refusals(tmp_path):
    path = indexed_table(tmp_path / "t.lance", count=200, texts=0)
    assert "256" in refused(build_ann, path)
    assert "--ann" in refused(build_ann, path, "hnsw")


def test_parts_divide_the_width():
    for width in (1, 7, 16, 100, 128, 768):
        parts = ann_build._parts(width)
        assert width % parts == 0
        assert parts <= max(1, width // 8)
    assert ann_build._parts(768) == 96
