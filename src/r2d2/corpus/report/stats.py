"""Statistics of a corpus: one pass over a table, in bounded memory.

Counts are of the whole table. Words and pictures are those of a sample by the hash of image_id, so
that two tables are compared by the same images where both hold them.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from r2d2.corpus.images.clusters import k_means, nearest
from r2d2.corpus.report.sample import numbers
from r2d2.corpus.runner import Job, Runner, iter_jobs
from r2d2.corpus.texts.word_rules import load_rjieba
from r2d2.images.decode import BadImage, decode_image, resize
from r2d2.progress import Update
from r2d2.table import Pair, PairsTable, Text

EDGES: Mapping[str, tuple[float, ...]] = {  # of histograms
    "texts": (1, 2, 3, 4, 5, 8, 12, 20),  # of an image
    "lengths": (1, 3, 5, 8, 12, 16, 20, 30, 40, 60, 100, 200),  # characters of a text
    "sides": (0, 64, 100, 150, 224, 336, 448, 640, 1024, 2048, 4096),  # pixels, shorter side
    "ctr": tuple(float(x) for x in 10.0 ** np.arange(-5, 0.01, 0.25)),
}
WORD_TEXTS = 1_000_000  # texts whose words are counted
PICTURES = 4_000  # looked at for balance
WORDS_KEPT = 1_000_000  # in memory; the rarest are let go beyond it
TOP_WORDS = 60
READ_ROWS = 4096  # in memory at a time
BLOCKS_A_WORKER = 2  # of a cluster
COUNTED_COLUMNS = ("image_id", "texts", "width", "height", "clicks", "impressions", "label")
# Tags of jieba whose words carry meaning of their own: nouns, verbs, adjectives, adverbs, idioms.
CONTENT_TAGS = ("n", "v", "a", "i", "l", "j")
THUMB = 8  # pixels of the pictures that are told apart for balance
CLUSTERS = 64


@dataclass(frozen=True)
class Histogram:
    """Counts between edges; the last bin has no upper end."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]

    @classmethod
    def of(cls, values: npt.ArrayLike, edges: Sequence[float]) -> Histogram:
        """Of values (n,); those below the first edge count in the first bin."""
        place = np.searchsorted(edges, np.asarray(values, dtype=np.float64), side="right") - 1
        counts = np.bincount(np.maximum(place, 0), minlength=len(edges))
        return cls(tuple(edges), tuple(int(c) for c in counts))

    def __add__(self, other: Histogram) -> Histogram:
        return Histogram(
            self.edges, tuple(a + b for a, b in zip(self.counts, other.counts, strict=True))
        )


@dataclass(frozen=True)
class Balance:
    """How evenly pictures lie over clusters of their like."""

    features: str  # what was clustered
    pictures: int
    clusters: int
    evenness: float  # entropy of the shares by its maximum, 1: all clusters are equal
    largest_tenth: float  # share of the pictures in the largest tenth of the clusters
    shares: tuple[float, ...]  # descending


