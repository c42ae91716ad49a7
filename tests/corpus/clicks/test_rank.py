import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.click_logs import silent, write_bucket
from r2d2.corpus.clicks.buckets import BucketLayout, write_layout
from r2d2.corpus.clicks.checks import INLINE
from r2d2.corpus.clicks.ctr import Prior, fit_prior, read_prior, score, write_prior
from r2d2.corpus.clicks.cut import PRIOR
from r2d2.corpus.clicks.log_columns import TEXTS
from r2d2.corpus.clicks.rank import rank, read_least
from r2d2.corpus.config import RankConfig
from r2d2.corpus.rows import (
    IMAGE_COLUMNS,
    IMAGES,
    PAIR_COLUMNS,
    PAIRS,
    part_file,
    part_range,
)
from r2d2.corpus.runner import Runner
from r2d2.errors import R2D2Error


def make_id(number):
    return f"{number * 0x1111111:08x}" + f"{number * 2654435761 % 2**32:08x}" * 3


def write_sums(folder, rows, buckets):
    """`rows`: (image number, text, source, clicks, impressions); gives them as PAIR_COLUMNS."""
    rows = sorted(rows, key=lambda row: (make_id(row[0]), TEXTS.index(row[2]), row[1]))
    images = []
    for bucket in range(buckets):
        first, last = part_range(bucket, buckets)
        some = [row for row in rows if first <= make_id(row[0]) < last]
        images.append(len({row[0] for row in some}))
        sums = [
            (INLINE + make_id(row[0]), TEXTS.index(row[2]), row[1], row[3], row[4], None)
            for row in some[::-1]
        ]
        write_bucket(folder, bucket, sums)
    write_layout(folder, BucketLayout(tuple(images), buckets))
    return [
        {
            "image_id": make_id(row[0]),
            "text": row[1],
            "source": row[2],
            "clicks": row[3],
            "impressions": row[4],
            "examined": None if row[4] is None else float(row[4]),
        }
        for row in rows
    ]


def read_parts(folder, kind):
    parts = sorted((folder / kind).iterdir())
    return pa.concat_tables([pq.read_table(part) for part in parts]).to_pylist()


def run(folder, rows, config, parts=1, name="out", workers=1):
    source = folder / f"in-{parts}"
    known = write_sums(source, rows, parts)
    counts = rank(source, folder / name, config, runner=Runner(workers), update=silent)
    return counts, read_parts(folder / name, PAIRS), known


def twin(known, config, prior):
    """The rules one after the other, over plain lists."""
    queries = [dict(row) for row in known if row["source"] == "query"]
    dropped = {}
    for row in queries:
        values = (np.array([float(row[name])]) for name in ("clicks", "examined"))
        row["ctr"] = np.float32(score(*values, config, prior)[0])

    def drop(rule, keep):
        nonlocal queries
        lost = sum(not keep(row) for row in queries)
        if lost:
            dropped[rule] = lost
        queries = [row for row in queries if keep(row)]

    drop("min_impressions", lambda row: row["impressions"] >= config.min_impressions)
    drop("min_clicks", lambda row: row["clicks"] >= config.min_clicks)
    if config.threshold is not None:
        drop("threshold", lambda row: row["ctr"] >= np.float32(config.threshold))
    for rule in ("top_share", "top_count"):
        if getattr(config, rule) is not None:
            most = getattr(config, rule)
            wanted = round(most * len(queries)) if rule == "top_share" else most
            best = sorted(queries, key=lambda r: (-r["ctr"], r["image_id"], r["text"]))[:wanted]
            names = {(row["image_id"], row["text"]) for row in best}
            drop(rule, lambda row: (row["image_id"], row["text"]) in names)  # noqa: B023
    kept = set()
    for image in {row["image_id"] for row in queries}:
        own = [row for row in queries if row["image_id"] == image]
        own.sort(key=lambda row: (-row["ctr"], row["text"]))
        kept |= {(image, row["text"]) for row in own[: config.max_queries]}
    drop("max_queries", lambda row: (row["image_id"], row["text"]) in kept)
    alive = {row["image_id"] for row in queries}
    others = [row for row in known if row["source"] != "query"]
    orphans = sum(row["image_id"] not in alive for row in others)
    if orphans:
        dropped["no query left"] = orphans
    left = {(row["image_id"], row["source"], row["text"]): row["ctr"] for row in queries}
    left |= {(row["image_id"], row["source"], row["text"]): None
             for row in others if row["image_id"] in alive}  # fmt: skip
    return left, dropped, alive


