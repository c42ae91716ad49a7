"""Text tuning: its loss against loops, texts learnt by heart, an interrupted run."""

import importlib.util
import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from helpers.cli import refused
from helpers.pictures import picture, png
from helpers.runs import name
from helpers.searchers import small_model
from r2d2.models import load
from r2d2.table import Pair, PairsTable, Text, write_table

FILE = Path(__file__).parents[2] / "examples" / "tune_texts.py"
SPEC = importlib.util.spec_from_file_location("tune_texts", FILE)
tune_texts = importlib.util.module_from_spec(SPEC)
sys.modules[SPEC.name] = tune_texts  # where its data classes look for their module
SPEC.loader.exec_module(tune_texts)


@pytest.fixture
def model(tmp_path):
    small_model(widths=(8,)).save(tmp_path / "model")
    return load(tmp_path / "model")


@pytest.fixture
def taught(model, tmp_path):
    """Twelve pictures in pairs that share a text, and a text of their own each."""
    pairs = [
        Pair(
            f"i{n}",
            png(picture(n)),
            (Text(name(n), "title"), Text(name(20 + n // 2), "query")),
            "train",
        )
        for n in range(12)
    ]
    pairs.append(Pair("unseen", png(picture(12)), (Text(name(40), "title"),), "test"))
    write_table(tmp_path / "pairs.lance", pairs)
    return tune_texts.read_texts(model, PairsTable.open(tmp_path / "pairs.lance"), ["train"])


def naive_loss(texts, images, positives, dims, temperature):
    """A pair at a time."""

    def cosine(a, b):
        return float(a @ b) / math.sqrt(float(a @ a)) / math.sqrt(float(b @ b))

    total = 0.0
    for dim in dims:
        logits = [[math.exp(cosine(t[:dim], i[:dim]) / temperature) for i in images] for t in texts]
        of_texts, of_images = [], []
        for row, right in zip(logits, positives, strict=True):
            terms = [math.log(x / sum(row)) for x, r in zip(row, right, strict=True) if r]
            of_texts.append(-sum(terms) / len(terms))
        for column in range(len(images)):
            right = [row for row in range(len(texts)) if positives[row, column]]
            if right:
                whole = sum(row[column] for row in logits)
                terms = [math.log(logits[row][column] / whole) for row in right]
                of_images.append(-sum(terms) / len(terms))
        total += (sum(of_texts) / len(of_texts) + sum(of_images) / len(of_images)) / 2
    return total / len(dims)


def test_loss_equals_loops_over_pairs():
    draw = torch.Generator().manual_seed(0)
    texts = torch.randn(5, 6, generator=draw, dtype=torch.float64)
    images = torch.randn(9, 6, generator=draw, dtype=torch.float64)
    positives = torch.rand(5, 9, generator=draw) < 0.2
    positives[:, 0] = True
    assert not positives.any(0).all()  # a picture that no drawn text has is a negative only
    loss = tune_texts.contrastive_loss(texts, images, positives, (3, 6), 0.5)
    assert loss.item() == pytest.approx(naive_loss(texts, images, positives, (3, 6), 0.5))


def test_every_picture_with_a_text_is_right_and_other_splits_are_left_out(taught):
    assert taught.pooled.shape == (12, 32)
    assert set(taught.texts) == {name(n) for n in (*range(12), *range(20, 26))}
    for text, right in zip(taught.texts, taught.positives, strict=True):
        pictures = [n for n in range(12) if text in (name(n), name(20 + n // 2))]
        assert right.nonzero()[:, 0].tolist() == pictures


def test_tokens_left_out_keep_the_order_and_the_first():
    ids = torch.arange(1, 41).repeat(200, 1)
    mask = torch.ones(200, 40, dtype=torch.bool)
    mask[0, 2:] = False  # too short to lose any
    left, kept = tune_texts.without_tokens(ids, mask, 0.5, torch.Generator().manual_seed(0))
    assert kept[0].tolist() == mask[0].tolist()
    assert 0.4 < kept[1:].float().mean() < 0.6
    for row, keep in zip(left[1:], kept[1:], strict=True):
        tokens = row[keep].tolist()
        assert tokens[0] == 1
        assert tokens == sorted(set(tokens))
        assert not keep[len(tokens) :].any()


def test_texts_are_learnt_by_heart_and_the_image_tower_stays(model, taught, tmp_path):
    before = {
        name: tensor.clone() for name, tensor in model.model.towers.vision.state_dict().items()
    }
    settings = tune_texts.TextTuningSettings(steps=250, batch_size=18, lr=5e-3)
    tune_texts.tune_texts(model, taught, settings, tmp_path / "state")
    after = model.model.towers.vision.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    images = model.encode_images([picture(n) for n in range(12)]).embedding
    best = (model.encode_texts(taught.texts).embedding @ images.T).argmax(1)
    assert taught.positives[torch.arange(len(best)), best].all()


def test_an_interrupted_run_ends_as_a_whole_one(model, taught, tmp_path):
    settings = tune_texts.TextTuningSettings(
        steps=7, batch_size=8, drop_tokens=0.3, checkpoint_every=4
    )
    tune_texts.tune_texts(model, taught, settings, tmp_path / "state")
    whole = {name: tensor.clone() for name, tensor in model.model.state_dict().items()}
    again = load(tmp_path / "model")
    tune_texts.tune_texts(again, taught, settings, tmp_path / "state")  # from step 4
    assert all(torch.equal(whole[name], t) for name, t in again.model.state_dict().items())


def test_a_state_of_another_run_is_refused(model, taught, tmp_path):
    settings = tune_texts.TextTuningSettings(steps=2, batch_size=8, checkpoint_every=1)
    tune_texts.tune_texts(model, taught, settings, tmp_path / "state")
    other = replace(settings, lr=1e-4)
    message = refused(
        tune_texts.tune_texts, load(tmp_path / "model"), taught, other, tmp_path / "state"
    )
    assert "other settings: remove it" in message


def test_a_picture_that_cannot_be_read_is_left_out_and_named(model, tmp_path, capsys):
    pairs = [
        Pair(
            f"i{n}",
            b"no picture" if n == 1 else png(picture(n)),
            (Text(name(n), "title"),),
            "train",
        )
        for n in range(3)
    ]
    write_table(tmp_path / "damaged.lance", pairs)
    taught = tune_texts.read_texts(model, PairsTable.open(tmp_path / "damaged.lance"), ["train"])
    assert taught.texts == sorted([name(0), name(2)])
    assert len(taught.pooled) == 2
    assert "i1" in capsys.readouterr().out
