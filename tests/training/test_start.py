"""What a run starts from: --init decides shape and tokenizer, and a resumed run keeps its own."""

import json
import logging
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers.calls import PowerCutError
from helpers.cli import refused, sets
from helpers.runs import SETTINGS, assert_same_run, contents, name, small_config, small_table
from r2d2.config import make_config, make_tuning_config
from r2d2.finetune import finetune
from r2d2.models import load
from r2d2.training.pretrain import pretrain

TRAIN = tuple(s for s in SETTINGS if not s.startswith("model."))
SHORT = (*TRAIN, "train.epochs=2", "train.checkpoint_every=1000")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A table, a model with cross encoders and one without; both of no preset's shape."""
    folder = tmp_path_factory.mktemp("start")
    table = small_table(folder / "pairs.lance")
    for variant in ("r2d2", "prd2"):
        pretrain(table, folder / variant, small_config(variant, "train.epochs=1", "train.seed=7"))
    return folder


@pytest.fixture
def started(place, tmp_path, cli):
    """`r2d2 pretrain` from the model with cross encoders."""

    def run(*more, settings=SHORT, out=tmp_path / "run", init=place / "r2d2"):
        command = ("pretrain", place / "pairs.lance", "--out", out, *sets(*settings), *more)
        return cli(*command, *(() if init is None else ("--init", init)))

    return run


# What contradicts the model


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--preset", "base"), ("--preset base", "model.vision.image_size=224", "32")),
        (("--preset", "tiny"), ("--preset tiny", "model.vision.image_size=72", "32")),
        (("--variant", "prd2"), ("--variant prd2", "model.cross_layers=0", "has 1")),
        (("--set", "model.vision.layers=3"), ("model.vision.layers=3", "has 1")),
        (("--set", "model.vision={layers: 3}"), ("model.vision.layers=3", "has 1")),
        (("--set", "model.temperature=0.5"), ("model.temperature=0.5", "has 0.03")),
        (("--set", "model.text.vocab_size=100"), ("model.text.vocab_size=100",)),
        (("--set", "model.dropout=0.1"), ("model.dropout=0.1", "has 0")),
        (("--set", "train.train_vocab=true"), ("train.train_vocab=true", "tokenizer")),
        (("--vocab", "vocab.txt"), ("--vocab vocab.txt", "tokenizer")),
    ],
)
def test_what_contradicts_the_model_is_refused_and_both_are_named(
    more, words, started, place, tmp_path
):
    code, _, lines = started(*more)
    assert code == 2, lines
    (line,) = (line for line in lines if line)
    for word in (*words, str(place / "r2d2")):
        assert word in line
    assert not (tmp_path / "run").exists()


def test_a_variant_that_ranks_needs_a_model_that_does(started, place):
    for more in (("--variant", "r2d2"), ("--variant", "wo_et")):
        code, _, lines = started(*more, init=place / "prd2")
        assert code == 2
        assert more[1] in lines[0]
        assert str(place / "prd2") in lines[0]
        assert "cross encoders" in lines[0]


def test_what_is_not_asked_follows_the_model(started, place, tmp_path):
    for variant in ("r2d2", "prd2"):
        out = tmp_path / variant
        settings = [s for s in SHORT if variant == "r2d2" or not s.startswith("objectives.f")]
        code, _, lines = started(init=place / variant, out=out, settings=settings)
        assert code == 0, lines
        config = json.loads((out / "run.json").read_text())["config"]
        assert config["variant"] == variant
        assert config["model"]["vision"]["width"] == 32
        assert config["preset"] == "tiny"  # the nearest in size
        assert load(out).has_match == (variant == "r2d2")


def test_what_agrees_with_the_model_is_fine(started, tmp_path):
    more = ("--variant", "wo_et", *sets("model.vision.layers=1", "model.cross_layers=1"))
    code, _, lines = started(*more)
    assert code == 0, lines
    config = json.loads((tmp_path / "run" / "run.json").read_text())["config"]
    assert (config["variant"], config["objectives"]["et"]) == ("wo_et", False)


