"""What smaller vectors cost in recall: fewer numbers (`--dim`), a byte for each (int8), or both.

    python -m benchmarks.small_vectors TABLE MODEL --dim 32 [--dim 64]

Prints for each kind of vectors the bytes of one, and R@1 and R@10 of split `test` against the whole
table, by cosine alone: of texts that look for pictures, and of pictures that look for texts. Where
vectors are kept in int8, those of the gallery are, with its scales; the query's are not.
"""

from __future__ import annotations

import argparse

import numpy as np

from r2d2.evaluation.dataset import EvaluationSet
from r2d2.evaluation.evaluate import evaluate
from r2d2.evaluation.precomputed import Matrix, PrecomputedEmbeddings
from r2d2.evaluation.settings import EvaluationSettings, RankingSettings
from r2d2.index.vectors.exact import from_int8, scales_of, to_int8
from r2d2.models import load
from r2d2.table import PairsTable

AT_ONCE = 256


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table")
    parser.add_argument("model")
    parser.add_argument("--dim", type=int, action="append", default=[])
    given = parser.parse_args()
    data = EvaluationSet.from_table(PairsTable.open(given.table))
    images, texts, kept = _encoded(given.model, data)
    data = data.keep(kept)
    print(f"{'vectors':>14} {'bytes':>6} {'t2i R@1':>8} {'R@10':>6} {'i2t R@1':>8} {'R@10':>6}")
    for dim in (images.shape[1], *given.dim):
        cut = [_unit(matrix[:, :dim]) for matrix in (images, texts)]
        small = [_in_bytes(matrix) for matrix in cut]
        _tell(f"{dim} float32", 4 * dim, data, (cut[0], cut[1]), (cut[0], cut[1]))
        _tell(f"{dim} int8", dim, data, (small[0], cut[1]), (cut[0], small[1]))


def _encoded(name: str, data: EvaluationSet) -> tuple[Matrix, Matrix, list[int]]:
    """Embeddings of the pictures that can be read, of the texts, and which pictures these are."""
    model = load(name)
    places = range(len(data.image_ids))
    images, kept = [], []
    for start in range(0, len(places), AT_ONCE):
        part = places[start : start + AT_ONCE]
        read = [(p, x) for p, x in zip(part, data.load(part), strict=True) if hasattr(x, "size")]
        images.append(model.encode_images([x for _, x in read]).embedding.float().cpu().numpy())
        kept += [place for place, _ in read]
    texts = model.encode_texts(data.keep(kept).texts).embedding.float().cpu().numpy()
    return np.concatenate(images), texts, kept


def _unit(x: Matrix) -> Matrix:
    found: Matrix = x / np.linalg.norm(x, axis=1, keepdims=True)
    return found


def _in_bytes(x: Matrix) -> Matrix:
    scales = scales_of([x])
    return from_int8(to_int8(x, scales), scales)


def _tell(
    name: str,
    size: int,
    data: EvaluationSet,
    text_to_image: tuple[Matrix, Matrix],
    image_to_text: tuple[Matrix, Matrix],
) -> None:
    """A line; (pictures, texts) as they are compared in each direction."""
    figures = []
    for way, (images, texts) in (("t2i", text_to_image), ("i2t", image_to_text)):
        encoder = PrecomputedEmbeddings(images, data.image_ids, texts, data.texts)
        found = evaluate(
            encoder, data, EvaluationSettings(splits=("test",)), RankingSettings(matching=False)
        ).metrics
        recalls = found["test_full"]["prerank"]
        figures += [recalls[f"{way}_r1"], recalls[f"{way}_r10"]]
    t1, t10, i1, i10 = figures
    print(f"{name:>14} {size:6} {t1:8.2f} {t10:6.2f} {i1:8.2f} {i10:6.2f}", flush=True)


if __name__ == "__main__":
    main()
