"""Training on other splits than `train`: `train.splits`."""

import pytest

from helpers.cli import refused
from helpers.runs import history, small_config, small_pairs, tensors
from r2d2.config import make_config
from r2d2.errors import R2D2Error
from r2d2.table import write_table
from r2d2.training.pretrain import pretrain


def test_rows_of_several_splits_are_trained_on_as_if_they_were_one(tmp_path):
    pairs = small_pairs(32)
    write_table(tmp_path / "one.lance", pairs)
    parts = [*small_pairs(20), *(p for n, p in enumerate(small_pairs(32, "test")) if n >= 20)]
    write_table(tmp_path / "two.lance", parts)
    pretrain(tmp_path / "one.lance", tmp_path / "one", small_config())
    config = small_config("r2d2", "train.splits=[test,train]")
    pretrain(tmp_path / "two.lance", tmp_path / "two", config)
    assert history(tmp_path / "one") == history(tmp_path / "two")
    ours, theirs = tensors(tmp_path / "one"), tensors(tmp_path / "two")
    assert all(ours[name].equal(theirs[name]) for name in ours)
    pretrain(tmp_path / "two.lance", tmp_path / "train", small_config())
    assert history(tmp_path / "train") != history(tmp_path / "two")  # the default is train alone


def test_a_split_that_the_table_lacks_is_refused_before_anything_is_written(tmp_path):
    write_table(tmp_path / "t.lance", small_pairs(16))
    config = small_config("r2d2", "train.splits=[train,dev]")
    message = refused(pretrain, tmp_path / "t.lance", tmp_path / "run", config)
    assert "has no split 'dev': choose of train" in message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["train.splits=[]"], "give one or more splits"),
        (["train.splits=[train,train]"], "each once"),
        (["train.splits=[train,val]", "train.validate=true"], "leave one of them out"),
    ],
)
def test_splits_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(R2D2Error, match=message):
        make_config("tiny", "r2d2", settings)
