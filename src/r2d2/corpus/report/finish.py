"""What stands beside a finished table: the report and the card; or why no table was made."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from r2d2.corpus.config import CorpusConfig
from r2d2.corpus.funnel import StageCount
from r2d2.corpus.images.align import EmbeddingModel
from r2d2.corpus.report.card import write_card
from r2d2.corpus.report.report import alignment, contact_sheet, flat, write_corpus_report
from r2d2.corpus.report.stats import CorpusStats, table_stats
from r2d2.corpus.runner import Runner
from r2d2.corpus.workspace import Workspace
from r2d2.errors import R2D2Error
from r2d2.progress import Update
from r2d2.table import PairsTable

REPORT = "report.html"  # in the work folder, of a build that left nothing


def report_paths(home: Path) -> tuple[Path, Path, Path]:
    """The report, the same as JSON, and the card."""
    endings = (".report.html", ".report.json", ".README.md")
    report, data, card = (home.with_name(home.name + ending) for ending in endings)
    return report, data, card


@dataclass(frozen=True)
class ReportFiles:
    """What the report and the card tell, beside what the table holds."""

    home: Path  # beside which they stand
    space: Workspace
    config: CorpusConfig
    logs: Sequence[str]
    dropped: Path | None = None  # folder of the dropped rows

    @property
    def funnel(self) -> list[StageCount]:
        """The counts of all stages."""
        return [count for result in self.space.results for count in result.counts]


def write_reports(
    table: PairsTable,
    report_files: ReportFiles,
    model: EmbeddingModel | None,
    model_name: str,
    runner: Runner,
    update: Update,
) -> tuple[CorpusStats, Path, Path]:
    """The report and the card of a table.

    Returns:
        What the table holds, the report's path, and the card's.
    """
    encode = model.encode_images if model else None
    stats = table_stats(table, update, encode, model_name, runner)
    report, _, card = report_paths(report_files.home)
    name, config, funnel = report_files.home.name, report_files.config, report_files.funnel
    panels, bounds, figures = alignment(report_files.space.folder("align"))
    write_corpus_report(
        report, name, {name: stats}, funnel=funnel,
        sheets=[contact_sheet(table), *bounds], panels=panels, figures=figures,
        settings=flat(asdict(config)), about=_about(config, report_files.logs, funnel),
        dropped=report_files.dropped,
    )  # fmt: skip
    write_card(card, name, stats, funnel, config, report_files.logs)
    return stats, report, card


def nothing_left(out: str, report_files: ReportFiles, own: Collection[str]) -> R2D2Error:
    """What to raise where no row is left; writes the report of how that came into the work folder.

    A table of an earlier build at `out` keeps its own report.

    Args:
        out: where the table would be.
        report_files: what the report tells.
        own: names of the user's own stages, which no setting of ours makes keep more.
    """
    report = report_files.space.root / REPORT
    config, funnel = report_files.config, report_files.funnel
    panels, bounds, figures = alignment(report_files.space.folder("align"))
    write_corpus_report(
        report, f"{out.rstrip('/').rsplit('/', 1)[-1]}: nothing is left", {}, funnel=funnel,
        sheets=bounds, panels=panels, figures=figures, settings=flat(asdict(config)),
        about=f"No table was made. {_about(config, report_files.logs, funnel)}",
        dropped=report_files.dropped,
    )  # fmt: skip
    last = next((count for count in funnel if not count.kept), funnel[-1])
    why = ", ".join(f"{rule} {n:,}" for rule, n in last.dropped.items()) or "there were none"
    most = max(last.dropped, key=lambda rule: last.dropped[rule], default="")
    for example in last.examples.get(most, ())[:1]:
        why += f", such as {example}"
    stages = {result.name for result in report_files.space.results if last in result.counts}
    remedy = "loosen it by --set"
    if not stages.isdisjoint(own):
        remedy = f"let your stage {last.stage!r} keep more"
    return R2D2Error(
        f"nothing is left to write to {out}: {last.stage} kept none of {last.seen:,} {last.unit} "
        f"({why}); {remedy}; all stages' counts with examples are in {report}"
    )


def left_aside(config: CorpusConfig, funnel: Sequence[StageCount]) -> str:
    """What was shown of images of which no query ranked, and how to count it; else nothing.

    Which of them are copies of an image that stayed is known of those alone that are fetched.
    """
    notes = next((count.notes for count in funnel if "aside_images" in count.notes), {})
    if not notes.get("aside_images") or config.rank.copies or not config.dedup.active:
        return ""
    return (
        f"{notes['aside_images']:,} images, shown {notes['aside_impressions']:,} times, have no "
        "query that ranked and are not fetched; where one is a copy of an image that stayed, its "
        "impressions are missing from the rates there: --set rank.copies=true counts them"
    )


def _about(config: CorpusConfig, logs: Sequence[str], funnel: Sequence[StageCount]) -> str:
    many = "s" if len(logs) != 1 else ""
    aside = left_aside(config, funnel)
    return f"Built from {len(logs)} log file{many} by the preset {config.preset}." + (
        f" {aside[0].upper()}{aside[1:]}." if aside else ""
    )
