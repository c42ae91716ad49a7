"""How far one part of a row tells its label, on which rows, and why it may not be measured.

A logistic regression is learnt on `train` and asked on all held-out rows, then on those of them
whose text (picture) is not in `train`, since what is in both is remembered and not understood. A
set may also give its labels away in the held-out rows alone, so it is learnt on half of these and
asked on the other half, both ways; rows of one text (picture) never stand in both halves.

The interval is that of the AUC over clusters of rows with one text (picture): placement values
(DeLong et al., Biometrics 1988) summed within the cluster (Obuchowski, Biometrics 1997). It is
never narrower than that of scores without any meaning, whose variance is (m + n + 1) / (12 m n)
for m matches and n non-matches (Mann and Whitney 1947), because the former falls to zero where a
small set is told apart by luck.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from r2d2.checks.labelled import Floats, Ints, Mask
from r2d2.checks.logistic import SparseRows, learn
from r2d2.ranking.metrics import auc_with_error

FEWEST = 40  # rows to judge by, below which nothing can be told
SIGMAS = 3.29  # half the interval: a fair set is out of it once in 1,000

HELD_OUT = "all held-out rows"
HALVES = "halves of the held-out rows"
HALVES_OF_ALL = "halves of all rows"


@dataclass(frozen=True)
class Judgement:
    """One baseline on some rows."""

    rows: str  # which
    count: int  # how many
    auc: float = float("nan")  # 0.5 is chance; NaN where it was not measured
    half: float = float("nan")  # of the interval about it
    accuracy: float = float("nan")  # at the threshold that the rows it was learnt on set
    reason: str = ""  # why it was not measured
    one_sided: bool = False  # whether only an AUC over chance tells something

    @property
    def measured(self) -> bool:
        """Whether there is a figure."""
        return not self.reason

    @property
    def above(self) -> float:
        """Distance from chance that the interval does not explain."""
        if not self.measured:
            return 0.0
        distance = self.auc - 0.5 if self.one_sided else abs(self.auc - 0.5)
        return max(0.0, distance - self.half)

    def line(self) -> str:
        """What to print."""
        if not self.measured:
            return f"not measured on {self.rows}: {self.reason}"
        return f"{self.auc:.3f} {self.interval()}"

    def interval(self) -> str:
        """How sure the figure is, and of which rows."""
        return f"± {self.half:.3f} on {self.rows} ({self.count:,})"


def judge(
    rows: SparseRows, keys: Ints, train: Mask, labels: Mask, in_train: Mask, what: str
) -> list[Judgement]:
    """Learn on `train`, and by halves.

    Args:
        rows: (n, width) what the baseline sees.
        keys: (n,) of the text (picture): rows of one key depend on each other.
        train: (n,) rows of the split train.
        labels: (n,).
        in_train: (n,) whether the text (picture) of a row is in `train`.
        what: is known or new: text or picture.
    """
    held = ~train
    judgements = []
    lacking = _lacking(labels[train]) if train.any() else "no row of it has a label"
    if lacking:
        judgements.append(
            Judgement(HELD_OUT, int(held.sum()), reason=f"'train' cannot teach: {lacking}")
        )
    else:
        judgements.append(_judge_folds(rows, keys, labels, HELD_OUT, [(train, held)]))
        new = held & ~in_train
        if new.sum() < held.sum():
            name = f"held-out rows whose {what} is not in 'train'"
            judgements.append(_judge_folds(rows, keys, labels, name, [(train, new)]))
    judgements.append(by_halves(rows, keys, train, labels))
    return judgements


def by_halves(rows: SparseRows, keys: Ints, train: Mask, labels: Mask) -> Judgement:
    """Learn on half of the held-out rows and test the other; on all rows where those are too few.

    Two halves of one set are alike. An AUC under chance only says that they share what has both
    labels, such as a picture that was encoded twice, and gives no label away.
    """
    part, name = ~train, HALVES
    if _lacking(labels[part]) and train.any():
        part, name = np.ones_like(train), HALVES_OF_ALL
    if lacking := _lacking(labels[part]):
        return Judgement(name, int(part.sum()), reason=lacking)
    even = keys % 2 == 0
    folds = [(part & even, part & ~even), (part & ~even, part & even)]
    return replace(_judge_folds(rows, keys, labels, name, folds), one_sided=True)


def by_scores(scores: Floats, keys: Ints, labels: Mask, name: str) -> Judgement:
    """Of scores (n,) of the rows `name` that nothing had to be learnt for."""
    if lacking := _lacking(labels):
        return Judgement(name, len(labels), reason=lacking)
    auc, error = auc_with_error(scores, labels, keys)
    half = SIGMAS * float(np.sqrt(max(error**2, _variance_by_luck(labels))))
    return Judgement(name, len(labels), auc, half, float(((scores > 0) == labels).mean()))


def _judge_folds(
    rows: SparseRows, keys: Ints, labels: Mask, name: str, folds: list[tuple[Mask, Mask]]
) -> Judgement:
    """Learn on the first set of rows of each fold and test on the second; the mean of all folds."""
    count = sum(int(tested.sum()) for _, tested in folds)
    every = np.concatenate([labels[tested] for _, tested in folds])
    if lacking := _lacking(every):
        return Judgement(name, count, reason=lacking)
    for fold in folds:
        if not all(_both(labels[side]) for side in fold):
            return Judgement(name, count, reason="a half of them has labels of one kind only")
    aucs, variances, right = [], [], []
    for taught, tested in folds:
        model = learn(rows.take(np.flatnonzero(taught)), labels[taught])
        scores = model.scores(rows.take(np.flatnonzero(tested)))
        scores = scores.round(9)  # what is equal but for rounding ties
        auc, error = auc_with_error(scores, labels[tested], keys[tested])
        aucs.append(auc)
        variances.append(max(error**2, _variance_by_luck(labels[tested])))
        right.append(float(((scores > 0) == labels[tested]).mean()))
    half = SIGMAS * float(np.sqrt(np.mean(variances) / len(folds)))
    return Judgement(name, count, float(np.mean(aucs)), half, float(np.mean(right)))


def _variance_by_luck(labels: Mask) -> float:
    """Of the AUC of scores that have nothing to do with the labels."""
    matches, others = int(labels.sum()), int((~labels).sum())
    return (matches + others + 1) / (12 * matches * others)


def _lacking(labels: Mask) -> str:
    """Why labels are not enough to learn from or to judge by; empty where they are."""
    if not len(labels):
        return "no such row is left"
    for label, some in ((1, labels), (0, ~labels)):
        if not some.any():
            return f"no label {label} is left"
    return "" if len(labels) >= FEWEST else f"{len(labels)} rows, {FEWEST} are needed"


def _both(labels: Mask) -> bool:
    return bool(labels.any() and not labels.all())
