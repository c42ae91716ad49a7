"""The cascade against plain sorting; who is scored by what; what is refused."""

import pytest
import torch

from helpers.pictures import picture
from helpers.searchers import TEXTS, small_model
from r2d2.errors import R2D2Error
from r2d2.evaluation.dataset import EvaluationSet
from r2d2.evaluation.encode import encode
from r2d2.evaluation.evaluate import evaluate
from r2d2.evaluation.pairs import match_scores
from r2d2.evaluation.second_stage import PairRequest, SecondStage
from r2d2.evaluation.settings import RankingSettings
from r2d2.models import CrossEncoderModel
from r2d2.ranking.two_stage import WEIGHTS


class Counting:
    """A model, and the pairs that each of its cross encoders was asked."""

    has_match = True

    def __init__(self, model):
        self.model, self.text, self.image = model, 0, 0
        self.encode_images, self.encode_texts = model.encode_images, model.encode_texts

    def match_text(self, images, texts, pairs):
        self.text += len(pairs[0])
        return self.model.match_text(images, texts, pairs)

    def match_image(self, images, texts, pairs):
        self.image += len(pairs[0])
        return self.model.match_image(images, texts, pairs)


class Whole:
    """A model that scores by both cross encoders together only."""

    has_match = True

    def __init__(self, model):
        self.encode_images, self.encode_texts = model.encode_images, model.encode_texts
        self.match = model.match


def corpus(count=24, splits=("test", "val")):
    names = [splits[n % len(splits)] for n in range(count)]
    return EvaluationSet(
        [f"i{n}" for n in range(count)], names, TEXTS[:count], list(range(count)),
        lambda places: [picture(p) for p in places],
    )  # fmt: skip


@torch.inference_mode()
def test_each_half_is_that_of_whole_pairs():
    model = small_model()
    encoded = encode(model, corpus(), 7)
    image = torch.tensor([5, 0, 5, 11, 3, 5])
    text = torch.tensor([2, 2, 9, 0, 23, 2])
    halves = [
        match_scores(model, encoded.images, encoded.texts, image, text, by=by, batch_size=size)
        for by in ("text", "image") for size in (1, 3, 256)
    ]  # fmt: skip
    both = match_scores(model, encoded.images, encoded.texts, image, text)
    for number, (i, t) in enumerate(zip(image.tolist(), text.tolist(), strict=True)):
        images = model.encode_images([picture(i)])
        texts = model.encode_texts([TEXTS[t]])
        p_text = float(model.model.match_text(images, texts))
        p_image = float(model.model.match_image(images, texts))
        assert [float(h[number]) for h in halves[:3]] == pytest.approx([p_text] * 3, abs=1e-5)
        assert [float(h[number]) for h in halves[3:]] == pytest.approx([p_image] * 3, abs=1e-5)
        assert float(both[number]) == pytest.approx((p_text + p_image) / 2, abs=1e-5)


def test_a_head_of_all_candidates_changes_nothing():
    model = small_model()
    plain = evaluate(model, corpus(), ranking=RankingSettings(top_k=6))
    whole = evaluate(model, corpus(), ranking=RankingSettings(top_k=6, cascade=6))
    assert whole.metrics.pop("cascade") == 6
    assert whole.metrics == plain.metrics
    assert (
        evaluate(model, corpus(), ranking=RankingSettings(top_k=6, cascade=2)).metrics["cascade"]
        == 2
    )


@pytest.mark.parametrize("weights", [[0.0], [0.5], WEIGHTS])
def test_only_heads_are_scored_by_both(weights):
    model = Counting(small_model())
    assert isinstance(model, CrossEncoderModel)
    encoded = encode(model, corpus(), 64)
    k, cosine = 10, torch.linspace(0.9, 0.1, 10).expand(24, 10)
    image = torch.arange(24)[:, None].expand(24, k).reshape(-1)
    text = (image * 7 + torch.arange(k).repeat(24)) % 24
    stage = SecondStage(model, encoded.images, encoded.texts, cascade=2)
    ((scores, cascade),) = stage.match([PairRequest(image, text, cosine)], weights)
    heads = [cascade.in_head(cosine, w) for w in weights if w > 0]
    wanted = torch.stack(heads).any(0).flatten() if heads else torch.zeros(240, dtype=torch.bool)
    assert model.text == 240
    assert model.image == int(wanted.sum())
    assert torch.equal(torch.isfinite(scores), wanted)
    assert len(weights) > 1 or model.image in (0, 48)


def test_what_cannot_be_is_refused_before_any_work():
    with pytest.raises(R2D2Error, match="cascade is 0"):
        evaluate(small_model(), corpus(), ranking=RankingSettings(cascade=0))
    with pytest.raises(R2D2Error, match="leave --cascade out"):
        evaluate(Whole(small_model()), corpus(), ranking=RankingSettings(cascade=4))
    without = evaluate(
        small_model("prd2"), corpus(), ranking=RankingSettings(cascade=4)
    )  # there is no second stage
    assert "cascade" not in without.metrics