pairs = st.dictionaries(
    st.tuples(st.integers(0, 200), st.sampled_from("猫狗鸟鱼虎"), st.just("query")),
    st.integers(0, 12).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))),
    min_size=1,
    max_size=60,
)
configs = st.builds(
    lambda rule, **more: RankConfig(**more, **rule),
    st.one_of(
        st.just({}),
        st.builds(lambda x: {"threshold": x}, st.floats(0, 1)),
        st.builds(lambda x: {"top_share": x}, st.floats(0, 1, exclude_min=True)),
        st.builds(lambda x: {"top_count": x}, st.integers(1, 30)),
    ),
    method=st.sampled_from(["bayes", "wilson"]),
    min_impressions=st.integers(0, 4),
    min_clicks=st.integers(0, 3),
    max_queries=st.integers(1, 3),
)


@given(pairs, configs, st.sets(st.integers(0, 200), max_size=9), st.integers(2, 5))
@settings(max_examples=20, deadline=None)
def test_every_rule_as_in_the_naive_twin_however_it_is_cut(
    tmp_path_factory, found, config, titled, parts
):
    folder = tmp_path_factory.mktemp("twin")
    rows = [(*key, *value) for key, value in found.items()]
    rows += [(image, "标题", "title", None, None) for image in titled]
    counts, left, known = run(folder, rows, config)
    prior = read_prior(folder / "out" / PRIOR)
    expected, dropped, alive = twin(known, config, prior)
    here = {(row["image_id"], row["source"], row["text"]): row["ctr"] for row in left}
    assert here == expected
    assert counts[0].dropped == dropped
    assert (counts[0].seen, counts[0].kept) == (len(known), len(expected))
    assert {row["image_id"] for row in read_parts(folder / "out", IMAGES)} == alive
    assert counts[1].kept == len(alive)
    assert set(counts[0].examples) == set(dropped)
    again, cut, _ = run(folder, rows, config, parts, "cut")
    assert cut == left
    assert [count.dropped for count in again] == [count.dropped for count in counts]
    assert read_prior(folder / "cut" / PRIOR) == prior


def test_ties_at_the_cut_go_by_image_then_text(tmp_path):
    rows = [(image, text, "query", 1, 4) for image in range(0, 240, 30) for text in "ab"]
    config = RankConfig(top_count=5)
    expected = [(make_id(i), t) for i, t in ((0, "a"), (0, "b"), (30, "a"), (30, "b"), (60, "a"))]
    for parts in (1, 4, 8):
        _, left, _ = run(tmp_path, rows, config, parts, f"out{parts}")
        assert [(row["image_id"], row["text"]) for row in left] == expected


def test_schema_and_sorting_stay(tmp_path):
    rows = [(n, text, "query", 3, 9) for n in range(9) for text in "ba"]
    run(tmp_path, rows, RankConfig(), 3)
    for part in range(3):
        table = pq.read_table(part_file(tmp_path / "out", PAIRS, part))
        assert table.schema.equals(PAIR_COLUMNS)
        places = [(row["image_id"], row["text"]) for row in table.to_pylist()]
        assert places == sorted(places)
        assert pq.read_schema(part_file(tmp_path / "out", IMAGES, part)).equals(IMAGE_COLUMNS)


