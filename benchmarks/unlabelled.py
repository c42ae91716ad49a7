"""Whether planted duplicates are taken for unlabelled, and what that does to recall.

    OMP_NUM_THREADS=1 python -m benchmarks.unlabelled --out runs/unlabelled

Into the training split of the embedded corpus duplicates are planted: a third of its pictures stand
in a second row, under another id and with another text of the same meaning. Nothing tells training
that both rows match. For each seed a model is trained as usual, and one for each margin of
`objectives.unlabelled_margin`.

Prints Markdown: for each margin R@1 of split `test` by the towers (mean of both directions, of all
seeds, and that of each seed), and the share of candidates that are unlabelled at the end, of the
planted ones and of all others. The shares of a model that was trained as usual are those that the
first margin would find. A run that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from r2d2.config import Config, make_config
from r2d2.data.emoji import emoji_pairs
from r2d2.evaluation.dataset import EvaluationSet
from r2d2.evaluation.evaluate import evaluate
from r2d2.evaluation.settings import EvaluationSettings, RankingSettings
from r2d2.models import load_network
from r2d2.objectives.unlabelled import nearer_than_own
from r2d2.pretrained import Pretrained
from r2d2.table import Pair, PairsTable, write_table
from r2d2.training.pretrain import RunHooks, pretrain

EVERY = 3  # one picture of so many gets a duplicate
COPY = "+copy"  # ends the id of a duplicate
OTHER_TEXT = "这张图画的是{}"
DIRECTIONS = ("i2t", "t2i")


@dataclass(frozen=True)
class Shares:
    """Of the candidates that are no positives, how many are unlabelled."""

    planted: float  # among duplicates
    others: float


def plant(pairs: Iterable[Pair], every: int = EVERY) -> list[Pair]:
    """The pairs, and behind each `every`th one of the training split its duplicate."""
    planted: list[Pair] = []
    seen = 0
    for pair in pairs:
        planted.append(pair)
        if pair.split != "train":
            continue
        if seen % every == 0:
            text = replace(pair.texts[0], text=OTHER_TEXT.format(pair.texts[0].text), text_id="")
            planted.append(replace(pair, image_id=pair.image_id + COPY, texts=(text,)))
        seen += 1
    return planted


def unlabelled_shares(model: Pretrained, pairs: Sequence[Pair], margin: float) -> Shares:
    """What a margin finds among training pairs, each with its first text as a query and its answer.

    Args:
        model: whose towers look for it.
        pairs: of the training split, after `plant`.
        margin: see `nearer_than_own`.
    """
    pictures = (Image.open(io.BytesIO(pair.image)) for pair in pairs)
    images = model.encode_images(pictures).embedding.float()
    texts = model.encode_texts(pair.texts[0].text for pair in pairs).embedding.float()
    own = torch.eye(len(pairs), dtype=torch.bool, device=images.device)
    found = nearer_than_own(images, texts, texts, own, margin)
    back = nearer_than_own(texts, images, images, own, margin)
    ids = [pair.image_id.removesuffix(COPY) for pair in pairs]
    numbers = {image_id: number for number, image_id in enumerate(dict.fromkeys(ids))}
    kind = torch.tensor([numbers[image_id] for image_id in ids], device=images.device)
    duplicates = (kind[:, None] == kind[None, :]) & ~own

    def share(chosen: Tensor) -> float:
        return float(found[chosen].float().mean() + back[chosen].float().mean()) / 2

    return Shares(share(duplicates), share(~duplicates & ~own))


def recall(model: Pretrained, table: PairsTable) -> float:
    """R@1 of split `test` by cosine in %, the mean of both directions."""
    data = EvaluationSet.from_table(table, ("test",))
    settings = EvaluationSettings(splits=("test",))
    ranking = RankingSettings(full=(), weight=0.0, matching=False)
    metrics = evaluate(model, data, settings, ranking).metrics["test"]
    return sum(metrics["prerank"][f"{direction}_r1"] for direction in DIRECTIONS) / 2


def settings_of(variant: str, epochs: int, seed: int, margin: float | None) -> Config:
    """Preset `tiny`, with a margin or without."""
    settings = [f"train.epochs={epochs}", f"train.seed={seed}"]
    if margin is not None:
        settings.append(f"objectives.unlabelled_margin={margin}")
    return make_config("tiny", variant, settings)


def line(name: str, recalls: Sequence[float], shares: Sequence[Shares]) -> str:
    """One row of the table of results."""
    mean = sum(recalls) / len(recalls)
    each = ", ".join(f"{r:.1f}" for r in recalls)
    planted, others = (
        100 * sum(getattr(s, kind) for s in shares) / len(shares) for kind in ("planted", "others")
    )
    return f"| {name} | {mean:.1f} ({each}) | {planted:.1f} | {others:.3f} |"


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--variant", default="prd2")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--margins", type=float, nargs="+", default=[-0.05, 0.02])
    parser.add_argument("--rows", type=int, help="pictures of the corpus, about; default: all")
    given = parser.parse_args()
    corpus = emoji_pairs()
    step = max(1, len(corpus) // (given.rows or len(corpus)))
    pairs = plant(corpus[::step])
    path = given.out / f"planted-{len(pairs)}.lance"
    if not path.exists():
        given.out.mkdir(parents=True, exist_ok=True)
        write_table(path, pairs)
    table, trained = PairsTable.open(path), [pair for pair in pairs if pair.split == "train"]
    lines = [
        "| margin | R@1 of `test` (each seed) | planted, unlabelled in % | others, in % |",
        "|---|---|---|---|",
    ]
    for margin in (None, *given.margins):
        recalls, shares = [], []
        for seed in given.seeds:
            run = given.out / f"{'none' if margin is None else f'{margin:g}'}-seed{seed}"
            config = settings_of(given.variant, given.epochs, seed, margin)
            hooks = RunHooks(preflight_warnings=False)
            pretrain(path, run, config, resume=run.exists(), hooks=hooks)
            model = load_network(str(run), "measure", "cpu")
            recalls.append(recall(model, table))
            tested = given.margins[0] if margin is None else margin
            shares.append(unlabelled_shares(model, trained, tested))
        lines.append(line("none" if margin is None else f"{margin:g}", recalls, shares))
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
