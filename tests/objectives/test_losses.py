"""A step of every variant: its terms and their sum, batches at the edge, draws, what it keeps."""

import dataclasses
import math

import pytest
import torch

from helpers.small_step import (
    ALIKE,
    CONTEXT,
    KEYS,
    MASK,
    SPECIAL,
    TERMS,
    TEXTS,
    batch_of,
    model_config,
    setup,
)
from r2d2.config import make_config
from r2d2.model.r2d2 import R2D2
from r2d2.objectives.losses import Objectives, StepContext


@pytest.mark.parametrize("variant", TERMS)
def test_a_variant_has_its_terms_and_their_sum(variant):
    model, objectives = setup(variant)
    losses = objectives(model, batch_of(), CONTEXT).losses
    beside = {"total"} | ({"fgd_entropy"} if "fgd" in TERMS[variant] else set())
    assert losses.keys() == TERMS[variant] | beside
    assert all(loss.shape == () and loss.isfinite() for loss in losses.values())
    total = sum(losses[name].item() for name in TERMS[variant])
    assert losses["total"].item() == pytest.approx(total, abs=1e-5)


def test_weights_scale_the_sum_and_leave_the_terms_as_they_are():
    weights = {"contrastive": 2.0, "fgr": 3.0, "mlm": 0.5, "fgd": 0.0}
    (model, objectives), batch = setup("r2d2"), batch_of()
    plain = objectives(model, batch, CONTEXT).losses
    objectives.config = dataclasses.replace(
        objectives.config, **{f"weight_{name}": value for name, value in weights.items()}
    )
    weighted = objectives(model, batch, CONTEXT).losses
    expected = {
        name: plain[name].item() * weights["contrastive" if name == "tgd" else name]
        for name in TERMS["r2d2"]
    }
    for name in expected:
        assert weighted[name].item() == plain[name].item()
    assert weighted["total"].item() == pytest.approx(sum(expected.values()), abs=1e-5)


def test_before_ranking_begins_the_towers_learn_alone():
    model, objectives = setup("r2d2")
    losses = objectives(model, batch_of(), dataclasses.replace(CONTEXT, ranking=False)).losses
    assert losses.keys() == {"tgd", "fgd", "fgd_entropy", "total"}
    losses["total"].backward()
    for name, parameter in model.named_parameters():
        alone = name.startswith("towers.") or name == "log_temperature"
        assert (parameter.grad is not None) == alone, name


@pytest.mark.parametrize(("variant", "passes"), [("r2d2", 1), ("wo_et", 2)])
def test_under_et_one_pass_serves_match_and_mlm(variant, passes):
    model, objectives = setup(variant)
    calls = []
    model.text_to_image.register_forward_hook(lambda *_: calls.append(1))
    objectives(model, batch_of(), CONTEXT)
    assert len(calls) == passes


def test_no_gradient_reaches_teachers_or_queue():
    model, objectives = setup("r2d2")
    objectives(model, batch_of(), CONTEXT).losses["total"].backward()
    assert all(p.grad is None for p in objectives.parameters())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("variant", ["r2d2", "wo_et"])
def test_fgr_starts_at_chance(variant):
    config = make_config("tiny", variant, ALIKE)
    shape = dataclasses.replace(
        config.model, text=dataclasses.replace(config.model.text, vocab_size=300)
    )
    for seed in range(3):
        torch.manual_seed(seed)
        model = R2D2(shape)
        objectives = Objectives(model, config.objectives, MASK, SPECIAL)
        texts = [torch.randint(5, 300, (6,)).tolist() for _ in range(32)]
        batch = batch_of(texts, [[i, 100 + i] for i in range(32)])
        batch = dataclasses.replace(batch, pixels=torch.randn(32, 3, 72, 72))
        losses = objectives(model, batch, StepContext(seed, 0, 0.0, 0.5)).losses
        assert losses["fgr"].item() == pytest.approx(math.log(2), abs=0.05)


def step_is_sound(variant, batch):
    model, objectives = setup(variant, queue_size=4)
    losses = objectives(model, batch, CONTEXT).losses
    assert all(loss.isfinite() for loss in losses.values())
    losses["total"].backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    objectives.after_step(model)
    again = objectives(model, batch, dataclasses.replace(CONTEXT, step=6)).losses
    assert all(loss.isfinite() for loss in again.values())
    return losses


@pytest.mark.parametrize("variant", TERMS)
def test_a_batch_of_one_pair(variant):
    losses = step_is_sound(variant, batch_of(TEXTS[:1], KEYS[:1]))
    if variant == "wo_twd":
        assert losses["gcpr"].item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("variant", TERMS)
def test_a_batch_of_equal_texts(variant):
    step_is_sound(variant, batch_of([[7, 8]] * 4, [[i, 9] for i in range(4)]))


@pytest.mark.parametrize("variant", TERMS)
def test_a_batch_with_empty_texts(variant):
    step_is_sound(variant, batch_of([[], [7, 8], []], [[1, 9], [2, 8], [3, 9]]))


