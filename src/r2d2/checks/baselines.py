"""Baselines that predict a label from one part of a row; they must stay at chance level.

If the text alone predicts the labels of a matching set, or the picture, an id or the order of the
rows, then the set does not measure whether a model understands picture and text. `judgements` tells
how this is measured, and on which rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from r2d2.checks import features
from r2d2.checks.base import TRAIN, CheckOptions, Chunk, Fact, Finding, Severity
from r2d2.checks.judgements import FEWEST, HELD_OUT, SIGMAS, Judgement, by_halves, by_scores, judge
from r2d2.checks.labelled import Ints, LabelledRow, LabelledRows, Mask
from r2d2.checks.logistic import SparseRows, dense_rows

# Distances of an AUC from chance. A distance below SMALL is ignored. One that exceeds the interval
# by LARGE fails the check: a model that sees one part only would then order six of ten pairs right,
# while the methods that are compared on such sets differ by a few of a hundred.
SMALL, LARGE = 0.02, 0.1

COMPARE = (
    "a model can do well on this set without comparing picture and text: let every text and every "
    "picture stand as often in a match as in a non-match of the same split, as `r2d2 downstream "
    "make` does"
)
FILL_ALIKE = (
    "the label can be read from this part of the row without comparing picture and text: fill this "
    "part in the same way for matches and for non-matches, or leave it out"
)
SHUFFLE = (
    "no model sees the order of the rows, so no figure is affected; but the first rows of the file "
    "are not a fair sample: shuffle the rows before you take a part of them or have them labelled"
)

NO_TEXT_ID, NO_PICTURE = "no row has a text_id", "no picture was decoded"


@dataclass(frozen=True)
class Baseline:
    """How well one part of a row predicts the label."""

    name: str
    judgements: tuple[Judgement, ...]
    remedy: str
    reaches_models: bool = True  # False: evaluation gives this part to no model, so it is a note

    @property
    def worst(self) -> Judgement:
        """The judgement farthest from chance; one that was not measured if none was."""
        measured = [judgement for judgement in self.judgements if judgement.measured]
        return max(measured, key=lambda j: (j.above, abs(j.auc - 0.5)), default=self.judgements[0])

    def finding(self) -> Finding | None:
        """Return a finding if this part predicts the labels."""
        worst = self.worst
        if worst.above <= 0 or abs(worst.auc - 0.5) < SMALL:
            return None
        severity: Severity = "stop" if worst.above > LARGE else "warn"
        if not self.reaches_models:
            severity = "note"
        # An accuracy below one half is as informative as one above: the prediction can be inverted.
        right = max(worst.accuracy, 1 - worst.accuracy)
        verb = "tell" if " and " in self.name else "tells"
        return Finding(
            f"{self.name} alone {verb} matches from non-matches "
            f"(AUC {worst.auc:.3f} ± {worst.half:.3f} on {worst.rows})",
            severity, round(right * worst.count), worst.count, "rows told right", (), self.remedy,
        )  # fmt: skip

    def fact(self) -> Fact:
        """Return all judgements as a figure, the worst first."""
        worst = self.worst
        others = [judgement for judgement in self.judgements if judgement is not worst]
        name = f"baseline, {self.name} only"
        if not worst.measured and not others:
            return Fact(name, "not measured", worst.reason)
        if not worst.measured:
            note = "; ".join(f"on {each.rows}: {each.reason}" for each in self.judgements)
            return Fact(name, "not measured", note)
        note = "; ".join((worst.interval(), *(judgement.line() for judgement in others)))
        return Fact(name, round(worst.auc, 4), note)


@dataclass(frozen=True)
class JudgedRows:
    """The n labelled rows that baselines are trained and tested on."""

    keys: Ints  # (n,) keys of the texts (pictures): rows with equal keys depend on each other
    train: Mask  # (n,) whether a row is in the split `train`
    labels: Mask  # (n,)
    in_train: Mask  # (n,) whether the text (picture) of a row occurs in `train`
    unit: str  # what the keys are of: "text" or "picture"

    def baseline(
        self, name: str, features: SparseRows | None, remedy: str, absent: str = ""
    ) -> Baseline:
        """Make a baseline of all judgements; `absent` says why there are no features."""
        if features is None:
            reason = Judgement("any row", len(self.keys), reason=absent)
            return Baseline(name, (reason,), remedy)
        judgements = judge(features, self.keys, self.train, self.labels, self.in_train, self.unit)
        return Baseline(name, tuple(judgements), remedy)


class BaselineCheck:
    """Checks each part of a row by itself: text, picture, ids, clicks, position in the file."""

    def __init__(self, options: CheckOptions) -> None:
        self.labelled = LabelledRows()
        self._baselines: list[Baseline] | None = None

    def see(self, chunk: Chunk) -> None:
        """See `Check`."""
        self.labelled.see(chunk)

    def findings(self) -> list[Finding]:
        """See `Check`."""
        findings = [baseline.finding() for baseline in self.measure()]
        return [finding for finding in findings if finding is not None]

    def facts(self) -> list[Fact]:
        """See `FactCheck`."""
        if reason := self._unfit():
            return [Fact("baselines", "not measured", reason)]
        return [
            Fact(
                "baselines", "AUC of one part of a row for its label",
                f"chance is 0.5; ± {SIGMAS} standard errors; the worst of several figures comes "
                f"first; a warning is given {SMALL} from chance if the interval does not cover it; "
                f"the check fails where the distance exceeds the interval by {LARGE}",
            ),
            *(baseline.fact() for baseline in self.measure()),
        ]  # fmt: skip

    def measure(self) -> list[Baseline]:
        """Return all baselines; none where the table has too few labels."""
        if self._baselines is None:
            self._baselines = [] if self._unfit() else [*self._of_rows(), *self._of_pictures()]
        return self._baselines

    def _unfit(self) -> str:
        """Return why the table cannot be measured; empty if it can."""
        labels = self.labelled.labels
        if not labels:
            return "no row has a label of 0 or 1: this is no matching set"
        if len(labels) == 1:
            return f"every label is {next(iter(labels))}"
        if labels.total() < FEWEST:
            return f"{labels.total()} rows have a label, {FEWEST} are needed"
        return ""

    def _of_rows(self) -> list[Baseline]:
        kept = self.labelled
        rows = kept.rows.rows
        words = np.array([row.words for row in rows], dtype=np.int64)
        pictures = np.array([row.picture for row in rows], dtype=np.int64)
        train = np.array([row.pair.split == TRAIN for row in rows], dtype=np.bool_)
        labels = np.array([row.pair.label == 1 for row in rows], dtype=np.bool_)
        texts_in_train = kept.texts_in_train(words)
        pictures_in_train = kept.pictures_in_train(pictures)
        counts = [[kept.text_times(row), kept.picture_times(row)] for row in rows]
        by_text = JudgedRows(words, train, labels, texts_in_train > 0, "text")
        by_picture = JudgedRows(pictures, train, labels, pictures_in_train > 0, "picture")
        in_train = np.log1p(np.stack([texts_in_train, pictures_in_train], axis=1))
        held = ~train
        if texts_in_train[held].any() or pictures_in_train[held].any():
            held_rows = dense_rows(in_train[held])
            known = by_halves(held_rows, words[held], train[held], labels[held])
        else:
            reason = "no text and no picture of a held-out row is in 'train'"
            known = Judgement(HELD_OUT, int(held.sum()), reason=reason)
        remembered = _remembered(rows, words, held, labels)
        row_order = by_text.baseline("row order", features.row_order(rows, kept), SHUFFLE)
        frequency = dense_rows(np.array(counts, dtype=np.float64))
        return [
            by_text.baseline("text", features.text_ngrams(rows), COMPARE),
            by_text.baseline("text length", features.text_length(rows), COMPARE),
            by_text.baseline("frequency", frequency, COMPARE),
            Baseline("being in 'train'", (known,), COMPARE),
            Baseline("the text's label in 'train'", (remembered,), COMPARE),
            by_text.baseline("text source", features.text_source(rows), FILL_ALIKE),
            by_picture.baseline("image_id", features.image_id(rows), FILL_ALIKE),
            by_text.baseline("text_id", features.text_id(rows), FILL_ALIKE, NO_TEXT_ID),
            by_text.baseline(
                "text_id against image_id", features.ids_compared(rows), FILL_ALIKE, NO_TEXT_ID
            ),
            by_picture.baseline("url", features.url(rows), FILL_ALIKE, "no row has a url"),
            by_text.baseline(
                "clicks and weights", features.clicks(rows), FILL_ALIKE, "no row has any"
            ),
            replace(row_order, reaches_models=False),
        ]

    def _of_pictures(self) -> list[Baseline]:
        kept = self.labelled
        rows = kept.pictures.rows
        keys = np.array([row.picture for row in rows], dtype=np.int64)
        train = np.array([row.split == TRAIN for row in rows], dtype=np.bool_)
        labels = np.array([row.label == 1 for row in rows], dtype=np.bool_)
        judged = JudgedRows(keys, train, labels, kept.pictures_in_train(keys) > 0, "picture")
        pixels = features.picture_pixels(rows) if rows else None
        file = features.picture_file(rows) if rows else None
        return [
            judged.baseline("picture", pixels, COMPARE, NO_PICTURE),
            judged.baseline("picture file", file, FILL_ALIKE, NO_PICTURE),
        ]


def _remembered(rows: Sequence[LabelledRow], words: Ints, held: Mask, labels: Mask) -> Judgement:
    """Judge held-out rows by how many matches minus non-matches their text has in `train`."""
    balance: Counter[int] = Counter()
    for row in rows:
        if row.pair.split == TRAIN:
            balance[row.words] += 1 if row.pair.label else -1
    if not any(int(key) in balance for key in words[held]):
        reason = "no text of a held-out row has a label in 'train'"
        return Judgement(HELD_OUT, int(held.sum()), reason=reason)
    scores = np.array([balance[int(key)] for key in words[held]], dtype=np.float64)
    return by_scores(scores, words[held], labels[held], HELD_OUT)
