"""Whose a folder is: another run's is refused in words that name the thing, and stays as it is."""

import json
import shutil

import pytest

from helpers.cli import refused
from helpers.pictures import picture, png
from helpers.runs import assert_same_run, contents, name, small_config, small_pairs, small_table
from r2d2.settings import RENAMED
from r2d2.table import Pair, Text, write_table
from r2d2.training.pretrain import pretrain
from r2d2.training.run_folder import check_folder, remember, saved_run, saved_summary

SHORT = ("train.epochs=1", "model.cross_layers=0")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("folder")
    small_table(folder / "pairs.lance")
    pretrain(folder / "pairs.lance", folder / "run", small_config("prd2", *SHORT))
    return folder


def test_what_a_run_leaves(run):
    assert sorted(path.name for path in (run / "run").iterdir()) == [
        "checkpoints", "history.jsonl", "model", "run.json", "tensorboard", "tokenizer.json",
        "training.json",
    ]  # fmt: skip
    summary = saved_summary(run / "run")
    assert summary["steps"] == 4
    assert summary["skipped"] == {}
    noted = saved_run(run / "run")
    assert noted["table"] == str(run / "pairs.lance")
    assert noted["config"]["variant"] == "prd2"
    assert noted["config"]["train"]["epochs"] == 1


def test_a_second_run_is_refused_without_resume(run):
    before = contents(run / "run")
    message = refused(pretrain, run / "pairs.lance", run / "run", small_config("prd2", *SHORT))
    assert str(run / "run") in message
    assert "--resume" in message
    assert "--out" in message
    assert contents(run / "run") == before


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("train.epochs=2", "train.epochs=1, not 2"),
        ("train.lr=0.5", "train.lr=0.001, not 0.5"),
        ("model.vision.layers=2", "model.vision.layers=1, not 2"),
        ("train.betas=[0.9, 0.9]", "train.betas=[0.9, 0.98], not [0.9, 0.9]"),
        ("train.source_shares={title: 1}", "train.source_shares.title=None, not 1.0"),
    ],
)
def test_resuming_with_other_settings_names_the_first(setting, words, run):
    before = contents(run / "run")
    config = small_config("prd2", *SHORT, setting)
    message = refused(pretrain, run / "pairs.lance", run / "run", config, resume=True)
    assert words in message
    assert str(run / "run") in message
    assert contents(run / "run") == before


def test_how_a_run_uses_its_machine_may_change(run, tmp_path):
    """What the words on a full memory or disk tell to change, with --resume."""
    out = tmp_path / "run"
    shutil.copytree(run / "run", out)
    more = (
        "system.accumulate=2", "evaluation.batch_size=64", "train.cache_mb=7",
        "train.checkpoint_every=3", "train.keep_checkpoints=2", "train.log_every=2",
    )  # fmt: skip
    config = small_config("prd2", *SHORT, *more)
    assert pretrain(run / "pairs.lance", out, config, resume=True).steps == 4


def use_old_names(config):
    for old, new in RENAMED.items():
        group, _, setting = new.partition(".")
        config[group][old.partition(".")[2]] = config[group].pop(setting)


def leave_out_later_settings(config):
    for group, setting in (("train", "freeze_text"), ("objectives", "ranking_from")):
        del config[group][setting]
    del config["tuning"], config["model"]["hf_towers"]


