"""published.yaml: every row has a source, and the figures given to us are there as given."""

import copy
from importlib import resources

import pytest
import yaml

from r2d2.errors import R2D2Error
from r2d2.evaluation.published import RECALLS, parse, published, read_published
from r2d2.formats.caption_files import COCO_CN
from r2d2.formats.registry import FORMATS


def rows(model, key, split="test", setting="zero-shot", protocol="standard"):
    found = [
        row
        for row in published().rows
        if (row.model, row.set, row.split, row.setting, row.protocol)
        == (model, key, split, setting, protocol)
    ]
    assert len(found) == 1, (model, key)
    return found[0].figures


def t2i(figures):
    return [figures[f"t2i_r{at}"] for at in (1, 5, 10)]


def i2t(figures):
    return [figures[f"i2t_r{at}"] for at in (1, 5, 10)]


def test_every_row_has_a_source_and_a_place_in_it():
    file = published()
    assert len(file.rows) > 90
    for row in file.rows:
        assert row.where
        assert row.source.url.startswith("https://")
        assert file.protocols[row.protocol]["about"]
    assert set(file.missing) == {"icm", "iqm", "icr", "iqr", "aic-icc"}
    assert not {row.set for row in file.rows} & set(file.missing)


def test_a_run_stands_in_sets_not_in_means_over_several():
    file = published()
    assert set(file.sets) - set(file.of_runs) == {"three-sets", "paper-ablation"}


def test_the_papers_figures():
    large = "R2D2 ViT-L/14"
    whole = [rows(large, key, split)["r_mean"] for key, split in
             (("flickr30k-cn", "test"), ("coco-cn", "test"), ("muge", "val"))]  # fmt: skip
    assert whole == [85.6, 80.5, 69.5]
    tuned = rows(large, "muge", "val", "fine-tuned")
    assert [*t2i(tuned), tuned["r_mean"]] == [60.1, 82.9, 89.4, 77.5]
    for key, setting, wanted in (
        ("flickr30k-cn", "fine-tuned", ([84.4, 96.7, 98.4], [95.6, 99.8, 100.0])),
        ("coco-cn", "fine-tuned", ([79.1, 96.5, 98.9], [79.3, 97.1, 98.7])),
        ("flickr30k-cn", "zero-shot", ([60.9, 86.8, 92.7], [77.6, 96.7, 98.9])),
        ("coco-cn", "zero-shot", ([56.4, 85.0, 93.1], [63.3, 89.3, 95.7])),
    ):
        found = rows(large, key, setting=setting)
        assert (t2i(found), i2t(found)) == wanted
    muge = rows(large, "muge", "val")
    assert [*t2i(muge), muge["r_mean"]] == [49.5, 75.7, 83.2, 69.5]
    by_model = {row.model: row.figures for row in published().rows if row.protocol == "ablation"}
    assert by_model["R2D2"] == {"r_mean": 74.06, "auc": 80.51}
    assert by_model["R2D2 without TwD"] == {"r_mean": 73.10, "auc": 80.31}
    assert by_model["R2D2 without FgD"] == {"r_mean": 73.29}
    assert by_model["R2D2 without ET"] == {"auc": 80.27}
    assert by_model["R2D2, what ET adds"] == {"r1_gain": 0.95}


