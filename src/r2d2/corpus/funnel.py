"""What a stage keeps and drops and why: counts that add up over partitions, with examples."""

from __future__ import annotations

import json
from bisect import insort
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from r2d2.corpus.rows import DroppedFile
from r2d2.files import write_text

COUNTED = ("clicks", "impressions")
EXAMPLES = 8  # kept of a rule


@dataclass(frozen=True)
class Flow:
    """A sum that goes through a stage, such as the clicks of all its pairs."""

    seen: int
    kept: int
    dropped: Mapping[str, int] = field(default_factory=dict)  # rule: how much
    added: int = 0  # what joins at this stage: counts of copies that did not rank


@dataclass(frozen=True)
class StageCount:
    """One stage of a build, or one partition's part of it."""

    stage: str
    unit: str  # what is counted: rows, pairs, texts, images
    seen: int
    kept: int
    dropped: Mapping[str, int] = field(default_factory=dict)  # rule: how many
    examples: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # rule: some of them
    notes: Mapping[str, Any] = field(default_factory=dict)  # what else is worth telling
    flows: Mapping[str, Flow] = field(default_factory=dict)  # clicks and impressions, where known

    def __post_init__(self) -> None:
        if self.seen != self.kept + sum(self.dropped.values()):
            raise ValueError(
                f"{self.stage}: {self.seen} seen, but {self.kept} kept and {dict(self.dropped)} "
                "dropped: every item must be one or the other"
            )
        for name, flow in self.flows.items():
            if flow.seen + flow.added != flow.kept + sum(flow.dropped.values()):
                raise ValueError(
                    f"{self.stage}: {flow.seen} {name} + {flow.added} added, but {flow.kept} kept "
                    f"and {dict(flow.dropped)} dropped"
                )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> StageCount:
        """What `to_dict` gave, also by way of JSON."""
        examples = {rule: tuple(shown) for rule, shown in data["examples"].items()}
        flows = {name: Flow(**flow) for name, flow in data.get("flows", {}).items()}
        return cls(**{**data, "examples": examples, "flows": flows})


def read_count(record: Path) -> StageCount | None:
    """What `write_count` left of a job that is done; None where it is not."""
    if not record.exists():
        return None
    return StageCount.from_dict(json.loads(record.read_text(encoding="utf-8")))


def write_count(record: Path, count: StageCount) -> None:
    """Note that a job is done, and what it counted."""
    write_text(record, json.dumps(count.to_dict()))


def count_stage(
    stage: str, unit: str, rules: Iterable[str | None], shown: Iterable[str]
) -> StageCount:
    """Count verdicts: None is kept, else the name of the rule; `shown` is each item in words."""
    seen = kept = 0
    dropped: Counter[str] = Counter()
    examples: dict[str, tuple[str, ...]] = {}
    for rule, item in zip(rules, shown, strict=True):
        seen += 1
        if rule is None:
            kept += 1
            continue
        dropped[rule] += 1
        if dropped[rule] <= EXAMPLES:
            examples[rule] = (*examples.get(rule, ()), item)
    return StageCount(stage, unit, seen, kept, dict(dropped), examples)


class StageCounter:
    """The count of a stage, one item after the other; its examples do not depend on their order."""

    def __init__(self, stage: str, unit: str, dropped: DroppedFile | None = None) -> None:
        """`dropped` takes the items that are dropped."""
        self._stage, self._unit, self._file = stage, unit, dropped
        self.seen = self.kept = 0
        self._dropped: Counter[str] = Counter()
        self._examples: dict[str, list[tuple[str, str]]] = {}
        self._kept_sums: Counter[str] = Counter()
        self._dropped_sums: dict[str, Counter[str]] = {name: Counter() for name in COUNTED}

    def add(
        self,
        rule: str | None,
        row: Mapping[str, Any],
        shown: str | None = None,
        *,
        key: str | None = None,
        reason: str | None = None,
    ) -> None:
        """Count one item.

        Args:
            rule: that drops it; None: it is kept.
            row: its columns, with `clicks` and `impressions` where they are known.
            shown: the item in words, for an example; None: none.
            key: examples of the least keys are shown; None: the first ones.
            reason: more than the rule tells, for the file of what is dropped.
        """
        self.seen += 1
        self.kept += rule is None
        for name in COUNTED:
            amount = int(row.get(name) or 0)
            if rule is None:
                self._kept_sums[name] += amount
            elif amount:
                self._dropped_sums[name][rule] += amount
        if rule is None:
            return
        self._dropped[rule] += 1
        if shown is not None:
            examples = self._examples.setdefault(rule, [])
            insort(examples, ("" if key is None else key, shown), key=itemgetter(0))
            del examples[EXAMPLES:]
        if self._file is not None:
            self._file.add(rule, row, reason)

    def count(self) -> StageCount:
        """What was counted so far; rules in the order of their names."""
        dropped = dict(sorted(self._dropped.items()))
        examples = {
            rule: tuple(shown for _, shown in self._examples[rule])
            for rule in dropped
            if rule in self._examples
        }
        flows = {}
        for name, by_rule in self._dropped_sums.items():
            kept = self._kept_sums[name]
            flows[name] = Flow(kept + by_rule.total(), kept, dict(by_rule))
        known = flows if any(flow.seen for flow in flows.values()) else {}
        return StageCount(
            self._stage, self._unit, self.seen, self.kept, dropped, examples, flows=known
        )


