"""What one part of a labelled row tells of its label: baselines that must stay at chance.

A matching set that the text alone can solve, or the picture, or an id, or the order of the rows,
measures no understanding of picture and text. See `judgements` for how it is measured and where.
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

# Distance of an AUC from chance. Below SMALL it is let be. LARGE beyond the interval it fails: a
# model that saw one part only would then order six pairs of ten, where methods that are compared
# on such sets differ by a few of a hundred.
SMALL, LARGE = 0.02, 0.1

COMPARE = (
    "a model can do well on this set without comparing picture and text: let every text and every "
    "picture stand as often in a match as in a non-match of the same split, as `r2d2 downstream "
    "make` does"
)
SAME_PLACE = (
    "whoever reads the table knows the label without comparing picture and text: fill this part "
    "of a row in the same way for matches and for non-matches, or leave it out"
)
SHUFFLE = (
    "no model sees the order of the rows, so that no figure is spoilt; but the first rows of the "
    "file are no fair sample: shuffle them by a hash before you take a part, or send them to people"
)

NO_TEXT_ID, NO_PICTURE = "no row has a text_id", "no picture was decoded"


@dataclass(frozen=True)
class Baseline:
    """How far one gets by one part of a row."""

    name: str
    judgements: tuple[Judgement, ...]
    remedy: str
    reaches_models: bool = True  # False: a part that evaluation hands to no model; told as a note

    @property
    def worst(self) -> Judgement:
        """The judgement that is farthest from chance; one without a figure where none has any."""
        measured = [one for one in self.judgements if one.measured]
        return max(
            measured, key=lambda one: (one.above, abs(one.auc - 0.5)), default=self.judgements[0]
        )

    def finding(self) -> Finding | None:
        """Where the labels are told."""
        worst = self.worst
        if worst.above <= 0 or abs(worst.auc - 0.5) < SMALL:
            return None
        severity: Severity = "stop" if worst.above > LARGE else "warn"
        if not self.reaches_models:
            severity = "note"
        right = max(worst.accuracy, 1 - worst.accuracy)  # who errs always is right the other way
        verb = "tell" if " and " in self.name else "tells"
        return Finding(
            f"{self.name} alone {verb} matches from non-matches "
            f"(AUC {worst.auc:.3f} ± {worst.half:.3f} on {worst.rows})",
            severity, round(right * worst.count), worst.count, "rows told right", (), self.remedy,
        )  # fmt: skip

    def fact(self) -> Fact:
        """All judgements, the worst first."""
        worst = self.worst
        others = [one for one in self.judgements if one is not worst]
        name = f"baseline, {self.name} only"
        if not worst.measured and not others:
            return Fact(name, "not measured", worst.reason)
        if not worst.measured:
            note = "; ".join(f"on {one.rows}: {one.reason}" for one in self.judgements)
            return Fact(name, "not measured", note)
        note = "; ".join((worst.interval(), *(one.line() for one in others)))
        return Fact(name, round(worst.auc, 4), note)


@dataclass(frozen=True)
class JudgedRows:
    """The n labelled rows that baselines are learnt from and tested on."""

    keys: Ints  # (n,) of the text (picture): rows of one key depend on each other
    train: Mask  # (n,) rows of the split train
    labels: Mask  # (n,)
    in_train: Mask  # (n,) whether the text (picture) of a row is in `train`
    unit: str  # that the keys are of: text or picture

    def baseline(
        self, name: str, seen: SparseRows | None, remedy: str, absent: str = ""
    ) -> Baseline:
        """A baseline by all judgements; `absent` says why there is nothing to see."""
        if seen is None:
            reason = Judgement("any row", len(self.keys), reason=absent)
            return Baseline(name, (reason,), remedy)
        judgements = judge(seen, self.keys, self.train, self.labels, self.in_train, self.unit)
        return Baseline(name, tuple(judgements), remedy)


class BaselineCheck:
    """Every part of a row by itself: text, picture, ids, clicks, place in the file."""

    def __init__(self, options: CheckOptions) -> None:
        self.labelled = LabelledRows()
        self._found: list[Baseline] | None = None

    def see(self, chunk: Chunk) -> None:
        """See `Check`."""
        self.labelled.see(chunk)

    def findings(self) -> list[Finding]:
        """See `Check`."""
        findings = [one.finding() for one in self.measure()]
        return [one for one in findings if one is not None]

    def facts(self) -> list[Fact]:
        """See `FactCheck`."""
        if reason := self._unfit():
            return [Fact("baselines", "not measured", reason)]
        return [
            Fact(
                "baselines", "AUC of one part of a row for its label",
                f"chance is 0.5; ± {SIGMAS} standard errors; of several figures the worst first; "
                f"to warn, {SMALL} from chance and beyond the interval; to fail, {LARGE} beyond it",
            ),
            *(one.fact() for one in self.measure()),
        ]  # fmt: skip

    def measure(self) -> list[Baseline]:
        """All of them; none where the table has too few labels."""
        if self._found is None:
            self._found = [] if self._unfit() else [*self._of_rows(), *self._of_pictures()]
        return self._found

    def _unfit(self) -> str:
        """Why nothing is measured; empty where something is."""
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
        words = np.array([one.words for one in rows], dtype=np.int64)
        pictures = np.array([one.picture for one in rows], dtype=np.int64)
        train = np.array([one.pair.split == TRAIN for one in rows], dtype=np.bool_)
        labels = np.array([one.pair.label == 1 for one in rows], dtype=np.bool_)
        texts_in_train = kept.texts_in_train(words)
        pictures_in_train = kept.pictures_in_train(pictures)
        often = [[kept.text_times(one), kept.picture_times(one)] for one in rows]
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
        frequency = dense_rows(np.array(often, dtype=np.float64))
        return [
            by_text.baseline("text", features.text_ngrams(rows), COMPARE),
            by_text.baseline("text length", features.text_length(rows), COMPARE),
            by_text.baseline("frequency", frequency, COMPARE),
            Baseline("being in 'train'", (known,), COMPARE),
            Baseline("the text's label in 'train'", (remembered,), COMPARE),
            by_text.baseline("text source", features.text_source(rows), SAME_PLACE),
            by_picture.baseline("image_id", features.image_id(rows), SAME_PLACE),
            by_text.baseline("text_id", features.text_id(rows), SAME_PLACE, NO_TEXT_ID),
            by_text.baseline(
                "text_id against image_id", features.ids_compared(rows), SAME_PLACE, NO_TEXT_ID
            ),
            by_picture.baseline("url", features.url(rows), SAME_PLACE, "no row has a url"),
            by_text.baseline(
                "clicks and weights", features.clicks(rows), SAME_PLACE, "no row has any"
            ),
            replace(row_order, reaches_models=False),
        ]

    def _of_pictures(self) -> list[Baseline]:
        kept = self.labelled
        rows = kept.pictures.rows
        keys = np.array([one.picture for one in rows], dtype=np.int64)
        train = np.array([one.split == TRAIN for one in rows], dtype=np.bool_)
        labels = np.array([one.label == 1 for one in rows], dtype=np.bool_)
        judged = JudgedRows(keys, train, labels, kept.pictures_in_train(keys) > 0, "picture")
        pixels = features.picture_pixels(rows) if rows else None
        file = features.picture_file(rows) if rows else None
        return [
            judged.baseline("picture", pixels, COMPARE, NO_PICTURE),
            judged.baseline("picture file", file, SAME_PLACE, NO_PICTURE),
        ]


def _remembered(rows: Sequence[LabelledRow], words: Ints, held: Mask, labels: Mask) -> Judgement:
    """Held-out rows by the labels that their text has in `train`: +1 each match, -1 each other."""
    balance: Counter[int] = Counter()
    for one in rows:
        if one.pair.split == TRAIN:
            balance[one.words] += 1 if one.pair.label else -1
    if not any(int(key) in balance for key in words[held]):
        reason = "no text of a held-out row has a label in 'train'"
        return Judgement(HELD_OUT, int(held.sum()), reason=reason)
    scores = np.array([balance[int(key)] for key in words[held]], dtype=np.float64)
    return by_scores(scores, words[held], labels[held], HELD_OUT)
