"""The whole evaluation on a table, with an encoder whose vectors we know."""

import io
import json
import math

import pytest
import torch
from PIL import Image

from r2d2.errors import R2D2Error
from r2d2.evaluation.dataset import EvaluationSet
from r2d2.evaluation.evaluate import evaluate
from r2d2.evaluation.matching import balanced_pairs
from r2d2.evaluation.settings import EvaluationSettings, RankingSettings
from r2d2.images.decode import BadImage
from r2d2.model.encoded_states import EncodedStates
from r2d2.table import Pair, PairsTable, Text, write_table

DIM = 16
RECALLS = {"i2t_r1", "i2t_r5", "i2t_r10", "t2i_r1", "t2i_r5", "t2i_r10", "r_mean"}


def picture(number):
    return Image.new("RGB", (4, 4), (number, 0, 0))


def png(number):
    file = io.BytesIO()
    picture(number).save(file, "PNG")
    return file.getvalue()


class Known:
    """A picture's number is its red; a text's is in its words: "图7 ..." speaks of picture 7.

    Picture and text get the same vector when their numbers agree in their first digit base 4, so
    cosine leaves four candidates in doubt and the match score settles it.
    """

    def __init__(self, has_match=True, confused=()):
        self.has_match = has_match
        self.confused = set(confused)  # numbers whose match score is wrong
        self.images = self.texts = self.pairs = 0

    def vectors(self, numbers):
        coarse = torch.tensor(numbers) // 4
        states = torch.tensor(numbers, dtype=torch.float32).view(-1, 1, 1)
        return states, torch.nn.functional.one_hot(coarse % DIM, DIM).float()

    def encode_images(self, images):
        self.images += len(images)
        states, embedding = self.vectors([image.getpixel((0, 0))[0] for image in images])
        return EncodedStates(states, None, embedding)

    def encode_texts(self, texts):
        self.texts += len(texts)
        states, embedding = self.vectors([int(text[1:].split()[0]) for text in texts])
        longest = max(len(text) for text in texts)
        mask = torch.tensor([[i < len(text) for i in range(longest)] for text in texts])
        return EncodedStates(states.repeat(1, longest, 1), mask, embedding)

    def match(self, images, texts):
        self.pairs += len(images)
        image, text = images.states[:, 0, 0].long(), texts.states[:, 0, 0].long()
        right = image == text
        wrong = torch.tensor([t in self.confused for t in text.tolist()])
        return (right ^ wrong).float()


def corpus(splits, texts_each=1, broken=()):
    ids = [f"i{n}" for n in range(len(splits))]
    texts = [f"图{n} 之{t}" for n in range(len(splits)) for t in range(texts_each)]

    def load(positions):
        return [BadImage("truncated", "cut") if p in broken else picture(p) for p in positions]

    owners = [n for n in range(len(splits)) for _ in range(texts_each)]
    return EvaluationSet(ids, list(splits), texts, owners, load)


SPLITS = ["test"] * 12 + ["val"] * 8 + ["test_novel"] * 4 + ["train"] * 24


def test_every_figure_of_a_model_we_can_reckon_by_hand():
    model = Known()
    found = evaluate(
        model,
        corpus(SPLITS, texts_each=2),
        EvaluationSettings(batch_size=5),
        RankingSettings(top_k=8),
    ).metrics
    assert list(found) == [
        "test", "test_novel", "test_full", "top_k", "skipped", "weight_curve", "weight",
    ]  # fmt: skip
    # Cosine: three other images, or six other texts, tie with the right one.
    assert set(found["test"]["prerank"]) == RECALLS
    assert found["test"]["prerank"]["t2i_r1"] == 0.0
    assert found["test"]["prerank"]["t2i_r5"] == 100.0
    assert found["test"]["prerank"]["i2t_r5"] == 0.0
    assert found["test"]["prerank"]["i2t_r10"] == 100.0
    for task in ("test", "test_novel", "test_full"):
        assert found[task]["two_stage"] == dict.fromkeys(sorted(RECALLS), 100.0) | {"r_mean": 100.0}
        assert found[task]["matching"]["auc"] == 100.0
    assert found["weight"] == 0.01  # any weight settles it, and the smallest is taken
    assert found["weight_curve"]["0"] < found["weight_curve"]["0.01"] == 100.0
    assert found["test"]["queries"] == {"images": 12, "texts": 24}
    assert found["test"]["gallery"] == {"images": 12, "texts": 24}
    assert found["test_full"]["queries"] == {"images": 12, "texts": 24}
    assert found["test_full"]["gallery"] == {"images": 48, "texts": 96}
    assert found["test"]["matching"]["pairs"] == 48
    assert found["test_novel"]["chance"]["t2i_r1"] == 25.0
    assert found["test_full"]["chance"]["t2i_r10"] == pytest.approx(100 * 10 / 48)