@pytest.mark.parametrize("variant", TERMS)
def test_a_batch_of_nothing_but_empty_texts(variant):
    losses = step_is_sound(variant, batch_of([[], [], []], [[1, 9], [2, 9], [3, 9]]))
    if "mlm" in TERMS[variant]:
        assert losses["mlm"].item() == 0


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_et_with_no_text_masked_and_with_all(share):
    model, objectives = setup("r2d2", et_masked_share=share)
    losses = objectives(model, batch_of(), CONTEXT).losses
    losses["total"].backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    assert (losses["mlm"].item() == 0) == (share == 0)


@pytest.mark.parametrize("variant", ["r2d2", "wo_et", "prd2"])
def test_the_amount_of_padding_changes_nothing(variant):
    model, objectives = setup(variant)
    parameters = list(model.parameters())
    runs = []
    for padding in (0, 1, 5):
        losses = objectives(model, batch_of(padding=padding), CONTEXT).losses
        runs.append((losses, torch.autograd.grad(losses["total"], parameters)))
    for losses, gradients in runs[1:]:
        for name, loss in losses.items():
            torch.testing.assert_close(loss, runs[0][0][name], atol=1e-6, rtol=1e-6, msg=name)
        for a, b in zip(gradients, runs[0][1], strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


@pytest.mark.parametrize("variant", TERMS)
def test_the_same_step_draws_the_same_and_another_another(variant):
    model, objectives = setup(variant)
    batch = batch_of()
    first, again = (objectives(model, batch, CONTEXT).losses for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    drawn = TERMS[variant] & {"fgr", "mlm", "fgd"}
    for other in (dataclasses.replace(CONTEXT, step=6), dataclasses.replace(CONTEXT, seed=4)):
        losses = objectives(model, batch, other).losses
        for name in drawn:
            assert losses[name].item() != first[name].item(), name
        if "gcpr" in first:
            assert torch.equal(losses["gcpr"], first["gcpr"])


def test_the_draws_follow_the_pairs_place_in_the_global_batch():
    model, objectives = setup("wo_et")
    batch = batch_of()
    moved = dataclasses.replace(batch, index=batch.index + 1)
    assert (
        objectives(model, batch, CONTEXT).losses["mlm"]
        != objectives(model, moved, CONTEXT).losses["mlm"]
    )


def test_after_a_step_teachers_move_by_the_momentum_and_features_queue():
    model, objectives = setup("r2d2", momentum=0.9)
    batch, queue = batch_of(), objectives.queue
    entries = objectives(model, batch, CONTEXT).queue_entries
    with torch.no_grad():
        images = objectives.teacher.encode_images(batch.pixels).embedding
        texts = objectives.teacher.encode_texts(batch.ids, batch.mask).embedding
    before = [p.clone() for p in objectives.teacher.parameters()]
    weights = queue.filled()[3].clone()
    assert len(weights) == 3  # nothing has entered yet
    for p in model.parameters():
        p.data += 0.1 * torch.randn_like(p)
    objectives.after_step(model, entries)
    for new, old, p in zip(
        objectives.teacher.parameters(), before, model.towers.parameters(), strict=True
    ):
        torch.testing.assert_close(new, 0.9 * old + 0.1 * p.detach(), atol=1e-12, rtol=0)
    queued = [x[3:] for x in queue.filled()]
    for ours, expected in zip(queued, (images, texts, batch.keys), strict=False):
        torch.testing.assert_close(ours, expected)
    assert (queued[3] == 1).all()
    torch.testing.assert_close(queue.filled()[3][:3], weights * 0.99)
    objectives.after_step(model)  # without entries nothing is queued
    assert queue.count == 3 + len(TEXTS)


@pytest.mark.parametrize(("value", "kept"), [(5.0, 0.5), (-1.0, 0.001), (0.1, 0.1)])
@pytest.mark.parametrize("variant", ["r2d2", "wo_twd"])
def test_after_a_step_tau_is_in_its_range(variant, value, kept):
    model, objectives = setup(variant)
    model.log_temperature.data.fill_(math.log(value) if value > 0 else -100.0)
    objectives.after_step(model)
    assert model.temperature.item() == pytest.approx(kept)


def test_teachers_drop_nothing_out_whatever_mode_is_set():
    model = R2D2(model_config(dropout=0.5))
    objectives = Objectives(model, make_config("tiny").objectives, MASK, SPECIAL)
    objectives.train()
    batch = batch_of()
    first, again = (
        objectives.teacher.encode_texts(batch.ids, batch.mask).embedding for _ in range(2)
    )
    assert torch.equal(first, again)


def test_a_loaded_state_goes_on_with_the_same_losses():
    (model, objectives), batch = setup("r2d2"), batch_of()
    objectives.after_step(model, objectives(model, batch, CONTEXT).queue_entries)
    other = Objectives(model, objectives.config, MASK, SPECIAL).double()
    other.load_state_dict(objectives.state_dict())
    context = dataclasses.replace(CONTEXT, step=6)
    ours, theirs = objectives(model, batch, context).losses, other(model, batch, context).losses
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
