"""Runs by other objectives, stopped and resumed: bit for bit the runs that were not."""

import pytest

from helpers.calls import PowerCutError
from helpers.runs import assert_same_run, history, small_config, small_table
from r2d2.models import load
from r2d2.training.pretrain import pretrain

TAUGHT = ("objectives.list_size=4", "objectives.weight_rerank=0.5")
OBJECTIVES = {
    "sigmoid": ("wo_tgd", "objectives.contrast=sigmoid"),
    "widths": ("prd2", "objectives.widths=[4, 8]"),
    "second_text": ("wo_fgd", "objectives.weight_second_text=0.5"),
    "taught": ("wo_fgd", *TAUGHT),
    "unlabelled": ("r2d2", "objectives.unlabelled_margin=0.02"),
    "taught_order": ("r2d2", *TAUGHT, "objectives.rerank_loss=order"),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_run_that_was_stopped_is_the_undisturbed_one(name, tmp_path, steps, caplog):
    caplog.set_level("INFO")
    variant, *settings = OBJECTIVES[name]
    table = small_table(tmp_path / "pairs.lance")
    config = small_config(variant, *settings, "train.epochs=3", "train.checkpoint_every=3")
    pretrain(table, tmp_path / "whole", config)
    steps.cut(7)
    with pytest.raises(PowerCutError):
        pretrain(table, tmp_path / "parts", config)
    pretrain(table, tmp_path / "parts", config, resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    logged = {key for line in history(tmp_path / "parts") for key in line}
    assert ("loss/second_text" in logged) == (name == "second_text")
    shares = {"loss/unlabelled_contrast", "loss/unlabelled_ranking"} & logged
    assert len(shares) == (2 if name == "unlabelled" else 0)
    assert ("unlabelled from 0.02 above the positive" in caplog.text) == (name == "unlabelled")
    assert ("loss/rerank" in logged) == ("taught" in name)
    assert ("towers taught by both stages" in caplog.text) == ("taught" in name)
    assert ("second texts of 11 of 32 pictures" in caplog.text) == (name == "second_text")
    model = load(tmp_path / "parts", "cpu")
    assert model.widths == config.objectives.widths
    if name == "sigmoid":
        assert float(model.model.logit_bias.detach()) != -10.0
