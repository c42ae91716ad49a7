"""Run all checks over a table; a new check is a class in CHECKS."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from r2d2.checks.base import Check, CheckOptions, Chunk, Fact, FactCheck, Finding, glance
from r2d2.checks.baselines import BaselineCheck
from r2d2.checks.ids import IdCheck
from r2d2.checks.leaks import LeakCheck
from r2d2.checks.pictures import PictureCheck
from r2d2.checks.sets import LabelCheck, SizeCheck, SplitCheck
from r2d2.checks.texts import TextCheck, TokenCheck
from r2d2.checks.vectors import check_vectors
from r2d2.errors import R2D2Error
from r2d2.progress import Update
from r2d2.table import PairsTable

CHUNK = 256  # rows with their pictures in memory
PICTURES = 50_000  # decoded; of a larger table a sample by hash of the row
MIX = 0x9E3779B97F4A7C15  # times a row number: even in 64 bits (Knuth's golden ratio)

CHECKS: tuple[type[Check], ...] = (
    SplitCheck, IdCheck, TextCheck, TokenCheck, PictureCheck, LabelCheck, SizeCheck, LeakCheck,
    BaselineCheck,
)  # fmt: skip
ORDER: Mapping[str, int] = {"stop": 0, "warn": 1, "note": 2}


@dataclass(frozen=True)
class CheckReport:
    """What was found in a table."""

    table: str
    rows: int
    texts: int
    pictures: int  # decoded
    findings: tuple[Finding, ...]
    facts: tuple[Fact, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether nothing stands in the way of training and spoils no figure."""
        return all(finding.severity != "stop" for finding in self.findings)

    @property
    def verdict(self) -> str:
        """The end of the report in a few words."""
        if not self.findings:
            return "nothing found that would go wrong"
        counts: Counter[str] = Counter(finding.severity for finding in self.findings)
        told = [
            f"{counts[severity]} {word}{'s' * (counts[severity] > 1)}"
            for severity, word in (("warn", "warning"), ("note", "note"))
            if counts[severity]
        ]
        stops = counts["stop"]
        spoiled = f"{stops} findings spoil a figure" if stops > 1 else "1 finding spoils a figure"
        return "; ".join([spoiled if stops else "nothing found that spoils a figure", *told])

    def lines(self) -> list[str]:
        """What to print: the worst first."""
        head = (
            f"{self.table}: {self.rows:,} rows, {self.texts:,} texts; "
            f"{self.pictures:,} pictures read"
        )
        return [
            head,
            *(fact.line() for fact in self.facts),
            *(line for finding in self.findings for line in finding.lines()),
            self.verdict,
        ]

    def json(self) -> str:
        """All of it."""
        told = {"passed": self.passed, "verdict": self.verdict, **asdict(self)}
        return json.dumps(told, ensure_ascii=False, indent=1)


def check_table(
    path: str | Path,
    update: Update,
    options: CheckOptions | None = None,
    pictures: int = PICTURES,
    checks: Sequence[type[Check]] = CHECKS,
) -> CheckReport:
    """Run the checks over a table.

    Args:
        path: a pairs table.
        update: progress.
        options: tokenizer, limits, and how near-duplicates are found.
        pictures: how many to decode; of a larger table a sample by hash of the row.
        checks: which.

    Raises:
        R2D2Error: there is no table, or it has no row.
    """
    table = PairsTable.open(path)
    rows = table.rows()
    if not len(rows):
        raise R2D2Error(f"{path} has no row: there is nothing to check")
    options = options or CheckOptions()
    running = [check(options) for check in checks]
    share = pictures / len(rows)
    texts = looked_at = 0
    for start in range(0, len(rows), CHUNK):
        update("checking", start, len(rows))
        numbers = rows[start : start + CHUNK].tolist()
        sample = [row * MIX % 2**64 < share * 2**64 for row in numbers]
        pairs = table.take(numbers)
        glances = [
            glance(pair, options.near) if looked else None
            for pair, looked in zip(pairs, sample, strict=True)
        ]
        chunk = Chunk(numbers, pairs, glances)
        texts += sum(len(pair.texts) for pair in chunk.pairs)
        looked_at += sum(sample)
        for check in running:
            check.see(chunk)
    update("checking", len(rows), len(rows))
    vector_facts, findings = check_vectors(table)
    findings += [finding for check in running for finding in check.findings()]
    findings.sort(key=lambda finding: ORDER[finding.severity])
    facts = [fact for check in running if isinstance(check, FactCheck) for fact in check.facts()]
    facts += vector_facts + _not_checked(options)
    return CheckReport(str(path), len(rows), texts, looked_at, tuple(findings), tuple(facts))


def _not_checked(options: CheckOptions) -> list[Fact]:
    """The checks that were left out, and the options that turn them on."""
    facts = []
    if options.tokenizer is None:
        facts.append(
            Fact("texts against a vocabulary", "not checked",
                 "give --model or --vocab of `r2d2 data check`")
        )  # fmt: skip
    if options.near is None:
        facts.append(
            Fact("near-duplicate pictures", "not checked", "give --radius 4 of `r2d2 data check`")
        )
    return facts
