"""Tables of ours as retrieval tasks of mteb: the Chinese sets that it does not have.

`hit_rate_at_1`, 5 and 10 of these tasks are R@1, R@5 and R@10 of `r2d2 evaluate`, as shares: not
rounded, and counted in the same way. All other figures are mteb's own.
"""

from __future__ import annotations

import io
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from r2d2.errors import R2D2Error
from r2d2.evaluation.dataset import EvaluationSet
from r2d2.evaluation.encode import batches
from r2d2.evaluation.published import published
from r2d2.evaluation.run import choose_benchmark, choose_splits
from r2d2.extras import require
from r2d2.images.decode import BadImage
from r2d2.integrations.mteb import LEAST, USE
from r2d2.ranking.metrics import RECALL_AT
from r2d2.ranking.relevance import Relevance
from r2d2.table import PairsTable

log = logging.getLogger(__name__)

NAMES = {
    "flickr30k-cn": "Flickr30kCN",
    "flickr30k-cna": "Flickr30kCNA",
    "coco-cn": "COCOCN",
    "coco-cn-translated": "COCOCNTranslated",
    "muge": "MUGE",
    "icr": "ICR",
    "iqr": "IQR",
}
READ = 64  # pictures in memory at a time


def chinese_tasks(
    tables: str | Path | Sequence[str | Path] | Mapping[str, str | Path], splits: Sequence[str] = ()
) -> list[Any]:
    """Tasks for mteb.evaluate: of each table texts that ask for images, and the other way round.

    Args:
        tables: one or several that `r2d2 data import` made and that note their set; or by set.
        splits: whose rows; none: `test`, or `val` where there is no test.

    Raises:
        R2D2Error: mteb is missing, a table is of no known set, or has no such split.
    """
    require("mteb", "mteb", USE, LEAST)
    if isinstance(tables, (str, Path)):
        tables = [tables]
    named = tables.items() if isinstance(tables, Mapping) else [(None, path) for path in tables]
    tasks = []
    for asked, path in named:
        table = PairsTable.open(path)
        benchmark = choose_benchmark(table, asked)
        if benchmark not in NAMES:
            raise R2D2Error(
                f"{path} does not say of which set it is: give {{SET: {str(path)!r}}} with one of "
                f"{', '.join(NAMES)}"
            )
        chosen = choose_splits(table, splits)
        directions = ("t2i",) if published().t2i_only(benchmark) else ("t2i", "i2t")
        tasks += [_task(table, benchmark, direction, chosen) for direction in directions]
    return tasks


def _task(table: PairsTable, benchmark: str, direction: str, splits: Sequence[str]) -> Any:
    from mteb.abstasks.retrieval import AbsTaskRetrieval
    from mteb.abstasks.task_metadata import TaskMetadata

    class TableRetrieval(AbsTaskRetrieval):  # type: ignore[misc]
        """Reads one table; its pictures lie in a temporary folder while the task is there."""

        metadata = TaskMetadata(
            name=f"{NAMES[benchmark]}{direction.upper()}Retrieval",
            description=f"{benchmark}, {direction}, from a pairs table of r2d2.",
            dataset={"path": table.path, "revision": table.fingerprint},
            type="Any2AnyRetrieval", category=direction, modalities=["text", "image"],
            eval_splits=list(splits), eval_langs=["zho-Hans"], main_score="hit_rate_at_1",
        )  # fmt: skip

        def load_data(self, num_proc: int | None = None, **_: Any) -> None:
            """See AbsTaskRetrieval: corpus, queries and what is relevant, of each split."""
            if getattr(self, "data_loaded", False):
                return
            self.folder = tempfile.TemporaryDirectory(prefix="r2d2-mteb-")
            parts = {name: _read(table, name, direction, self.folder.name) for name in splits}
            self.dataset = {"default": parts}
            self.data_loaded = True

        def task_specific_scores(
            self, scores: Any, qrels: Any, results: Any, hf_split: str, hf_subset: str
        ) -> dict[str, float]:
            """Recall as `r2d2 evaluate` counts it, unrounded."""
            ranks = [_rank(results[query], relevant) for query, relevant in qrels.items()]
            return {f"hit_rate_at_{k}": sum(r <= k for r in ranks) / len(ranks) for k in RECALL_AT}

    return TableRetrieval()


def _rank(scores: Mapping[str, float], relevant: Mapping[str, int]) -> float:
    """Of the best right document, from 1; of equal scores the wrong ones stand above."""
    best = max((scores[name] for name in relevant if name in scores), default=None)
    if best is None:
        return float("inf")
    return 1 + sum(score >= best for name, score in scores.items() if name not in relevant)


def _read(table: PairsTable, split: str, direction: str, folder: str) -> dict[str, Any]:
    """A split as mteb holds it; what is relevant is what `r2d2 evaluate` takes for right."""
    from datasets import Dataset, Features, Value
    from datasets import Image as ImageFeature

    data = EvaluationSet.from_table(table, (split,), textless=direction == "t2i")
    good = [n for n, picture in _pictures(data) if not isinstance(picture, BadImage)]
    if left := len(data.image_ids) - len(good):
        log.warning(
            "%s: %d images of '%s' cannot be read and are left out", table.path, left, split
        )
    data = data.keep(good)
    image_names = [f"image-{n}" for n in range(len(data.image_ids))]
    text_names = [f"text-{n}" for n in range(len(data.texts))]

    def rows() -> Iterator[dict[str, Any]]:
        for n, picture in _pictures(data):
            assert isinstance(picture, Image.Image)
            file = io.BytesIO()
            picture.save(file, "PNG", compress_level=1)
            yield {"id": image_names[n], "image": {"bytes": file.getvalue(), "path": None}}

    features = Features({"id": Value("string"), "image": ImageFeature()})
    images = Dataset.from_generator(
        rows, features=features, cache_dir=f"{folder}/{split}", fingerprint=f"{table.fingerprint}"
    )
    texts = Dataset.from_dict({"id": text_names, "text": data.texts})
    image_keys, text_keys = data.keys()
    asking, answering = image_keys, text_keys
    names, others, queries, corpus = image_names, text_names, images, texts
    if direction == "t2i":
        asking, answering = answering, asking
        names, others, queries, corpus = others, names, corpus, queries
    has_answer = [n for n, keys in enumerate(asking) if keys]
    pairs = Relevance.of([asking[n] for n in has_answer], answering).pairs(0, len(has_answer))
    relevant: dict[str, dict[str, int]] = {}
    for row, item in zip(*(index.tolist() for index in pairs), strict=True):
        relevant.setdefault(names[has_answer[row]], {})[others[item]] = 1
    return {"corpus": corpus, "queries": queries, "relevant_docs": relevant, "top_ranked": None}


def _pictures(data: EvaluationSet) -> Iterator[tuple[int, Image.Image | BadImage]]:
    for batch in batches(len(data.image_ids), READ):
        yield from zip(batch, data.load(batch), strict=True)
