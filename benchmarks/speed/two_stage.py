"""The second stage of retrieval: what the cross encoders make of the candidates, both directions.

emoji: the model that comes along, its own pictures and names, 128 candidates. base: random weights
and texts of 8 to 28 tokens, one query a direction with 32 candidates; time goes with their number.
The sides get the same states and embeddings; encoding is not part of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.return_types import topk

from benchmarks.speed.compare import Result, compare, tell
from benchmarks.speed.plain.layers import PlainR2D2, plain_names
from benchmarks.speed.plain.two_stage import Corpus, images_ask, texts_ask
from benchmarks.speed.sides import settings
from r2d2.config import ModelConfig
from r2d2.evaluation.second_stage import PairRequest, SecondStage
from r2d2.evaluation.states import StateStore
from r2d2.model.encoded_states import EncodedStates
from r2d2.model.r2d2 import R2D2
from r2d2.models import load
from r2d2.pretrained import Pretrained
from r2d2.tokenizer import Tokenizer

FASTER, CASCADE_FASTER = 3.0, 8.0  # times
SCORES = 1e-4  # how far apart both sides' may be
SHORTEST, LONGEST = 8, 28  # tokens a text of random ones, [CLS] and [SEP] included


@dataclass(frozen=True)
class Size:
    """What is measured."""

    name: str
    model: ModelConfig | None  # None: the model that comes along
    items: int  # images, and as many texts
    queries: int  # of each direction
    top_k: int
    head: int  # of the cascade
    weight: float = 1.0


def sizes(name: str) -> Size:
    """emoji, base, or toy for tests."""
    if name == "emoji":
        return Size(name, None, 323, 32, 128, 16, 0.1)
    if name == "base":
        return Size(name, settings("base").model, 33, 1, 32, 4)
    more = ("model.vision.width=48",) if name == "toy" else ()
    return Size(name, settings("toy", *more).model, 12, 5, 6, 2)


def results(rounds: int, quick: bool) -> Iterator[Result]:
    """Exact, and by a cascade, of each size."""
    for name in ("toy",) if quick else ("emoji", "base"):
        size = sizes(name)
        stage = make_stage(size)
        note = f"{size.queries} queries each way, top {size.top_k}"
        yield agreement(stage)
        yield compare(f"two_stage.{name}", FASTER, stage.plain, stage.ours, rounds, note=note)
        yield compare(
            f"two_stage.{name}.cascade", CASCADE_FASTER, stage.plain, stage.cascaded, rounds,
            note=f"{note}, both sides for {size.head}",
        )  # fmt: skip


def agreement(stage: Stage) -> Result:
    """How far apart both sides' scores are: a ratio of times counts for nothing else."""
    tell(f"two_stage.{stage.size.name}.scores", 0, 1)
    apart, alone = 0.0, 0
    for plain, ours in zip(stage.plain(), stage.ours(), strict=True):
        alone += len(plain.keys() ^ ours.keys())
        apart = max(apart, *(abs(plain[item] - ours[item]) for item in plain.keys() & ours.keys()))
    tell(f"two_stage.{stage.size.name}.scores", 1, 1)
    return Result(
        f"two_stage.{stage.size.name}.scores", apart, SCORES, at_most=True,
        note=f"largest difference between the sides; {alone} candidates of one side alone",
    )  # fmt: skip


