"""Runs by other contrasts, stopped and resumed: bit for bit the runs that were not."""

import pytest

from r2d2.models import load
from r2d2.training.pretrain import pretrain
from r2d2.training.trainer import Trainer
from training.small import assert_same_run, history, small_config, small_table

CONTRASTS = {
    "sigmoid": ("wo_tgd", "objectives.contrast=sigmoid"),
    "widths": ("prd2", "objectives.widths=[4, 8]"),
    "second_text": ("wo_fgd", "objectives.weight_second_text=0.5"),
}


@pytest.mark.parametrize("name", CONTRASTS)
def test_a_run_that_was_stopped_is_the_undisturbed_one(name, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    variant, setting = CONTRASTS[name]
    table = small_table(tmp_path / "pairs.lance")
    config = small_config(variant, setting, "train.epochs=3", "train.checkpoint_every=3")
    pretrain(table, tmp_path / "whole", config)
    train_step = Trainer.train_step

    def stopped(trainer, batch):
        if trainer.step == 7:
            raise RuntimeError("power cut")
        return train_step(trainer, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", stopped)
        with pytest.raises(RuntimeError, match="power cut"):
            pretrain(table, tmp_path / "parts", config)
    pretrain(table, tmp_path / "parts", config, resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    logged = {key for line in history(tmp_path / "parts") for key in line}
    assert ("loss/second_text" in logged) == (name == "second_text")
    assert ("second texts of 11 of 32 pictures" in caplog.text) == (name == "second_text")
    model = load(tmp_path / "parts", "cpu")
    assert model.widths == config.objectives.widths
    if name == "sigmoid":
        assert float(model.model.logit_bias.detach()) != -10.0
