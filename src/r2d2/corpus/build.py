"""From click logs to a pairs table: the list of stages, their run in order, then the report.

An interrupted build goes on where it was: a stage that is done is not done again, and within one
every part that is whole is kept. Other settings run anew what depends on them.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from r2d2.corpus.clicks.aggregate import aggregate
from r2d2.corpus.clicks.ctr import Prior, read_prior
from r2d2.corpus.clicks.cut import PRIOR
from r2d2.corpus.clicks.log import find_logs, with_ranking
from r2d2.corpus.clicks.rank import rank, read_least
from r2d2.corpus.clicks.unite import unite
from r2d2.corpus.cluster.connection import check_nodes
from r2d2.corpus.config import (
    AlignConfig,
    CorpusConfig,
    DedupConfig,
    FetchConfig,
    LogConfig,
    RankConfig,
    RecaptionConfig,
    SampleConfig,
    TextFilterConfig,
)
from r2d2.corpus.fetching.by_host import fetch_by_host
from r2d2.corpus.fetching.fetch import fetch_images, need_fetching, retried_causes
from r2d2.corpus.fetching.join import FetchWork
from r2d2.corpus.fetching.url_list import needed_urls
from r2d2.corpus.funnel import StageCount
from r2d2.corpus.images.align import EmbeddingModel, align
from r2d2.corpus.images.by_band import find_by_band
from r2d2.corpus.images.duplicates import find_duplicates
from r2d2.corpus.images.image_filter import check_images, filter_images
from r2d2.corpus.output import is_made_of, write_corpus
from r2d2.corpus.report.dropped import (
    collect_dropped,
    dropped_folder,
    is_dropped_folder,
    remove_dropped,
)
from r2d2.corpus.report.finish import REPORT, ReportFiles, nothing_left, report_paths, write_reports
from r2d2.corpus.rows import DROPPED, IMAGES, PAIRS, DroppedFile, part_file, read_pairs
from r2d2.corpus.runner import start
from r2d2.corpus.stages import (
    MERGE,
    RATES,
    SUMS,
    TABLE,
    Stage,
    StageContext,
    add_stages,
    context_of,
    digest,
)
from r2d2.corpus.texts.recaption import CAPTIONS, check_recaption, recaption
from r2d2.corpus.texts.text_filter import filter_texts, open_text_filters
from r2d2.corpus.workspace import StageResult, Workspace, refuse_other_format
from r2d2.errors import R2D2Error, taken
from r2d2.files import remove_folder, write_text
from r2d2.output_lock import sole_writer
from r2d2.outputs import a_file, a_folder, a_table, check_outputs, table_is_there
from r2d2.progress import Update
from r2d2.table import PairsTable

MEMORY = 2_000_000_000  # bytes
STORE = "fetched"  # what was fetched outlives the stages that use it
NEEDED = ("r2d2", "duckdb", "ahocorasick_rs", "pypinyin", "onnxruntime", "aiohttp")  # on every node
KEY = "build.txt"  # in the last stage's folder: which build it is of
MERGED = "merge.parquet"


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


@dataclass(frozen=True)
class SumSettings:
    """What the sums of a log depend on."""

    logs: tuple[str, ...]
    state: tuple[tuple[str, int, int], ...]  # of each file: its name, size and time
    columns: LogConfig
    ranked: bool
    examination: tuple[float, ...]
    simplified: bool
    memory_bytes: int  # it sets how many parts there are


@dataclass(frozen=True)
class TableSettings:
    """What the written table depends on, beside its rows."""

    out: str
    sample: SampleConfig
    rank: RankConfig
    metadata: tuple[tuple[str, str], ...]


def corpus_stages(
    config: CorpusConfig, sums: SumSettings, table: TableSettings, model: EmbeddingModel | None
) -> list[Stage]:
    """All stages of a build, in order. A new one is a line here, and a file beside the others."""
    both = (PAIRS, IMAGES)
    texts = (config.query, config.text, config.rank)
    meaning = (config.dedup, model if config.dedup.meaning is not None else None)
    captions = (config.recaption, config.text, config.sample)
    aligning = (config.align, model)
    return [
        Stage("aggregate", (), (SUMS,), sums, _aggregate),
        Stage("rank", (SUMS,), (*both, RATES), config.rank, _rank),
        Stage("text", both, both, texts, filter_texts, check=open_text_filters),
        Stage("fetch", (IMAGES,), (IMAGES,), config.fetch, _fetch, needed=_lacks_files),
        Stage("image", (IMAGES,), (IMAGES,), config.image, filter_images, check=check_images),
        Stage(
            "duplicates", (IMAGES,), (MERGE,), meaning, _merge, check=_need_model, needed=_may_merge
        ),
        Stage("unite", (*both, MERGE, SUMS, RATES), both, config.rank, _unite),
        Stage("recaption", both, both, captions, recaption, check_recaption, _has_endpoint),
        Stage("align", both, both, aligning, _align, check=_need_bounds_model, needed=_has_bounds),
        Stage("write", (*both, RATES), (TABLE,), table, _write, stands=_table_stands),
    ]


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
    sums = SumSettings(
        tuple(logs), _state(files), config.log, config.rank.active, config.rank.examination,
        config.query.simplified, memory_bytes,
    )  # fmt: skip
    metadata = {
        "made by": "r2d2 corpus build",
        "preset": config.preset,
        "logs": str(len(files)),
    }
    table = TableSettings(out, config.sample, config.rank, tuple(metadata.items()))
    planned = add_stages(corpus_stages(config, sums, table, model), stages)
    contexts = [context_of(stage, context) for stage in planned]
    build_key = digest([one.key for one in contexts])
    for stage, one in zip(planned, contexts, strict=True):
        stage.check(stage.settings, one)
    replaced = overwrite or (not retry_failed and _made_by(root, build_key, out))
    check_outputs([a_table(out)], inputs=logs, overwrite=replaced)
    space = Workspace(root)
    with sole_writer(out), space.lock():
        if job_runner.cluster:
            check_nodes(root, NEEDED)
        if retry_failed:
            space.reopen("fetch")
            space.reopen("recaption")
        for number, (stage, one) in enumerate(zip(planned, contexts, strict=True), 1):
            space.run(number, stage, dataclasses.replace(one, build_key=build_key))
        (written,) = space.results[-1].counts
        dropped = dropped_folder(home) if written.kept else root / DROPPED
        if keep_dropped:
            collect_dropped([result.folder for result in space.results], dropped)
        elif overwrite:
            remove_dropped(dropped)
        report_files = ReportFiles(home, space, config, files, dropped if keep_dropped else None)
        if not written.kept:
            raise nothing_left(out, report_files, {stage.name for stage in stages})
        table_there = PairsTable.open(out)
        stats, report, card = write_reports(
            table_there, report_files, model, model_name, job_runner, update
        )
    if not keep_work:
        space.tidy()
        (root / REPORT).unlink(missing_ok=True)
        remove_folder(root / DROPPED)
        if not (root / STORE).exists() and not (root / CAPTIONS).exists():
            remove_folder(root)
    return CorpusResult(
        out, written.kept, stats.texts, stats.splits, config, report, card, report_files.dropped,
        tuple(space.results),
    )  # fmt: skip


def _aggregate(settings: SumSettings, context: StageContext) -> list[StageCount]:
    config = CorpusConfig(
        log=settings.columns,
        rank=RankConfig(enabled=settings.ranked, examination=settings.examination),
        query=TextFilterConfig(simplified=settings.simplified),
    )
    return aggregate(
        settings.logs, config, context.out, runner=context.runner,
        memory_bytes=context.process_bytes, update=context.update,
    )  # fmt: skip


def _rank(settings: RankConfig, context: StageContext) -> list[StageCount]:
    return rank(
        context.folders[SUMS], context.out, settings, runner=context.runner,
        update=context.update, memory_bytes=context.process_bytes,
    )  # fmt: skip


def _lacks_files(settings: FetchConfig, context: StageContext) -> bool:
    """Whether any image lacks its file; where that is not known, yes."""
    for part in range(context.parts):
        with pq.ParquetFile(part_file(context.folders[IMAGES], IMAGES, part)) as file:
            place = file.schema_arrow.get_field_index("image")
            for group in range(file.num_row_groups):
                known = file.metadata.row_group(group).column(place).statistics
                if known is None or known.null_count != 0:
                    return True
    return False


def _fetch(settings: FetchConfig, context: StageContext) -> list[StageCount]:
    store, images = context.root / STORE, context.folders[IMAGES]
    fetched = None
    if settings.enabled and context.runner.cluster:
        fetched = fetch_by_host(
            images, context.parts, store, settings, context.runner,
            retry_failed=context.retry_failed, update=context.update, stage=context.out,
        )  # fmt: skip
    elif settings.enabled:
        fetched = _fetch_here(settings, context, store)
    joined = context.each_part(FetchWork(str(store), settings), "joining files")
    return [joined] if fetched is None else [fetched, joined]


def _fetch_here(settings: FetchConfig, context: StageContext, store: Path) -> StageCount | None:
    images = context.folders[IMAGES]
    urls = (url for n in range(context.parts) for url in needed_urls(part_file(images, IMAGES, n)))
    if (first := next(urls, None)) is None:
        return None
    with DroppedFile(context.out, "fetch", "addresses", "0") as dropped:
        return fetch_images(
            itertools.chain([first], urls), store, settings, update=context.update,
            retry_failed=context.retry_failed, dropped=dropped,
        )  # fmt: skip


def _need_model(settings: tuple[DedupConfig, EmbeddingModel | None], context: StageContext) -> None:
    config, model = settings
    if config.meaning is not None and model is None:
        raise _lacks_model("dedup.meaning")


def _may_merge(settings: tuple[DedupConfig, EmbeddingModel | None], context: StageContext) -> bool:
    """Whether duplicates are sought, or an image that lay at a path has another id by its file."""
    config, _ = settings
    if config.active:
        return True
    parts = (part_file(context.folders[IMAGES], IMAGES, n) for n in range(context.parts))
    ids = (read_pairs(part, ["image_id", "final_id"]) for part in parts)
    return any(pc.any(pc.not_equal(*table.columns)).as_py() for table in ids)


def _merge(
    settings: tuple[DedupConfig, EmbeddingModel | None], context: StageContext
) -> list[StageCount]:
    config, model = settings
    out = context.out / MERGED
    if context.runner.cluster:
        images, update = context.folders[IMAGES], context.update
        return [find_by_band(images, out, config, context.runner, update, model)]
    encode = model.encode_images if model else None
    return [find_duplicates(context.folders[IMAGES], out, config, context.update, encode)]


def _unite(settings: RankConfig, context: StageContext) -> list[StageCount]:
    folders = context.folders
    return unite(
        folders[PAIRS], folders[IMAGES], folders[MERGE] / MERGED if MERGE in folders else None,
        context.out, settings, _prior(settings, context), context.runner, context.update,
        summed=folders[SUMS] if settings.active else None, least=read_least(folders[RATES]),
        memory_bytes=context.process_bytes,
    )  # fmt: skip


def _prior(settings: RankConfig, context: StageContext) -> Prior | None:
    return read_prior(context.folders[RATES] / PRIOR) if settings.active else None


def _has_endpoint(
    settings: tuple[RecaptionConfig, TextFilterConfig, SampleConfig], context: StageContext
) -> bool:
    return settings[0].endpoint is not None


def _need_bounds_model(
    settings: tuple[AlignConfig, EmbeddingModel | None], context: StageContext
) -> None:
    config, model = settings
    for name in ("low", "high"):
        if getattr(config, name) is not None and model is None:
            raise _lacks_model(f"align.{name}")


def _lacks_model(name: str) -> R2D2Error:
    return R2D2Error(f"{name} needs a model: give --model, or --set {name}=null")


def _has_bounds(settings: tuple[AlignConfig, EmbeddingModel | None], context: StageContext) -> bool:
    config, _ = settings
    return config.low is not None or config.high is not None


def _align(settings: tuple[AlignConfig, EmbeddingModel], context: StageContext) -> list[StageCount]:
    assert context.folders[PAIRS] == context.folders[IMAGES]  # of one stage
    return align(context.folders[PAIRS], context.out, *settings, context.runner, context.update)


def _write(settings: TableSettings, context: StageContext) -> list[StageCount]:
    out = settings.out
    if table_is_there(out) and not context.overwrite and not is_made_of(out, context.out):
        raise taken(out)  # it was not when the build began
    write_text(context.out / KEY, context.build_key)
    return [
        write_corpus(
            context.folders[PAIRS], out, context.out, settings.sample, settings.rank,
            _prior(settings.rank, context), dict(settings.metadata), context.runner,
            context.update,
        )
    ]  # fmt: skip


def _table_stands(settings: TableSettings, context: StageContext) -> bool:
    return is_made_of(settings.out, context.out)


def _made_by(root: Path, key: str, out: str) -> bool:
    """Whether this very build has made the table at `out`, and was cut off before its report."""
    keys = (file for file in root.glob(f"[0-9][0-9]-write/{KEY}") if file.read_text() == key)
    return any(is_made_of(out, file.parent) for file in keys)


def _state(files: Sequence[str]) -> tuple[tuple[str, int, int], ...]:
    """Which logs, and in which state; of remote ones the name alone is known."""
    state = []
    for file in files:
        path = Path(file)
        inside = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
        stats = [p.stat() for p in inside if p.exists()]
        state.append((file, sum(s.st_size for s in stats),
                      max((s.st_mtime_ns for s in stats), default=0)))  # fmt: skip
    return tuple(state)
