"""From click logs to a pairs table: the stages in order, each in its folder, then the report.

An interrupted build goes on where it was: a stage that is done is not done again, and within one
every part that is whole is kept. Other settings run anew what depends on them.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from r2d2.corpus.behind import Behind, look_behind
from r2d2.corpus.clicks.aggregate import aggregate
from r2d2.corpus.clicks.ctr import Prior, read_prior
from r2d2.corpus.clicks.log import find_logs, with_ranking
from r2d2.corpus.clicks.rank import rank, read_least
from r2d2.corpus.clicks.tally import PRIOR
from r2d2.corpus.clicks.unite import unite
from r2d2.corpus.config import CorpusConfig
from r2d2.corpus.engine import start
from r2d2.corpus.fetching.fetch import fetch_images, retried_causes
from r2d2.corpus.fetching.join import FetchWork
from r2d2.corpus.fetching.url_list import needed_urls
from r2d2.corpus.funnel import StageCount, add_counts
from r2d2.corpus.images.align import Model, align
from r2d2.corpus.images.duplicates import find_duplicates
from r2d2.corpus.images.image_filter import ImageWork
from r2d2.corpus.output import is_made_of, write_corpus
from r2d2.corpus.parts import Places, map_parts
from r2d2.corpus.report.finish import REPORT, nothing_left, paper_files, write_papers
from r2d2.corpus.rows import IMAGES, part_count, part_file
from r2d2.corpus.texts.prune import PruneWork
from r2d2.corpus.texts.text_filter import TextWork
from r2d2.corpus.workspace import Stage, Workspace, digest
from r2d2.errors import taken
from r2d2.files import write_text
from r2d2.output_lock import sole_writer
from r2d2.outputs import a_file, a_table, check_outputs, table_is_there
from r2d2.progress import Update
from r2d2.table import PairsTable

MEMORY = 2_000_000_000  # bytes
STORE = "fetched"  # what was fetched outlives the stages that use it
KEY = "build.txt"  # in the last stage's folder: which build it is of


@dataclass(frozen=True)
class Built:
    """A finished corpus."""

    table: str
    images: int
    texts: int
    splits: Mapping[str, int]  # images of each
    config: CorpusConfig  # with what was left open decided
    report: Path
    card: Path
    stages: tuple[Stage, ...]


def _homes(out: str, work: Path | None) -> tuple[Path, Path]:
    """Beside what the report and the card stand, and the folder between the stages."""
    home = Path(out) if "://" not in out else Path(out.rstrip("/").rsplit("/", 1)[-1])
    return home, Path(work) if work is not None else home.with_name(home.name + ".build")


def check_build(logs: Sequence[str], out: str, work: Path | None, overwrite: bool) -> None:
    """Refuse outputs before anything is read; a build that goes on has some of them already.

    Raises:
        R2D2Error: see `check_outputs`.
    """
    home, root = _homes(out, work)
    check_outputs(
        [a_table(out), *(a_file(file, file.suffix) for file in paper_files(home))],
        inputs=logs,
        overwrite=overwrite or root.exists(),
    )


def build_corpus(
    logs: Sequence[str],
    out: str | Path,
    config: CorpusConfig,
    *,
    work: Path | None = None,
    memory_bytes: int = MEMORY,
    runner: str = "native",
    workers: int = 1,
    model: Model | None = None,
    model_name: str = "",
    retry_failed: bool | Collection[str] = False,
    keep_work: bool = False,
    overwrite: bool = False,
    update: Update = lambda *arguments: None,
) -> Built:
    """Build a corpus.

    Args:
        logs: files, folders, globs or URLs.
        out: path or URL of the pairs table. The report and the card land beside a local one.
        config: every stage's settings.
        work: folder for what lies between the stages; None: `out` with the ending .build.
        memory_bytes: for all workers together; it sets how finely the log is cut.
        runner: native (this machine), or ray.
        workers: parts at a time.
        model: for `dedup.meaning`, `align` and the balance of the report.
        model_name: what the report calls it.
        retry_failed: fetch failures again: those that may pass (True), or of these causes.
        keep_work: leave the stages' folders.
        overwrite: replace a table at `out`.
        update: progress.

    Raises:
        R2D2Error: whatever the user can mend; what is done stays done.
    """
    retried_causes(retry_failed)  # a wrong one stops at once
    out = str(out)
    home, root = _homes(out, work)
    check_build(logs, out, work, overwrite)
    here = str(Path.cwd())
    behind = look_behind(config, model, here)
    files = find_logs(logs)
    config = with_ranking(config, files)
    identity = _identity(files)
    space = Workspace(root, [identity, asdict(config.log)])
    key = digest([identity, asdict(config), memory_bytes, out, asdict(behind)])
    replaced = overwrite or (not retry_failed and _made_by(root, key, out))
    check_outputs([a_table(out)], inputs=logs, overwrite=replaced)
    places = start(runner, workers)
    with sole_writer(out), space.lock():
        if retry_failed:
            space.reopen("fetch")
        last, prior = _stages(
            space,
            logs,
            config,
            behind,
            places,
            memory_bytes,
            runner,
            workers,
            model,
            retry_failed,
            here,
            update,
        )
        if not is_made_of(out, space.next_folder("write")):
            space.reopen("write")
        metadata = {
            "made by": "r2d2 corpus build",
            "preset": config.preset,
            "logs": str(len(files)),
        }

        def write(folder: Path) -> list[StageCount]:
            if table_is_there(out) and not overwrite and not is_made_of(out, folder):
                raise taken(out)  # it was not when the build began
            write_text(folder / KEY, key)
            return [
                write_corpus(
                    last, out, folder, config.sample, config.rank, prior, metadata, places, update
                )
            ]

        (written,) = space.run("write", [asdict(config.sample), out], write).counts
        if not written.kept:
            raise nothing_left(out, space, config, files)
        stats, report, card = write_papers(
            PairsTable.open(out), home, space, config, files, model, model_name, update
        )
    if not keep_work:
        _tidy(root, space.stages)
    return Built(
        out, written.kept, stats.texts, stats.splits, config, report, card, tuple(space.stages)
    )


def _stages(
    space: Workspace,
    logs: Sequence[str],
    config: CorpusConfig,
    behind: Behind,
    places: Places,
    memory_bytes: int,
    runner: str,
    workers: int,
    model: Model | None,
    retry_failed: bool | Collection[str],
    here: str,
    update: Update,
) -> tuple[Path, Prior | None]:
    """All stages before the last; gives the folder of what is to be written, and the prior."""
    summed = space.run(
        "aggregate",
        [memory_bytes, list(config.rank.examination), config.rank.active, config.query.simplified],
        lambda folder: aggregate(
            logs, config, folder, memory_bytes=memory_bytes, runner=runner, workers=workers,
            update=update,
        ),
    ).folder  # fmt: skip
    ranked = space.run(
        "rank",
        asdict(config.rank),
        lambda folder: rank(summed, folder, config.rank, places=places, update=update),
    ).folder
    prior = read_prior(ranked / PRIOR) if config.rank.active else None
    least = read_least(ranked)
    parts = part_count(ranked)

    def each(work: Any, what: str, folder: Path, **inputs: Path) -> StageCount:
        given = {name: str(path) for name, path in inputs.items()}
        jobs = [{**given, "out": str(folder), "part": str(n)} for n in range(parts)]
        return add_counts(map_parts(work, jobs, places, what, update))

    judged = TextWork(config.query, config.text, (behind.query, behind.text), here)
    texts = space.run(
        "text",
        [asdict(config.query), asdict(config.text), behind.query, behind.text],
        lambda folder: [
            each(judged, "filtering texts", folder, pairs=ranked),
            each(
                PruneWork(config.rank.copies),
                "leaving out images",
                folder,
                pairs=folder,
                images=ranked,
            ),
        ],
    ).folder
    images = texts
    if _any(texts, parts, "image", null=True):
        store = space.root / STORE

        def fetch(folder: Path) -> list[StageCount]:
            urls = (url for n in range(parts) for url in needed_urls(part_file(texts, IMAGES, n)))
            counts = []
            if (first := next(urls, None)) is not None:
                some = itertools.chain([first], urls)
                counts.append(
                    fetch_images(
                        some, store, config.fetch, retry_failed=retry_failed, update=update
                    )
                )
            joined = each(
                FetchWork(str(store), config.fetch), "joining files", folder, images=texts
            )
            return [*counts, joined]

        images = space.run("fetch", [asdict(config.fetch), behind.fetch], fetch).folder
    looked = space.run(
        "image",
        [asdict(config.image), behind.image],
        lambda folder: [each(ImageWork(config.image), "looking at images", folder, images=images)],
    ).folder
    dedup = config.dedup
    merge: Path | None = None
    merges = dedup.exact or dedup.radius is not None or dedup.meaning is not None
    if merges or _any(texts, parts, "path", null=False):  # one file may lie at several paths
        merge = space.run(
            "duplicates",
            [asdict(config.dedup), behind.meaning],
            lambda folder: [
                find_duplicates(
                    looked, folder / "merge.parquet", config.dedup, update,
                    model.encode_images if model else None,
                )
            ],
        ).folder / "merge.parquet"  # fmt: skip
    last = space.run(
        "unite",
        asdict(config.rank),
        lambda folder: unite(
            texts, looked, merge, folder, config.rank, prior, places, update,
            summed=summed if config.rank.active else None, least=least,
        ),
    ).folder  # fmt: skip
    if model is not None and (config.align.low is not None or config.align.high is not None):
        last = space.run(
            "align",
            [asdict(config.align), behind.align],
            lambda folder: align(last, folder, config.align, model, update),
        ).folder
    return last, prior


def _made_by(root: Path, key: str, out: str) -> bool:
    """Whether this very build has made the table at `out`, and was cut off before its report."""
    keys = (file for file in root.glob(f"[0-9][0-9]-write/{KEY}") if file.read_text() == key)
    return any(is_made_of(out, file.parent) for file in keys)


def _identity(files: Sequence[str]) -> list[tuple[str, int, int]]:
    """Which logs, and in which state; of remote ones the name alone is known."""
    found = []
    for file in files:
        path = Path(file)
        inside = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
        stats = [p.stat() for p in inside if p.exists()]
        found.append((file, sum(s.st_size for s in stats),
                      max((s.st_mtime_ns for s in stats), default=0)))  # fmt: skip
    return found


def _any(folder: Path, parts: int, column: str, *, null: bool) -> bool:
    """Whether any image lacks a column (`null`), or any has it; where it is not known, yes."""
    for part in range(parts):
        with pq.ParquetFile(part_file(folder, IMAGES, part)) as file:
            place = file.schema_arrow.get_field_index(column)
            for group in range(file.num_row_groups):
                meta = file.metadata.row_group(group)
                known = meta.column(place).statistics
                if known is None or known.null_count != (0 if null else meta.num_rows):
                    return True
    return False


def _tidy(root: Path, stages: Sequence[Stage]) -> None:
    """Remove what lies between the stages; what was fetched stays for the next build."""
    for stage in reversed(stages):  # the last first: cut off here, the build is finished
        shutil.rmtree(stage.folder, ignore_errors=True)
    (root / REPORT).unlink(missing_ok=True)
    if not (root / STORE).exists():
        shutil.rmtree(root, ignore_errors=True)