def test_many_looks_beat_one_lucky_click(tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    for n in range(100):
        looks = int(rng.integers(1, 200))
        rows.append((n, "x", "query", int(rng.binomial(looks, rng.beta(1, 20))), looks))
    rows += [(150, "lucky", "query", 1, 1), (151, "proven", "query", 900, 1000)]
    _, left, _ = run(tmp_path, rows, RankConfig(top_count=1))
    assert [row["text"] for row in left] == ["proven"]


def test_the_prior_is_that_of_all_pairs(tmp_path):
    rows = [(n, "x", "query", n % 3, 5 + n % 7) for n in range(60)]
    counts, _, _ = run(tmp_path, rows, RankConfig(min_clicks=2), 4)
    clicks, looks = (np.array([float(row[i]) for row in rows]) for i in (3, 4))
    prior = fit_prior(clicks, looks)
    assert read_prior(tmp_path / "out" / PRIOR) == prior
    aside = [row for row in rows if row[3] < 2]
    assert counts[0].notes == {
        "alpha": prior.alpha, "beta": prior.beta,
        "aside_images": len(aside), "aside_impressions": sum(row[4] for row in aside),
    }  # fmt: skip


def test_the_prior_is_the_same_however_it_is_cut(tmp_path):
    rng = np.random.default_rng(1)
    rows = [(n, "x", "query", int(rng.integers(0, 5)), 5) for n in range(230)]
    first, _, _ = run(tmp_path, rows, RankConfig(), 1, "one")
    again, _, _ = run(tmp_path, rows, RankConfig(), 5, "five")
    assert first[0].notes == again[0].notes


def test_without_ranking_everything_passes(tmp_path):
    rows = [(1, "x", "query", 0, 5), (2, "标题", "title", None, None)]
    counts, left, known = run(tmp_path, rows, RankConfig(enabled=False))
    assert left == [{**row, "ctr": None} for row in known]
    assert [(count.seen, count.kept) for count in counts] == [(2, 2), (2, 2)]
    assert not (tmp_path / "out" / PRIOR).exists()


def test_a_finished_part_and_prior_are_not_made_again(tmp_path):
    rows = [(n, "x", "query", 1, 5) for n in range(1, 15)]
    source = tmp_path / "in"
    write_sums(source, rows, 2)
    out = tmp_path / "out"
    write_prior(out / PRIOR, Prior(3, 4))
    counts = rank(source, out, RankConfig(), runner=Runner(2), update=silent)
    assert counts[0].notes == {"alpha": 3.0, "beta": 4.0}
    assert read_parts(out, PAIRS)[0]["ctr"] == np.float32(4 / 12)
    assert sorted(path.name for path in out.iterdir()) == ["images", "least.json", "pairs", PRIOR]


@pytest.mark.parametrize("rule", [{}, {"threshold": 0.1}, {"top_share": 0.3}, {"top_count": 7}])
def test_the_least_rate_kept_is_known(tmp_path, rule):
    rows = [(n, "x", "query", n % 7, 20 + n) for n in range(60)]
    _, left, _ = run(tmp_path, rows, RankConfig(**rule), 3)
    least, kept = read_least(tmp_path / "out"), min(row["ctr"] for row in left)
    assert least == (0 if not rule else pytest.approx(0.1) if "threshold" in rule else kept)
    assert read_least(tmp_path / "none") == 0


def test_with_copies_all_images_go_on(tmp_path):
    rows = [(1, "x", "query", 0, 5), (2, "x", "query", 2, 5), (1, "标题", "title", None, None)]
    counts, left, _ = run(tmp_path, rows, RankConfig(copies=True))
    assert [row["image_id"] for row in left] == [make_id(2)]
    assert len(read_parts(tmp_path / "out", IMAGES)) == counts[1].kept == 2


def test_no_parts_is_one_clear_line(tmp_path):
    with pytest.raises(R2D2Error, match="holds no sums"):
        rank(tmp_path, tmp_path / "out", RankConfig(), runner=Runner(), update=silent)
