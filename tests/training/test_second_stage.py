"""The second stage: the towers stay, the cross encoders learn alone on blocks that are mined."""

import signal
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from helpers.cli import refused, start_cli
from helpers.pictures import SIDE
from helpers.runs import assert_same_run, history, small_config, small_settings, small_table
from r2d2.ablation.speed import kinds_of_steps
from r2d2.config import ObjectiveConfig, TrainConfig
from r2d2.data.loader import LoaderSettings, PairsLoader
from r2d2.errors import RunStoppedError
from r2d2.table import PairsTable
from r2d2.tokenizer import Tokenizer
from r2d2.training import schedule
from r2d2.training.distributed import ALONE
from r2d2.training.mining import NearPairs, blocks, near_pairs, nearest
from r2d2.training.pretrain import pretrain
from r2d2.training.trainer import Trainer
from training.test_processes import assert_alike

# 23 steps: 10 of the towers alone, then 13 of the cross encoders on 3 stretches or more
STAGES = (
    "objectives.ranking_from=0.4", "objectives.second_stage_from=0.4", "objectives.list_size=4",
    "objectives.weight_listwise=1", "train.checkpoint_every=5", "model.dropout=0.1",
)  # fmt: skip
START = 10


def config(*more):
    return small_config("r2d2", *STAGES, *more)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "pairs.lance"
    return small_table(path, bad=[3, 20], textless=[5])


