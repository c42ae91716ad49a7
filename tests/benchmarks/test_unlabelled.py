"""Duplicates planted into a small corpus: the towers find them, and little else."""

import numpy as np
import pytest

from benchmarks.unlabelled import COPY, Shares, line, plant, unlabelled_shares
from helpers.runs import history, small_config, small_pairs
from r2d2.models import load
from r2d2.table import write_table
from r2d2.training.pretrain import pretrain

MARGIN = -0.1  # duplicates are as similar as the positive
LATE = "objectives.unlabelled_from=0.5"  # 50 of 100 steps


def test_each_third_picture_stands_there_twice_with_another_text():
    pairs = small_pairs(7) + small_pairs(5, "val")
    planted = plant(pairs)
    assert [pair for pair in planted if not pair.image_id.endswith(COPY)] == pairs
    copies = {p.image_id.removesuffix(COPY): p for p in planted if p.image_id.endswith(COPY)}
    assert list(copies) == ["i0", "i3", "i6"]
    for number, copy in zip((0, 3, 6), copies.values(), strict=True):
        assert copy.image == pairs[number].image
        assert copy.split == "train"
        assert pairs[number].texts[0].text in copy.texts[0].text != pairs[number].texts[0].text


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The run of a corpus with duplicates, and its training pairs."""
    folder = tmp_path_factory.mktemp("planted")
    pairs = plant(small_pairs(24))
    write_table(folder / "pairs.lance", pairs)
    settings = ("train.epochs=25", f"objectives.unlabelled_margin={MARGIN}", LATE)
    pretrain(folder / "pairs.lance", folder / "run", small_config("wo_twd", *settings))
    return folder / "run", pairs


def test_after_a_short_training_planted_duplicates_are_spared_and_others_are_not(trained):
    run, pairs = trained
    shares = unlabelled_shares(load(run, "cpu"), pairs, MARGIN)
    assert shares.planted > 0.8
    assert shares.planted > 4 * shares.others


def test_the_log_has_the_share_of_each_stage_in_every_line(trained):
    rows = history(trained[0])
    for name in ("loss/unlabelled_contrast", "loss/unlabelled_ranking"):
        assert [name in row for row in rows] == [row["step"] >= 50 for row in rows]
        shares = np.array([row[name] for row in rows[50:]])
        assert ((shares >= 0) & (shares < 1)).all()
        assert shares.mean() > 0


def test_a_line_has_the_mean_and_each_seed():
    shares = [Shares(0.5, 0.001), Shares(0.7, 0.003)]
    assert line("0.1", [50.0, 60.0], shares) == "| 0.1 | 55.0 (50.0, 60.0) | 60.0 | 0.200 |"
