"""Files of evaluated runs, for tests that compare runs."""

import json

from r2d2.evaluation.published import published

RECALLS = ("i2t_r1", "i2t_r5", "i2t_r10", "t2i_r1", "t2i_r5", "t2i_r10", "r_mean")


def recall(value):
    return dict.fromkeys(RECALLS, value)


def run(
    folder, model="mine", benchmark=None, split="test", value=50.0, two_stage=True, size=None,
    **about,
):  # fmt: skip
    """On the whole of a published split, where its size is known and no other is given."""
    folder.mkdir()
    known = published().size(benchmark, split)
    images, texts = size or ((known.images, known.texts) if known else (5, 25))
    stages = {"prerank": recall(value)} | ({"two_stage": recall(value + 1)} if two_stage else {})
    metrics = {
        split: {
            **stages,
            "published": {stage: recall(found["r_mean"] + 0.5) for stage, found in stages.items()},
            "chance": recall(1.0),
            "queries": {"images": images, "texts": texts},
            "gallery": {"images": images, "texts": texts},
            "curve": {way: {"1": 10.0, "10": value} for way in ("i2t", "t2i")},
            "intervals": {s: {c: [value - 2, value + 2] for c in RECALLS} for s in stages},
        },
        "skipped": {"truncated": 2},
        "run": {
            "task": "retrieval", "model": model, "kind": "r2d2", "table": "some/t.lance",
            "fingerprint": "abc", "benchmark": benchmark, "text_length": 64, "setting": "zero-shot",
            "sample": None, "seed": 0, "cut": {split: {"texts": 25, "cut": 3}}, **about,
        },
    }  # fmt: skip
    (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    return folder
