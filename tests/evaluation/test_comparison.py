"""The report of several runs: what stands beside what, what is bold; nothing breaks out."""

import json

import pytest

from helpers.run_files import run
from r2d2.errors import R2D2Error
from r2d2.evaluation.comparison import Cell, Line, mark_best, read_runs, sections
from r2d2.evaluation.comparison_page import write_comparison
from r2d2.evaluation.published import published

PIXEL = "data:image/png;base64,AAAA"


def tables(folders):
    return [(s, t) for s in sections(read_runs(folders), published()) for t in s.tables]


def test_a_run_stands_only_beside_rows_of_its_set_split_setting_and_protocol(tmp_path):
    (section, beside), *others, (_, ours) = tables([run(tmp_path / "a", benchmark="coco-cn")])
    assert (section.name, section.split) == ("COCO-CN", "test")
    assert beside.title == "Published, zero-shot"
    labels = [line.label for line in beside.lines]
    assert labels.count("mine") == 1
    assert "R2D2 ViT-L/14" in labels
    assert not any("FG-CLIP" in label for label in labels)  # which has the translated captions
    mine = next(line for line in beside.lines if line.ours)
    assert [cell.value for cell in mine.cells] == [51.5] * 7  # as the official code counts
    assert all(not table.ours for _, table in others)
    assert [line.cells[0].value for line in ours.lines] == [50.0, 51.0, 1.0]
    assert ours.lines[0].cells[0].interval == (48.0, 52.0)
    assert ours.lines[2].chance

    translated = tables([run(tmp_path / "b", benchmark="coco-cn-translated")])
    assert translated[0][0].name == "COCO-CN, translated"
    figures = {line.label: line.cells[0].value for line in translated[0][1].lines}
    assert {"FG-CLIP 2 ViT-B/16", "FG-CLIP 2 ViT-So/16", "mine"} <= figures.keys()
    assert figures["R2D2 ViT-L/14"] == 69.6  # as FG-CLIP 2 measured it
    assert "Wukong ViT-L" not in figures  # which has the captions that people wrote

    tuned = tables([run(tmp_path / "c", benchmark="coco-cn", setting="fine-tuned")])
    assert tuned[0][1].title == "Published, fine-tuned"


def test_a_sample_stands_by_itself(tmp_path):
    whole = run(tmp_path / "a", benchmark="muge", split="val", value=10.0)
    some = run(tmp_path / "b", "other", benchmark="muge", split="val", value=90.0, sample=50)
    found = tables([whole, some])
    names = [(section.name, table.title) for section, table in found]
    assert names[-1] == ("MUGE, sample of 50", "Our count")
    for section, table in found[:-1]:
        assert section.name == "MUGE"
        assert "other" not in [line.label for line in table.lines]
    notes = " ".join(found[-1][0].notes)
    assert "sample of at most 50 images" in notes
    assert "3 of 25 texts were cut at 64 tokens" in notes


@pytest.mark.parametrize("size", [(30, 150), (1000, 5000), (999, 1053)])
def test_a_fragment_is_labelled_and_stands_beside_no_published_figure(tmp_path, size):
    found = tables([run(tmp_path / "a", benchmark="coco-cn", size=size)])
    section = found[0][0]
    assert section.name == (f"COCO-CN, {size[0]:,} of 1,000 images and {size[1]:,} of 1,053 texts")
    assert any("stand beside no published figure" in note for note in section.notes)
    assert [table.title for _, table in found if any(line.ours for line in table.lines)] == [
        "Our count"
    ]


def test_runs_on_other_numbers_of_images_stand_apart(tmp_path):
    whole = run(tmp_path / "a", "whole", benchmark="coco-cn")
    part = run(tmp_path / "b", "part", benchmark="coco-cn", size=(30, 32), value=99.0)
    found = tables([whole, part])
    for _, table in found:
        ours = {line.label for line in table.lines if line.ours}
        assert ours in (set(), {"whole"}, {"part"})
    assert [section.name for section, table in found if table.title == "Our count"] == [
        "COCO-CN", "COCO-CN, 30 of 1,000 images and 32 of 1,053 texts",
    ]  # fmt: skip


def test_a_split_of_unknown_size_has_no_run_beside_its_figures(tmp_path):
    found = tables([run(tmp_path / "a", benchmark="docci-cn", size=(5000, 5000))])
    assert any("is not known here" in note for note in found[0][0].notes)
    beside = [table for _, table in found if table.title != "Our count"]
    assert beside
    assert not any(line.ours for table in beside for line in table.lines)


@pytest.mark.parametrize(("images", "beside"), [(29_806, True), (28_000, False)])
def test_a_size_that_is_published_rounded_is_compared_so(tmp_path, images, beside):
    found = tables([run(tmp_path / "a", benchmark="muge", split="val", size=(images, 5008))])
    assert (
        any(line.ours for line in found[0][1].lines if found[0][1].title != "Our count") is beside
    )


def test_r_mean_is_reckoned_where_a_source_prints_none(tmp_path):
    _, table = tables([run(tmp_path / "a", benchmark="flickr30k-cn")])[0]
    wukong = next(line for line in table.lines if line.label == "Wukong ViT-L")
    assert wukong.cells[-1].value == pytest.approx((51.7 + 78.9 + 86.3 + 76.1 + 94.8 + 97.5) / 6)
    assert "mean of the recalls" in table.about
    values = [line.cells[-1].value for line in table.lines]
    assert values == sorted(values)


