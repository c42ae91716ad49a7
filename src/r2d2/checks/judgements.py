"""Judge how well one part of a row predicts its label, on several selections of rows.

A logistic regression is trained on `train` and tested on all held-out rows. It is also tested on
the held-out rows whose text (picture) is not in `train`, because a text that is in both may be
remembered. Labels may also be predictable within the held-out rows alone, so the regression is
trained on one half of these and tested on the other, and the reverse; rows with the same text
(picture) are always in the same half.

The interval is that of the AUC over clusters of rows with the same text (picture): placement values
(DeLong et al., Biometrics 1988) are summed within a cluster (Obuchowski, Biometrics 1997). The
interval is never narrower than that of random scores, whose variance is (m + n + 1) / (12 m n) for
m matches and n non-matches (Mann and Whitney 1947), because the first estimate is zero where a
small set is separated by luck.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from r2d2.checks.labelled import Floats, Ints, Mask
from r2d2.checks.logistic import SparseRows, learn
from r2d2.ranking.metrics import auc_with_error

FEWEST = 40  # with fewer rows a baseline is not measured
SIGMAS = 3.29  # half the interval in standard errors: a fair set is outside once in 1,000

HELD_OUT = "all held-out rows"
HALVES = "halves of the held-out rows"
HALVES_OF_ALL = "halves of all rows"


@dataclass(frozen=True)
class Judgement:
    """The AUC of one baseline on one selection of rows."""

    rows: str  # the name of the selection
    count: int  # how many rows it has
    auc: float = float("nan")  # 0.5 is chance; NaN where it was not measured
    half: float = float("nan")  # half the width of its interval
    accuracy: float = float("nan")  # at the threshold that was chosen on the training rows
    reason: str = ""  # why it was not measured
    one_sided: bool = False  # whether only an AUC above chance counts

    @property
    def measured(self) -> bool:
        """Whether the AUC was measured."""
        return not self.reason

    @property
    def above(self) -> float:
        """How far the distance from chance exceeds half the interval; 0 where it does not."""
        if not self.measured:
            return 0.0
        distance = self.auc - 0.5 if self.one_sided else abs(self.auc - 0.5)
        return max(0.0, distance - self.half)

    def line(self) -> str:
        """Return the line to print."""
        if not self.measured:
            return f"not measured on {self.rows}: {self.reason}"
        return f"{self.auc:.3f} {self.interval()}"

    def interval(self) -> str:
        """Return the interval and the rows of the AUC in words."""
        return f"± {self.half:.3f} on {self.rows} ({self.count:,})"


def judge(
    rows: SparseRows, keys: Ints, train: Mask, labels: Mask, in_train: Mask, unit: str
) -> list[Judgement]:
    """Judge a baseline by training on `train`, and by training on halves.

    Args:
        rows: (n, width) the features of the baseline.
        keys: (n,) keys of the texts (pictures): rows with equal keys depend on each other.
        train: (n,) whether a row is in the split `train`.
        labels: (n,).
        in_train: (n,) whether the text (picture) of a row is in `train`.
        unit: what the keys are of: "text" or "picture".
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
            name = f"held-out rows whose {unit} is not in 'train'"
            judgements.append(_judge_folds(rows, keys, labels, name, [(train, new)]))
    judgements.append(by_halves(rows, keys, train, labels))
    return judgements


def by_halves(rows: SparseRows, keys: Ints, train: Mask, labels: Mask) -> Judgement:
    """Train on one half of the held-out rows and test on the other, and the reverse.

    Where the held-out rows are too few, all rows are halved. An AUC below chance does not count
    here: it only shows that the halves share items with both labels, such as a picture that was
    encoded twice, which does not reveal any label.
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
    """Judge scores (n,), which needed no training, on the rows called `name`."""
    if lacking := _lacking(labels):
        return Judgement(name, len(labels), reason=lacking)
    auc, error = auc_with_error(scores, labels, keys)
    half = SIGMAS * float(np.sqrt(max(error**2, _variance_by_luck(labels))))
    return Judgement(name, len(labels), auc, half, float(((scores > 0) == labels).mean()))


def _judge_folds(
    rows: SparseRows, keys: Ints, labels: Mask, name: str, folds: list[tuple[Mask, Mask]]
) -> Judgement:
    """Train on the first rows of each fold, test on the second, and take the mean of the folds."""
    count = sum(int(tested.sum()) for _, tested in folds)
    if lacking := _lacking(np.concatenate([labels[tested] for _, tested in folds])):
        return Judgement(name, count, reason=lacking)
    for fold in folds:
        if not all(_both(labels[side]) for side in fold):
            return Judgement(name, count, reason="a half of them has labels of one kind only")
    aucs, variances, right = [], [], []
    for trained, tested in folds:
        model = learn(rows.take(np.flatnonzero(trained)), labels[trained])
        scores = model.scores(rows.take(np.flatnonzero(tested)))
        scores = scores.round(9)  # scores that differ by rounding errors only become ties
        auc, error = auc_with_error(scores, labels[tested], keys[tested])
        aucs.append(auc)
        variances.append(max(error**2, _variance_by_luck(labels[tested])))
        right.append(float(((scores > 0) == labels[tested]).mean()))
    half = SIGMAS * float(np.sqrt(np.mean(variances) / len(folds)))
    return Judgement(name, count, float(np.mean(aucs)), half, float(np.mean(right)))


def _variance_by_luck(labels: Mask) -> float:
    """Return the variance of the AUC of random scores."""
    matches, others = int(labels.sum()), int((~labels).sum())
    return (matches + others + 1) / (12 * matches * others)


def _lacking(labels: Mask) -> str:
    """Return why the labels are too few to train or test on; empty if they are enough."""
    if not len(labels):
        return "no such row is left"
    for label, has_label in ((1, labels), (0, ~labels)):
        if not has_label.any():
            return f"no label {label} is left"
    return "" if len(labels) >= FEWEST else f"{len(labels)} rows, {FEWEST} are needed"


def _both(labels: Mask) -> bool:
    return bool(labels.any() and not labels.all())