def add_counts(parts: Iterable[StageCount]) -> StageCount:
    """The parts of one stage as one, with the notes of the first; ValueError without any part."""
    parts = list(parts)
    if not parts:
        raise ValueError("there is nothing to add")
    dropped: Counter[str] = Counter()
    examples: dict[str, tuple[str, ...]] = {}
    for part in parts:
        dropped.update(part.dropped)
        for rule, shown in part.examples.items():
            examples[rule] = (*examples.get(rule, ()), *shown)[:EXAMPLES]
    first = parts[0]
    seen, kept = sum(p.seen for p in parts), sum(p.kept for p in parts)
    flows: dict[str, Flow] = {}
    for part in parts:
        for name, flow in part.flows.items():
            flows[name] = _add(flows[name], flow) if name in flows else flow
    return StageCount(
        first.stage, first.unit, seen, kept, dict(dropped), examples, first.notes, flows
    )


def add_sorted_counts(parts: Iterable[StageCount], key: Callable[[str], str] = str) -> StageCount:
    """`add_counts` without notes, with the examples and rules as one part of all would have them.

    Args:
        parts: each with its least examples.
        key: by which examples are chosen.
    """
    parts = list(parts)
    whole = add_counts(parts)
    dropped = dict(sorted(whole.dropped.items()))
    examples = {
        rule: tuple(
            sorted((shown for part in parts for shown in part.examples.get(rule, ())), key=key)
        )[:EXAMPLES]
        for rule in dropped
    }
    return replace(whole, dropped=dropped, examples=examples, notes={})


def flows_of(
    amounts: Mapping[str, npt.NDArray[np.int64]],
    verdict: npt.NDArray[np.integer[Any]],
    rules: Sequence[str],
) -> dict[str, Flow]:
    """How much of each sum is kept and dropped.

    Args:
        amounts: name: of each row (n,).
        verdict: of each row (n,) 0, or the number from 1 of the rule that drops it.
        rules: their names.

    Returns:
        By name; nothing where all amounts are 0.
    """
    flows = {}
    for name in COUNTED:
        column = amounts.get(name, np.zeros(len(verdict), dtype=np.int64))
        seen, kept = int(column.sum()), int(column[verdict == 0].sum())
        by_rule = {}
        if kept < seen:
            sums = ((rule, int(column[verdict == n].sum())) for n, rule in enumerate(rules, 1))
            by_rule = {rule: amount for rule, amount in sums if amount}
        flows[name] = Flow(seen, kept, by_rule)
    return flows if any(flow.seen for flow in flows.values()) else {}


def amounts_of(rows: pa.Table) -> dict[str, npt.NDArray[np.int64]]:
    """Clicks and impressions (n,) of pairs or images; null is none."""
    return {
        name: pc.fill_null(rows[name].cast(pa.int64()), 0).to_numpy()
        for name in COUNTED
        if name in rows.column_names
    }


def clicks_of(clicks: int, impressions: int) -> str:
    """Both sums in words."""
    return f"{clicks:,} clicks of {impressions:,}"


def _add(one: Flow, other: Flow) -> Flow:
    dropped = Counter(one.dropped)
    dropped.update(other.dropped)
    return Flow(
        one.seen + other.seen, one.kept + other.kept, dict(dropped), one.added + other.added
    )