@pytest.mark.parametrize(
    ("as_before", "setting", "words"),
    [
        (use_old_names, "train.hard_batches=2", "train.hard_batches="),
        # a setting that came later counts as its default
        (leave_out_later_settings, "train.freeze_text=true", "train.freeze_text=False, not True"),
    ],
)
def test_a_run_of_an_earlier_version_goes_on(as_before, setting, words, run, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(run / "run", out)
    noted = saved_run(out)
    as_before(noted["config"])
    (out / "run.json").write_text(json.dumps(noted))
    config = small_config("prd2", *SHORT)
    assert pretrain(run / "pairs.lance", out, config, resume=True).steps == 4
    other = small_config("prd2", *SHORT, setting)
    assert words in refused(pretrain, run / "pairs.lance", out, other, resume=True)


def test_resuming_as_another_variant_is_refused(run):
    config = small_config("r2d2", "train.epochs=1")
    message = refused(pretrain, run / "pairs.lance", run / "run", config, resume=True)
    assert "model.cross_layers=0, not 1" in message
    assert "--resume with its settings" in message


def test_resuming_on_other_rows_is_refused(run, tmp_path):
    small_table(tmp_path / "other.lance", rows=31)
    before = contents(run / "run")
    config = small_config("prd2", *SHORT)
    message = refused(pretrain, tmp_path / "other.lance", run / "run", config, resume=True)
    assert "other rows" in message
    assert str(tmp_path / "other.lance") in message
    assert contents(run / "run") == before


def test_the_same_rows_elsewhere_are_the_same(run, tmp_path):
    small_table(tmp_path / "moved.lance")
    config = small_config("prd2", *SHORT)
    assert pretrain(tmp_path / "moved.lance", run / "run", config, resume=True).steps == 4


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    small_table(tmp_path / "pairs.lance", rows=8)
    (tmp_path / "run").write_text("mine")
    for resume in (False, True):
        assert f"{tmp_path / 'run'} is a file" in refused(
            check_folder, tmp_path / "run", resume=resume
        )
        message = refused(
            pretrain, tmp_path / "pairs.lance", tmp_path / "run", small_config(), resume=resume
        )
        assert "is a file" in message
    assert (tmp_path / "run").read_text() == "mine"


@pytest.mark.parametrize("text", ["", "{", '{"config": ', "[]", "{}", '{"config": 3}', "\x00"])
def test_a_damaged_note_is_refused_not_replaced(text, tmp_path):
    small_table(tmp_path / "pairs.lance", rows=8)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text(text)
    for resume in (False, True):
        message = refused(
            pretrain, tmp_path / "pairs.lance", tmp_path / "run", small_config(), resume=resume
        )
        assert str(tmp_path / "run") in message
    assert contents(tmp_path / "run") == {"run.json": text.encode()}


@pytest.mark.parametrize(
    "there", ["model", "checkpoints", "tokenizer.json", "metrics.json", "report.html"]
)
def test_results_without_a_note_are_somebody_elses(there, tmp_path):
    (tmp_path / there).mkdir() if "." not in there else (tmp_path / there).write_text("mine")
    assert f"already holds {there}" in refused(check_folder, tmp_path, resume=False)


def test_an_empty_folder_and_one_with_other_things_are_fine(tmp_path):
    check_folder(tmp_path, resume=False)
    check_folder(tmp_path / "not yet there", resume=False)
    (tmp_path / "notes.txt").write_text("mine")
    check_folder(tmp_path, resume=False)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_remembering_twice_is_remembering_once(tmp_path):
    run = {"config": {"a": (1, 2)}, "table": "t", "fingerprint": "f"}
    remember(tmp_path, run)
    before = contents(tmp_path)
    remember(tmp_path, run)  # tuples come back as lists, which is no difference
    assert contents(tmp_path) == before
    assert json.loads(before["run.json"])["config"] == {"a": [1, 2]}


def test_resuming_where_nothing_is_starts(run, tmp_path):
    pretrain(run / "pairs.lance", tmp_path / "new", small_config("prd2", *SHORT), resume=True)
    shutil.copytree(run / "run", tmp_path / "run")
    assert_same_run(tmp_path / "run", tmp_path / "new")


# A start that fails must leave the folder free: the mended command must not be told of a run.


def test_a_missing_vocabulary_leaves_no_run(tmp_path):
    small_table(tmp_path / "pairs.lance", rows=8)
    config = small_config("prd2", *SHORT, "train.train_vocab=false")
    for vocab in (None, tmp_path / "vocab.txt"):
        message = refused(pretrain, tmp_path / "pairs.lance", tmp_path / "run", config, vocab=vocab)
        assert "vocab.txt" in message
        assert not (tmp_path / "run").exists()
    (tmp_path / "vocab.txt").write_text(
        "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *name(0)]), encoding="utf-8"
    )
    pretrain(tmp_path / "pairs.lance", tmp_path / "run", config, vocab=tmp_path / "vocab.txt")
    assert (tmp_path / "run" / "model").is_dir()


@pytest.mark.parametrize("why", ["no split", "no text"])
def test_a_table_that_cannot_be_trained_on_leaves_no_run(why, tmp_path):
    pairs = {
        "no split": small_pairs(8, "other"),
        "no text": [Pair("i", png(picture(1)), (Text("  ", "title"),), "train")],
    }[why]
    write_table(tmp_path / "pairs.lance", pairs)
    message = refused(
        pretrain, tmp_path / "pairs.lance", tmp_path / "run", small_config("prd2", *SHORT)
    )
    assert {"no split": "'train'", "no text": "text"}[why] in message
    assert not (tmp_path / "run").exists()