def test_everything_is_encoded_and_matched_once():
    model = Known()
    evaluate(model, corpus(SPLITS), EvaluationSettings(batch_size=7), RankingSettings(top_k=4))
    assert (model.images, model.texts) == (48, 48)
    # Each query and its four candidates, a pair of either direction being the same; at most two
    # further wrong images a text, one in its split and one in the corpus.
    asked = 24 * 4
    assert asked <= model.pairs <= asked + 2 * 24


def test_without_a_match_head_there_is_one_stage():
    model = Known(has_match=False)
    data = corpus(SPLITS)
    results = evaluate(model, data, ranking=RankingSettings(top_k=4))
    found = results.metrics
    assert "two_stage" not in found["test"]
    assert "weight" not in found
    assert model.pairs == 0
    # Cosine is 1 on the matches and on the wrong pairs of one vector, which tie; else it is 0.
    pairs = balanced_pairs(data.texts[:12], data.text_image[:12])
    tied = sum(
        text // 4 == image // 4
        for text, image in zip(pairs.text[12:].tolist(), pairs.image[12:].tolist(), strict=True)
    )
    assert 0 < tied < 12
    assert found["test"]["matching"]["auc"] == pytest.approx(100 * (12 - tied / 2) / 12)
    ranked = results.rankings["test"]["t2i"]
    assert torch.equal(ranked.ranks, ranked.prerank)


def test_the_weight_is_chosen_on_validation_only():
    # The match head is wrong on validation, right on test: the choice must not know.
    model = Known(confused=range(12, 20))
    found = evaluate(model, corpus(SPLITS), ranking=RankingSettings(top_k=4)).metrics
    assert found["weight"] == 0.0
    assert found["test"]["two_stage"]["t2i_r1"] == 0.0
    given = evaluate(model, corpus(SPLITS), ranking=RankingSettings(top_k=4, weight=1.0)).metrics
    assert given["weight"] == 1.0
    assert "weight_curve" not in given
    assert given["test"]["two_stage"]["t2i_r1"] == 100.0


def test_without_validation_the_official_weight_holds(caplog):
    found = evaluate(Known(), corpus(["test"] * 8), ranking=RankingSettings(top_k=4)).metrics
    assert found["weight"] == 1.0
    assert "official" in caplog.text
    assert "test_novel" not in found


def test_validation_against_itself_or_the_whole_corpus():
    # In the split alone validation is two images of different vectors: nothing to settle.
    data = corpus(["val", *["train"] * 3, "val", *["train"] * 3, *["test"] * 8])
    assert (
        evaluate(Known(), data, ranking=RankingSettings(top_k=4, full=())).metrics["weight"] == 0.0
    )
    assert evaluate(Known(), data, ranking=RankingSettings(top_k=4)).metrics["weight"] == 0.01


def test_what_is_reported_does_not_choose_the_weight(caplog):
    found = evaluate(
        Known(),
        corpus(SPLITS),
        EvaluationSettings(splits=("val",)),
        RankingSettings(full=(), top_k=4),
    ).metrics
    assert found["val"]["gallery"] == {"images": 8, "texts": 8}
    assert "test" not in found
    assert found["weight"] == 1.0
    assert "weight_curve" not in found
    assert "official" in caplog.text


