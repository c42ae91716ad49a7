"""Sums, ranking and sample of the corpus builder beside a plain DuckDB query, on one synthetic log.

    python benchmarks/corpus_rank.py --rows 20000000 --out runs/corpus_rank

The log: images and queries by Zipf's law, every image with its own 200 queries; impressions from a
geometric distribution of mean 11, clicks binomial with a rate from Beta(0.5, 9.5); Parquet files of
2 million rows, images by URL. Both engines sum per (image, query), drop what was not clicked, keep
the better half by smoothed CTR and at most 10 queries an image, then a tenth of the images by hash.
Both sum queries as they are written: R2D2 does not make them simplified here, which SQL cannot do.
R2D2 is DuckDB as well: it also checks every row, spells the queries, fits the prior, gives every
image that stays its id by SHA-256, and writes what it found sorted; the plain query gets the prior
as constants.

Each case runs in a process of its own. Peak memory is the resident one of that process (getrusage),
or of it and its workers together (sampled), whichever is more; mapped files count. Processor
seconds are those of all its threads and workers: where other work shares the machine, they alone
compare. Writes OUT/corpus_rank.json and prints a Markdown table. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from r2d2.corpus.clicks.aggregate import aggregate
from r2d2.corpus.clicks.rank import rank
from r2d2.corpus.config import make_corpus_config
from r2d2.corpus.report.sample import in_sample
from r2d2.corpus.rows import PAIRS, part_count, part_file, read_pairs, write_rows
from r2d2.corpus.runner import Runner

FILE_ROWS = 2_000_000
SETTINGS = ["rank.top_share=0.5", "rank.max_queries=10", "sample.share=0.1",
            "query.simplified=false"]  # fmt: skip
STAGES = ("aggregate", "rank", "sample")


def make_log(folder: Path, rows: int, seed: int = 0) -> None:
    """Write the log, deterministic in rows and seed."""
    rng = np.random.default_rng(seed)
    images, queries, own = max(rows // 20, 1), max(rows // 50, 1), 200
    urls = [f"https://img{i % 97}.example.com/{i * 2654435761 % 2**32:08x}.jpg" for i in
            range(images)]  # fmt: skip
    letters = [chr(0x4E00 + i) for i in range(3000)]
    texts = [
        "".join(letters[(i * (7919 + k * 104729) >> 3) % 3000] for k in range(3 + i % 8)) + str(i)
        for i in range(queries)
    ]
    urls, texts = pa.array(urls), pa.array(texts)
    folder.mkdir(parents=True)
    for number, start in enumerate(range(0, rows, FILE_ROWS)):
        n = min(FILE_ROWS, rows - start)

        def zipf(size: int, n: int = n) -> np.ndarray:
            return (np.exp(rng.random(n) * np.log(size + 1)) - 1).astype(np.int64)

        image, place = zipf(images), zipf(own)
        query = (image * 1000003 + place * 7777777) % 2**31 * queries >> 31
        impressions = 1 + rng.geometric(0.1, n)
        clicks = rng.binomial(impressions, rng.beta(0.5, 9.5, n))
        table = pa.table(
            {
                "url": urls.take(pa.array(image)),
                "query": texts.take(pa.array(query)),
                "impressions": impressions,
                "clicks": clicks,
            }
        )
        pq.write_table(table, folder / f"log-{number:03d}.parquet")


def ours(log: Path, work: Path, memory: int, workers: int) -> dict:
    """Seconds of each stage."""
    config = make_corpus_config("zero", settings=SETTINGS)
    runner, clock, result = Runner(workers), time.perf_counter(), {}

    def lap(name: str) -> None:
        nonlocal clock
        now = time.perf_counter()
        result[name], clock = now - clock, now

    def update(*_: object) -> None:
        pass

    aggregate([str(log)], config, work / "1", runner=runner, memory_bytes=memory, update=update)
    lap("aggregate")
    counts = rank(
        work / "1", work / "2", config.rank, runner=runner, update=update, memory_bytes=memory
    )
    lap("rank")
    kept = 0
    for part in range(part_count(work / "2")):
        rows = read_pairs(part_file(work / "2", PAIRS, part))
        ids = pc.unique(rows["image_id"])
        ids = ids.filter(pa.array(in_sample(ids.to_pylist(), config.sample)))
        rows = rows.filter(pc.is_in(rows["image_id"], ids))
        write_rows(part_file(work / "3", PAIRS, part), rows)
        kept += len(rows)
    lap("sample")
    return {**result, "kept": counts[0].kept, "sampled": kept}


def duckdb_queries(log: Path, prior: tuple[float, float] = (0.5, 9.5)) -> dict[str, str]:
    """The plain side: SQL of each stage, the prior as constants."""
    alpha, both = prior[0], prior[0] + prior[1]
    return {
        "aggregate": f"""create table sums as select url, query, sum(clicks)::bigint as clicks,
            sum(impressions)::bigint as impressions
            from read_parquet('{log}/*.parquet') group by url, query""",
        "rank": f"""create table ranked as
            with scored as (select *, (clicks + {alpha}) / (impressions + {both}) as ctr from sums
                            where clicks >= 1 and impressions >= 1),
            best as (select * from scored
                     where ctr >= (select quantile_disc(ctr, 0.5) from scored))
            select * exclude (place) from (select *, row_number() over
                (partition by url order by ctr desc, query) as place from best)
            where place <= 10""",
        "sample": "select * from ranked where hash(url) % 1000000 < 100000",
    }


def duckdb(log: Path, work: Path, memory: int, workers: int) -> dict:
    """Seconds of each stage."""
    import duckdb as engine

    base = engine.connect(str(work / "log.duckdb") if memory < 4e9 else ":memory:")
    base.execute(f"set threads = {workers}")
    base.execute(f"set memory_limit = '{memory // 2**20}MiB'")
    base.execute(f"set temp_directory = '{work / 'spill'}'")
    base.execute("set preserve_insertion_order = false")
    clock, result = time.perf_counter(), {}
    queries = duckdb_queries(log)
    target = f"'{work / 'sample.parquet'}' (format parquet, compression zstd)"
    queries["sample"] = f"copy ({queries['sample']}) to {target}"
    for name, query in queries.items():
        base.execute(query)
        now = time.perf_counter()
        result[name], clock = now - clock, now
    kept = base.execute("select count(*) from ranked").fetchone()[0]
    return {**result, "kept": kept}


def processor() -> float:
    """Seconds of the processor that this process and its finished children took."""
    import resource

    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def tree(root: int) -> list[int]:
    """A process and all that it started."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            parents.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    found = [root]
    for pid in found:
        found += parents.get(pid, [])
    return found


