"""Each change of the second stage by itself: ours without it, beside ours.

The corpora of `two_stage`, base with fewer candidates, so that seven rounds of all end within five
minutes on two cores. What a change saves of the operations is counted, and stands in the
note as what was to be expected; the ratio is what it saves of the time. Changes meet: without one,
another has more to save, so the ratios do not multiply to that of `two_stage`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.speed.compare import Result, compare, tell
from benchmarks.speed.two_stage import Size, Stage, make_stage, sizes
from benchmarks.speed.work import flops_of
from r2d2.evaluation.second_stage import PairRequest, SecondStage
from r2d2.model.encoded_states import EncodedStates
from r2d2.model.fast.packing import Packing
from r2d2.model.r2d2 import Pairs
from r2d2.pretrained import Pretrained, Score

Scores = list[Tensor]  # (q k,) of each direction
BASE_TOP_K = 12  # candidates a query; time goes with their number
PART = 32  # pairs at once, where there are no states to count by


def results(rounds: int, quick: bool) -> Iterator[Result]:
    """Of each size, each change."""
    for name in ("toy",) if quick else ("emoji", "base"):
        stage = make_stage(size_of(name))
        whole = partial(ours, stage)
        tell(f"second_stage.{name}", 0, 1)
        work = flops_of(whole)
        tell(f"second_stage.{name}", 1, 1)
        for change, without in changes(stage).items():
            expected = flops_of(without) / work
            yield compare(
                f"second_stage.{name}.{change}", math.nan, without, whole, rounds,
                note=f"by operations {expected:.2f}",
            )  # fmt: skip


def size_of(name: str) -> Size:
    """As in `two_stage`; of base fewer candidates."""
    size = sizes(name)
    return replace(size, top_k=BASE_TOP_K) if name == "base" else size


def changes(stage: Stage) -> dict[str, Callable[[], Scores]]:
    """Ours without one of its changes, by its name; the scores are the same."""
    return {
        "batched": partial(_one_query_at_a_time, stage),
        "once_a_pair": partial(_directions_apart, stage),
        "once_an_item": partial(ours, stage, _like(Gathered, stage.model)),
        "last_layer": partial(ours, stage, _like(EveryPosition, stage.model)),
        "trimmed": partial(ours, stage, _like(Padded, stage.model)),
    }


def ours(stage: Stage, model: Pretrained | None = None) -> Scores:
    """Match scores of all candidates of both directions."""
    found = _second_stage(stage, model).match(stage.asked(), [stage.size.weight])
    return [scores for scores, _ in found]


def _directions_apart(stage: Stage) -> Scores:
    """A pair that both directions want is scored twice."""
    second = _second_stage(stage)
    return [second.match([one], [stage.size.weight])[0][0] for one in stage.asked()]


def _one_query_at_a_time(stage: Stage) -> Scores:
    second, found = _second_stage(stage), []
    for one in stage.asked():
        queries = zip(
            one.image.split(stage.size.top_k), one.text.split(stage.size.top_k), strict=True
        )
        found.append(
            torch.cat(
                [second.match([PairRequest(i, t)], [stage.size.weight])[0][0] for i, t in queries]
            )
        )
    return found


def _second_stage(stage: Stage, model: Pretrained | None = None) -> SecondStage:
    return SecondStage(model or stage.model, stage.images, stage.texts)


def _like(kind: type[Pretrained], model: Pretrained) -> Pretrained:
    return kind(model.model, model.tokenizer, model.match_weight, top_k=model.top_k)


class Gathered(Pretrained):
    """What belongs to an item, keys and values first of all, is computed for each of its pairs."""

    def _by_parts(
        self, score: Score, images: EncodedStates, texts: EncodedStates, pairs: Pairs, length: int
    ) -> Tensor:
        every = torch.arange(len(pairs[0]))
        sides = images[pairs[0]], texts[pairs[1]]
        return super()._by_parts(score, *sides, (every, every), length)


class EveryPosition(Pretrained):
    """The last layer at all positions, though the score reads [CLS] alone."""

    @torch.inference_mode()
    def match_text(self, images: EncodedStates, texts: EncodedStates, pairs: Pairs) -> Tensor:
        """See Pretrained."""
        return self._by_parts(self._text, images, texts, pairs, texts.states.shape[1])

    @torch.inference_mode()
    def match_image(self, images: EncodedStates, texts: EncodedStates, pairs: Pairs) -> Tensor:
        """See Pretrained."""
        return self._by_parts(self._image, images, texts, pairs, images.states.shape[1])

    def _text(self, images: EncodedStates, texts: EncodedStates, pairs: Pairs) -> Tensor:
        states = self.model.cross_text(images, texts, pairs, _every(texts.states, pairs))
        return self.model.match_head_text(states[:, 0]).float().softmax(-1)[:, 1]

    def _image(self, images: EncodedStates, texts: EncodedStates, pairs: Pairs) -> Tensor:
        queries = self.model.image_cross_projection(images.states)
        states = self.model.image_to_text(
            queries, images.mask, texts.states, texts.mask, pairs, _every(queries, pairs)
        )
        return self.model.match_head_image(states[:, 0]).float().softmax(-1)[:, 1]


class Padded(Pretrained):
    """Texts as long as the longest that the model reads; padding is computed as text is."""

    def _by_parts(
        self, score: Score, images: EncodedStates, texts: EncodedStates, pairs: Pairs, length: int
    ) -> Tensor:
        texts = _padded(texts, self.tokenizer.max_length)
        found = []
        with mock.patch.object(Packing, "of", return_value=None):
            for at in range(0, len(pairs[0]), PART):
                image, i = torch.unique(pairs[0][at : at + PART], return_inverse=True)
                text, t = torch.unique(pairs[1][at : at + PART], return_inverse=True)
                found.append(score(images[image], texts[text], (i, t)))
        return torch.cat(found)


def _every(states: Tensor, pairs: Pairs) -> Tensor:
    return torch.arange(states.shape[1]).expand(len(pairs[0]), -1)


def _padded(texts: EncodedStates, longest: int) -> EncodedStates:
    more = longest - texts.states.shape[1]
    mask = texts.real()
    return EncodedStates(
        F.pad(texts.states, (0, 0, 0, more)), F.pad(mask, (0, more)), texts.embedding
    )