def test_rankings_keep_the_first_ones_with_the_right_one_last_of_its_equals():
    results = evaluate(Known(), corpus(SPLITS), ranking=RankingSettings(top_k=8, weight=0.0))
    ranked = results.rankings["test"]["t2i"]
    assert ranked.queries.tolist() == list(range(12))
    assert ranked.ranks.tolist() == [4] * 12
    assert ranked.top.shape == (12, 8)
    assert ranked.right[:, :5].tolist() == [[False, False, False, True, False]] * 12
    assert ranked.top[:, 3].tolist() == list(range(12))
    sharp = evaluate(
        Known(), corpus(SPLITS), ranking=RankingSettings(top_k=8, weight=1.0)
    ).rankings["test_full"]["t2i"]
    assert sharp.top[:, 0].tolist() == list(range(12))
    assert sharp.right[:, 0].all()


def test_images_that_cannot_be_read_are_left_out_and_counted():
    results = evaluate(
        Known(),
        corpus(SPLITS, texts_each=2, broken={1, 13, 30}),
        EvaluationSettings(batch_size=2),
        RankingSettings(top_k=8),
    )
    assert results.skipped == {"truncated": 3}
    assert results.metrics["skipped"] == {"truncated": 3}
    assert results.data.dropped.examples == {"truncated": ["i1", "i13", "i30"]}
    assert results.metrics["test"]["queries"] == {"images": 11, "texts": 22}
    assert results.metrics["test"]["two_stage"]["r_mean"] == 100.0
    assert "i1" not in results.data.image_ids
    assert results.data.load([1])[0].getpixel((0, 0)) == (2, 0, 0)
    with pytest.raises(R2D2Error, match=r"no image can be evaluated \(truncated: 2, such as i0\)"):
        evaluate(Known(), corpus(["test", "val"], broken={0, 1}))


def test_images_of_one_text_answer_for_each_other():
    data = corpus(["test"] * 8)
    data.texts[1] = data.texts[0]  # speaks of picture 0, and is true of pictures 0 and 1
    results = evaluate(Known(), data, ranking=RankingSettings(weight=1.0, top_k=8))
    assert results.rankings["test"]["t2i"].ranks.tolist()[:2] == [1, 1]


def test_a_broken_model_is_no_good_model():
    class Broken(Known):
        def match(self, images, texts):
            return torch.full((len(images),), math.nan)

    found = evaluate(Broken(), corpus(SPLITS), ranking=RankingSettings(top_k=4, weight=1.0)).metrics
    assert found["test"]["two_stage"]["r_mean"] == 0.0
    assert found["test"]["matching"]["auc"] == 0.0


def test_one_image_is_enough():
    found = evaluate(Known(), corpus(["test"])).metrics
    assert found["test"]["two_stage"]["r_mean"] == 100.0
    assert "matching" not in found["test"]


@pytest.mark.parametrize(
    ("kind", "changed", "message"),
    [
        (RankingSettings, {"top_k": 0}, "top_k is 0"),
        (EvaluationSettings, {"batch_size": 0}, "batch_size is 0"),
        (RankingSettings, {"weight": -1.0}, "weight of the match score is -1"),
        (RankingSettings, {"weight": math.nan}, "weight of the match score is nan"),
    ],
)
def test_bad_settings_are_refused(kind, changed, message):
    with pytest.raises(R2D2Error, match=message):
        kind(**changed)


