"""Fine-tuning: one's own pictures, labels, few texts; the best epoch kept, stopped and resumed."""

import csv
import json
import logging
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import r2d2
from helpers.calls import PowerCutError
from helpers.cli import call_cli, refused, start_cli
from helpers.pictures import SIDE, png
from helpers.runs import (
    COLOURS,
    contents,
    history,
    small_config,
    small_settings,
    small_table,
    tensors,
)
from helpers.steps import before_forward, measurements
from r2d2.config import make_tuning_config
from r2d2.finetune import KeepBest, finetune
from r2d2.model.vit import ViT
from r2d2.models import network_config
from r2d2.own_table import own_table
from r2d2.table import Pair, PairsTable, Text, write_table
from r2d2.training.distributed import ALONE
from r2d2.training.epochs import Epoch, read_epochs
from r2d2.training.pretrain import pretrain
from r2d2.training.run_folder import remember

RGB = ((220, 30, 30), (240, 140, 20), (240, 220, 40), (40, 170, 60), (40, 80, 220), (150, 50, 180),
       (20, 20, 20), (235, 235, 235))  # fmt: skip
SHAPES = ("方块", "横条")
MATCHING = 600  # labelled pairs
LABELS = [f"{colour}色{shape}" for shape in SHAPES for colour in COLOURS][:10]
QUICK = (
    "system.threads=1",
    "train.batch_size=32",
    "train.lr=3e-3",
    "train.warmup_steps=5",
    "train.augment=none",
    "train.flip=false",
    "train.freeze_vision=false",
    "objectives.queue_size=32",
    "objectives.momentum=0.95",
    "train.log_every=1",
)