@pytest.fixture(scope="module")
def whole(table, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    summary = pretrain(table, out, config("train.keep_checkpoints=100"))
    return out, summary.steps


def weights(run, step):
    return load_file(run / "checkpoints" / f"step-{step:07d}" / "model.safetensors")


def test_the_towers_learn_alone_and_then_the_cross_encoders(whole):
    out, steps = whole
    first, begun, last = (weights(out, step) for step in (5, START, steps))
    for name in last:
        tower = name.startswith("towers.") or name == "log_temperature"
        assert torch.equal(first[name], begun[name]) != tower, name
        assert torch.equal(begun[name], last[name]) == tower, name


def test_each_stage_has_its_losses_and_its_learning_rate(whole):
    out, steps = whole
    rows = history(out)
    towers, ranking = {"loss/tgd", "loss/fgd"}, {"loss/fgr", "loss/listwise", "loss/mlm"}
    for row in rows:
        learns, rests = (towers, ranking) if row["step"] < START else (ranking, towers)
        assert learns <= row.keys()
        assert not rests & row.keys()
    train = config().train
    rates = [schedule.learning_rate(step, START, train) for step in range(START)]
    rates += [schedule.learning_rate(step, steps - START, train) for step in range(steps - START)]
    assert [row["lr"] for row in rows] == pytest.approx(rates)
    assert rates[START] < rates[START + 2]  # it warms up anew


def test_similar_pairs_are_sought_after_the_share_of_random_blocks(table, whole, tmp_path, caplog):
    caplog.set_level("INFO", "r2d2")
    searches = []
    for share in (0.5, 1.0):
        caplog.clear()
        pretrain(table, tmp_path / f"{share}", config(f"objectives.mining_from={share}"))
        texts = [record.getMessage() for record in caplog.records]
        searches.append([text.split(":")[0] for text in texts if "similar pairs" in text])
    steps = whole[1]
    mined = START + -(-(steps - START) // 2)
    assert searches[0][0] == f"step {mined}"
    assert searches[1] == []
    mined_from_the_start, later, never = (
        [row["loss/fgr"] for row in history(out) if row["step"] >= START]
        for out in (whole[0], tmp_path / "0.5", tmp_path / "1.0")
    )
    assert later[: mined - START] == never[: mined - START]
    assert later[-1] != never[-1]
    assert later[2] != mined_from_the_start[2]  # the heads start at zero, whatever they read


def test_stopped_and_resumed_it_is_the_same_run(table, whole, tmp_path, steps):
    out = tmp_path / "run"
    settings = config("objectives.mining_from=0.3")
    # before it, at its beginning, within the random blocks, within a stretch of mined ones
    for stop in (START - 1, START, START + 2, START + 8):
        steps.before[stop - 1] = partial(signal.raise_signal, signal.SIGTERM)
        with pytest.raises(RunStoppedError):
            pretrain(table, out, settings, resume=True)
        assert steps.made[-1] == stop - 1
    pretrain(table, out, settings, resume=True)
    plain = tmp_path / "plain"
    pretrain(table, plain, settings)
    assert_same_run(out, plain)


# No dropout, which each process draws by itself; and classes that weigh unequally: the gradient of
# the heads' biases would else be nothing but rounding, which AdamW makes large.
STILL = (*STAGES, "model.dropout=0", "objectives.positive_weight=1")


@pytest.fixture(scope="module")
def alone(table, tmp_path_factory):
    out = tmp_path_factory.mktemp("alone") / "run"
    pretrain(table, out, small_config("r2d2", *STILL))
    return out


def test_chunks_make_the_run_of_the_whole_batch(table, alone, tmp_path):
    pretrain(table, tmp_path / "run", small_config("r2d2", *STILL, "system.accumulate=2"))
    assert_alike(tmp_path / "run", alone)


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_make_the_run_of_one(parallel, table, alone, tmp_path):
    out = tmp_path / "run"
    asked = small_settings("r2d2", *STILL, f"system.parallel={parallel}")
    settings = [x for s in asked for x in ("--set", s)]
    process = start_cli("pretrain", table, "--out", out, *settings, "--processes", 2)
    _, err = process.communicate(timeout=400)
    assert process.returncode == 0, err
    assert "all pairs of blocks of 4 ranked" in err
    assert "Warning" not in err
    assert_alike(out, alone)


def test_a_model_whose_towers_are_done_gets_a_second_stage(table, whole, tmp_path):
    alone = ("objectives.ranking_from=0", "objectives.second_stage_from=0", "train.epochs=2")
    message = refused(pretrain, table, tmp_path / "none", config(*alone))
    assert "there are none yet: give a model by --init" in message
    first = whole[0] / "model"
    pretrain(table, tmp_path / "run", config(*alone), init=first)
    before, after = (
        load_file(m / "model.safetensors") for m in (first, tmp_path / "run" / "model")
    )
    for name in before:
        tower = name.startswith("towers.") or name == "log_temperature"
        assert torch.equal(before[name], after[name]) == tower, name


def test_mined_pairs_are_the_nearest_that_are_no_positives():
    torch.manual_seed(0)
    features = F.normalize(torch.randn(30, 8), dim=1)
    keys = torch.stack([torch.arange(30) // 2, torch.arange(30) % 7], 1)
    found = nearest(features, keys, 5)
    for i in range(30):
        allowed = [j for j in range(30) if not (keys[i] == keys[j]).any()]
        order = sorted(allowed, key=lambda j: -float(features[i] @ features[j]))
        assert found[i].tolist() == order[:5]


def test_near_pairs_leave_out_what_cannot_be_read_and_know_their_items(table):
    loader = PairsLoader(PairsTable.open(table), "train", LoaderSettings(SIDE, 0))
    held = {}

    def embed(raw):
        n = len(raw.texts)
        features = torch.zeros(n, 64)
        for k, (text, pixels) in enumerate(zip(raw.texts, raw.pixels, strict=True)):
            held[text] = pixels
            features[k, len(held)] = 1.0
            features[k, 0] = float(pixels.mean()) / 255
        return features, features, torch.from_numpy(raw.keys)

    items = np.arange(len(loader))
    pairs = near_pairs(loader, items, 4, embed, ALONE)
    bad = {item for item in items.tolist() if item in loader.bad}
    assert len(bad) == 2
    assert pairs.items.tolist() == [i for i in items.tolist() if i not in bad]
    assert pairs.near.shape == (len(pairs.items), 5)
    assert all(place not in row for place, row in enumerate(pairs.near.tolist()))


def test_blocks_hold_a_pair_its_nearest_and_others_of_the_next_nearest():
    near = np.array([[(i + k) % 10 for k in range(1, 6)] for i in range(10)])
    pairs = NearPairs(np.arange(10) + 100, near)
    found = blocks(pairs, 4, 15, np.random.default_rng(0)).reshape(15, 4)
    anchors = found[:, 0] - 100
    assert sorted(anchors[:10]) == list(range(10))  # each once before any begins again
    for anchor, others in zip(anchors.tolist(), (found[:, 1:] - 100).tolist(), strict=True):
        assert others[0] == near[anchor][0]
        assert len(set(others)) == 3
        assert set(others) <= set(near[anchor].tolist())
    assert len({tuple(row) for row in found[:, 2:].tolist()}) > 8  # drawn, not always the same


def test_a_table_smaller_than_a_list_is_one_line(tmp_path):
    path = small_table(tmp_path / "pairs.lance", rows=3)
    message = refused(pretrain, path, tmp_path / "run", config("train.epochs=20"))
    assert "3 pairs can be read, and objectives.list_size is 4" in message


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("objectives.second_stage_from=0.5",), "set objectives.list_size to 2 or more"),
        (("objectives.weight_listwise=1",), "a list has two pairs or more"),
        (("objectives.list_size=1",), "a list has two pairs or more"),
        (("objectives.list_size=4", "objectives.negative_groups=2"), "set one of them to 0"),
        ((*STAGES, "objectives.ranking_from=0.5"), "lies after objectives.second_stage_from=0.4"),
        ((*STAGES, "train.schedule=epochs"), "set train.schedule=cosine"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, said):
    assert said in refused(small_config, "r2d2", *settings)


def test_a_batch_that_does_not_divide_into_blocks_is_refused(table, tmp_path):
    message = refused(pretrain, table, tmp_path / "run", config("train.batch_size=10"))
    assert "train.batch_size=10 in 1 equal parts does not divide into blocks" in message
    assert not (tmp_path / "run").exists()


def test_the_second_stage_begins_where_it_is_asked_for():
    train = TrainConfig()
    for share, start in ((1.0, 50), (0.5, 25), (0.01, 1), (0.0, 0)):
        told = ObjectiveConfig(second_stage_from=share, list_size=2)
        assert schedule.second_stage_start(50, told) == start
    assert schedule.stage_learning_rate(7, 50, 50, train) == schedule.learning_rate(7, 50, train)


def test_each_kind_of_steps_has_its_share_of_the_run(table, tmp_path):
    def kinds(*settings):
        tokenizer = Tokenizer.train(["红色的猫"], 64, 16)
        told = small_config("r2d2", *settings)
        return kinds_of_steps(Trainer(PairsTable.open(table), tmp_path, told, tokenizer))

    assert kinds() == [(0, 1.0)]
    assert kinds(*STAGES) == [(0, 10 / 23), (10, 13 / 23)]
    mixed = ("objectives.ranking_from=0.2", "objectives.second_stage_from=0.8")
    assert kinds(*STAGES, *mixed) == [(0, 5 / 23), (5, 14 / 23), (19, 4 / 23)]