def test_peers_figures():
    for model, setting, wanted in (
        ("Wukong ViT-L", "zero-shot", 63.2), ("Wukong ViT-L", "fine-tuned", 72.1),
        ("Chinese-CLIP ViT-H/14", "zero-shot", 78.8), ("Chinese-CLIP ViT-H/14", "fine-tuned", 83.6),
    ):  # fmt: skip
        assert rows(model, "muge", "val", setting)["r_mean"] == wanted
    for size, wanted in (("B/16", [52.1, 76.7, 84.4]), ("L/14", [56.3, 79.8, 86.2]),
                         ("H/14", [63.0, 84.1, 89.2])):  # fmt: skip
        assert t2i(rows(f"Chinese-CLIP ViT-{size}", "muge", "val")) == wanted
    large = rows("Chinese-CLIP ViT-L/14", "flickr30k-cn")
    assert (t2i(large), i2t(large)) == ([68.0, 89.7, 94.4], [80.2, 96.6, 98.2])
    huge = rows("Chinese-CLIP ViT-H/14", "flickr30k-cn")
    assert (t2i(huge), i2t(huge)) == ([71.2, 91.4, 95.5], [81.6, 97.5, 98.8])
    for corpus, first, second, mean in (
        ("Wukong", 62.8, 81.7, 81.6), ("Zero", 64.3, 78.4, 81.5),
        ("TaiSu", 72.6, 87.8, 84.9), ("DanQing", 70.2, 86.3, 84.3),
    ):  # fmt: skip
        model = f"SigLIP 2 L/16@256 on {corpus}, 100M pairs"
        found = rows(model, "flickr30k-cn", protocol="danqing")
        assert (found["t2i_r1"], found["i2t_r1"]) == (first, second)
        assert rows(model, "three-sets", "mixed", protocol="danqing") == {"mean": mean}


FG_CLIP_2 = """
R2D2 ViT-B/16 35.7/27.4 25.9/27.3 36.1/36.9 69.7/51.1 60.1/45.5
Chinese-CLIP ViT-B/16 45.7/35.6 30.1/27.9 44.6/43.1 75.8/62.4 68.8/54.9
SigLIP 2 ViT-B/16 4.6/2.6 5.0/4.0 7.6/5.7 71.7/49.1 68.6/46.2
FG-CLIP 2 ViT-B/16 82.4/81.1 53.9/55.7 71.2/75.4 85.4/69.9 77.2/62.9
R2D2 ViT-L/14 48.3/33.3 35.6/34.2 49.5/46.3 78.8/60.0 69.6/52.7
Chinese-CLIP ViT-L/14 48.6/38.9 31.4/32.7 49.7/50.8 82.9/69.6 74.3/59.9
SigLIP 2 ViT-L/16 14.8/10.9 13.6/14.4 24.6/27.3 79.8/53.2 74.2/51.7
FG-CLIP 2 ViT-L/16 86.3/85.9 60.4/62.2 77.6/81.9 90.3/75.0 82.8/66.5
Meta CLIP 2 ViT-H/14 77.2/67.6 53.8/52.1 73.8/77.2 89.3/72.2 80.1/63.1
FG-CLIP 2 ViT-So/16 87.6/86.3 62.7/65.1 79.7/84.0 91.5/77.2 83.2/68.1
"""


@pytest.mark.parametrize("line", FG_CLIP_2.strip().splitlines())
def test_fg_clip_2s_table(line):
    *model, lit, dci, docci, flickr, coco = line.split()
    for key, split, pair in (
        ("lit-cn", "test", lit), ("dci-cn", "test", dci), ("docci-cn", "test", docci),
        ("flickr30k-cna", "test", flickr), ("coco-cn-translated", "test", coco),
    ):  # fmt: skip
        found = rows(" ".join(model), key, split, protocol="fg-clip-2")
        assert f"{found['i2t_r1']}/{found['t2i_r1']}" == pair


@pytest.fixture
def content():
    text = resources.files("r2d2.evaluation").joinpath("published.yaml").read_text("utf-8")
    return copy.deepcopy(yaml.safe_load(text))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": "hearsay"}, "source 'hearsay'"),
        ({"source": None}, "source None"),
        ({"where": ""}, "where is missing"),
        ({"protocol": "mine"}, "protocol 'mine'"),
        ({"split": None}, "split is missing"),
        ({"figures": {"t2i_r2": 5.0}}, "'t2i_r2'"),
        ({"figures": {"t2i_r1": 101}}, "from 0 to 100"),
        ({"figures": {"t2i_r1": 50.0, "t2i_r5": 40.0}}, "falls from"),
        ({"figures": {**dict.fromkeys(RECALLS, 50.0), "r_mean": 50.3}}, "the mean is 50.00"),
    ],
)
def test_a_row_that_cannot_be_is_refused(change, message, content):
    content["results"][0] |= change
    with pytest.raises(R2D2Error, match=message):
        parse(content, "here")