def test_a_table_with_every_kind_of_bad_row(tmp_path):
    def pair(number, split, *texts, image=None, label=None):
        image = png(number) if image is None else image
        texts = tuple(Text(text, "caption") for text in texts)
        return Pair(f"i{number}", image, texts, split, label=label)

    rows = [
        pair(0, "test", "图0 甲", " ", "图0 乙"),
        pair(1, "test", "图1"),
        pair(2, "test", "图2", image=b""),
        pair(3, "test"),
        pair(4, "test", "", "　"),
        pair(5, "test", "图5", image=png(5)[:40]),
        pair(6, "train", "图6", label=0),
        pair(7, "train", "图7", label=1),
    ]
    write_table(tmp_path / "pairs.lance", rows)
    data = EvaluationSet.from_table(PairsTable.open(tmp_path / "pairs.lance"))
    assert data.image_ids == ["i0", "i1", "i2", "i5", "i7"]
    assert data.skipped == {"empty text": 3, "no text": 2, "not a match": 1}
    results = evaluate(Known(), data, EvaluationSettings(batch_size=2), RankingSettings(top_k=2))
    counted = dict(results.skipped)
    assert counted.pop("empty") == 1
    assert sum(counted.pop(kind, 0) for kind in ("truncated", "unreadable")) == 1
    assert counted == data.skipped
    assert results.data.texts == ["图0 甲", "图0 乙", "图1", "图7"]
    assert results.metrics["test"]["queries"] == {"images": 2, "texts": 3}
    assert results.metrics["test_full"]["gallery"] == {"images": 3, "texts": 4}

    write_table(tmp_path / "bare.lance", rows[3:5])
    with pytest.raises(R2D2Error, match="no row has a text"):
        EvaluationSet.from_table(PairsTable.open(tmp_path / "bare.lance"))


def test_a_picture_in_two_rows_owns_the_texts_of_both():
    data = EvaluationSet(["a", "b", "a"], ["test"] * 3, ["一", "二", "三"], [0, 1, 2], lambda _: [])
    images, texts = data.keys()
    assert images[0] == images[2] == {*texts[0], *texts[2]}
    assert images[1] == set(texts[1])


def test_metrics_are_saved_whole_or_not_at_all(tmp_path):
    results = evaluate(Known(), corpus(SPLITS), ranking=RankingSettings(top_k=4))
    results.save(tmp_path / "metrics.json", train={"steps": 3})
    found = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert found["train"] == {"steps": 3}
    assert found["test"] == results.metrics["test"]
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.json"]
    (tmp_path / "taken").mkdir()
    with pytest.raises(R2D2Error, match="cannot write"):
        results.save(tmp_path / "taken")


def test_progress_reaches_its_end():
    seen = {}

    def progress(what, done, total):
        assert seen.get(what, 0) < done <= total
        seen[what] = done
        if done == total:
            seen[what] = math.inf

    evaluate(
        Known(),
        corpus(SPLITS),
        EvaluationSettings(batch_size=7),
        RankingSettings(top_k=4),
        progress=progress,
    )
    assert seen == dict.fromkeys(("images", "texts", "match"), math.inf)


def test_matching_on_a_split_with_groups_is_among_near_misses(tmp_path):
    """Pictures 0 to 2 and 4 to 6 are groups; 8 is alone. Cosine knows the fours only."""
    rows = [
        Pair(f"i{n}", png(n), (Text(f"图{n}", "scene"),), "test", group_id=group)
        for n, group in ((0, "a"), (1, "a"), (4, "b"), (5, "b"), (6, "b"), (8, None))
    ]
    write_table(tmp_path / "pairs.lance", rows, grouped=True)
    data = EvaluationSet.from_table(PairsTable.open(tmp_path / "pairs.lance"))
    found = {
        has: evaluate(Known(has_match=has), data, ranking=RankingSettings(top_k=4)).metrics["test"][
            "matching"
        ]
        for has in (True, False)
    }
    # Two texts with one near miss each, three with two each.
    assert found[True] == {"auc": 100.0, "pairs": 5 + 2 + 6, "negatives": "near misses"}
    assert found[False] == {"auc": 50.0, "pairs": 13, "negatives": "near misses"}
    sampled = evaluate(Known(), data.sample(3, 1), ranking=RankingSettings(top_k=4)).metrics[
        "test"
    ]["matching"]
    assert sampled["pairs"] < 13