def test_what_could_not_be_had_is_said(tmp_path):
    section, table = tables([run(tmp_path / "a", benchmark="icr")])[0]
    assert table.title == "Our count"
    assert any("could not be had" in note for note in section.notes)


def test_best_is_by_what_is_printed():
    def line(*values):
        return Line("x", [Cell(v) for v in values], True)

    marked = mark_best([line(50.04, 3.0, None), line(50.01, 2.0, 7.0)], lower=("b",), columns="abc")
    assert [[cell.best for cell in one.cells] for one in marked] == [
        [True, False, False], [True, True, False],
    ]  # fmt: skip
    assert not mark_best([line(1.0)])[0].cells[0].best


def test_names_are_text_and_never_markup(tmp_path):
    folder = run(tmp_path / "a", model='<script>alert("x")</script>|pipe', two_stage=False)
    examples = [{
        "title": "t", "chosen": "c",
        "rows": [{"text": "<b>红</b>", "rank": 2, "answer": None,
                  "shown": [{"picture": PIXEL, "caption": '"><i>', "right": True}]}],
    }]  # fmt: skip
    (folder / "examples.json").write_text(json.dumps(examples), encoding="utf-8")
    html, beside = write_comparison([folder], tmp_path / "out" / "r.html")
    page, text = html.read_text("utf-8"), beside.read_text("utf-8")
    assert "<script" not in page
    assert "<b>红" not in page
    assert '"><i>' not in page
    assert "\\<script\\>" in text
    assert "\\|pipe" in text
    assert 'src="http' not in page
    assert "@import" not in page
    assert "url(http" not in page
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in rows}) == 1


def test_matching_and_classes_have_their_tables(tmp_path):
    match = {
        "test": {
            "matching": {"auc": 80.0, "average_precision": 81.0, "accuracy": 70.0, "pairs": 4,
                         "matches": 2, "threshold": 0.5, "threshold_chosen_on": "val",
                         "skipped": 0},
            "calibration": {"ece": 5.0, "bins": [
                {"low": 0, "high": 1, "pairs": 4, "score": 0.5, "match": 0.5}]},
        },
        "run": {"task": "matching", "model": "m", "kind": "r2d2", "table": "t", "fingerprint": "f",
                "score": "match score", "seed": 0, "text_length": 64},
    }  # fmt: skip
    classes = {
        "test": {
            "classification": {"top1": 40.0, "top5": 80.0, "mean_class_top1": 39.0, "images": 8,
                               "classes": 9, "chance": {"top1": 11.1, "top5": 55.6}},
            "classes": [
                {"class": "猫", "images": 8, "top1": 40.0, "top5": 80.0, "taken_for": "狗"}
            ],
        },
        "run": {"task": "classification", "model": "m", "kind": "onnx", "table": "t",
                "fingerprint": "f", "seed": 0, "templates": ["{}"], "text_length": None},
    }  # fmt: skip
    for name, metrics in (("m", match), ("c", classes)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    html, beside = write_comparison([tmp_path / "m", tmp_path / "c"], tmp_path / "r.html")
    page, text = html.read_text("utf-8"), beside.read_text("utf-8")
    assert "Calibration" in page
    assert "猫" in page
    assert "threshold 0.500 from val" in text
    assert "| *m" in text
    classes["run"] |= {"benchmark": "boxclass-cn", "setting": "zero-shot"}
    (tmp_path / "c" / "metrics.json").write_text(json.dumps(classes), encoding="utf-8")
    (section, own), (_, beside) = tables([tmp_path / "c"])
    assert (section.name, section.notes) == ("BoxClass-CN", [])
    assert [line.label for line in own.lines if line.ours] == ["m"]
    assert [line.label for line in beside.lines][-1] == "FG-CLIP 2 ViT-L/16"
    assert not any(line.ours for line in beside.lines)  # which measured boxes in another way


def test_folders_without_a_run_are_refused(tmp_path):
    with pytest.raises(R2D2Error, match=r"no metrics.json in"):
        read_runs([tmp_path])
    for about in ("null", "3", "{}", '{"model": "mine", "table": 3}'):
        (tmp_path / "metrics.json").write_text(f'{{"run": {about}, "test": {{}}}}')
        with pytest.raises(R2D2Error, match="does not name its model"):
            read_runs([tmp_path])
    (tmp_path / "metrics.json").write_text("{")
    with pytest.raises(R2D2Error, match="damaged"):
        read_runs([tmp_path])


def test_pictures_from_elsewhere_are_refused(tmp_path):
    folder = run(tmp_path / "a")
    shown = {"picture": "https://example.org/x.png", "caption": "", "right": True}
    row = {"text": "x", "rank": 1, "answer": None, "shown": [shown]}
    (folder / "examples.json").write_text(
        json.dumps([{"title": "t", "chosen": "c", "rows": [row]}]), encoding="utf-8"
    )
    with pytest.raises(R2D2Error, match="not inside the file"):
        write_comparison([folder], tmp_path / "r.html")