@dataclass(frozen=True)
class CorpusStats:
    """Everything that `corpus stats` prints."""

    images: int
    texts: int
    distinct_texts: int  # exact up to a million, then estimated within 0.1%
    splits: Mapping[str, int]
    sources: Mapping[str, int]
    clicks: int
    impressions: int
    texts_an_image: Histogram
    lengths: Histogram  # characters of a text
    sides: Histogram  # shorter side, pixels
    ctr: Histogram  # smoothed, of queries
    mean_length: float
    words_a_text: float
    content_share: float  # of words
    distinct_words: int
    words_from: int  # texts
    top_words: Mapping[str, int]
    balance: Balance | None
    labels: Mapping[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    def json(self) -> str:
        """Readable JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=1)


def table_stats(
    table: PairsTable,
    update: Update,
    encode: Any = None,
    what: str = "model",
    runner: Runner | None = None,
) -> CorpusStats:
    """Look over a table.

    Args:
        table: any pairs table.
        update: progress.
        encode: files (list of bytes) to embeddings (n, d), for the balance; without it, pictures
            are told apart by their colours.
        what: names what `encode` is.
        runner: who counts the rows; None: this process. The balance is of a sample, seen here.
    """
    runner = Runner() if runner is None else runner
    total = len(table)
    # on a cluster as many blocks for each node, however short the table is
    most = total if runner.cluster else -(-total // READ_ROWS)
    blocks = max(1, min(most, runner.workers * BLOCKS_A_WORKER if runner.cluster else most))
    edges = np.linspace(0, total, blocks + 1).astype(int).tolist()
    jobs = [{"first": str(a), "stop": str(b)} for a, b in itertools.pairwise(edges)]
    here = runner if runner.cluster else Runner()
    counted = RowCounts(total)
    for _, counts in iter_jobs(CountRows(table), jobs, here, "counting", update):
        counted.merge(counts)
    words, distinct = counted.words, counted.distinct
    return CorpusStats(
        images=total,
        texts=counted.texts,
        distinct_texts=distinct.estimate(),
        splits=table.splits(),
        sources=dict(sorted(counted.sources.items())),
        clicks=counted.clicks,
        impressions=counted.impressions,
        texts_an_image=counted.histograms["texts"],
        lengths=counted.histograms["lengths"],
        sides=counted.histograms["sides"],
        ctr=counted.histograms["ctr"],
        mean_length=counted.length / max(counted.texts, 1),
        words_a_text=words.total / max(words.texts, 1),
        content_share=words.content / max(words.total, 1),
        distinct_words=len(words.count),
        words_from=words.texts,
        top_words=dict(words.top()),
        balance=_balance(table, encode, what, update),
        labels=dict(sorted(counted.labels.items())),
    )


@dataclass(frozen=True)
class CountRows:
    """What a block of a table's rows counts."""

    table: PairsTable

    def __call__(self, job: Job) -> RowCounts:
        """See `map_jobs`; a job's rows go from `first` up to but without `stop`."""
        first, stop = int(job["first"]), int(job["stop"])
        counts = RowCounts(len(self.table))
        for start in range(first, stop, READ_ROWS):
            rows = np.arange(start, min(start + READ_ROWS, stop))
            counts.add(self.table.take(rows, COUNTED_COLUMNS))
        return counts


class RowCounts:
    """Counts of rows, which add up over the blocks of a table."""

    def __init__(self, total: int) -> None:
        """`total` is the number of rows of the whole table."""
        self.histograms = {name: Histogram.of([], edges) for name, edges in EDGES.items()}
        self.sources: Counter[str] = Counter()
        self.labels: Counter[str] = Counter()
        self.words = _WordCounts(total)
        self.distinct = _DistinctTexts()
        self.clicks = self.impressions = self.texts = self.length = 0

    def add(self, pairs: Sequence[Pair]) -> None:
        """Take in rows."""
        texts = [text for pair in pairs for text in pair.texts]
        self.sources.update(text.source for text in texts)
        self.labels.update(str(pair.label) for pair in pairs if pair.label is not None)
        lengths = [len(text.text) for text in texts]
        self.texts += len(lengths)
        self.length += sum(lengths)
        self.clicks += sum(pair.clicks or 0 for pair in pairs)
        self.impressions += sum(pair.impressions or 0 for pair in pairs)
        sides = [min(pair.width, pair.height) for pair in pairs if pair.width and pair.height]
        rates = [text.weight for text in texts if text.source == "query" and text.weight < 1]
        columns: tuple[Sequence[float], ...] = (
            [len(pair.texts) for pair in pairs], lengths, sides, rates,
        )  # fmt: skip
        for name, values in zip(EDGES, columns, strict=True):
            self.histograms[name] += Histogram.of(values, EDGES[name])
        self.distinct.add([text.text for text in texts])
        self.words.add([pair.image_id for pair in pairs], [pair.texts for pair in pairs])

    def merge(self, other: RowCounts) -> None:
        """Add the counts of other rows of the table."""
        for name, histogram in other.histograms.items():
            self.histograms[name] += histogram
        self.sources.update(other.sources)
        self.labels.update(other.labels)
        self.words.merge(other.words)
        self.distinct.merge(other.distinct)
        for name in ("clicks", "impressions", "texts", "length"):
            setattr(self, name, getattr(self, name) + getattr(other, name))


class _DistinctTexts:
    """How many different texts there are, from the smallest of their hashes.

    Source: Bar-Yossef et al., Counting distinct elements in a data stream (2002).
    """

    MOST = 1 << 20

    def __init__(self) -> None:
        self.smallest = np.empty(0, dtype=np.uint64)

    def add(self, texts: Sequence[str]) -> None:
        """Take in texts."""
        drawn = b"".join(hashlib.blake2b(t.encode(), digest_size=8).digest() for t in texts)
        self._take(np.frombuffer(drawn, dtype="<u8"))

    def merge(self, other: _DistinctTexts) -> None:
        """Take in what another one has."""
        self._take(other.smallest)

    def _take(self, fresh: npt.NDArray[np.uint64]) -> None:
        if len(self.smallest) == self.MOST:
            fresh = fresh[fresh < self.smallest[-1]]
        self.smallest = np.unique(np.concatenate([self.smallest, fresh]))[: self.MOST]

    def estimate(self) -> int:
        """The count."""
        if len(self.smallest) < self.MOST:
            return len(self.smallest)
        return round((self.MOST - 1) / (float(self.smallest[-1]) / 2.0**64))


class _WordCounts:
    """Words of a sample of the texts, told apart by rjieba."""

    def __init__(self, images: int) -> None:
        self.share = min(1.0, WORD_TEXTS / max(images, 1))
        self.count: Counter[str] = Counter()
        self.total = self.content = self.texts = 0

    def add(self, image_ids: Sequence[str], texts: Sequence[tuple[Text, ...]]) -> None:
        """Take in the texts of images."""
        tagger = load_rjieba()
        chosen = numbers(image_ids, 0, "words") < self.share
        for texts_of_image, wanted in zip(texts, chosen, strict=True):
            for text in texts_of_image if wanted else ():
                self.texts += 1
                for word, tag in tagger.tag(text.text):
                    if tag[:1] in ("x", "w") or not word.strip():
                        continue  # punctuation
                    self.total += 1
                    if tag[:1] in CONTENT_TAGS:
                        self.content += 1
                        self.count[word] += 1
        self._let_go()

    def merge(self, other: _WordCounts) -> None:
        """Take in the words of other texts."""
        self.count.update(other.count)
        self.total += other.total
        self.content += other.content
        self.texts += other.texts
        self._let_go()

    def _let_go(self) -> None:
        if len(self.count) > 2 * WORDS_KEPT:
            self.count = Counter(dict(self.count.most_common(WORDS_KEPT)))

    def top(self) -> list[tuple[str, int]]:
        """The most frequent words of meaning, equal ones in the order of their characters."""
        order = sorted(self.count.items(), key=lambda item: (-item[1], item[0]))
        return [(word, count) for word, count in order if len(word) > 1][:TOP_WORDS]


def _balance(table: PairsTable, encode: Any, what: str, update: Update) -> Balance | None:
    """Cluster a sample of the pictures; None where they are too few to tell."""
    rows = table.rows()
    share = min(1.0, PICTURES / max(len(rows), 1))
    chosen: list[int] = []
    for start in range(0, len(rows), 65536):
        block = rows[start : start + 65536]
        drawn = numbers(table.image_ids(block), 0, "balance") < share
        chosen.extend(int(row) for row in block[drawn])
    features_of_blocks: list[npt.NDArray[np.float32]] = []
    for start in range(0, len(chosen), 64):
        update("looking at pictures", start, len(chosen))
        files = [pair.image for pair in table.take(chosen[start : start + 64], ["image"])]
        features = _colours(files) if encode is None else np.asarray(encode(files), np.float32)
        features_of_blocks.append(features)
    update("looking at pictures", len(chosen), len(chosen))
    points = (
        np.concatenate(features_of_blocks) if features_of_blocks else np.empty((0, 1), np.float32)
    )
    clusters = min(CLUSTERS, len(points) // 8)
    if clusters < 2:
        return None
    counts = np.sort(np.bincount(nearest(points, k_means(points, clusters)), minlength=clusters))
    shares = counts[::-1] / counts.sum()
    evenness = -sum(p * math.log(p) for p in shares.tolist() if p > 0) / math.log(clusters)
    return Balance(
        features=f"colours of {THUMB}x{THUMB} pixels" if encode is None else what,
        pictures=len(points),
        clusters=clusters,
        evenness=evenness,
        largest_tenth=float(shares[: math.ceil(clusters / 10)].sum()),
        shares=tuple(shares.tolist()),
    )


def _colours(files: Sequence[bytes]) -> npt.NDArray[np.float32]:
    """Pictures (n, 8 * 8 * 3) as colours in [0, 1]; unreadable ones are left out."""
    colours = []
    for file in files:
        try:
            colours.append(resize(decode_image(file), THUMB).reshape(-1) / np.float32(255))
        except BadImage:
            continue
    return np.array(colours, dtype=np.float32).reshape(-1, THUMB * THUMB * 3)