def resident(root: int) -> int:
    """Resident bytes of a process tree; pages that workers share count for each of them."""
    pages = 0
    for pid in tree(root):
        try:
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        except OSError:
            continue
    return pages * os.sysconf("SC_PAGE_SIZE")


def run_case(name: str, log: Path, work: Path, memory: int, workers: int) -> dict:
    """One engine in a process of its own."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    command = [sys.executable, __file__, "--case", name, "--out", str(work), "--log", str(log)]
    command += ["--memory", str(memory), "--workers", str(workers)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        peak = 0
        while process.poll() is None:
            peak = max(peak, resident(process.pid))
            time.sleep(0.1)
        text = process.stdout.read()
    if process.returncode:
        return {"engine": name, "memory": memory, "workers": workers, "failed": process.returncode}
    found = json.loads(text.splitlines()[-1])
    shutil.rmtree(work)
    found["peak"] = max(peak, found.pop("own_peak"))
    return {"engine": name, "memory": memory, "workers": workers, **found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--workers", type=int, default=2, help="processes, or DuckDB's threads")
    parser.add_argument("--out", type=Path, default=Path("runs/corpus_rank"))
    parser.add_argument("--case", choices=("r2d2", "duckdb"), help=argparse.SUPPRESS)
    parser.add_argument("--log", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--memory", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        import resource

        case = ours if arguments.case == "r2d2" else duckdb
        before = processor()
        found = case(arguments.log, arguments.out, arguments.memory, arguments.workers)
        found["processor"] = processor() - before
        found["own_peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
        print(json.dumps(found))
        return
    log = arguments.out / f"log-{arguments.rows}"
    if not log.exists():
        half = log.with_name(f".{log.name}")
        shutil.rmtree(half, ignore_errors=True)
        make_log(half, arguments.rows)
        half.rename(log)
    results = [
        run_case(name, log, arguments.out / "work", memory, workers)
        for memory in (8_000_000_000, 1_000_000_000)
        for name, workers in (("duckdb", arguments.workers), ("r2d2", arguments.workers))
    ]
    (arguments.out / "corpus_rank.json").write_text(json.dumps(results, indent=1))
    print(
        "| engine | given | aggregate | rank | sample | processor, all three | rows/s, 1 and 2 "
        "| peak memory |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for result in results:
        head = f"| {result['engine']} | {result['memory'] / 1e9:g} GB |"
        if "failed" in result:
            print(f"{head} failed with {result['failed']} | | | | | |")
            continue
        seconds = " | ".join(f"{result[stage]:.1f} s" for stage in STAGES)
        speed = arguments.rows / (result["aggregate"] + result["rank"])
        print(
            f"{head} {seconds} | {result['processor']:.1f} s | {speed:,.0f} "
            f"| {result['peak'] / 1e9:.2f} GB |"
        )


if __name__ == "__main__":
    main()
