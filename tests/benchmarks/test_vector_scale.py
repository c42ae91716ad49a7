"""The benchmark of large indices, at a size that takes seconds."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.vector_scale import QUERIES, Clusters, K, report

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "vector_scale.py"
FIGURES = {
    "make": {"vectors": 10**7, "memory_gb": 1.0},
    "build": {"kind": "ivf_pq", "partitions": 9, "probes": 4, "refine": 5, "seconds": 60,
              "memory_gb": 7.9},
    "search": {"open_s": 1.0, "p50_s": 0.1, "p95_s": 0.2, "recall": 0.96, "memory_gb": 2.0},
}  # fmt: skip


def test_blocks_do_not_depend_on_each_other():
    first, again = Clusters(5000, 32, 7), Clusters(5000, 32, 7)
    one = first.block(1, 50)
    again.block(0, 9)
    assert np.array_equal(again.block(1, 50), one)
    assert not np.array_equal(first.block(0, 50), one)
    assert not np.array_equal(Clusters(5000, 32, 8).block(1, 50), one)
    np.testing.assert_allclose(np.linalg.norm(one, axis=1), 1, atol=1e-5)


def test_all_stages_at_a_small_size(tmp_path):
    options = ["--vectors", "3000", "--width", "32", "--queries", "30", "--seed", "3"]
    ran = subprocess.run(
        [sys.executable, SCRIPT, "--out", tmp_path, *options, "--ann", "ivf_flat"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert "3,000 vectors; ivf_flat" in ran.stdout
    figures = json.loads((tmp_path / "vector_scale.json").read_text())
    clusters = Clusters(3000, 32, 3)
    vectors, queries = clusters.block(0, 3000), clusters.block(QUERIES, 30)
    exact = np.argsort(-(queries @ vectors.T), axis=1)[:, :K]
    found = np.load(tmp_path / "truth.npy")
    assert np.mean([np.isin(a, b).mean() for a, b in zip(exact, found, strict=True)]) > 0.999
    assert figures["search"]["recall"] >= 0.95
    assert 0 < figures["search"]["p50_s"] <= figures["search"]["p95_s"]
    assert 0 < figures["disk_gb"] < 0.1


@pytest.mark.parametrize(
    ("stage", "changes", "disk", "words"),
    [
        ("build", {}, 20.0, None),
        ("build", {"memory_gb": 8.1}, 20.0, "build takes 8.1 GB of memory, more than 8"),
        ("build", {}, 30.5, "30.5 GB of disk, more than 30"),
        ("search", {"recall": 0.94}, 20.0, "recall@100 of 0.940, less than 0.95"),
    ],
)
def test_limits(stage, changes, disk, words):
    figures = FIGURES | {stage: FIGURES[stage] | changes}
    assert report(figures, disk)[5:] == ([] if words is None else [words])
