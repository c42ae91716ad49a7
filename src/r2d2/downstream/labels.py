"""Make a labelled set from annotators' answers, and report their agreement and every answer."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
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
FEWEST = 5  # gold items, or questions shared with another person, that are needed to judge someone
AUDIT_COLUMNS = (
    "pair", "image_id", "text", "annotator", "answer", "decided", "gold", "seconds", "created",
    "task", "file",
)  # fmt: skip
# The endings of the files beside the table.
AUDIT, REPORT_JSON, REPORT_HTML = ".audit.parquet", ".report.json", ".report.html"


@dataclass(frozen=True)
class LabelRules:
    """When the answers to a question agree, and whose answers the report should question."""

    agree: float = 0.5  # the most frequent answer must have more than this share of the answers
    low_kappa: float = 0.4  # people with a lower mean Cohen's kappa with the others are named
    low_gold: float = 0.8  # people with a lower accuracy on gold items are named
    without: tuple[str, ...] = ()  # people whose answers are left out
    partial: bool = False  # whether the finished part of an unfinished export is taken

    def __post_init__(self) -> None:
        if self.agree == 1:
            raise R2D2Error(
                "no share is above --agree 1: give less, such as 0.99 where all must agree"
            )
        check(self, "annotate", {"agree": SHARE, "low_kappa": (-1, 1), "low_gold": SHARE})


@dataclass(frozen=True)
class Annotator:
    """The figures of one annotator."""

    name: str
    answers: int
    shares: Mapping[str, float]  # the share of each answer
    # The mean of Cohen's kappa with each other person, weighted by the shared questions; NaN: none
    # are shared.
    kappa: float
    gold: int  # how many gold items were answered
    gold_accuracy: float  # NaN where none was answered
    seconds: float  # median time per answer; NaN where it is not known
    named: tuple[str, ...]  # the reasons to question the answers; empty where there are none


@dataclass(frozen=True)
class LabelledSet:
    """The figures of a labelled set."""

    rows: int  # how many rows the set has
    answers: int
    kept: Mapping[str, int]  # the number of rows by verdict
    left_out: Mapping[str, int]  # the number of rows by reason
    changed: int  # the number of rows whose label in the set differs from people's
    people: tuple[Annotator, ...]
    fleiss: float
    cohen: Mapping[str, tuple[float, int]]  # kappa and number of questions, by "a × b"
    unanimous: float  # the share of unanimous questions among those with two or more answers
    skipped: Mapping[str, int]  # the number of unusable answers by reason
    again: frozenset[str] = field(default=frozenset())  # pairs that need another round
    # Examples of what was left out or skipped, by reason: image ids, or the file and the pair.
    examples: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON, with null for NaN."""
        plain = asdict(self)
        plain["again"] = sorted(self.again)
        return dict(finite(plain))


def label_outputs(out: str | Path) -> list[Output]:
    """Return everything that `label_set` writes."""
    files = [_beside(Path(out), ending) for ending in (AUDIT, REPORT_JSON, REPORT_HTML)]
    return [a_table(out), *(a_file(file, file.suffix) for file in files)]


def _beside(home: Path, ending: str) -> Path:
    return home.with_name(home.name + ending)


@dataclass(frozen=True)
class SetVerdicts:
    """The verdicts on the pairs of a set, and the rows that they keep."""

    by_pair: Mapping[str, str]
    rows: list[tuple[int, int | None]]  # the rows that stay, with their labels
    kept: Counter[str]  # the number of rows by verdict
    left_out: Counter[str]
    changed: int  # the number of labels that differ from those of the set

    @classmethod
    def of(
        cls, by_pair: Mapping[str, str], items: Sequence[PairQuestion], table: PairsTable
    ) -> SetVerdicts:
        """Apply the verdict on each pair to the rows of a set."""
        labels = table.labels([item.row for item in items])
        matching = any(label is not None for label in labels)
        verdicts = cls(by_pair, [], Counter(), Counter(), 0)
        changed = 0
        for item, label in zip(items, labels, strict=True):
            verdict = by_pair[item.pair]
            if verdict not in LABELS or (not matching and verdict == NO_MATCH):
                verdicts.left_out[verdict] += 1
                continue
            verdicts.kept[verdict] += 1
            changed += matching and label != LABELS[verdict]
            verdicts.rows.append((item.row, LABELS[verdict] if matching else None))
        return replace(verdicts, changed=changed)


def label_set(
    table: PairsTable,
    out: str | Path,
    export: AnnotationExport,
    rules: LabelRules,
    *,
    gold: Mapping[str, str] | None = None,
    overwrite: bool = False,
    update: Update = lambda *arguments: None,
) -> LabelledSet:
    """Write the set with people's labels, and beside it the audit (Parquet) and the report.

    The rows of a matching set get the labels that people gave. A retrieval set has no labels; of
    its rows, those that people call matches stay.

    Args:
        table: the set.
        out: the table to write.
        export: the answers.
        rules: when answers agree.
        gold: the known answers, by pair.
        overwrite: whether a table at `out` is replaced.
        update: is told the progress.

    Raises:
        R2D2Error: answers are missing without `partial`, people agree on no row, or `out` exists.
    """
    gold = gold or {}
    check_outputs(label_outputs(out), inputs=[table.path], overwrite=overwrite)
    strangers = sorted(set(rules.without) - {answer.annotator for answer in export.answers})
    if strangers:
        raise R2D2Error(f"--without {strangers[0]}: nobody of this name has answered")
    items = set_items(table)
    answers, skipped = _counted(export, {item.pair for item in items} | gold.keys(), rules)
    by_pair = decide(items, export, answers, rules.agree, table, update)
    if not rules.partial:
        all_finished(by_pair, items, table)
    verdicts = SetVerdicts.of(by_pair, items, table)
    if not verdicts.rows:
        reasons = ", ".join(f"{reason} {n:,}" for reason, n in verdicts.left_out.items())
        raise R2D2Error(f"{table.path}: people agreed on no row ({reasons}): let them answer more")
    result = _figures(items, answers, gold, rules, verdicts, skipped)
    unread = unreadable(by_pair, items, table)
    result = replace(result, examples=unread | skipped.first_examples())
    rows = _rows(table, verdicts.rows, update)
    write_table(out, rows, overwrite=overwrite, metadata=table.metadata)
    home = Path(out)
    _write_audit(_beside(home, AUDIT), table, items, answers, gold, by_pair)
    _write_report(home, result)
    return result


