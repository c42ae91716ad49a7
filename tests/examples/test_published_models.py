"""examples/published_models.sh against a hub on this machine, with small random models."""

import json
import os
import subprocess
import sys
from pathlib import Path

from helpers.hub_server import hub_environment, loopback_hub
from helpers.named_models import write_model
from helpers.pictures import picture, png
from helpers.runs import name
from helpers.small_hf_models import save_fgclip2, save_hf
from r2d2.table import Pair, Text, write_table

SCRIPT = Path(__file__).parents[2] / "examples" / "published_models.sh"
BENCHMARK = "flickr30k-cna"
IDS = ("OFA-Sys/chinese-clip-vit-base-patch16", "google/siglip2-base", "qihoo360/fg-clip2-base")


def table_of(path):
    pairs = [Pair(f"i{n}", png(picture(n)), (Text(name(n), "caption"),), "test") for n in range(8)]
    write_table(path, pairs, metadata={"benchmark": BENCHMARK})
    return path


def run(hub, tmp_path, *tables, models):
    folder = tmp_path / "bin"
    folder.mkdir(exist_ok=True)
    stand_in = folder / "r2d2"
    stand_in.write_text(f'#!/bin/sh\nexec {sys.executable} -m r2d2 "$@"\n')
    stand_in.chmod(0o755)
    environment = hub_environment(hub.url, tmp_path / "home") | {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "MODELS": " ".join(map(str, models)),
        "OPTIONS": "--resamples 0",
    }
    return subprocess.run(
        ["bash", str(SCRIPT), str(tmp_path / "out"), *map(str, tables)],
        env=environment, capture_output=True, text=True, encoding="utf-8",
    )  # fmt: skip


def test_each_model_is_measured_beside_the_published_rows(tmp_path):
    table = table_of(tmp_path / "cna.lance")
    official = write_model("official", tmp_path / "official")
    with loopback_hub() as hub:
        for number, (hub_id, save) in enumerate(
            zip(IDS, (lambda f: save_hf(f, "chinese_clip"), lambda f: save_hf(f, "siglip2"),
                      save_fgclip2), strict=True)
        ):  # fmt: skip
            folder = tmp_path / f"published{number}"
            folder.mkdir()
            save(folder)
            hub.publish(hub_id, folder)
        models = (*IDS, f"r2d2={official}", "owner/missing")
        ran = run(hub, tmp_path, table, models=models)
        assert ran.returncode == 1, ran.stderr
        assert f"not measured: owner/missing on {table}" in ran.stderr
        names = [hub_id.replace("/", "--") for hub_id in IDS] + ["r2d2"]
        place = tmp_path / "out" / str(table).replace("/", "--")
        for folder in names:
            metrics = json.loads((place / folder / "metrics.json").read_text(encoding="utf-8"))
            assert metrics["run"]["benchmark"] == BENCHMARK
            assert ("two_stage" in metrics["test"]) == (folder == "r2d2")
        page = (tmp_path / "out" / "comparison.md").read_text(encoding="utf-8")
        for word in (
            "chinese-clip-vit-base-patch16",
            "siglip2-base",
            "fg-clip2-base",
            "R2D2 ViT-B/16",
        ):
            assert word in page, page
        before = len(hub.asked)
        ran = run(hub, tmp_path, table, models=models[:2])  # goes on: nothing is left to do
        assert ran.returncode == 0, ran.stderr
        assert len(hub.asked) == before


def test_it_says_how_it_is_used():
    ran = subprocess.run(["bash", str(SCRIPT)], capture_output=True, text=True)
    assert ran.returncode == 2
    assert "usage" in ran.stderr
