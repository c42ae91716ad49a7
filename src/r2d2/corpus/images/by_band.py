"""Duplicate images found by many workers; no worker holds all images.

Two hashes that differ in at most `radius` bits agree in one of radius + 1 bands of bits. So hashes
go to the buckets of their bands, and within a bucket those that are near are linked. The links join
hashes into components, and each component is grouped as a whole, by the rules of one machine: a
group never reaches beyond its component.
"""

from __future__ import annotations

import itertools
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from r2d2.corpus.clicks.unite import MERGE_COLUMNS
from r2d2.corpus.cluster.shuffle import bucket_of, read_bucket, write_buckets
from r2d2.corpus.config import DedupConfig
from r2d2.corpus.funnel import StageCount, add_sorted_counts
from r2d2.corpus.images.align import EmbeddingModel
from r2d2.corpus.images.duplicates import (
    COLUMNS,
    DuplicateGroups,
    first_of,
    group_images,
    join_meanings,
    merge_groups,
    read_images_measures,
    read_measures,
)
from r2d2.corpus.images.embeddings import embed_part, embedding_file, open_embeddings
from r2d2.corpus.images.meaning import components, group_meanings
from r2d2.corpus.images.near import ALL_BITS, close, near_groups
from r2d2.corpus.rows import IMAGES, part_count, part_file, part_range, write_rows
from r2d2.corpus.runner import Job, Runner, map_jobs
from r2d2.progress import Update

BUCKETS_A_WORKER = 4
BUCKET_IMAGES = 500_000  # at most about, whose measures are in memory at a time
BITS = 64
ONE_JOB = [{"part": "0"}]
Hashes = npt.NDArray[np.uint64]


