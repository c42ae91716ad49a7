"""Settings: what is refused and with which words, what the variants switch, round trips."""

import dataclasses
import json
import logging
import re

import pytest
import yaml

from r2d2.config import (
    Config,
    ObjectiveConfig,
    TrainConfig,
    from_dict,
    make_config,
    presets,
    to_dict,
    variants,
)
from r2d2.errors import R2D2Error
from r2d2.language import in_language
from r2d2.settings import RENAMED, named_settings

SWITCHES = {  # the paper's table: TgD, FgD, FGR, MLM, ET
    "r2d2": (1, 1, 1, 1, 1),
    "prd2": (1, 1, 0, 0, 0),
    "wo_et": (1, 1, 1, 1, 0),
    "wo_twd": (0, 0, 1, 1, 1),
    "wo_tgd": (0, 1, 1, 1, 1),
    "wo_fgd": (1, 0, 1, 1, 1),
}


def refused(*settings, preset="tiny", variant="r2d2"):
    """The one line a user reads."""
    with pytest.raises(R2D2Error) as caught:
        make_config(preset, variant, settings)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_presets_and_variants_are_these():
    assert presets() == ["base", "large", "small", "tiny"]
    assert set(variants()) == SWITCHES.keys()


@pytest.mark.parametrize("variant", SWITCHES)
@pytest.mark.parametrize("preset", ["tiny", "base"])
def test_variants_switch_as_in_the_table(preset, variant):
    config = make_config(preset, variant)
    on = config.objectives
    assert (on.tgd, on.fgd, on.fgr, on.mlm, on.et) == SWITCHES[variant]
    assert on.teachers == (on.tgd or on.fgd)
    assert (config.model.cross_layers == 0) == (variant == "prd2")
    assert (config.preset, config.variant) == (preset, variant)


@pytest.mark.parametrize("variant", SWITCHES)
def test_a_variant_changes_nothing_but_its_switches(variant):
    whole, config = to_dict(make_config("tiny")), to_dict(make_config("tiny", variant))
    for data in (whole, config):
        del data["variant"]
        del data["model"]["cross_layers"]
        for name in ("tgd", "fgd", "fgr", "mlm", "et"):
            del data["objectives"][name]
    assert config == whole


def test_the_papers_constants():
    base = make_config("base")
    assert base.objectives.momentum == 0.995
    assert base.objectives.queue_size == 36_864
    assert base.objectives.queue_decay == 0.99
    assert base.objectives.alpha == 0.4
    assert base.objectives.mask_share == 0.15
    assert base.objectives.positive_weight == 2
    assert base.model.temperature == 0.07
    assert base.model.cross_layers == make_config("large").model.cross_layers == 6
    assert make_config("tiny").objectives.momentum == 0.99
    assert make_config("tiny").objectives.queue_size == 2048


def test_unknown_preset_and_variant_name_what_there_is():
    assert "'tinny'" in (message := refused(preset="tinny"))
    assert all(name in message for name in presets())
    assert "'prd3'" in (message := refused(variant="prd3"))
    assert all(name in message for name in variants())


@pytest.mark.parametrize(
    ("setting", "meant"),
    [
        ("train.epoch=3", "train.epochs"),
        ("trian.lr=1", "train"),
        ("model.vision.patchsize=8", "model.vision.patch_size"),
        ("objectives.queue=8", "objectives.queue_size"),
    ],
)
def test_an_unknown_setting_names_the_nearest(setting, meant):
    message = refused(setting)
    assert setting.partition(".")[0] in message
    assert f"did you mean {meant}?" in message


def test_an_unknown_setting_far_from_all_names_them():
    message = refused("train.zzz=3")
    assert "train.zzz" in message
    assert "batch_size" in message
    assert "unknown setting" in refused("=5")


@pytest.mark.parametrize(
    ("setting", "wanted"),
    [
        ("train.epochs=many", "a whole number"),
        ("train.epochs=2.5", "a whole number"),
        ("train.epochs=true", "a whole number"),
        ("train.lr=fast", "a number"),
        ("train.lr=true", "a number"),
        ("train.lr=[1, 2]", "a number"),
        ("train.flip=1", "true or false"),
        ("train.betas=0.9", ""),
        ("train.betas=[0.9]", ""),
        ("train.betas=[0.9, high]", ""),
        ("train.betas=ab", ""),
        ("train.source_shares=3", ""),
        ("train.source_shares={label: much}", ""),
        ("train.source_shares={label: [1]}", ""),
    ],
)
def test_a_wrong_type_names_the_setting_and_the_type(setting, wanted):
    message = refused(setting)
    assert setting.partition("=")[0] in message
    assert wanted in message


