"""The ranks of texts among the pictures of another table, against plain sorting."""

import numpy as np
import pytest
import torch

import r2d2
from benchmarks.text_queries import read_queries, recalls
from helpers.pictures import picture, png
from r2d2.data.emoji import emoji_pairs
from r2d2.images.decode import decode_image
from r2d2.saved_model import shipped_folder
from r2d2.table import Pair, PairsTable, Text, write_table


def test_texts_without_a_picture_in_the_gallery_are_counted(tmp_path):
    rows = [
        Pair("a", png(picture(0)), (Text("红", "title"), Text("果", "query")), "train"),
        Pair("b", png(picture(1)), (Text("果", "query"),), "train"),
        Pair("c", png(picture(2)), (Text("船", "query"), Text("果", "query")), "train"),
    ]
    write_table(tmp_path / "t.lance", rows)
    table = PairsTable.open(tmp_path / "t.lance")
    assert read_queries(table, {"a": 0, "b": 1}, None) == ({"红": {0}, "果": {0, 1}}, 1)
    assert read_queries(table, {"a": 0, "b": 1}, "title") == ({"红": {0}}, 0)


def test_recalls_are_those_of_sorted_scores():
    if not (shipped_folder() / "model.safetensors").is_file():
        pytest.skip("no model comes along with this source")
    model = r2d2.load("emoji", "cpu")
    pairs = emoji_pairs()[:400:10]
    queries: dict[str, set[int]] = {}
    for number, pair in enumerate(pairs):
        queries.setdefault(pair.texts[0].text[:2], set()).add(number)
    found = recalls(model, [pair.image for pair in pairs], queries)
    images = model.encode_images([decode_image(pair.image) for pair in pairs])
    ranks = []
    for text, right in queries.items():
        cosine = model.encode_texts([text]).embedding.double() @ images.embedding.double().T
        order = torch.argsort(cosine[0], descending=True).tolist()
        ranks.append(1 + min(order.index(number) for number in right))
    wanted = [100 * np.mean([rank <= cut for rank in ranks]) for cut in (1, 5, 10)]
    assert found["pre-ranking"] == pytest.approx(wanted)
    assert wanted[0] < wanted[2]  # the figures tell the cuts apart