def test_in_python_settings_of_another_shape_are_refused(place, tmp_path):
    config = make_config("base", "r2d2", SHORT)
    message = refused(
        pretrain, place / "pairs.lance", tmp_path / "run", config, init=place / "r2d2"
    )
    assert "model.vision.image_size" in message
    assert str(place / "r2d2") in message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "setting", ["model.vision.layers=1", "preset=base", "variant=prd2", "train.train_vocab=true"]
)
def test_fine_tuning_takes_no_setting_that_the_model_decides(setting, place, tmp_path, cli):
    message = refused(make_tuning_config, "retrieval", True, [setting])
    assert setting in message
    code, _, lines = cli(
        "finetune", "retrieval", place / "pairs.lance", "--init", place / "r2d2",
        "--out", tmp_path / "run", "--set", setting,
    )  # fmt: skip
    assert code == 2
    assert setting in lines[0]
    assert not (tmp_path / "run").exists()


# The vocabulary of a run that starts from random weights


@pytest.fixture
def vocab(tmp_path):
    path = tmp_path / "vocab.txt"
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(name(0) + name(9))]
    path.write_text("\n".join(tokens), encoding="utf-8")
    return path


def test_a_vocabulary_that_is_given_is_read_whatever_the_preset_would_do(
    vocab, started, place, tmp_path, cli
):
    settings = (*SETTINGS, "train.epochs=1")
    code, _, lines = started("--vocab", vocab, init=None, settings=settings)
    assert code == 0, lines
    assert load(tmp_path / "run").tokenizer.vocab_size == len(vocab.read_text("utf-8").split())
    more = ("--vocab", vocab, "--set", "train.train_vocab=true")
    code, _, lines = started(*more, init=None, settings=settings, out=tmp_path / "other")
    assert code == 2
    assert str(vocab) in lines[0]
    assert "train.train_vocab=true" in lines[0]
    assert not (tmp_path / "other").exists()
    code, _, lines = cli(
        "ablate", place / "pairs.lance", "--out", tmp_path / "ablation", "--variants", "prd2",
        *sets(*settings), *more,
    )  # fmt: skip
    assert code == 2
    assert "train.train_vocab=true" in lines[0]
    assert not (tmp_path / "ablation").exists()


def test_a_resumed_run_with_another_vocabulary_is_refused(vocab, started, tmp_path):
    settings = (*SETTINGS, "train.epochs=1")
    assert started("--vocab", vocab, init=None, settings=settings)[0] == 0
    before = contents(tmp_path / "run")
    assert started("--vocab", vocab, "--resume", init=None, settings=settings)[0] == 0
    vocab.write_text(vocab.read_text("utf-8") + "\n新", encoding="utf-8")
    code, _, lines = started("--vocab", vocab, "--resume", init=None, settings=settings)
    assert code == 2
    assert str(vocab) in lines[0]
    assert str(tmp_path / "run" / "tokenizer.json") in lines[0]
    assert contents(tmp_path / "run") == before


# A resumed run


@pytest.mark.parametrize("cut", [1, 5])
def test_resumed_without_init_it_starts_from_the_model_that_it_began_with(
    cut, started, place, tmp_path, steps, caplog
):
    """Before the first checkpoint, which comes after the fourth step, and after it."""
    caplog.set_level(logging.INFO)
    settings = (*SHORT[:-1], "train.checkpoint_every=4")
    assert started(out=tmp_path / "whole", settings=settings)[0] == 0
    steps.cut(cut)
    with pytest.raises(PowerCutError):
        started(settings=settings)
    assert (tmp_path / "run" / "checkpoints").exists() == (cut == 5)
    code, _, lines = started("--resume", init=None, settings=settings)
    assert code == 0, lines
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_in_python_too(place, tmp_path, steps):
    config = small_config("r2d2", *SHORT)
    pretrain(place / "pairs.lance", tmp_path / "whole", config, init=place / "r2d2")
    steps.cut(1)
    with pytest.raises(PowerCutError):
        pretrain(place / "pairs.lance", tmp_path / "run", config, init=place / "r2d2")
    pretrain(place / "pairs.lance", tmp_path / "run", config, resume=True)
    assert_same_run(tmp_path / "run", tmp_path / "whole")


@pytest.fixture
def cut_off(place, tmp_path, steps, started):
    """A run that was cut off before its first checkpoint, and the model that it began with."""
    init = shutil.copytree(place / "r2d2" / "model", tmp_path / "init")
    steps.cut(1)
    with pytest.raises(PowerCutError):
        started(init=init)
    return init


def change(init):
    weights = load_file(init / "model.safetensors")
    weights["match_head_text.bias"] += 1
    save_file(weights, init / "model.safetensors")


