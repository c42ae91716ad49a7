"""A labelled set from annotators' answers: majority, agreement, and an audit of all answers."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from r2d2.corpus.rows import write_rows
from r2d2.downstream.agreement import fleiss, pairwise_cohen
from r2d2.downstream.answers import Annotation, AnnotationExport
from r2d2.downstream.plain import finite
from r2d2.downstream.tasks import MATCH, NO_MATCH, UNSURE, PairQuestion, set_items
from r2d2.downstream.verdicts import DISPUTED, all_finished, decide, unreadable
from r2d2.errors import R2D2Error
from r2d2.files import write_text
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.outputs import Output, a_file, a_table, check_outputs
from r2d2.page import template
from r2d2.progress import Update
from r2d2.settings import SHARE, check
from r2d2.table import Pair, PairsTable, write_table

LABELS = {MATCH: 1, NO_MATCH: 0}
FEWEST = 5  # gold items, or questions shared with another, by which a person is judged


AUDIT, REPORT_JSON, REPORT_HTML = ".audit.parquet", ".report.json", ".report.html"  # beside it


@dataclass(frozen=True)
class LabelRules:
    """When people count as agreed, and when one of them as careless."""

    agree: float = 0.5  # share of the answers that the most frequent must be above
    low_kappa: float = 0.4  # mean Cohen's kappa with the others, below which one is named
    low_gold: float = 0.8  # accuracy on gold items, below which one is named
    without: tuple[str, ...] = ()  # people whose answers are left out
    partial: bool = False  # take what is finished of a half-finished export

    def __post_init__(self) -> None:
        if self.agree == 1:
            raise R2D2Error(
                "no share is above --agree 1: give less, such as 0.99 where all must agree"
            )
        check(self, "annotate", {"agree": SHARE, "low_kappa": (-1, 1), "low_gold": SHARE})


@dataclass(frozen=True)
class Annotator:
    """One annotator."""

    name: str
    answers: int
    shares: Mapping[str, float]  # of each answer
    kappa: float  # Cohen's, mean over the others, each by their shared questions; NaN: none shared
    gold: int  # gold items answered
    gold_accuracy: float  # NaN without any
    seconds: float  # median; NaN where not known
    named: tuple[str, ...]  # why, where it is low


@dataclass(frozen=True)
class LabelledSet:
    """The figures of a labelled set."""

    rows: int  # of the set
    answers: int
    kept: Mapping[str, int]  # decision: rows
    left_out: Mapping[str, int]  # reason: rows
    changed: int  # rows whose label is not what the set said
    people: tuple[Annotator, ...]
    fleiss: float
    cohen: Mapping[str, tuple[float, int]]  # "a × b": kappa, questions
    unanimous: float  # share of the questions with two answers or more
    skipped: Mapping[str, int]  # bad rows of the exports
    again: frozenset[str] = field(default=frozenset())  # pairs that need another round
    # of what was left out and skipped, by reason: the first few image ids, or where answers stand
    examples: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; NaN is null."""
        plain = asdict(self)
        plain["again"] = sorted(self.again)
        return dict(finite(plain))


def label_outputs(out: str | Path) -> list[Output]:
    """All that `label_set` writes."""
    files = [_beside(Path(out), ending) for ending in (AUDIT, REPORT_JSON, REPORT_HTML)]
    return [a_table(out), *(a_file(file, file.suffix) for file in files)]


def _beside(home: Path, ending: str) -> Path:
    return home.with_name(home.name + ending)


def label_set(
    table: PairsTable,
    out: str | Path,
    found: AnnotationExport,
    rules: LabelRules,
    *,
    gold: Mapping[str, str] | None = None,
    overwrite: bool = False,
    update: Update = lambda *arguments: None,
) -> LabelledSet:
    """Write the set with people's labels, the audit (Parquet) and the report beside it.

    A matching set gets the label that people gave. Of a retrieval set, which has no labels, the
    rows that people call matches stay.

    Args:
        table: the set.
        out: the table to write.
        found: the answers.
        rules: of agreement.
        gold: pairs whose answer is known.
        overwrite: replace a table at `out`.
        update: progress.

    Raises:
        R2D2Error: answers are missing and `partial` was not asked for, nothing is agreed on, or
            something stands at `out`.
    """
    gold = gold or {}
    check_outputs(label_outputs(out), inputs=[table.path], overwrite=overwrite)
    strangers = sorted(set(rules.without) - {one.annotator for one in found.answers})
    if strangers:
        raise R2D2Error(f"--without {strangers[0]}: nobody of this name has answered")
    items = set_items(table)
    pairs = {item.pair for item in items}
    skipped = DroppedRows()
    skipped.update(found.dropped)
    answers = []
    for one in found.answers:
        if one.annotator in rules.without:
            skipped.add("of annotators left out", f"{one.file}, {one.pair} by {one.annotator}")
        elif one.pair in pairs or one.pair in gold:
            answers.append(one)
        else:
            skipped.add(
                "about a pair that is not in the set (gold? give --gold)", f"{one.file}, {one.pair}"
            )
    decided = decide(items, found, answers, rules.agree, table, update)
    if not rules.partial:
        all_finished(decided, items, table)
    labels = table.labels([item.row for item in items])
    matching = any(label is not None for label in labels)
    rows, kept, left_out, changed = [], Counter[str](), Counter[str](), 0
    for item, label in zip(items, labels, strict=True):
        verdict = decided[item.pair]
        if verdict not in LABELS or (not matching and verdict == NO_MATCH):
            left_out[verdict] += 1
            continue
        kept[verdict] += 1
        changed += matching and label != LABELS[verdict]
        rows.append((item.row, LABELS[verdict] if matching else None))
    if not rows:
        why = ", ".join(f"{reason} {n:,}" for reason, n in left_out.items())
        raise R2D2Error(f"{table.path}: people agreed on no row ({why}): let them answer more")
    result = _result(items, answers, gold, rules, decided, kept, left_out, changed, skipped)
    unread = unreadable(decided, items, table)
    result = replace(result, examples=unread | skipped.first_examples())
    write_table(out, _rows(table, rows, update), overwrite=overwrite, metadata=table.metadata)
    home = Path(out)
    _write_audit(_beside(home, AUDIT), table, items, answers, gold, decided)
    _write_report(home, result)
    return result


