"""Embeddings without a direction are refused or counted wherever they come in, and named."""

import numpy as np
import pytest
import torch

from helpers.distinct_pairs import picture
from r2d2.errors import R2D2Error
from r2d2.evaluation.classification import class_embeddings
from r2d2.evaluation.labelled import score_labelled
from r2d2.model.encoded_states import embedded
from r2d2.table import Pair, PairsTable, Text, write_table
from r2d2.vectors import DirectionCheck, without_direction

BROKEN = [np.nan, np.inf, -np.inf]


def test_which_vectors_have_no_direction():
    vectors = np.ones((6, 3), np.float32)
    for row, value in enumerate(BROKEN):
        vectors[row, 1] = value
    vectors[4] = 0
    vectors[5] = [0, -1e-30, 0]  # short, and it points somewhere
    assert without_direction(vectors).tolist() == [True, True, True, False, True, False]
    assert without_direction(np.zeros((0, 3), np.float32)).tolist() == []


def test_all_are_counted_and_the_first_are_named():
    check = DirectionCheck("images", "compute them anew")
    good, bad = np.ones((9, 2)), np.zeros((8, 2))
    check.add(good, [f"good{n}" for n in range(9)])
    check.add(np.concatenate([bad, good]), [f"img{n}" for n in range(17)])
    with pytest.raises(
        R2D2Error, match=r"8 of 26 embeddings of images .*: img0, img1, .*img4 and 3 more"
    ):
        check.done()
    check = DirectionCheck("images", "compute them anew")
    with pytest.raises(R2D2Error, match="compute them anew"):  # at once, where nothing is right
        check.add(bad, [f"img{n}" for n in range(8)])
    DirectionCheck("images", "").done()


class Numbers:
    """Embeddings by the length of a text; pictures all alike."""

    has_match = False

    def encode_images(self, images):
        return embedded(torch.ones(len(images), 2))

    def encode_texts(self, texts):
        return embedded(torch.tensor([[1.0, len(text) if len(text) < 6 else torch.nan]
                                      for text in texts]))  # fmt: skip


def test_matching_and_classification_refuse_them_too(tmp_path):
    texts = ("一只猫", "一只狗", "很长的一句话", "鱼")
    write_table(
        tmp_path / "t.lance",
        [
            Pair(f"p{n}", picture(n), (Text(text, "title"),), "test", label=n % 2)
            for n, text in enumerate(texts)
        ],
    )
    table = PairsTable.open(tmp_path / "t.lance")
    with pytest.raises(R2D2Error, match=r"1 of 4 embeddings of texts.*很长的一句话"):
        score_labelled(Numbers(), table, "test")
    with pytest.raises(R2D2Error, match=r"1 of 2 embeddings of texts.*很长的一句话"):
        class_embeddings(Numbers(), ["猫", "很长的一句话"], ["{}"])