def _counted(
    export: AnnotationExport, pairs: Collection[str], rules: LabelRules
) -> tuple[list[Annotation], DroppedRows]:
    """Return the answers about these pairs, and the count of those that are left out."""
    skipped = DroppedRows()
    skipped.update(export.dropped)
    answers = []
    for answer in export.answers:
        source = f"{answer.file}, {answer.pair}"
        if answer.annotator in rules.without:
            skipped.add("of annotators left out", f"{source} by {answer.annotator}")
        elif answer.pair in pairs:
            answers.append(answer)
        else:
            skipped.add("about a pair that is not in the set (gold? give --gold)", source)
    return answers, skipped


def _figures(
    items: Sequence[PairQuestion],
    answers: Sequence[Annotation],
    gold: Mapping[str, str],
    rules: LabelRules,
    verdicts: SetVerdicts,
    skipped: DroppedRows,
) -> LabelledSet:
    pairs = {item.pair for item in items}
    by_annotator: dict[str, dict[str, str]] = defaultdict(dict)
    by_pair: dict[str, list[str]] = defaultdict(list)
    for answer in answers:
        if answer.pair in pairs:
            by_annotator[answer.annotator][answer.pair] = answer.answer
            by_pair[answer.pair].append(answer.answer)
    cohen = pairwise_cohen(by_annotator, FEWEST)
    names = sorted({answer.annotator for answer in answers})
    shared = [len(set(words)) for words in by_pair.values() if len(words) > 1]
    return LabelledSet(
        rows=len(items),
        answers=len(answers),
        kept=dict(verdicts.kept),
        left_out=dict(verdicts.left_out),
        changed=verdicts.changed,
        people=tuple(_person(name, answers, cohen, gold, rules) for name in names),
        fleiss=fleiss(list(by_pair.values())),
        cohen={f"{a} × {b}": value for (a, b), value in cohen.items()},
        unanimous=shared.count(1) / len(shared) if shared else math.nan,
        skipped=dict(skipped.counts),
        again=frozenset(p for p, verdict in verdicts.by_pair.items() if verdict == DISPUTED),
    )


def _person(
    name: str,
    answers: Sequence[Annotation],
    cohen: Mapping[tuple[str, str], tuple[float, int]],
    gold: Mapping[str, str],
    rules: LabelRules,
) -> Annotator:
    answers = [answer for answer in answers if answer.annotator == name]
    counts = Counter(answer.answer for answer in answers)
    kappas = [value for key, value in cohen.items() if name in key and not math.isnan(value[0])]
    weight = sum(n for _, n in kappas)
    kappa = sum(k * n for k, n in kappas) / weight if weight else math.nan
    correct = [answer.answer == gold[answer.pair] for answer in answers if answer.pair in gold]
    accuracy = sum(correct) / len(correct) if correct else math.nan
    named = []
    if kappa < rules.low_kappa:
        named.append(f"kappa below {rules.low_kappa:g}")
    if len(correct) >= FEWEST and accuracy < rules.low_gold:
        named.append(f"below {100 * rules.low_gold:g}% on gold items")
    times = [answer.seconds for answer in answers if answer.seconds is not None]
    shares = {word: counts[word] / len(answers) for word in (MATCH, NO_MATCH, UNSURE)}
    seconds = float(np.median(times)) if times else math.nan
    return Annotator(
        name, len(answers), shares, kappa, len(correct), accuracy, seconds, tuple(named)
    )


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
    verdicts: Mapping[str, str],
) -> None:
    """Write every answer as a row, with the verdict on its pair."""
    texts = {item.pair: item.text for item in items}
    row_of = {item.pair: item.row for item in items}
    ids = dict(zip(row_of, table.image_ids(list(row_of.values())), strict=True))
    rows = [
        {
            "pair": answer.pair,
            "image_id": ids.get(answer.pair),
            "text": texts.get(answer.pair),
            "annotator": answer.annotator,
            "answer": answer.answer,
            "decided": verdicts.get(answer.pair),
            "gold": gold.get(answer.pair),
            "seconds": answer.seconds,
            "created": answer.created,
            "task": answer.task,
            "file": answer.file,
        }
        for answer in answers
    ]
    types = {"seconds": pa.float64(), "task": pa.int64()}
    schema = pa.schema([(name, types.get(name, pa.string())) for name in AUDIT_COLUMNS])
    write_rows(path, pa.Table.from_pylist(rows, schema))


def _write_report(home: Path, result: LabelledSet) -> None:
    html = template("r2d2.downstream", "labels.html").render(
        title=home.name, result=result, isnan=math.isnan
    )
    data = json.dumps(result.to_dict(), ensure_ascii=False, indent=1)
    write_text(_beside(home, REPORT_JSON), data)
    write_text(_beside(home, REPORT_HTML), html)