def _result(
    items: Sequence[PairQuestion],
    answers: Sequence[Annotation],
    gold: Mapping[str, str],
    rules: LabelRules,
    decided: Mapping[str, str],
    kept: Counter[str],
    left_out: Counter[str],
    changed: int,
    skipped: DroppedRows,
) -> LabelledSet:
    ours = {item.pair for item in items}
    said: dict[str, dict[str, str]] = defaultdict(dict)
    questions: dict[str, list[str]] = defaultdict(list)
    for one in answers:
        if one.pair in ours:
            said[one.annotator][one.pair] = one.answer
            questions[one.pair].append(one.answer)
    cohen = pairwise_cohen(said, FEWEST)
    names = sorted({one.annotator for one in answers})
    shared = [some for some in questions.values() if len(some) > 1]
    return LabelledSet(
        rows=len(items),
        answers=len(answers),
        kept=dict(kept),
        left_out=dict(left_out),
        changed=changed,
        people=tuple(_person(name, answers, cohen, gold, rules) for name in names),
        fleiss=fleiss(list(questions.values())),
        cohen={f"{a} × {b}": value for (a, b), value in cohen.items()},
        unanimous=(
            sum(len(set(some)) == 1 for some in shared) / len(shared) if shared else math.nan
        ),
        skipped=dict(skipped.counts),
        again=frozenset(pair for pair, verdict in decided.items() if verdict == DISPUTED),
    )


def _person(
    name: str,
    answers: Sequence[Annotation],
    cohen: Mapping[tuple[str, str], tuple[float, int]],
    gold: Mapping[str, str],
    rules: LabelRules,
) -> Annotator:
    own = [one for one in answers if one.annotator == name]
    counts = Counter(one.answer for one in own)
    mine = [value for key, value in cohen.items() if name in key and not math.isnan(value[0])]
    weight = sum(n for _, n in mine)
    kappa = sum(k * n for k, n in mine) / weight if weight else math.nan
    known = [one.answer == gold[one.pair] for one in own if one.pair in gold]
    accuracy = sum(known) / len(known) if known else math.nan
    named = []
    if kappa < rules.low_kappa:
        named.append(f"kappa below {rules.low_kappa:g}")
    if len(known) >= FEWEST and accuracy < rules.low_gold:
        named.append(f"below {100 * rules.low_gold:g}% on gold items")
    times = [one.seconds for one in own if one.seconds is not None]
    return Annotator(
        name, len(own), {what: counts[what] / len(own) for what in (MATCH, NO_MATCH, UNSURE)},
        kappa, len(known), accuracy, float(np.median(times)) if times else math.nan, tuple(named),
    )  # fmt: skip


def _rows(
    table: PairsTable, rows: Sequence[tuple[int, int | None]], update: Update
) -> Iterator[Pair]:
    pairs = table.stream([row for row, _ in rows], stage="writing", update=update)
    for pair, (_, label) in zip(pairs, rows, strict=True):
        yield replace(pair, label=label)


def _write_audit(
    path: Path,
    table: PairsTable,
    items: Sequence[PairQuestion],
    answers: Sequence[Annotation],
    gold: Mapping[str, str],
    decided: Mapping[str, str],
) -> None:
    """Every answer, one a row, with what was decided."""
    place = {item.pair: item for item in items}
    ids = dict(
        zip(place, table.image_ids([item.row for item in place.values()]), strict=True)
    )  # fmt: skip
    rows = [
        {
            "pair": one.pair,
            "image_id": ids.get(one.pair),
            "text": place[one.pair].text if one.pair in place else None,
            "annotator": one.annotator,
            "answer": one.answer,
            "decided": decided.get(one.pair),
            "gold": gold.get(one.pair),
            "seconds": one.seconds,
            "created": one.created,
            "task": one.task,
            "file": one.file,
        }
        for one in answers
    ]
    text = ("pair", "image_id", "text", "annotator", "answer", "decided", "gold")
    schema = pa.schema(
        [
            *((name, pa.string()) for name in text),
            ("seconds", pa.float64()), ("created", pa.string()), ("task", pa.int64()),
            ("file", pa.string()),
        ]
    )  # fmt: skip
    write_rows(path, pa.Table.from_pylist(rows, schema))


def _write_report(home: Path, result: LabelledSet) -> None:
    html = template("r2d2.downstream", "labels.html").render(
        title=home.name, result=result, isnan=math.isnan
    )
    data = json.dumps(result.to_dict(), ensure_ascii=False, indent=1)
    write_text(_beside(home, REPORT_JSON), data)
    write_text(_beside(home, REPORT_HTML), html)
