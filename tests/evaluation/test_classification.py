"""Zero-shot classification with an encoder that sees one colour channel order."""

import json

import numpy as np
import pytest
import torch

from helpers.encoders import COLOURS, colour_table, png
from r2d2.errors import R2D2Error
from r2d2.evaluation.class_run import figures
from r2d2.evaluation.classification import (
    class_embeddings,
    classify,
    read_classes,
    read_templates,
)
from r2d2.formats.classes import class_names
from r2d2.model.encoded_states import EncodedStates
from r2d2.table import Pair, PairsTable, Text, write_table

NAMES = list(COLOURS)


class Colours:
    """A picture's vector is its colour's; a text's is that of the colour it names, a bit turned."""

    has_match = False

    def __init__(self, blind=()):
        self.blind = blind

    def side(self, numbers):
        embedding = torch.eye(len(NAMES))[torch.tensor(numbers)]
        return EncodedStates(embedding[:, None, :0], None, embedding)

    def encode_images(self, images):
        distance = [
            [
                np.abs(np.subtract(i.convert("RGB").getpixel((0, 0)), c)).sum()
                for c in COLOURS.values()
            ]
            for i in images
        ]
        found = [int(np.argmin(row)) for row in distance]
        return self.side([0 if NAMES[n] in self.blind else n for n in found])

    def encode_texts(self, texts):
        return self.side([next(n for n, name in enumerate(NAMES) if name in t) for t in texts])


@pytest.fixture
def table(tmp_path):
    return PairsTable.open(colour_table(tmp_path / "t.lance", source="class"))


def test_every_picture_finds_its_class(table):
    labelled = read_classes(table, "test")
    assert labelled.classes == sorted(NAMES)
    assert [labelled.classes[i] for i in labelled.label] == NAMES
    prototypes = class_embeddings(Colours(), labelled.classes, ["{}", "一张{}的照片"])
    found = classify(Colours(), table, labelled, prototypes, batch_size=3)
    assert found.rank.tolist() == [1] * len(NAMES)
    result = figures(found, labelled.classes, 20, 0)
    assert result["classification"]["top1"] == 100.0
    assert result["classification"]["chance"] == {"top1": 12.5, "top5": 62.5}
    assert result["intervals"]["top1"] == [100.0, 100.0]


def test_a_class_that_is_mistaken_is_named(table):
    labelled = read_classes(table, "test")
    prototypes = class_embeddings(Colours(), labelled.classes, ["{}"])
    found = classify(Colours(blind=("绿",)), table, labelled, prototypes)
    rows = {r["class"]: r for r in figures(found, labelled.classes, 0, 0)["classes"]}
    assert rows["绿"]["taken_for"] == "红"
    assert rows["绿"]["top1"] == 0.0
    assert rows["蓝"]["taken_for"] is None


def test_ties_count_against_us(table):
    class Flat(Colours):
        def side(self, numbers):
            return super().side([0] * len(numbers))

    labelled = read_classes(table, "test")
    prototypes = class_embeddings(Flat(), labelled.classes, ["{}"])
    found = classify(Flat(), table, labelled, prototypes)
    assert found.rank.tolist() == [8] * 8
    result = figures(found, labelled.classes, 0, 0)
    assert result["classification"]["top5"] == 0.0
    assert all(row["taken_for"] not in (None, row["class"]) for row in result["classes"])


def test_the_ensemble_is_the_mean_of_unit_vectors():
    class Lengths(Colours):
        def encode_texts(self, texts):
            embedding = torch.tensor([[1.0, 0.0] if len(t) == 1 else [0.6, 0.8] for t in texts])
            return EncodedStates(embedding[:, None, :0], None, embedding)

    found = class_embeddings(Lengths(), ["红"], ["{}", "红{}"])
    wanted = torch.tensor([[1.6, 0.8]])
    assert torch.allclose(found, wanted / wanted.norm())


def test_our_templates_and_others(tmp_path):
    ours = read_templates()
    assert len(ours) == len(set(ours)) == 30
    assert all(t.count("{}") == 1 for t in ours)
    (tmp_path / "t.txt").write_text("﻿{}照\r\n\r\n一张{}\n", encoding="utf-8")
    assert read_templates(tmp_path / "t.txt") == ["{}照", "一张{}"]
    (tmp_path / "t.txt").write_text("{}的照片\n", encoding="gbk")
    assert read_templates(tmp_path / "t.txt") == ["{}的照片"]
    for bad in ("没有\n", "", "{}{}\n"):
        (tmp_path / "t.txt").write_text(bad, encoding="utf-8")
        with pytest.raises(R2D2Error, match="template"):
            read_templates(tmp_path / "t.txt")


def test_bad_pictures_and_rows_without_a_class_are_counted(tmp_path):
    rows = [
        Pair("a", png("红"), (Text("红", "class"), Text("绿", "caption")), "test"),
        Pair("b", b"", (Text("绿", "class"),), "test"),
        Pair("c", png("绿"), (Text("绿", "caption"),), "test"),
    ]
    write_table(tmp_path / "t", rows)
    table = PairsTable.open(tmp_path / "t")
    labelled = read_classes(table, "test")
    prototypes = class_embeddings(Colours(), labelled.classes, ["{}"])
    found = classify(Colours(), table, labelled, prototypes)
    assert found.dropped.counts == {"no class": 1, "empty": 1}
    assert found.image_ids == ["a"]
    write_table(tmp_path / "u", rows[2:])
    with pytest.raises(R2D2Error, match="no texts of source 'class'"):
        read_classes(PairsTable.open(tmp_path / "u"), "test")


def test_a_sample_is_the_same_every_time(table):
    some = read_classes(table, "test", sample=3, seed=1)
    assert some == read_classes(table, "test", sample=3, seed=1)
    assert len(some.rows) == 3
    assert some.classes == sorted(NAMES)
    assert json.dumps(some.classes)


def test_classes_without_a_picture_can_be_chosen_too(tmp_path):
    rows = [Pair(c, png(c), (Text(c, "class"),), "test") for c in ("红", "绿")]
    write_table(tmp_path / "t", rows, metadata=class_names(["红", "绿", "蓝"]))
    labelled = read_classes(PairsTable.open(tmp_path / "t"), "test")
    assert labelled.classes == sorted(["红", "绿", "蓝"])
    assert [labelled.classes[i] for i in labelled.label] == ["红", "绿"]


def test_only_line_breaks_end_a_template(tmp_path):
    (tmp_path / "t.txt").write_bytes("一张{}的\u2028照片\r\n{}\x0b\n".encode())
    assert read_templates(tmp_path / "t.txt") == ["一张{}的\u2028照片", "{}"]
