"""A build on a Ray cluster of three nodes on this machine: what the driver holds, and what lies
between the stages.

    python benchmarks/corpus_ray.py --images 200000 800000 --out runs/corpus_ray
    python benchmarks/corpus_ray.py --hashes 200000
    python benchmarks/corpus_ray.py --plan 1000

The rows have addresses, and fetching is off, so that the build ends with no image left. With
--hashes the search for duplicates alone is measured, its jobs one after the other in this process;
with --plan the list of jobs for a log of so many files, which the driver holds.
"""

from __future__ import annotations

import argparse
import bisect
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

NODES = 3
FILES = 6  # of the log
ROWS_AN_IMAGE = 2
PARTS = 4  # of the images whose duplicates are sought
STORE_BYTES = 100_000_000  # of Ray's objects, a node


def write_log(folder: Path, images: int) -> None:
    """A log in which each image was shown for two queries out of as many as there are images."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for number, some in enumerate(np.array_split(np.arange(images), FILES)):
        rows = np.repeat(some, ROWS_AN_IMAGE)
        columns = {
            "url": [f"https://img{n % 977}.example.com/pictures/{n:09d}.jpg" for n in rows],
            "query": [f"第{n}个查询词" for n in rng.integers(0, images, len(rows))],
            "impressions": rng.integers(20, 100, len(rows)),
            "clicks": rng.integers(1, 20, len(rows)),
        }
        pq.write_table(pa.table(columns), folder / f"{number}.parquet")


def build(folder: Path) -> None:
    """Build in this process, and print what it held."""
    import ray
    from ray.cluster_utils import Cluster

    from r2d2.corpus.build import build_corpus
    from r2d2.corpus.config import make_corpus_config
    from r2d2.errors import R2D2Error

    node = {"num_cpus": 1, "object_store_memory": STORE_BYTES}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    for _ in range(NODES - 1):
        cluster.add_node(**node)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    config = make_corpus_config("zero", settings=["fetch.enabled=false"])
    ended = ""
    try:
        build_corpus(
            [str(folder / "log")], folder / "t.lance", config, runner="ray", memory_bytes=10**9
        )
    except R2D2Error as error:
        ended = str(error)
    assert ended.startswith("nothing is left to write"), ended
    status = Path("/proc/self/status").read_text(encoding="ascii").split()
    peak = int(status[status.index("VmHWM:") + 1]) * 1024
    stages = {}
    for stage in sorted(folder.glob("t.lance.build/[0-9]*-*")):
        size = sum(file.stat().st_size for file in stage.rglob("*") if file.is_file())
        stages[stage.name] = [json.loads((stage / "stage.json").read_text())["seconds"], size]
    print(json.dumps({"peak": peak, "stages": stages}), flush=True)
    ray.shutdown()
    cluster.shutdown()


def measure(folder: Path, images: int) -> dict:
    """Build with so many images in a process of its own."""
    shutil.rmtree(folder, ignore_errors=True)
    write_log(folder / "log", images)
    done = subprocess.run(
        [sys.executable, __file__, "--build", str(folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    found = json.loads(done.stdout.strip().splitlines()[-1])
    found["log"] = sum(file.stat().st_size for file in (folder / "log").iterdir())
    shutil.rmtree(folder)
    return found


def search(folder: Path, images: int) -> None:
    """Seek duplicates among so many images, a fifth of them near another one."""
    from r2d2.corpus.config import DedupConfig
    from r2d2.corpus.images.by_band import find_by_band
    from r2d2.corpus.images.image_filter import MEASURED
    from r2d2.corpus.rows import IMAGES, part_file, part_range, write_rows
    from r2d2.corpus.runner import Runner

    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**63, images).astype(np.uint64)
    copies = images // 5
    hashes[:copies] = hashes[copies : 2 * copies] ^ np.uint64(5)
    rng.shuffle(hashes)
    ids = sorted(rng.bytes(16).hex() for _ in range(images))
    shutil.rmtree(folder, ignore_errors=True)
    for part in range(PARTS):
        low, high = (bisect.bisect_left(ids, edge) for edge in part_range(part, PARTS))
        known = {
            "image_id": ids[low:high], "final_id": ids[low:high],
            "sha256": [one * 2 for one in ids[low:high]], "phash": hashes[low:high],
            "width": np.full(high - low, 200), "height": np.full(high - low, 150),
            "bytes": np.full(high - low, 9_000),
        }  # fmt: skip
        rows = {name: known.get(name, pa.nulls(high - low)) for name in MEASURED.names}
        write_rows(part_file(folder / "images", IMAGES, part), pa.table(rows).cast(MEASURED))
    shuffled = folder / "out" / "merge-shuffle"
    began = time.process_time()
    steps: list[tuple[str, float]] = []

    def update(what: str, done: int, *_: object) -> None:
        if not steps or steps[-1][0] != what:
            steps.append((what, time.process_time() - began))
        if what == "collecting groups" and not done:
            for kind in sorted(shuffled.iterdir()):
                size = sum(file.stat().st_size for file in kind.rglob("*") if file.is_file())
                print(f"{kind.name}: {size / images:.1f} bytes an image")

    count = find_by_band(
        folder / "images", folder / "out" / "merge.parquet", DedupConfig(), Runner(), update
    )
    steps.append(("end", time.process_time() - began))
    for (what, start), (_, stop) in itertools.pairwise(steps):
        print(f"{what}: {stop - start:.2f} s of one processor")
    print(f"{images:,} images, {images - count.kept:,} of them copies: {steps[-1][1]:.2f} s")
    shutil.rmtree(folder)


def plan_log(folder: Path, files: int) -> None:
    """Plan a log of so many files of one piece each, and print what the list of jobs takes."""
    from r2d2.corpus.clicks.log import find_logs, plan
    from r2d2.corpus.config import make_corpus_config

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    row = pa.table({"url": ["http://a"], "query": ["q"], "impressions": [3], "clicks": [1]})
    for number in range(files):
        pq.write_table(row, folder / f"{number:06d}.parquet")
    config = make_corpus_config("zero")
    logs = find_logs([str(folder)])
    plan(logs[:1], config)  # what is imported on the way
    tracemalloc.start()
    pieces = plan(logs, config)
    jobs = [
        {"pieces": json.dumps([piece]), "name": f"{n:06d}", "out": str(folder)}
        for n, piece in enumerate(pieces)
    ]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(f"{len(jobs):,} jobs: {peak / len(jobs):,.0f} bytes a job")
    shutil.rmtree(folder)


def main(argv: list[str] | None = None) -> float:
    """Measure, print, and give the driver's growth in bytes an image."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, nargs=2, default=[200_000, 800_000])
    parser.add_argument("--out", type=Path, default=Path("runs/corpus_ray"))
    parser.add_argument("--build", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--hashes", type=int, help="Images whose duplicates are sought.")
    parser.add_argument("--plan", type=int, help="Files of a log that is planned.")
    options = parser.parse_args(argv)
    if options.plan is not None:
        plan_log(options.out / "plan", options.plan)
        return 0.0
    if options.hashes is not None:
        search(options.out / "hashes", options.hashes)
        return 0.0
    if options.build is not None:
        build(options.build)
        return 0.0
    few, many = (measure(options.out / str(n), n) for n in options.images)
    print(f"log: {many['log'] / options.images[1]:.0f} bytes an image of {ROWS_AN_IMAGE} rows")
    for name in many["stages"]:
        (before, small), (after, large) = few["stages"][name], many["stages"][name]
        print(
            f"{name}: {before:.1f} and {after:.1f} s; {small / options.images[0]:.0f} and "
            f"{large / options.images[1]:.0f} bytes an image"
        )
    growth = (many["peak"] - few["peak"]) / (options.images[1] - options.images[0])
    print(
        f"driver: {few['peak'] / 1e6:.0f} and {many['peak'] / 1e6:.0f} MB at "
        f"{options.images[0]:,} and {options.images[1]:,} images: {growth:.1f} bytes an image"
    )
    return growth


if __name__ == "__main__":
    main()
