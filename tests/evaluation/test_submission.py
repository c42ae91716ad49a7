"""Files to hand in: whose queries, which images, in which order."""

import json
from dataclasses import replace

import pytest
import torch
from PIL import Image

from helpers.encoders import png
from r2d2.errors import R2D2Error
from r2d2.evaluation.dataset import EvaluationSet
from r2d2.evaluation.evaluate import evaluate
from r2d2.evaluation.settings import EvaluationSettings, RankingSettings
from r2d2.evaluation.submission import answer_queries, write_submission
from r2d2.model.encoded_states import EncodedStates
from r2d2.table import Pair, PairsTable, Text, write_table
from r2d2.table_queries import TableQuery, write_queries


class Red:
    """Vectors turn with the number: a picture's red, the digits of a text."""

    def __init__(self, has_match=False):
        self.has_match = has_match

    def side(self, numbers):
        angle = torch.tensor(numbers, dtype=torch.float32) / 60
        embedding = torch.stack([angle.cos(), angle.sin()], dim=1)
        return EncodedStates(
            torch.tensor(numbers, dtype=torch.float32).view(-1, 1, 1), None, embedding
        )

    def encode_images(self, images):
        return self.side([image.getpixel((0, 0))[0] for image in images])

    def encode_texts(self, texts):
        return self.side([int("".join(c for c in text if c.isdigit())) for text in texts])

    def match(self, images, texts):
        far = (images.states[:, 0, 0] - texts.states[:, 0, 0]).abs()
        return (far == 2).float()


def red(number):
    import io

    file = io.BytesIO()
    Image.new("RGB", (2, 2), (number, 0, 0)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def table(tmp_path):
    """Twelve pictures; one text answers two of them, a further query none that we know."""
    rows = []
    for number in range(12):
        texts = (Text("图3", "query", text_id="77"),) if number in (3, 4) else ()
        rows.append(Pair(str(100 + number), red(number), texts, "test"))
    write_table(tmp_path / "muge.lance", rows)
    write_queries(
        tmp_path / "muge.lance", [TableQuery("q8", "图8", "test"), TableQuery("9", "图1", "val")]
    )
    return PairsTable.open(tmp_path / "muge.lance")


def test_every_query_gets_its_ten_nearest(table, tmp_path):
    answers = answer_queries(Red(), table, "test", top_k=5, weight=1.0)
    write_submission(tmp_path / "s.jsonl", answers)
    lines = [json.loads(line) for line in (tmp_path / "s.jsonl").read_text("utf-8").splitlines()]
    assert [(line["query_id"], line["query_text"]) for line in lines] == [
        (77, "图3"),
        ("q8", "图8"),
    ]
    assert lines[0]["item_ids"][:3] == [103, 102, 104]
    assert all(len(set(line["item_ids"])) == 10 for line in lines)
    with pytest.raises(R2D2Error, match=r"'q8' .* whole numbers .* --submission-keys muge"):
        write_submission(tmp_path / "c.jsonl", answers, "chinese-clip")
    assert not (tmp_path / "c.jsonl").exists()
    answers = [(replace(query, text_id=query.text_id.strip("q")), ids) for query, ids in answers]
    lines[1]["query_id"] = 8
    write_submission(tmp_path / "c.jsonl", answers, "chinese-clip")
    again = [json.loads(line) for line in (tmp_path / "c.jsonl").read_text("utf-8").splitlines()]
    assert [list(line) for line in again] == [["text_id", "text", "image_ids"]] * 2
    assert [list(line.values()) for line in again] == [list(line.values()) for line in lines]


def test_the_match_score_orders_its_candidates_only(table):
    answers = answer_queries(Red(has_match=True), table, "test", top_k=5, weight=1.0)
    items = answers[0][1]
    assert items[:5] == ["101", "105", "103", "102", "104"]
    assert items[5] == "100"  # as near as the sixth, which was not ranked again


def test_without_queries_there_is_nothing_to_hand_in(table, tmp_path):
    write_table(tmp_path / "t", [Pair("a", png("红"), (Text("图1", "caption"),), "test")])
    with pytest.raises(R2D2Error, match="no queries with an id"):
        answer_queries(Red(), PairsTable.open(tmp_path / "t"), "test", top_k=5, weight=1.0)


def test_one_query_of_several_images_counts_once_and_others_stand_in_its_way(table):
    data = EvaluationSet.from_table(table, ["test"], textless=True)
    assert (len(data.image_ids), data.texts, data.owners(0)) == (12, ["图3"], (3, 4))
    found = evaluate(
        Red(), data, EvaluationSettings(resamples=5), RankingSettings(t2i_only=True, full=())
    ).metrics["test"]
    assert found["gallery"]["images"] == 12
    assert found["queries"] == {"images": 0, "texts": 1}
    assert found["prerank"] == {"t2i_r1": 100.0, "t2i_r5": 100.0, "t2i_r10": 100.0, "r_mean": 100.0}
    assert found["published"]["prerank"]["t2i_r1"] == 100.0
    assert set(found["intervals"]["prerank"]) == set(found["prerank"])
    dropped = data.keep([4, 5])
    assert (dropped.texts, dropped.owners(0)) == (["图3"], (0,))
