"""What a stage keeps and drops and why: counts that add up over partitions, with examples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

EXAMPLES = 8  # kept of a rule


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

    def __post_init__(self) -> None:
        if self.seen != self.kept + sum(self.dropped.values()):
            raise ValueError(
                f"{self.stage}: {self.seen} seen, but {self.kept} kept and {dict(self.dropped)} "
                "dropped: every item must be one or the other"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> StageCount:
        """What `to_dict` gave, also by way of JSON."""
        examples = {rule: tuple(found) for rule, found in data["examples"].items()}
        return cls(**{**data, "examples": examples})


def count_stage(
    stage: str, unit: str, rules: Iterable[str | None], shown: Iterable[str]
) -> StageCount:
    """Count verdicts: None is kept, else the name of the rule; `shown` is each item in words."""
    seen = kept = 0
    dropped: dict[str, int] = {}
    examples: dict[str, tuple[str, ...]] = {}
    for rule, item in zip(rules, shown, strict=True):
        seen += 1
        if rule is None:
            kept += 1
            continue
        dropped[rule] = dropped.get(rule, 0) + 1
        if dropped[rule] <= EXAMPLES:
            examples[rule] = (*examples.get(rule, ()), item)
    return StageCount(stage, unit, seen, kept, dropped, examples)


def add_counts(parts: Iterable[StageCount]) -> StageCount:
    """The parts of one stage as one, with the notes of the first; ValueError without any part."""
    parts = list(parts)
    if not parts:
        raise ValueError("there is nothing to add")
    dropped: dict[str, int] = {}
    examples: dict[str, tuple[str, ...]] = {}
    for part in parts:
        for rule, count in part.dropped.items():
            dropped[rule] = dropped.get(rule, 0) + count
        for rule, found in part.examples.items():
            examples[rule] = (*examples.get(rule, ()), *found)[:EXAMPLES]
    first = parts[0]
    seen, kept = sum(p.seen for p in parts), sum(p.kept for p in parts)
    return StageCount(first.stage, first.unit, seen, kept, dropped, examples, first.notes)
