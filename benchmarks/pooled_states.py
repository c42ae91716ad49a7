"""A middle stage between vectors and cross encoders: MaxSim over a few pooled states a picture.

    python -m benchmarks.pooled_states TABLE MODEL [--parts 1 --parts 4 --parts 16]

The patches of a picture are averaged over a grid of so many parts and projected as [CLS] is; each
token of a text looks for the part that is most like it; the mean over the tokens, times a weight,
is added to the cosine. The weight is the best of `WEIGHTS` by R@1 on `val`. Prints R@1 and R@10 of
texts of `test` that look for pictures of the whole table, the gain over the cosine, and what the
parts take for each picture in float32. For models with towers of our own; nothing is trained for
it, and a gain of 0 means that the stage is not worth its bytes.
"""

from __future__ import annotations

import argparse
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from r2d2.evaluation.dataset import EvaluationSet
from r2d2.model.encoded_states import EncodedStates
from r2d2.model.towers import Towers
from r2d2.models import load_network
from r2d2.pretrained import Pretrained
from r2d2.table import PairsTable

WEIGHTS = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0)
AT_ONCE = 256


def parts_of(towers: Towers, side: EncodedStates, parts: int) -> Tensor:
    """(n, parts, d) of unit length: patches averaged over a square grid, then projected."""
    patches = side.states[:, 1:]
    grid, cells = math.isqrt(patches.shape[1]), math.isqrt(parts)
    map_ = patches.mT.unflatten(2, (grid, grid))
    pooled = F.adaptive_avg_pool2d(map_, cells).flatten(2).mT
    return F.normalize(towers.image_projection(towers.pooled_norm(pooled)), dim=-1)


def tokens_of(towers: Towers, side: EncodedStates) -> tuple[Tensor, Tensor]:
    """(n, L - 1, d) of unit length without [CLS], and which are real: [SEP] is not."""
    real = side.real()
    ends = real.sum(1) - 1  # of [SEP]
    inside = real & (torch.arange(real.shape[1], device=real.device) != ends[:, None])
    return F.normalize(towers.text_projection(side.states[:, 1:]), dim=-1), inside[:, 1:]


def maxsim(tokens: Tensor, real: Tensor, parts: Tensor) -> Tensor:
    """(m, n): the mean over a text's tokens of the likeness of the nearest part of a picture.

    Args:
        tokens: (m, L, d).
        real: (m, L) bool; a text without any gets 0.
        parts: (n, K, d).
    """
    rows = []
    for token, there in zip(tokens, real, strict=True):
        nearest = torch.einsum("ld,nkd->lnk", token[there], parts).amax(2)
        rows.append(nearest.sum(0) / max(1, len(nearest)))
    return torch.stack(rows)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table")
    parser.add_argument("model")
    parser.add_argument("--parts", type=int, action="append", help="a square number")
    given = parser.parse_args()
    model = load_network(given.model, "fine-tune", "cpu")
    towers = model.model.towers
    if not isinstance(towers, Towers):
        parser.error(f"{given.model} has towers of another kind")
    data = EvaluationSet.from_table(PairsTable.open(given.table))
    images = EncodedStates.cat(_pictures(model, data))
    right = {split: _right(data, split) for split in ("val", "test")}
    sides = {split: model.encode_texts([data.texts[t] for t, _ in right[split]]) for split in right}
    cosines = {split: side.embedding @ images.embedding.T for split, side in sides.items()}
    owners = {split: [image for _, image in pairs] for split, pairs in right.items()}
    base = _recalls(cosines["test"], owners["test"])
    print(f"{'parts':>6} {'bytes':>7} {'weight':>7} {'R@1':>6} {'R@10':>6} {'gain':>6}")
    print(f"{0:6} {0:7} {0.0:7g} {base[0]:6.2f} {base[1]:6.2f} {0.0:6.2f}")
    with torch.inference_mode():
        for parts in given.parts or (1, 4, 16):
            pooled = parts_of(towers, images, parts)
            likeness = {s: maxsim(*tokens_of(towers, side), pooled) for s, side in sides.items()}
            weight = max(
                WEIGHTS,
                key=lambda w: _recalls(cosines["val"] + w * likeness["val"], owners["val"])[0],
            )
            found = _recalls(cosines["test"] + weight * likeness["test"], owners["test"])
            size = 4 * parts * pooled.shape[2]
            gain = found[0] - base[0]
            print(f"{parts:6} {size:7} {weight:7g} {found[0]:6.2f} {found[1]:6.2f} {gain:6.2f}")


def _pictures(model: Pretrained, data: EvaluationSet) -> list[EncodedStates]:
    total = range(len(data.image_ids))
    parts = [total[start : start + AT_ONCE] for start in range(0, len(total), AT_ONCE)]
    return [model.encode_images(data.load(part)) for part in parts]  # type: ignore[arg-type]


def _right(data: EvaluationSet, split: str) -> list[tuple[int, int]]:
    """Texts of a split, each with the position of its picture."""
    return [(t, image) for t, image in enumerate(data.text_image) if data.splits[image] == split]


def _recalls(scores: Tensor, owners: list[int]) -> tuple[float, float]:
    """R@1 and R@10 in %; equals count against."""
    own = scores[torch.arange(len(owners)), owners]
    ranks = (scores >= own[:, None]).sum(1)
    return tuple(100 * float((ranks <= k).float().mean()) for k in (1, 10))  # type: ignore[return-value]


if __name__ == "__main__":
    main()
