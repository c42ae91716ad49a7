"""Run all checks over a table; a new check is a class in CHECKS."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from r2d2.checks.base import Check, CheckOptions, Chunk, Fact, FactCheck, Finding, summarise
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

CHUNK = 256  # rows whose pictures are in memory at a time
PICTURES = 50_000  # pictures to decode; of a larger table a sample by hash of the row number
# A row number times this, modulo 2^64, is spread evenly (Knuth's multiplicative hashing).
MIX = 0x9E3779B97F4A7C15

CHECKS: tuple[type[Check], ...] = (
    SplitCheck, IdCheck, TextCheck, TokenCheck, PictureCheck, LabelCheck, SizeCheck, LeakCheck,
    BaselineCheck,
)  # fmt: skip
ORDER: Mapping[str, int] = {"stop": 0, "warn": 1, "note": 2}


@dataclass(frozen=True)
class CheckReport:
    """The findings and figures of a table."""

    table: str
    rows: int
    texts: int
    pictures: int  # how many were decoded
    findings: tuple[Finding, ...]
    facts: tuple[Fact, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether no finding stops training or makes figures meaningless."""
        return all(finding.severity != "stop" for finding in self.findings)

    @property
    def verdict(self) -> str:
        """The last line of the report, which sums up the findings."""
        if not self.findings:
            return "nothing found that would go wrong"
        counts: Counter[str] = Counter(finding.severity for finding in self.findings)
        harmless = [
            f"{counts[severity]} {word}{'s' * (counts[severity] > 1)}"
            for severity, word in (("warn", "warning"), ("note", "note"))
            if counts[severity]
        ]
        stops = counts["stop"]
        spoiled = f"{stops} findings spoil a figure" if stops > 1 else "1 finding spoils a figure"
        return "; ".join([spoiled if stops else "nothing found that spoils a figure", *harmless])

    def lines(self) -> list[str]:
        """Return the lines to print, with the worst findings first."""
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
        """Return the whole report as JSON."""
        report = {"passed": self.passed, "verdict": self.verdict, **asdict(self)}
        return json.dumps(report, ensure_ascii=False, indent=1)


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
        update: is told the progress.
        options: tokenizer, limits, and how near-duplicates are found.
        pictures: how many pictures to decode; of a larger table a sample by hash of the row number.
        checks: the checks to run.

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
    texts = decoded = 0
    for start in range(0, len(rows), CHUNK):
        update("checking", start, len(rows))
        numbers = rows[start : start + CHUNK].tolist()
        sample = [row * MIX % 2**64 < share * 2**64 for row in numbers]
        pairs = table.take(numbers)
        summaries = [
            summarise(pair, options.near) if in_sample else None
            for pair, in_sample in zip(pairs, sample, strict=True)
        ]
        chunk = Chunk(numbers, pairs, summaries)
        texts += sum(len(pair.texts) for pair in chunk.pairs)
        decoded += sum(sample)
        for check in running:
            check.see(chunk)
    update("checking", len(rows), len(rows))
    vector_facts, findings = check_vectors(table)
    findings += [finding for check in running for finding in check.findings()]
    findings.sort(key=lambda finding: ORDER[finding.severity])
    facts = [fact for check in running if isinstance(check, FactCheck) for fact in check.facts()]
    facts += vector_facts + _not_checked(options)
    return CheckReport(str(path), len(rows), texts, decoded, tuple(findings), tuple(facts))


def _not_checked(options: CheckOptions) -> list[Fact]:
    """Return the checks that were left out, and the options that turn them on."""
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