def label_picture(label, number):
    """A square or a bar of the label's colour, somewhere on grey noise."""
    rng = np.random.default_rng([label, number])
    pixels = rng.integers(100, 156, (SIDE, SIDE, 3)).astype(np.uint8)
    high, wide = (16, 16) if label < len(COLOURS) else (6, 28)
    top, left = rng.integers(0, SIDE - high + 1), rng.integers(0, SIDE - wide + 1)
    pixels[top : top + high, left : left + wide] = RGB[label % len(COLOURS)]
    return Image.fromarray(pixels)


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A model that has trained a little, on something else; its tokenizer knows the characters."""
    folder = tmp_path_factory.mktemp("start")
    pairs = [
        Pair(f"p{n}", png(label_picture(n % 10, 900 + n)), (Text(f"{t}照片", "title"),), "train")
        for n, t in enumerate(LABELS * 2)
    ]
    write_table(folder / "pairs.lance", pairs)
    config = small_config("r2d2", "train.epochs=2", "model.vision.output_norm=true")
    pretrain(folder / "pairs.lance", folder / "run", config)
    return folder / "run"


def config_of(task, *more):
    return make_tuning_config(task, True, (*QUICK, *more))


def test_ten_labels_for_five_hundred_images_are_learnt(start, tmp_path):
    """A label set: 500 pictures share 10 texts, so that most of a batch is not a negative."""
    pairs = [
        Pair(f"i{n}", png(label_picture(n % 10, n)), (Text(LABELS[n % 10], "label"),),
             "train" if n < 500 else "val")
        for n in range(560)
    ]  # fmt: skip
    write_table(tmp_path / "labels.lance", pairs)
    config = config_of("retrieval", "train.epochs=8", "tuning.patience=0")
    finetune(tmp_path / "labels.lance", tmp_path / "run", config, init=start)
    model = r2d2.load(tmp_path / "run")
    images = [label_picture(n % 10, 5000 + n) for n in range(100)]
    side, labels = model.encode_images(images), model.encode_texts(LABELS)
    found = (side.embedding @ labels.embedding.T).argmax(1)
    right = sum(int(f) == n % 10 for n, f in enumerate(found))
    assert right >= 90, right  # chance: 10


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A folder of pictures, a CSV as people write it, with dirt."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "images" / "more").mkdir(parents=True)
    rows = []
    for n in range(40):
        name = f"more/p{n}.png" if n % 2 else f"p{n}.png"
        label_picture(n % 10, n).save(folder / "images" / name)
        rows.append((f"p{n}.png", f"{LABELS[n % 10]}，第{n}张", ""))
    rows[3] = (rows[3][0], rows[3][1], "val")
    (folder / "images" / "broken.png").write_bytes(b"no picture")
    rows += [("broken.png", "坏的", ""), ("gone.png", "没有", ""), ("p1.png", "　", "")]
    with (folder / "captions.csv").open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file).writerows([("图片", "Caption", "split"), *rows])
    return folder


def test_a_folder_and_a_file_of_captions_train_with_one_command(
    start, own, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "run"
    settings = [x for s in (*QUICK, "train.epochs=2") for x in ("--set", s)]
    code, stdout, lines = call_cli(
        monkeypatch, capsys, "finetune", "retrieval", own / "images", "--captions",
        own / "captions.csv", "--init", start, "--out", out, *settings,
    )  # fmt: skip
    assert code == 0, lines
    assert str(out / "report.html") in stdout
    table = PairsTable.open(out / "pairs.lance")
    assert len(table) == 40
    assert set(table.splits()) == {"train", "val", "test"}
    by_id = {pair.image_id: pair for pair in table.take(table.rows())}
    assert by_id["more/p3.png"].split == "val"
    assert by_id["p0.png"].texts[0].text == f"{LABELS[0]}，第0张"
    assert by_id["more/p1.png"].width == SIDE
    assert [e.epoch for e in read_epochs(out)] == [1, 2]
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["test"]["two_stage"]["r_mean"] >= 0
    r2d2.load(out).encode_texts(["红色方块"])


@pytest.mark.slow
@pytest.mark.parametrize("task", ["retrieval", "matching"])
def test_two_processes_make_the_table_once_and_the_figures_of_one(task, start, own, tmp_path):
    """The first one makes the table and measures; matching leaves most of the heads unused."""
    captions = own / "captions.csv"
    if task == "matching":
        lines = [line.split(",")[:2] for line in captions.read_text("utf-8-sig").splitlines()[1:41]]
        captions = tmp_path / "labelled.csv"
        rows = [(*line, n % 3 % 2, "train" if n % 4 else "val") for n, line in enumerate(lines)]
        with captions.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("image", "caption", "label", "split"), *rows])
    settings = [x for s in (*QUICK, "train.epochs=2", "train.batch_size=8") for x in ("--set", s)]
    found = []
    for processes in (2, 1):
        out = tmp_path / str(processes)
        process = start_cli(
            "finetune", task, own / "images", "--captions", captions, "--init", start,
            "--out", out, *settings, "--processes", processes,
        )  # fmt: skip
        _, err = process.communicate(timeout=600)
        assert process.returncode == 0, err
        assert err.count("rows, ") == 1, err  # of the table that was made
        found.append([(e.epoch, e.figure) for e in read_epochs(out)])
    assert len(found[0]) == 2
    for ours, theirs in zip(*found, strict=True):
        assert ours == pytest.approx(theirs, abs=8)  # of few pictures, after sums in another order


def test_what_is_wrong_with_a_file_is_said(own, tmp_path):
    images, table = own / "images", tmp_path / "run"
    file = tmp_path / "c.csv"
    assert "no folder" in refused(own_table, tmp_path / "none", own / "captions.csv", table)
    assert "cannot read" in refused(own_table, images, tmp_path / "none.csv", table)
    file.write_text("url,caption\na,b\n", encoding="utf-8")
    message = refused(own_table, images, file, table)
    assert "no column of images" in message
    assert "url, caption" in message
    file.write_text("image,caption\nzzz.png,猫\n", encoding="utf-8")
    assert "image not found: 1" in refused(own_table, images, file, table)
    file.write_bytes("image,caption\nzzz.png,红色方块\n".encode("gb18030"))
    assert "image not found: 1" in refused(own_table, images, file, table)
    assert not (table / "pairs.lance").exists()
    outside = tmp_path / "c.jsonl"
    label_picture(0, 0).save(tmp_path / "secret.png")
    line = {"image": "../../secret.png", "caption": ["猫"]}
    outside.write_text(json.dumps(line) + "\nnot json\n", encoding="utf-8")
    assert "image not found" in refused(own_table, images, outside, table)


def test_a_table_of_somebody_elses_is_not_replaced(own, tmp_path):
    small_table(tmp_path / "pairs.lance")
    before = contents(tmp_path)
    for resume in (False, True):
        message = refused(own_table, own / "images", own / "captions.csv", tmp_path, resume=resume)
        assert str(tmp_path / "pairs.lance") in message
        assert "another --out" in message
        assert contents(tmp_path) == before


def test_captions_that_have_changed_make_the_table_anew_until_a_run_is_there(own, tmp_path):
    captions, out = tmp_path / "captions.csv", tmp_path / "run"
    lines = (own / "captions.csv").read_text("utf-8-sig").splitlines()
    rows = []
    for count, resume in ((20, False), (21, False), (22, True)):
        captions.write_text("\n".join(lines[: 1 + count]), encoding="utf-8")
        rows.append(len(PairsTable.open(own_table(own / "images", captions, out, resume=resume))))
    assert rows == [20, 21, 22]
    remember(out, {"config": {}, "fingerprint": "f"})
    assert own_table(own / "images", captions, out, resume=True) == str(out / "pairs.lance")
    captions.write_text("\n".join(lines), encoding="utf-8")
    before = contents(out)
    message = refused(own_table, own / "images", captions, out, resume=True)
    assert str(captions) in message
    assert "changed" in message
    assert contents(out) == before


def test_a_run_does_not_go_on_with_other_pictures(own, tmp_path):
    images, out = tmp_path / "images", tmp_path / "run"
    shutil.copytree(own / "images", images)
    captions = own / "captions.csv"
    own_table(images, captions, out)
    remember(out, {"config": {}, "fingerprint": "f"})
    (images / "p2.png").unlink()  # the table has it
    label_picture(9, 9).save(images / "new.png")  # no caption names it
    assert own_table(images, captions, out, resume=True) == str(out / "pairs.lance")
    label_picture(9, 9).save(images / "p0.png")
    label_picture(9, 9).save(images / "more" / "p3.png")
    before = contents(out)
    message = refused(own_table, images, captions, out, resume=True)
    assert "2 of the pictures" in message
    assert "more/p3.png" in message
    assert "p0.png" in message
    assert contents(out) == before


@pytest.fixture(scope="module")
def experienced(tmp_path_factory):
    """A model that ranks already, so that matching has something to build on."""
    folder = tmp_path_factory.mktemp("experienced")
    pairs = [
        Pair(
            f"p{n}",
            png(label_picture(n % 10, 9000 + n)),
            (Text(f"{LABELS[n % 10]}照", "title"),),
            "train",
        )
        for n in range(200)
    ]
    write_table(folder / "pairs.lance", pairs)
    config = small_config("r2d2", *QUICK, "train.epochs=8", "model.vision.output_norm=true")
    pretrain(folder / "pairs.lance", folder / "run", config)
    return folder / "run"


@pytest.fixture(scope="module")
def matching(tmp_path_factory):
    """Labelled pairs: the right label, or another one; no text tells which."""
    rng = np.random.default_rng(0)
    pairs = []
    for n in range(MATCHING):
        right = int(rng.integers(2))
        text = LABELS[n % 10 if right else (n + rng.integers(1, 10)) % 10]
        split = "train" if n < MATCHING - 120 else "val" if n < MATCHING - 60 else "test"
        picture = png(label_picture(n % 10, n))
        pairs.append(Pair(f"m{n}", picture, (Text(text, "query"),), split, label=right))
    pairs.append(Pair("unlabelled", pairs[0].image, (Text("猫", "query"),), "train"))
    path = tmp_path_factory.mktemp("matching") / "icm.lance"
    write_table(path, pairs)
    return path


def test_matching_is_learnt_from_labels_and_stopped_when_it_is_enough(
    experienced, matching, tmp_path
):
    out = tmp_path / "run"
    config = config_of("matching", "train.epochs=16", "tuning.patience=4", "train.lr=2e-3")
    found = finetune(matching, out, config, init=experienced)
    epochs = read_epochs(out)
    best = max(epochs, key=lambda e: e.figure)
    assert best.figure > 90, [e.figure for e in epochs]
    assert len(epochs) == 16 or len(epochs) == epochs.index(best) + 1 + 4
    metrics = json.loads(found.read_text(encoding="utf-8"))
    assert metrics["val"]["matching"]["auc"] == pytest.approx(best.figure, abs=0.5)
    assert metrics["test"]["matching"]["pairs"] == 60
    assert {k for row in history(out) for k in row if k.startswith("loss/")} == {
        "loss/fgr", "loss/total",
    }  # fmt: skip
    skipped = json.loads((out / "training.json").read_text())["skipped"]
    assert skipped == {"no label": 1}


def test_a_pair_labelled_as_no_match_is_no_positive(start, matching, tmp_path):
    config = replace(config_of("retrieval", "train.epochs=1"), model=network_config(start))
    pretrain(matching, tmp_path / "run", config, init=start)
    skipped = json.loads((tmp_path / "run" / "training.json").read_text())["skipped"]
    train = PairsTable.open(matching)
    wrong = sum(label == 0 for label in train.labels(train.rows("train")))
    assert skipped["not a match"] == wrong > 100


def test_stopped_and_resumed_it_is_the_undisturbed_run(start, own, tmp_path):
    config = config_of("retrieval", "train.epochs=3", "train.batch_size=8")
    table = own_table(own / "images", own / "captions.csv", tmp_path / "data")
    whole, out = tmp_path / "whole", tmp_path / "run"
    finetune(table, whole, config, init=start)

    with measurements(out, cut=2) as epochs, pytest.raises(PowerCutError):
        finetune(table, out, config, init=start)
    assert epochs == [1, 2]
    with measurements(out) as epochs:
        finetune(table, out, config, init=start, resume=True)
    assert epochs[:2] == [2, 3]
    assert read_epochs(out) == read_epochs(whole)
    ours, theirs = tensors(out), tensors(whole)
    assert all(ours[name].equal(theirs[name]) for name in theirs)


@pytest.mark.parametrize(("kind", "precision"), [("cuda", "high"), ("cpu", "highest")])
def test_on_a_gpu_an_epoch_is_measured_on_its_tensor_cores(kind, precision, start, own, tmp_path):
    """Others wait for it; the contrast of a step is computed in float32 as ever."""
    table = PairsTable.open(own_table(own / "images", own / "captions.csv", tmp_path / "data"))
    model, seen = r2d2.load(start), set()

    trainer = SimpleNamespace(
        world=ALONE, device=torch.device(kind), step=10, steps=20, model=model.model,
        tokenizer=model.tokenizer, config=config_of("retrieval"), plain_weights=lambda: None,
    )  # fmt: skip
    with before_forward(ViT, lambda _: seen.add(torch.get_float32_matmul_precision())):
        KeepBest(table, tmp_path, config_of("retrieval"))(trainer, 1)
    assert seen == {precision}
    assert torch.get_float32_matmul_precision() == "highest"


def test_a_model_at_chance_is_said(start, own, tmp_path, caplog):
    """After the warm-up, which in a run of up to 1000 steps ends half-way."""
    config = config_of("retrieval", "train.warmup_steps=500")
    table = PairsTable.open(own_table(own / "images", own / "captions.csv", tmp_path / "data"))
    keep = KeepBest(table, tmp_path, config)
    said = {}
    for step, figure in ((10, 11.0), (11, 11.0), (20, 11.0), (20, 60.0)):
        caplog.clear()
        with caplog.at_level(logging.INFO):
            keep._tell(Epoch(1, step, figure, 10.0), [], 20)
        said[step, figure] = "near chance" in caplog.text
    assert said == {(10, 11.0): False, (11, 11.0): True, (20, 11.0): True, (20, 60.0): False}


ADVICE = {
    "high": "may be too high",
    "frozen": "train.freeze_vision=false",
    "low": "--set train.lr=",
}


@pytest.mark.parametrize(
    ("figures", "settings", "advice"),
    [
        ((11.0,), (), [()]),  # nobody knows yet whether it rises
        ((25.0, 11.0, 10.0), (), [None, ("high",), None]),
        ((11.0, 12.0, 13.0), (), [(), None, None]),
        ((11.0,), ("train.freeze_vision=true",), [("frozen",)]),
        ((25.0, 11.0), ("train.freeze_vision=true",), [None, ("frozen",)]),
        ((25.0, 11.0), ("train.lr=1e-6", "train.freeze_vision=true"), [None, ("frozen", "low")]),
    ],
)
def test_chance_is_said_once_and_with_the_cause_that_the_settings_allow(
    figures, settings, advice, own, tmp_path, caplog
):
    """Of a run of 20 steps, one measured at each of the last ones."""
    table = PairsTable.open(own_table(own / "images", own / "captions.csv", tmp_path / "data"))
    keep = KeepBest(table, tmp_path, config_of("retrieval", *settings))
    seen, found = [], []
    for number, figure in enumerate(figures):
        caplog.clear()
        epoch = Epoch(number + 1, 12 + number, figure, 10.0)
        keep._tell(epoch, seen, 20)
        seen.append(epoch)
        text = caplog.text
        said = tuple(name for name, words in ADVICE.items() if words in text)
        found.append(said if "near chance" in text else None)
    assert found == advice


def test_what_was_held_back_while_it_rose_is_said_when_it_falls(own, tmp_path, caplog):
    table = PairsTable.open(own_table(own / "images", own / "captions.csv", tmp_path / "data"))
    keep, seen, found = KeepBest(table, tmp_path, config_of("retrieval")), [], []
    for step, figure in ((2, 10.0), (8, 11.0), (12, 10.5), (16, 10.4)):  # the warm-up has five
        caplog.clear()
        epoch = Epoch(len(seen) + 1, step, figure, 10.0)
        keep._tell(epoch, seen, 20)
        seen.append(epoch)
        found.append("near chance" in caplog.text)
    assert found == [False, False, True, False]


def test_a_val_too_small_to_tell_is_said(start, own, tmp_path, caplog):
    table = PairsTable.open(own_table(own / "images", own / "captions.csv", tmp_path / "data"))
    keep = KeepBest(table, tmp_path, config_of("retrieval"))
    keep._tell(Epoch(1, 20, 100.0, 100.0), [], 20)
    assert "hold more pictures out" in caplog.text
    assert "near chance" not in caplog.text


def test_six_pictures_train_with_one_command(start, tmp_path, monkeypatch, capsys):
    (tmp_path / "im").mkdir()
    lines = ["image,caption"]
    for n in range(6):
        label_picture(n, n).save(tmp_path / "im" / f"{n}.png")
        lines.append(f"{n}.png,{LABELS[n]}")
    (tmp_path / "c.csv").write_text("\n".join(lines), encoding="utf-8")
    settings = [x for s in (*QUICK, "train.epochs=1", "train.batch_size=4") for x in ("--set", s)]
    asked = ("finetune", "retrieval", tmp_path / "im", "--init", start, "--out", tmp_path / "run")
    code, _, told = call_cli(monkeypatch, capsys, *asked)
    assert code == 2
    assert "--captions" in " ".join(told)
    code, _, told = call_cli(
        monkeypatch, capsys, *asked, "--captions", tmp_path / "c.csv", *settings
    )
    assert code == 0, told
    splits = PairsTable.open(tmp_path / "run" / "pairs.lance").splits()
    assert set(splits) == {"train", "val", "test"}
    assert sum(splits.values()) == 6


@pytest.mark.parametrize("split", ["train", "val"])
def test_matching_needs_both_kinds_before_it_begins(start, tmp_path, split):
    picture = png(label_picture(0, 0))
    pairs = [
        Pair(f"{name}{label}", picture, (Text("红色方块", "query"),), name, label=label)
        for name in ("train", "val") for label in (0, 1)
        if (name, label) != (split, 0)
    ]  # fmt: skip
    write_table(tmp_path / "pairs.lance", pairs)
    message = refused(
        finetune, tmp_path / "pairs.lance", tmp_path / "run", config_of("matching"), init=start
    )
    assert f"split '{split}' has no label 0" in message
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_fine_tuned_is_refused(start, tmp_path):
    table = small_table(tmp_path / "pairs.lance")
    config = config_of("matching")
    message = refused(finetune, table, tmp_path / "run", config, init=start)
    assert "no label" in message
    write_table(tmp_path / "train.lance", [
        Pair("a", png(label_picture(0, 0)), (Text("猫", "title"),), "train")
    ])  # fmt: skip
    config = config_of("retrieval")
    message = refused(finetune, tmp_path / "train.lance", tmp_path / "run", config, init=start)
    assert "no split 'val'" in message
    assert "unknown task 'retreival'" in refused(make_tuning_config, "retreival", True)


def test_pre_training_keeps_its_best_epoch_where_it_is_asked_to(
    tmp_path, monkeypatch, capsys, steps
):
    table, out = small_table(tmp_path / "pairs.lance"), tmp_path / "run"

    @torch.no_grad()
    def forget():
        for parameter in steps.module.model.towers.parameters():
            parameter.zero_()

    steps.before[8] = forget  # the first step of the last epoch, which is the worst therefore
    settings = small_settings(
        "prd2", "train.epochs=3", "train.checkpoint_every=2", "train.keep_checkpoints=5",
        "train.validate=true",
    )  # fmt: skip
    command = ("pretrain", table, "--variant", "prd2", "--out", out)
    code, _, lines = call_cli(
        monkeypatch, capsys, *command, *(x for s in settings for x in ("--set", s))
    )
    assert code == 0, lines
    epochs = read_epochs(out)
    assert [(e.epoch, e.step) for e in epochs] == [(1, 4), (2, 8), (3, 12)]
    best = max(epochs, key=lambda e: e.figure)
    assert best.epoch < 3
    kept = sorted(p.name for p in (out / "checkpoints").iterdir())
    assert kept == [f"step-{step:07d}" for step in (4, 6, 8, 10, 12)]  # the newest five

    def temperature(path):
        return r2d2.load(path).model.log_temperature

    weights = out / "checkpoints" / f"step-{best.step:07d}" / "model.safetensors"
    saved = load_file(weights)["log_temperature"]
    assert temperature(out / "best").equal(saved)
    assert not temperature(out / "model").equal(saved)
    write_table(tmp_path / "train.lance", [Pair("a", b"", (Text("猫", "title"),), "train")])
    assert "no split 'val'" in refused(
        KeepBest, PairsTable.open(tmp_path / "train.lance"), out, small_config()
    )
