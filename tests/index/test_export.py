"""Vectors as Parquet, and the way of the docs into Qdrant, through its client's local mode."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from helpers.cli import refused
from helpers.pictures import picture
from helpers.runs import name, small_table
from helpers.searchers import small_model
from r2d2.index.build import build_index
from r2d2.index.export import export_vectors
from r2d2.search.searcher import Searcher


@pytest.fixture(scope="module")
def indexed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    model = small_model()
    model.save(folder / "model")
    path = small_table(folder / "t.lance", rows=20, bad=(3,), textless=(4,))
    build_index(path, folder / "model")
    return path, model


def test_every_vector_with_its_id_split_and_texts(indexed, tmp_path):
    path, model = indexed
    assert export_vectors(path, tmp_path / "v.parquet") == 31
    table = pq.read_table(tmp_path / "v.parquet")
    rows = {row["image_id"]: row for row in table.to_pylist()}
    assert set(rows) == {f"i{n}" for n in range(32)} - {"i3"}
    assert rows["i4"]["texts"] == []
    assert rows["i5"]["texts"] == [name(5)]
    assert len(rows["i6"]["texts"]) == 3
    assert rows["i20"]["split"] == "val"
    wanted = model.encode_images([picture(9)]).embedding[0].numpy()
    np.testing.assert_allclose(rows["i9"]["vector"], wanted, atol=1e-5)
    fingerprint = table.schema.metadata[b"r2d2.fingerprint"].decode()
    assert fingerprint == Searcher.open(path, model).fingerprint


def test_a_file_is_not_replaced_unasked(indexed, tmp_path):
    file = tmp_path / "v.parquet"
    file.write_text("mine")
    assert "--overwrite" in refused(export_vectors, indexed[0], file)
    assert file.read_text() == "mine"
    assert export_vectors(indexed[0], file, overwrite=True) == 31
    assert [p.name for p in tmp_path.iterdir()] == ["v.parquet"]


def test_without_an_index(tmp_path):
    path = small_table(tmp_path / "t.lance", rows=3)
    assert "r2d2 index" in refused(export_vectors, path, tmp_path / "v.parquet")


def test_qdrant_finds_what_search_finds(indexed, tmp_path):
    qdrant = pytest.importorskip("qdrant_client", reason="no qdrant: pip install qdrant-client")
    path, model = indexed
    export_vectors(path, tmp_path / "v.parquet")
    # what docs/search.md shows
    models = qdrant.models
    client = qdrant.QdrantClient(":memory:")
    file = pq.ParquetFile(tmp_path / "v.parquet")
    width = file.schema_arrow.field("vector").type.list_size
    client.create_collection(
        "photos", vectors_config=models.VectorParams(size=width, distance=models.Distance.COSINE)
    )
    number = 0
    for batch in file.iter_batches(1000):
        points = [
            models.PointStruct(id=number + n, vector=row.pop("vector"), payload=row)
            for n, row in enumerate(batch.to_pylist())
        ]
        client.upsert("photos", points)
        number += len(points)
    query = model.encode_texts([name(5)]).embedding[0].tolist()
    found = client.query_points("photos", query, limit=10).points
    wanted = Searcher.open(path, model).search(name(5), k=10, two_stage=False, by="vectors").hits
    assert [one.payload["image_id"] for one in found] == [hit.image_id for hit in wanted]
    assert [one.score for one in found] == pytest.approx([hit.cosine for hit in wanted], abs=1e-4)
    only = models.Filter(
        must=[models.FieldCondition(key="split", match=models.MatchValue(value="test"))]
    )
    found = client.query_points("photos", query, query_filter=only, limit=10).points
    assert found
    assert all(one.payload["split"] == "test" for one in found)