@dataclass
class Stage:
    """Both sides over one corpus."""

    size: Size
    model: Pretrained
    usual: PlainR2D2
    corpus: Corpus
    images: StateStore
    texts: StateStore

    def plain(self) -> list[dict[int, float]]:
        """Scores of each query's candidates: images ask, then texts."""
        some = list(range(self.size.queries))
        given = self.usual, self.corpus, some, self.size.top_k, self.size.weight
        return images_ask(*given) + texts_ask(*given)

    def ours(self) -> list[dict[int, float]]:
        """The same."""
        return self._ask(None)

    def cascaded(self) -> list[dict[int, float]]:
        """The same by a cascade."""
        return self._ask(self.size.head)

    def asked(self) -> list[PairRequest]:
        """The candidates of images, then of texts."""
        rows = torch.arange(self.size.queries)[:, None].expand(-1, self.size.top_k).reshape(-1)
        by_image, by_text = self._candidates()
        return [
            PairRequest(rows, by_image.indices.reshape(-1), by_image.values),
            PairRequest(by_text.indices.reshape(-1), rows, by_text.values),
        ]

    def _candidates(self) -> tuple[topk, topk]:
        n, k = self.size.queries, self.size.top_k
        image, text = self.images.embedding, self.texts.embedding
        return (image[:n] @ text.T).topk(k), (text[:n] @ image.T).topk(k)

    def _ask(self, head: int | None) -> list[dict[int, float]]:
        size = self.size
        stage = SecondStage(self.model, self.images, self.texts, cascade=head)
        scores = []
        for (match, cheap), (cosine, items) in zip(
            stage.match(self.asked(), [size.weight]), self._candidates(), strict=True
        ):
            match = match.view_as(cosine)
            if cheap is None:
                final = size.weight * match + cosine
            else:
                final = cheap.scores(cosine, match, size.weight)
            scores += [
                dict(zip(i.tolist(), s.tolist(), strict=True))
                for i, s in zip(items, final, strict=True)
            ]
        return scores


def make_stage(size: Size) -> Stage:
    """A model, the same as the plain side has it, and a corpus."""
    torch.manual_seed(0)
    if size.model is None:
        model = load("emoji", "cpu")
        images, texts = _emoji(model, size.items)
    else:
        model, images, texts = _random(size.model, size.items)
    config = model.model.config
    usual = PlainR2D2(config)
    usual.load_state_dict(plain_names(model.model.state_dict(), config.vision.patch_size))
    longest = config.text.max_length
    return Stage(
        size, model, usual.eval(),
        Corpus(images.states, images.embedding, _padded(texts.states, longest),
               _padded(texts.real(), longest), texts.embedding),
        _stored(images), _stored(texts),
    )  # fmt: skip


def _emoji(model: Pretrained, count: int) -> tuple[EncodedStates, EncodedStates]:
    """Pictures of the split test, and the name of each."""
    from r2d2.data.emoji import emoji_pairs
    from r2d2.images.decode import decode_image

    pairs = [pair for pair in emoji_pairs() if pair.split == "test"][:count]
    return (
        model.encode_images([decode_image(pair.image) for pair in pairs]),
        model.encode_texts([pair.texts[0].text for pair in pairs]),
    )


def _random(config: ModelConfig, count: int) -> tuple[Pretrained, EncodedStates, EncodedStates]:
    model = R2D2(config).eval()
    for head in (model.match_head_text, model.match_head_image):
        torch.nn.init.normal_(head.weight, std=0.5)
    lengths = torch.linspace(SHORTEST, LONGEST, count).round().long()[torch.randperm(count)]
    mask = torch.arange(LONGEST) < lengths[:, None]
    dims = config.embed_dim

    def embeds() -> Tensor:
        return F.normalize(torch.randn(count, dims), dim=-1)

    images = EncodedStates(
        torch.randn(count, 1 + config.vision.patches, config.vision.width), None, embeds()
    )
    texts = EncodedStates(
        torch.randn(count, LONGEST, config.text.width) * mask[:, :, None], mask, embeds()
    )
    tokenizer = Tokenizer.train(["文"], 64, config.text.max_length)
    return Pretrained(model, tokenizer), images, texts


def _padded(x: Tensor, longest: int) -> Tensor:
    return torch.cat([x, x.new_zeros(len(x), longest - x.shape[1], *x.shape[2:])], dim=1)


def _stored(side: EncodedStates) -> StateStore:
    stored = StateStore(states=True)
    stored.add(side)
    stored.done()
    return stored