def test_a_model_that_cannot_be_opened_any_more_is_named(cut_off, started, tmp_path):
    shutil.rmtree(cut_off)
    before = contents(tmp_path / "run")
    code, _, lines = started("--resume", init=None)
    assert code == 2
    assert str(cut_off) in lines[0]
    assert str(tmp_path / "run") in lines[0]
    assert "another --out" in lines[0]
    assert contents(tmp_path / "run") == before


@pytest.mark.parametrize("named", [True, False])
def test_a_model_that_has_changed_is_refused(named, cut_off, started, tmp_path):
    change(cut_off)
    before = contents(tmp_path / "run")
    code, _, lines = started("--resume", init=cut_off if named else None)
    assert code == 2
    assert f"{cut_off}" in lines[0]
    assert "changed" in lines[0]
    assert contents(tmp_path / "run") == before


def test_the_same_model_elsewhere_is_the_same_and_another_one_is_not(cut_off, started, place):
    moved = cut_off.rename(cut_off.with_name("moved"))
    assert started("--resume", init=place / "prd2")[0] == 2
    changed = shutil.copytree(moved, moved.with_name("changed"))
    change(changed)
    code, _, lines = started("--resume", init=changed)
    assert code == 2
    assert str(changed) in lines[0]
    assert str(cut_off) in lines[0]
    assert started("--resume", init=moved)[0] == 0


def test_a_run_from_random_weights_does_not_go_on_from_a_model(started, place, tmp_path):
    settings = (*SETTINGS, "train.epochs=1")
    assert started(init=None, settings=settings)[0] == 0
    code, _, lines = started("--resume", settings=TRAIN)
    assert code == 2
    assert str(tmp_path / "run") in lines[0]
    assert str(place / "r2d2") in lines[0]
    assert "random weights" in lines[0]


def test_once_there_is_a_checkpoint_the_model_is_not_needed_any_more(
    place, tmp_path, started, steps
):
    init = shutil.copytree(place / "r2d2" / "model", tmp_path / "init")
    settings = (*SHORT[:-1], "train.checkpoint_every=2")
    assert started(init=init, out=tmp_path / "whole", settings=settings)[0] == 0
    steps.cut(3)
    with pytest.raises(PowerCutError):
        started(init=init, settings=settings)
    shutil.rmtree(init)
    assert started("--resume", init=None, settings=settings)[0] == 0
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_a_run_that_noted_no_hash_goes_on(cut_off, started, tmp_path):
    """As of version 0.1's first runs."""
    noted = json.loads((tmp_path / "run" / "run.json").read_text())
    del noted["init_hash"]
    (tmp_path / "run" / "run.json").write_text(json.dumps(noted))
    assert started("--resume", init=None)[0] == 0


@pytest.mark.parametrize("resumed_by", ["command", "python"])
def test_fine_tuning_goes_on_without_init(resumed_by, place, tmp_path, steps, cli):
    settings = ("system.threads=1", "train.batch_size=8", "train.epochs=1", "train.augment=none",
                "objectives.queue_size=16", "train.lr=1e-3", "train.warmup_steps=1")  # fmt: skip
    config = make_tuning_config("retrieval", True, settings)
    table, whole, out = place / "pairs.lance", tmp_path / "whole", tmp_path / "run"
    finetune(table, whole, config, init=place / "r2d2")
    steps.cut(1)
    with pytest.raises(PowerCutError):
        finetune(table, out, config, init=place / "r2d2")
    if resumed_by == "python":
        finetune(table, out, config, resume=True)
    else:
        code, _, lines = cli(
            "finetune", "retrieval", table, "--out", out, "--resume", *sets(*settings)
        )
        assert code == 0, lines
    ours, theirs = (load_file(p / "model" / "model.safetensors") for p in (out, whole))
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_fine_tuning_without_a_model_is_refused(place, tmp_path, cli):
    for more in ((), ("--resume",)):
        code, _, lines = cli(
            "finetune", "retrieval", place / "pairs.lance", "--out", tmp_path / "run", *more
        )
        assert code == 2
        assert "--init" in " ".join(lines)
    code, _, lines = cli(
        "finetune", "retrieval", place / "pairs.lance", "--out", place / "prd2", "--resume"
    )
    assert code == 2
    assert "random weights" in " ".join(lines)
    assert not (tmp_path / "run").exists()
