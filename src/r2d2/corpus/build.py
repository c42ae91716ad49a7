"""A build of a corpus: it runs the stages in order, then it writes the report and the card.

An interrupted build continues where it was: a finished stage is not repeated, and within a stage
every finished part is kept. Changed settings repeat the stages that depend on them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from r2d2.corpus.clicks.log import find_logs, with_ranking
from r2d2.corpus.cluster.connection import check_nodes
from r2d2.corpus.config import CorpusConfig
from r2d2.corpus.fetching.fetch import need_fetching, retried_causes
from r2d2.corpus.images.align import EmbeddingModel
from r2d2.corpus.output import is_made_of
from r2d2.corpus.report.dropped import (
    collect_dropped,
    dropped_folder,
    is_dropped_folder,
    remove_dropped,
)
from r2d2.corpus.report.finish import REPORT, ReportFiles, nothing_left, report_paths, write_reports
from r2d2.corpus.rows import DROPPED
from r2d2.corpus.runner import start
from r2d2.corpus.stage_list import BUILD_KEY, STORE, corpus_stages
from r2d2.corpus.stages import (
    Stage,
    StageContext,
    add_stages,
    with_keys,
)
from r2d2.corpus.texts.recaption import CAPTIONS
from r2d2.corpus.workspace import StageResult, Workspace, refuse_other_format
from r2d2.files import remove_folder
from r2d2.output_lock import sole_writer
from r2d2.outputs import a_file, a_folder, a_table, check_outputs
from r2d2.progress import Update
from r2d2.table import PairsTable

MEMORY = 2_000_000_000  # bytes
NEEDED = ("r2d2", "duckdb", "ahocorasick_rs", "pypinyin", "onnxruntime", "aiohttp")  # on every node


@dataclass(frozen=True)
class CorpusResult:
    """A finished corpus."""

    table: str
    images: int
    texts: int
    splits: Mapping[str, int]  # images of each
    config: CorpusConfig  # with what was left open decided
    report: Path
    card: Path
    dropped: Path | None  # folder of the rows that the stages dropped, where they are kept
    stages: tuple[StageResult, ...]


def _homes(out: str, work: Path | None) -> tuple[Path, Path]:
    """Beside what the report and the card stand, and the folder between the stages."""
    home = Path(out) if "://" not in out else Path(out.rstrip("/").rsplit("/", 1)[-1])
    root = Path(work) if work is not None else home.with_name(home.name + ".build")
    return home, root.absolute()  # workers may have another working directory


def check_build(
    logs: Sequence[str],
    out: str,
    work: Path | None,
    overwrite: bool,
    keep_dropped: bool = False,
) -> None:
    """Refuse outputs before anything is read; a build that goes on has some of them already.

    Raises:
        R2D2Error: see `check_outputs`; or another version's build lies in the working folder.
    """
    home, root = _homes(out, work)
    outputs = [a_table(out), *(a_file(file, file.suffix) for file in report_paths(home))]
    if keep_dropped:
        outputs.append(a_folder(dropped_folder(home), is_dropped_folder))
    check_outputs(
        outputs,
        inputs=logs,
        overwrite=overwrite or root.exists(),
    )
    refuse_other_format(root)


def build_corpus(
    logs: Sequence[str],
    out: str | Path,
    config: CorpusConfig,
    *,
    work: Path | None = None,
    memory_bytes: int = MEMORY,
    runner: str = "native",
    workers: int | None = None,
    model: EmbeddingModel | None = None,
    model_name: str = "",
    retry_failed: bool | Collection[str] = False,
    stages: Sequence[Stage] = (),
    keep_dropped: bool = False,
    keep_work: bool = False,
    overwrite: bool = False,
    update: Update = lambda *arguments: None,
) -> CorpusResult:
    """Build a corpus.

    Args:
        logs: files, folders, globs or URLs.
        out: path or URL of the pairs table. The report and the card land beside a local one.
        config: every stage's settings.
        work: folder for what lies between the stages; None: `out` with the ending .build.
        memory_bytes: for all workers of this machine together, or for each worker of a cluster; it
            sets how finely the log is cut.
        runner: native (this machine), or ray.
        workers: parts at a time; None: one on this machine, and all that a cluster has room for.
        model: for `dedup.meaning`, `align` and the balance of the report.
        model_name: what the report calls it.
        retry_failed: fetch failures again: those that may pass (True), or of these causes.
        stages: stages of your own, each with the name of the one that it follows.
        keep_dropped: write every row that a stage drops to a folder beside the report.
        keep_work: leave the stages' folders.
        overwrite: replace a table at `out`.
        update: progress.

    Raises:
        R2D2Error: whatever the user can mend; what is done stays done.
    """
    retried_causes(retry_failed)  # a wrong one stops at once
    if retry_failed:
        need_fetching(config.fetch, "--retry-failed")
    out = str(out)
    home, root = _homes(out, work)
    check_build(logs, out, work, overwrite, keep_dropped)
    files = find_logs(logs)
    config = with_ranking(config, files)
    job_runner = start(runner, workers, memory_bytes if runner == "ray" else None)
    context = StageContext(
        job_runner, memory_bytes, str(Path.cwd()), root, update,
        overwrite=overwrite, keep_dropped=keep_dropped, retry_failed=retry_failed,
    )  # fmt: skip
    planned = add_stages(corpus_stages(config, logs, files, out, memory_bytes, model), stages)
    contexts = with_keys(planned, context)
    for stage, stage_context in zip(planned, contexts, strict=True):
        stage.check(stage.settings, stage_context)
    replaced = overwrite or (not retry_failed and _made_by(root, contexts[0].build_key, out))
    check_outputs([a_table(out)], inputs=logs, overwrite=replaced)
    workspace = Workspace(root)
    with sole_writer(out), workspace.lock():
        if job_runner.cluster:
            check_nodes(root, NEEDED)
        if retry_failed:
            workspace.reopen("fetch")
            workspace.reopen("recaption")
        for number, (stage, stage_context) in enumerate(zip(planned, contexts, strict=True), 1):
            workspace.run(number, stage, stage_context)
        (written,) = workspace.results[-1].counts
        dropped = _gather_dropped(workspace, home, written.kept > 0, keep_dropped, overwrite)
        report_files = ReportFiles(home, workspace, config, files, dropped)
        if not written.kept:
            raise nothing_left(out, report_files, {stage.name for stage in stages})
        stats, report, card = write_reports(
            PairsTable.open(out), report_files, model, model_name, job_runner, update
        )
    if not keep_work:
        _clear(workspace)
    return CorpusResult(
        out, written.kept, stats.texts, stats.splits, config, report, card, dropped,
        tuple(workspace.results),
    )  # fmt: skip


def _gather_dropped(
    workspace: Workspace, home: Path, has_table: bool, keep_dropped: bool, overwrite: bool
) -> Path | None:
    """The folder of all dropped rows, beside the table if there is one; None if none are kept."""
    folder = dropped_folder(home) if has_table else workspace.root / DROPPED
    if keep_dropped:
        collect_dropped([result.folder for result in workspace.results], folder)
        return folder
    if overwrite:
        remove_dropped(folder)
    return None


def _clear(workspace: Workspace) -> None:
    """Remove what lies between the stages, except files that were fetched and captions."""
    root = workspace.root
    workspace.tidy()
    (root / REPORT).unlink(missing_ok=True)
    remove_folder(root / DROPPED)
    if not (root / STORE).exists() and not (root / CAPTIONS).exists():
        remove_folder(root)


def _made_by(root: Path, key: str, out: str) -> bool:
    """Whether this very build has made the table at `out`, and was cut off before its report."""
    keys = (file for file in root.glob(f"[0-9][0-9]-write/{BUILD_KEY}") if file.read_text() == key)
    return any(is_made_of(out, file.parent) for file in keys)