def find_by_band(
    images: Path,
    out: Path,
    config: DedupConfig,
    runner: Runner,
    update: Update,
    model: EmbeddingModel | None = None,
) -> StageCount:
    """`find_duplicates` by the workers of a cluster; what is on its way lies beside `out`.

    Args:
        images: as in `find_duplicates`.
        out: as in `find_duplicates`.
        config: what counts as one.
        runner: the cluster.
        update: progress.
        model: for the search by meaning; it travels to the workers.
    """
    parts = part_count(images, IMAGES)
    rows = sum(pq.read_metadata(part_file(images, IMAGES, part)).num_rows for part in range(parts))
    buckets = max(runner.workers * BUCKETS_A_WORKER, -(-rows // BUCKET_IMAGES))
    each_part = [{"part": str(part)} for part in range(parts)]
    each_bucket = [{"part": str(bucket)} for bucket in range(buckets)]
    folder = out.with_name(f"{out.stem}-shuffle")
    shutil.rmtree(folder, ignore_errors=True)
    layout = ShuffleLayout(str(folder), str(out), buckets, config)
    map_jobs(SortImages(layout, str(images)), each_part, runner, "sorting hashes", update)
    counts: list[StageCount] = []
    if config.radius is not None:
        map_jobs(LinkBand(layout), each_bucket, runner, "comparing hashes", update)
        map_jobs(JoinLinks(layout), ONE_JOB, runner, "joining pairs", update)
    counts += map_jobs(GroupBucket(layout), each_bucket, runner, "grouping images", update)
    if config.radius is not None:
        counts += map_jobs(GroupNear(layout), each_bucket, runner, "grouping near images", update)
    map_jobs(CollectGroups(layout), ONE_JOB, runner, "collecting groups", update)
    count = add_sorted_counts(counts)
    if config.meaning is not None and model is not None:
        embed = EmbedPart(layout, str(images), parts, model)
        map_jobs(embed, each_part, runner, "embedding", update, holds_model=True)
        join = JoinMeanings(layout, str(images), parts)
        (count,) = map_jobs(join, ONE_JOB, runner, "comparing embeddings", update)
    shutil.rmtree(folder, ignore_errors=True)
    return count


@dataclass(frozen=True)
class ShuffleLayout:
    """Where the rows lie that go from job to job, and how they are told apart."""

    folder: str
    out: str
    buckets: int
    config: DedupConfig

    def at(self, name: str) -> Path:
        """The folder of what is handed on under this name."""
        return Path(self.folder) / name


@dataclass(frozen=True)
class SortImages:
    """The measures of a part's images to the buckets of what makes them equal; hashes by bands."""

    layout: ShuffleLayout
    images: str

    def __call__(self, job: Job) -> None:
        """See `map_jobs`."""
        part, config = int(job["part"]), self.layout.config
        rows = read_measures(part_file(Path(self.images), IMAGES, part))
        if config.radius is None:
            ids = rows["sha256" if config.exact else "final_id"].to_pylist()
            keys = np.array([int(one[:16], 16) for one in ids], np.uint64)
        else:  # equal files have equal hashes
            keys = rows["phash"].to_numpy()
        write_buckets(self.layout.at("images"), part, rows, bucket_of(keys, self.layout.buckets))
        if config.radius is not None:
            hashes = np.unique(keys)
            values = list(_bands(hashes, config.radius))
            where = np.concatenate([bucket_of(value, self.layout.buckets) for value in values])
            repeated = pa.table({"phash": pa.array(np.tile(hashes, len(values)))})
            write_buckets(self.layout.at("bands"), part, repeated, where)


@dataclass(frozen=True)
class LinkBand:
    """Links between the hashes of a bucket that are near, as many as hold them together."""

    layout: ShuffleLayout

    def __call__(self, job: Job) -> None:
        """See `map_jobs`."""
        bucket, radius = int(job["part"]), self.layout.config.radius
        assert radius is not None
        hashes = np.unique(
            read_bucket(self.layout.at("bands"), bucket, ["phash"])["phash"].to_numpy()
        )
        root = np.arange(len(hashes))
        for left, right in close(hashes, hashes, radius, ALL_BITS):
            new = root[left] != root[right]
            if new.any():
                root = components(len(root), root[left[new]], root[right[new]])[root]
        linked = np.flatnonzero(root != np.arange(len(root)))
        links = pa.table({"one": hashes[root[linked]], "other": hashes[linked]})
        write_rows(part_file(self.layout.at("links"), "links", bucket), links)


@dataclass(frozen=True)
class JoinLinks:
    """All links into components; to each bucket of images its hashes that have a near one."""

    layout: ShuffleLayout

    def __call__(self, job: Job) -> None:
        """See `map_jobs`."""
        links = pq.read_table(self.layout.at("links") / "links")
        ends = np.concatenate([links[name].to_numpy() for name in ("one", "other")])
        hashes, places = np.unique(ends, return_inverse=True)
        left, right = np.split(places.reshape(-1), 2)
        component = components(len(hashes), left, right).astype(np.uint64)
        rows = {"phash": hashes, "to": bucket_of(component, self.layout.buckets)}
        where = bucket_of(hashes, self.layout.buckets)
        write_buckets(self.layout.at("near"), 0, pa.table(rows), where)


@dataclass(frozen=True)
class GroupBucket:
    """Equal images of a bucket as groups; those of hashes with a near one go where that is."""

    layout: ShuffleLayout

    def __call__(self, job: Job) -> StageCount:
        """See `map_jobs`."""
        bucket, config = int(job["part"]), self.layout.config
        rows = read_bucket(self.layout.at("images"), bucket, COLUMNS)
        if config.radius is None:
            return _write_groups(self.layout, rows, f"equal-{bucket}", None)
        near = read_bucket(self.layout.at("near"), bucket, ["phash", "to"]).sort_by("phash")
        known, hashes = near["phash"].to_numpy(), rows["phash"].to_numpy()
        place = np.searchsorted(known, hashes)
        there = np.append(known, np.uint64(0))[place] == hashes
        there &= place < len(known)
        to = near["to"].to_numpy()[place[there]]
        write_buckets(self.layout.at("joined"), bucket, rows.filter(pa.array(there)), to)
        alone = rows.filter(pa.array(~there))
        return _write_groups(self.layout, alone, f"equal-{bucket}", 0)


@dataclass(frozen=True)
class GroupNear:
    """The images of some whole components as groups."""

    layout: ShuffleLayout

    def __call__(self, job: Job) -> StageCount:
        """See `map_jobs`."""
        bucket = int(job["part"])
        rows = read_bucket(self.layout.at("joined"), bucket, COLUMNS)
        return _write_groups(self.layout, rows, f"near-{bucket}", self.layout.config.radius)


@dataclass(frozen=True)
class CollectGroups:
    """The groups of all buckets as one file, sorted by id."""

    layout: ShuffleLayout

    def __call__(self, job: Job) -> None:
        """See `map_jobs`."""
        merged = pq.read_table(self.layout.at("groups"), columns=MERGE_COLUMNS.names)
        write_rows(Path(self.layout.out), merged.sort_by("image_id").combine_chunks())


@dataclass(frozen=True)
class EmbedPart:
    """The embeddings of a part's images, without those that are copies of another one."""

    layout: ShuffleLayout
    images: str
    parts: int
    model: EmbeddingModel

    def __call__(self, job: Job) -> None:
        """See `map_jobs`."""
        part = int(job["part"])
        first, last = part_range(part, self.parts)
        here = [("image_id", ">=", first), ("image_id", "<", last)]
        merged = pq.read_table(self.layout.out, filters=here)
        copies = merged.filter(pc.not_equal(merged["image_id"], merged["into"]))["image_id"]
        file = part_file(Path(self.images), IMAGES, part)
        ids = read_measures(file)["image_id"]
        wanted = ids.filter(pc.invert(pc.is_in(ids, copies.cast(ids.type))))
        out = embedding_file(self.layout.at("embeddings"), part)
        embed_part(file, wanted, self.model.encode_images, out)


@dataclass(frozen=True)
class JoinMeanings:
    """The groups once more, with those of one meaning as one; the embeddings stay on disk."""

    layout: ShuffleLayout
    images: str
    parts: int

    def __call__(self, job: Job) -> StageCount:
        """See `map_jobs`."""
        reach = self.layout.config.meaning
        assert reach is not None
        rows = read_images_measures(Path(self.images))
        groups = _known_groups(rows, pq.read_table(self.layout.at("groups")))
        heads = np.flatnonzero(groups.first == np.arange(len(rows)))
        x = open_embeddings(self.layout.at("embeddings"), self.parts, len(heads))
        groups = join_meanings(groups, heads, group_meanings(x, reach))
        merged, count = merge_groups(rows, groups, Path(self.layout.out).parent, "0")
        write_rows(Path(self.layout.out), merged)
        return count


def _known_groups(rows: pa.Table, merged: pa.Table) -> DuplicateGroups:
    """Groups of all images (n rows, sorted by id) from the rows of those of two or more."""
    ids = rows["image_id"].combine_chunks()
    places = [
        pc.index_in(merged[name], ids.cast(pa.string())) for name in ("image_id", "into", "picture")
    ]
    member, into, picture = (place.to_numpy().astype(np.int64) for place in places)
    first, best = np.arange(len(ids)), np.arange(len(ids))
    first[member], best[member] = into, picture
    reason = np.full(len(ids), "", dtype=object)
    reason[member] = merged["reason"].to_pylist()
    return DuplicateGroups(first, best, reason)


def _write_groups(
    layout: ShuffleLayout, rows: pa.Table, name: str, radius: int | None
) -> StageCount:
    """Group images of which none is one with an image elsewhere, and write the groups."""
    rows = rows.sort_by("image_id").combine_chunks()
    hashes = rows["phash"].to_numpy()
    joined = None
    if radius is not None:
        joined = near_groups(hashes, radius) if radius else first_of(rows["phash"])
    groups = group_images(rows, layout.config, joined)
    # what is dropped is told once, at the end
    folder = Path(layout.out).parent if layout.config.meaning is None else Path(layout.folder)
    merged, count = merge_groups(rows, groups, folder, name)
    places = pc.index_in(merged["image_id"], rows["image_id"].combine_chunks().cast(pa.string()))
    reasons = pa.array(groups.reason[places.to_numpy()].tolist(), pa.string())
    write_rows(layout.at("groups") / f"{name}.parquet", merged.append_column("reason", reasons))
    return count


def _bands(hashes: Hashes, radius: int) -> list[Hashes]:
    """Numbers (n,) of each of radius + 1 bands: equal for hashes that agree in the band."""
    edges = [BITS * n // (radius + 1) for n in range(radius + 2)]
    values = []
    for number, (low, high) in enumerate(itertools.pairwise(edges)):
        # a band of all 64 bits is the hash itself
        value = (hashes >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)
        values.append(value if radius == 0 else value + np.uint64(number << 58))
    return values
