"""The stages of a build in order: what each reads and writes, and what its result depends on."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from r2d2.corpus.clicks.aggregate import aggregate
from r2d2.corpus.clicks.ctr import Prior, read_prior
from r2d2.corpus.clicks.cut import PRIOR
from r2d2.corpus.clicks.rank import rank, read_least
from r2d2.corpus.clicks.unite import unite
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
from r2d2.corpus.fetching.fetch import fetch_images
from r2d2.corpus.fetching.join import FetchWork
from r2d2.corpus.fetching.url_list import needed_urls
from r2d2.corpus.funnel import StageCount
from r2d2.corpus.images.align import EmbeddingModel, align
from r2d2.corpus.images.by_band import find_by_band
from r2d2.corpus.images.duplicates import find_duplicates
from r2d2.corpus.images.image_filter import check_images, filter_images
from r2d2.corpus.output import is_made_of, write_corpus
from r2d2.corpus.rows import IMAGES, PAIRS, DroppedFile, part_file, read_pairs
from r2d2.corpus.stages import (
    MERGE,
    RATES,
    SUMS,
    TABLE,
    Stage,
    StageContext,
)
from r2d2.corpus.texts.recaption import check_recaption, recaption
from r2d2.corpus.texts.text_filter import filter_texts, open_text_filters
from r2d2.errors import R2D2Error, exists_error
from r2d2.files import write_text
from r2d2.outputs import table_is_there

STORE = "fetched"  # what was fetched outlives the stages that use it
BUILD_KEY = "build.txt"  # in the last stage's folder: which build it is of
MERGED = "merge.parquet"


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
    config: CorpusConfig,
    logs: Sequence[str],
    files: Sequence[str],
    out: str,
    memory_bytes: int,
    model: EmbeddingModel | None,
) -> list[Stage]:
    """All stages of a build, in order. A new one is a line here, and a file beside the others.

    Args:
        config: the settings of all stages.
        logs: as they are given.
        files: of the logs.
        out: the table.
        memory_bytes: it sets how many parts there are.
        model: for what is done by meaning.
    """
    sums = SumSettings(
        tuple(logs), _state(files), config.log, config.rank.active, config.rank.examination,
        config.query.simplified, memory_bytes,
    )  # fmt: skip
    made_by = {"made by": "r2d2 corpus build", "preset": config.preset, "logs": str(len(files))}
    table = TableSettings(out, config.sample, config.rank, tuple(made_by.items()))
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
        raise exists_error(out)  # it was not when the build began
    write_text(context.out / BUILD_KEY, context.build_key)
    return [
        write_corpus(
            context.folders[PAIRS], out, context.out, settings.sample, settings.rank,
            _prior(settings.rank, context), dict(settings.metadata), context.runner,
            context.update,
        )
    ]  # fmt: skip


def _table_stands(settings: TableSettings, context: StageContext) -> bool:
    return is_made_of(settings.out, context.out)


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