def test_a_group_is_no_value_and_a_value_no_group():
    assert "train.NAME=VALUE" in refused("train=5")
    assert "model.text" in refused("model.text=")
    assert "train.lr" in refused("train.lr.peak=1")


def test_a_missing_value_says_how_to_write_one():
    assert "NAME=VALUE" in refused("train.lr")
    assert "train.lr" in refused("train.lr=")


def test_unreadable_yaml_names_the_setting():
    message = refused("train.betas=[0.9, ")
    assert "train.betas" in message
    assert "YAML" in message


def test_settings_come_after_preset_and_variant_the_last_one_wins():
    config = make_config(
        "tiny",
        "wo_et",
        [
            "train.lr=1e-3",
            "train.lr=2e-4",
            "train.betas=[0.8, 1e-1]",
            "model.vision.layers=1",
            "objectives.alpha=0",
            "train.source_shares={label: 0.5, ocr: 2}",
            "train.flip=no",
        ],
    )
    assert config.train.lr == 2e-4
    assert config.train.betas == (0.8, 0.1)
    assert config.model.vision.layers == 1
    assert config.model.vision.width == make_config("tiny").model.vision.width
    assert config.objectives.alpha == 0.0
    assert isinstance(config.objectives.alpha, float)
    assert config.train.source_shares == {"label": 0.5, "ocr": 2.0}
    assert config.train.flip is False
    assert not config.objectives.et


@pytest.mark.parametrize("text", ["1e-3", "1.0e-3", "0.001", "1E-3", "'1e-3'"])
def test_every_way_to_write_a_float(text):
    assert make_config(settings=[f"train.lr={text}"]).train.lr == 0.001


@pytest.mark.parametrize("preset", ["tiny", "small", "base", "large"])
@pytest.mark.parametrize("variant", SWITCHES)
def test_round_trips_through_plain_data_json_and_yaml(preset, variant):
    settings = ["train.betas=[0.5, 0.6]", "train.source_shares={label: 0.5}", "train.lr=1e-5"]
    config = make_config(preset, variant, settings)
    plain = to_dict(config)
    assert from_dict(Config, plain) == config
    assert from_dict(Config, json.loads(json.dumps(plain))) == config
    listed = json.loads(json.dumps(plain))  # tuples as lists, which YAML needs
    assert from_dict(Config, yaml.safe_load(yaml.safe_dump(listed))) == config


def test_settings_cannot_be_changed_afterwards():
    config = make_config()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.train.lr = 1.0


@pytest.mark.parametrize(
    "setting",
    [
        "train.epochs=0",
        "train.batch_size=0",
        "train.log_every=0",
        "train.checkpoint_every=-1",
        "train.lr=0",
        "train.lr=-1e-3",
        "model.text.width=130",
        "model.vision.heads=3",
        "model.vision.image_size=70",
        "objectives.mlm=false",
        "objectives.fgr=false",
    ],
)
def test_impossible_values_are_refused(setting):
    assert setting.partition("=")[0].rpartition(".")[2] in refused(setting)


@pytest.mark.parametrize(
    "setting",
    [
        "model.vision.heads=0",
        "model.vision.heads=-4",
        "model.vision.patch_size=0",
        "model.vision.patch_size=-18",
        "model.vision.width=0",
        "model.text.heads=0",
        "model.text.width=-128",
        "model.text.vocab_size=0",
        "model.text.max_length=0",
        "model.cross_layers=-1",
        "model.cross_layers=0",
        "model.temperature=0",
        "model.dropout=1.5",
        "model.dropout=-0.1",
        "objectives.queue_size=-1",
        "objectives.teacher_temperature=0",
        "objectives.student_temperature=0",
        "train.lr=.nan",
        "train.lr=.inf",
        "train.betas=[1.5, 2]",
        "train.eps=-1",
        "evaluation.batch_size=0",
    ],
)
def test_values_that_would_crash_or_give_nan_later_are_refused(setting):
    assert setting.partition("=")[0].rpartition(".")[2] in refused(setting)


@pytest.mark.parametrize(
    "setting",
    [
        "model.vision.image_size=0",
        "model.vision.layers=-1",
        "model.text.layers=-1",
        "model.text.max_length=1",
        "model.embed_dim=0",
        "model.temperature=-1",
        "model.temperature=9",
        "objectives.alpha=2",
        "objectives.alpha=-1",
        "objectives.momentum=1.5",
        "objectives.momentum=-1",
        "objectives.queue_decay=1.5",
        "objectives.mask_share=2",
        "objectives.mask_share=-1",
        "objectives.et_masked_share=2",
        "objectives.image_keep=2",
        "objectives.image_keep=-1",
        "objectives.student_temperature=-1",
        "objectives.positive_weight=-1",
        "objectives.uniform_share=2",
        "objectives.weight_fgr=-1",
        "train.weight_decay=-1",
        "train.clip_norm=-1",
        "train.warmup_steps=-5",
        "train.source_shares={label: -1}",
        "evaluation.top_k=0",
    ],
)
def test_values_without_a_meaning_are_refused(setting):
    assert setting.partition("=")[0].rpartition(".")[2] in refused(setting)