def test_a_row_that_comes_twice_is_refused(content, tmp_path):
    content["results"].append(content["results"][3])
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(R2D2Error, match="come twice"):
        read_published(tmp_path / "mine.yaml")


def test_a_source_needs_an_address(content):
    content["sources"]["r2d2"] = {"title": "a paper"}
    with pytest.raises(R2D2Error, match="arXiv id or an https address"):
        parse(content, "here")


def test_more_peers_as_their_pages_have_them():
    for model, key, wanted in (
        ("ZH-CLIP ViT-L/14", "flickr30k-cn", ([69.64, 90.14, 94.3], [86.6, 97.6, 98.8])),
        ("ZH-CLIP ViT-L/14", "coco-cn", ([68.0, 89.46, 95.44], [68.5, 90.1, 96.5])),
        ("QA-CLIP ViT-L/14", "flickr30k-cn", ([69.3, 90.3, 94.7], [85.3, 97.9, 99.2])),
        ("QA-CLIP ViT-L/14", "coco-cn", ([65.7, 90.2, 95.0], [64.5, 88.3, 95.1])),
        ("InternVL-C", "flickr30k-cn", ([75.1, 92.9, 96.4], [90.3, 98.8, 99.7])),
        ("InternVL-G", "coco-cn", ([73.8, 94.4, 98.1], [71.4, 93.9, 97.7])),
    ):
        found = rows(model, key)
        assert (t2i(found), i2t(found)) == wanted
    for key, wanted in (("flickr30k-cna", [91.5, 77.2]), ("coco-cn-translated", [83.2, 68.1]),
                        ("lit-cn", [87.6, 86.3]), ("dci-cn", [62.7, 65.1]),
                        ("docci-cn", [79.7, 84.0])):  # fmt: skip
        found = rows("FG-CLIP 2 ViT-So/16", key, protocol="fg-clip-2")
        assert [found["i2t_r1"], found["t2i_r1"]] == wanted
    corpus = rows("SigLIP 2 L/16@256 on DanQing, 100M pairs", "coco-cn", protocol="danqing")
    assert (t2i(corpus), i2t(corpus)) == ([65.9, 90.5, 95.4], [68.0, 92.6, 97.4])


def test_unlike_protocols_are_sets_of_their_own():
    """COCO-CN as people wrote it, and as people translated it."""
    file = published()
    protocols = {row.set: row.protocol for row in file.rows if row.protocol != "danqing"}
    assert protocols["coco-cn"] == "standard"
    assert protocols["coco-cn-translated"] == "fg-clip-2"
    written, translated = (file.size(key, "test") for key in ("coco-cn", "coco-cn-translated"))
    assert written.is_that_of(1000, 1053)
    assert not written.is_that_of(1000, 5000)
    assert translated.is_that_of(1000, 5000)


@pytest.mark.parametrize("counts", [1000, [1000], [1000, 0], [1000, "x"], [1000.5, 3]])
def test_a_size_is_two_whole_numbers(content, counts):
    content["sets"]["coco-cn"]["splits"] = {"test": counts}
    with pytest.raises(R2D2Error, match=r"set coco-cn, split test .* \[images, texts\]"):
        parse(content, "here")


def test_what_the_importer_notes_is_a_published_set():
    noted = {name for name, format_ in FORMATS.items() if format_.is_benchmark}
    noted |= set(COCO_CN.benchmarks.values())
    assert {"flickr30k-cn", "muge", "coco-cn-translated"} <= noted
    assert noted <= set(published().of_runs) | {"flickr8k-cn"}


def test_boxes_as_fg_clip_2_printed_them():
    found = {row.model: row.figures["top1"] for row in published().rows if row.set == "boxclass-cn"}
    assert [found[f"FG-CLIP 2 ViT-{size}/16"] for size in ("B", "L", "So")] == [60.7, 68.6, 66.5]
    assert not published().protocols["fg-clip-2-boxes"]["ours"]
