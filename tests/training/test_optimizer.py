"""AdamW decays matrices, and nothing else."""

import copy

import pytest
import torch
from torch import nn

from helpers.runs import small_config
from r2d2.errors import R2D2Error
from r2d2.model.r2d2 import R2D2
from r2d2.objectives.momentum import teacher_of, update_teacher
from r2d2.training.checkpoint import restore_optimizer
from r2d2.training.optimizer import make_optimizer


def decayed_by_role(model):
    """The same question asked of the modules: weights of linear layers, and the token table."""
    names = set()
    for path, module in model.named_modules():
        if isinstance(module, (nn.Linear, nn.Embedding)):
            names.add(f"{path}.weight")
    return names


@pytest.mark.parametrize("variant", ["r2d2", "prd2"])
def test_which_parameters_decay(variant):
    config = small_config(variant)
    model = R2D2(config.model)
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = make_optimizer(model, config.train).param_groups
    decayed, others = ({names[p] for p in group["params"]} for group in groups)
    assert decayed == decayed_by_role(model)
    assert decayed | others == set(names.values())
    assert not decayed & others
    for name in (
        "log_temperature",
        "towers.vision.class_embedding",
        "towers.text.segment_embedding",
    ):
        assert name in others
    for end in ("position_embedding", "norm.weight", "norm.bias", ".bias"):
        assert any(name.endswith(end) for name in others)
        assert not any(name.endswith(end) for name in decayed)
    assert any("cross" in name for name in decayed) == (variant == "r2d2")


def test_the_settings_reach_it():
    train = small_config("r2d2", "train.lr=0.02", "train.weight_decay=0.3", "train.eps=1e-7").train
    optimizer = make_optimizer(R2D2(small_config().model), train)
    decayed, others = optimizer.param_groups
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.3, 0.0)
    for group in (decayed, others):
        assert (group["lr"], group["betas"], group["eps"]) == (0.02, (0.9, 0.98), 1e-7)


def test_without_gradients_only_what_decays_shrinks():
    config = small_config("r2d2", "train.lr=0.1", "train.weight_decay=0.5")
    model = R2D2(config.model)
    optimizer = make_optimizer(model, config.train)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    decayed = decayed_by_role(model)
    for name, parameter in model.named_parameters():
        factor = 1 - 0.1 * 0.5 if name in decayed else 1.0
        torch.testing.assert_close(parameter.detach(), before[name] * factor)


def test_layer_decay_lowers_the_rate_layer_by_layer():
    config = small_config(
        "r2d2", "train.layer_decay=0.5", "model.vision.layers=3", "model.text.layers=2",
        "model.vision.output_norm=true",
    )  # fmt: skip
    model = R2D2(config.model)
    names = {parameter: name for name, parameter in model.named_parameters()}
    scales = {
        names[p]: group["scale"]
        for group in make_optimizer(model, config.train).param_groups
        for p in group["params"]
    }
    assert scales.keys() == set(names.values())
    expected = {
        "towers.vision.layers.2.": 1.0,
        "towers.vision.layers.1.": 0.5,
        "towers.vision.layers.0.": 0.25,
        "towers.vision.patch_embedding": 0.125,
        "towers.vision.position_embedding": 0.125,
        "towers.vision.output_norm": 1.0,
        "towers.text.layers.1.": 1.0,
        "towers.text.layers.0.": 0.5,
        "towers.text.token_embedding": 0.25,
        "towers.image_projection": 1.0,
        "text_to_image": 1.0,
        "log_temperature": 1.0,
    }
    for start, scale in expected.items():
        found = {scale for name, scale in scales.items() if name.startswith(start)}
        assert found == {scale}, start


def test_what_is_frozen_has_no_moments():
    config = small_config("r2d2")
    model = R2D2(config.model)
    model.towers.vision.requires_grad_(False)
    held = {
        p for group in make_optimizer(model, config.train).param_groups for p in group["params"]
    }
    assert not held & set(model.towers.vision.parameters())
    assert set(model.towers.text.parameters()) <= held


def test_all_parameters_in_one_call_or_each_in_its_own_end_alike():
    config = small_config("r2d2")
    first = R2D2(config.model)
    found = {}
    for updates in ("auto", "fused", "foreach", "single"):
        torch.manual_seed(1)
        model = copy.deepcopy(first)
        teacher = teacher_of(model.towers)
        optimizer = make_optimizer(model, config.train, updates)
        group = optimizer.param_groups[0]
        wanted = "fused" if updates == "auto" else updates
        assert (group["fused"], group["foreach"]) == (wanted == "fused", wanted == "foreach")
        for _ in range(3):
            for parameter in model.parameters():
                parameter.grad = torch.randn_like(parameter)
            optimizer.step()
            update_teacher(teacher, model.towers, 0.9, at_once=updates != "single")
        found[updates] = [*model.parameters(), *teacher.parameters()]
    assert not found["auto"][0].equal(next(first.parameters()))
    for updates, parameters in found.items():
        for one, other in zip(parameters, found["single"], strict=True):
            torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5, msg=updates)
    with pytest.raises(R2D2Error, match=r"system\.updates"):
        small_config("r2d2", "system.updates=all")


@pytest.mark.parametrize("fused", [True, False])
def test_step_counters_come_back_to_where_the_kernel_looks_for_them(fused):
    """Fused AdamW wants them beside the parameter, which is not where a file is read to."""
    layer = nn.Linear(2, 2, bias=False, device="meta")
    optimizer = torch.optim.AdamW(layer.parameters())
    optimizer.param_groups[0]["fused"] = fused
    saved = {"weight/step": torch.tensor(3.0), "weight/exp_avg": torch.ones(2, 2)}
    restore_optimizer(optimizer, layer, saved)
    state = optimizer.state[layer.weight]
    assert state["step"].device.type == ("meta" if fused else "cpu")
    assert state["exp_avg"].device.type == "meta"