def test_mlm_without_the_cross_encoders_of_fgr_is_refused():
    # MLM runs in FGR's cross encoder: left on alone, it would be silently missing from the loss.
    assert "mlm" in refused("objectives.fgr=false", "objectives.et=false")
    assert "cross_layers" in refused("objectives.fgr=true", variant="prd2")


@pytest.mark.parametrize("setting", ["preset=base", "preset=nonsense", "variant=prd2"])
def test_preset_and_variant_are_not_renamed_by_a_setting(setting):
    # The name would change, the sizes and switches would not.
    assert setting.partition("=")[0] in refused(setting)


def test_the_checks_hold_for_settings_made_in_python():
    with pytest.raises(R2D2Error, match="epochs"):
        TrainConfig(epochs=0)
    with pytest.raises(R2D2Error, match="et"):
        ObjectiveConfig(mlm=False)
    with pytest.raises(R2D2Error, match="epochs"):
        dataclasses.replace(TrainConfig(), epochs=-1)


def test_a_setting_is_accepted_under_its_old_name_with_one_warning(caplog):
    settings = ("train={neighbours: 4, lr: 0.5}", "train.neighbours_from=0.25")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            train = make_config("tiny", "r2d2", settings).train
            assert (train.hard_batches, train.hard_batches_from, train.lr) == (4, 0.25, 0.5)
        assert named_settings(settings)[0] == "train.hard_batches"
    assert [record.getMessage() for record in caplog.records] == [
        f"setting {old} is called {RENAMED[old]} now; the old name still works"
        for old in ("train.neighbours", "train.neighbours_from")
    ]


def test_settings_that_version_0_1_wrote_are_read():
    written = json.loads(json.dumps(to_dict(make_config("tiny", "r2d2"))))
    for old, new in RENAMED.items():
        group, _, name = new.partition(".")
        written[group][old.partition(".")[2]] = written[group].pop(name)
    written["train"]["source_shares"] = {"a.b": 1.0}
    expected = make_config("tiny", "r2d2", ["train.source_shares={a.b: 1}"])
    assert from_dict(Config, written) == expected
    assert expected.train.source_shares == {"a.b": 1.0}


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("objectives.widths=3", "3: it must be a list, such as [32, 64]"),
        ("objectives.widths=[32, x]", "'x': it must be a whole number"),
        ("train.betas=0.9", "0.9: it must be a list of 2 values, such as [0.9, 0.98]"),
        ("train.betas=[0.9]", "[0.9]: it must be a list of 2 values, such as [0.9, 0.98]"),
        ("train.splits=3", "3: it must be a list, such as [train, val]"),
        ("train.splits={a: 1}", "{'a': 1}: it must be a list, such as [train, val]"),
        ("train.source_shares=3", "3: it must be values by name, such as {title: 0.5}"),
        ("train.epochs=[1]", "[1]: it must be a whole number"),
        ("train.lr=fast", "'fast': it must be a number"),
        ("train.train_vocab=3", "3: it must be true or false"),
        ("train.augment=3", "3: it must be a text"),
    ],
)
def test_a_value_of_the_wrong_kind_is_told_in_the_words_of_settings(setting, told, monkeypatch):
    message = refused(setting)
    assert message == f"setting {setting.split('=')[0]} is {told}"
    monkeypatch.setenv("R2D2_LANG", "zh")
    assert not re.search(r"must|list|number|true or|a text|by name", in_language(message))


def test_a_list_setting_that_may_be_missing_or_has_a_length_is_told_in_the_same_way():
    @dataclasses.dataclass(frozen=True)
    class Lists:
        maybe: tuple[float, ...] | None = None
        three: tuple[int, int, int] = (1, 2, 3)

    # The types are read by name, as those of a module are.
    Lists.__annotations__ = {"maybe": tuple[float, ...] | None, "three": tuple[int, int, int]}
    for values, told in (
        ({"maybe": 1}, "setting maybe is 1: it must be a list, such as [0.9, 0.98]"),
        (
            {"three": [1]},
            "setting three is [1]: it must be a list of 3 values, such as [32, 64, 32]",
        ),
    ):
        with pytest.raises(R2D2Error) as caught:
            from_dict(Lists, values)
        assert str(caught.value) == told
