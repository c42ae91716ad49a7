"""The contrast with second texts against plain loops: value, gradient, matches, absent rows."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from helpers.features import unit
from helpers.small_step import CONTEXT, KEYS, TEXTS, batch_of, second_texts, setup
from r2d2.config import make_config
from r2d2.objectives.batch import Denominators, Features, SecondTextFeatures
from r2d2.objectives.contrast import contrast_losses

# Pairs 0 and 1 show one image; 1 and 3 say the same first text; 4 stands alone.
FIRST = [[7, 10], [7, 11], [8, 12], [9, 11], [5, 13], [4, 14]]
# The second text of 0 is that of 2; that of 3 is the first text of 2; that of 5 that of 1.
SECOND = [20, 21, 20, 12, 22, 11]
ALL = [True] * 6


def features(present):
    n = len(present)
    none = torch.zeros((), dtype=torch.float64)
    second = SecondTextFeatures(unit(n), torch.tensor(SECOND[:n]), torch.tensor(present))
    keys = torch.tensor(FIRST[:n])
    return Features(unit(n), unit(n), None, keys, Denominators(none, none), second)


def is_match(i, j):
    """Whether picture i has the second text of pair j, by what the batch tells of both."""
    return FIRST[i][0] == FIRST[j][0] or SECOND[j] in (FIRST[i][1], SECOND[i])


def cut(row, width):
    return row if width == 6 else row[:width] / row[:width].square().sum().sqrt()


def naive_softmax(images, texts, tau, rows, width):
    loss = 0.0
    for i in rows:
        score = [torch.exp(cut(images[i], width) @ cut(texts[j], width) / tau) for j in rows]
        right = [is_match(i, j) for j in rows]
        for s, match in zip(score, right, strict=True):
            loss = loss - match * torch.log(s / sum(score)) / sum(right)
        score = [torch.exp(cut(images[j], width) @ cut(texts[i], width) / tau) for j in rows]
        right = [is_match(j, i) for j in rows]
        for s, match in zip(score, right, strict=True):
            loss = loss - match * torch.log(s / sum(score)) / sum(right)
    return loss / (2 * max(1, len(rows)))


def naive_sigmoid(images, texts, tau, bias, rows, width):
    loss = 0.0
    for i in rows:
        for j in rows:
            sign = 1 if is_match(i, j) else -1
            logit = cut(images[i], width) @ cut(texts[j], width) / tau + bias
            loss = loss + torch.log(1 + torch.exp(-sign * logit))
    return loss / max(1, len(rows))


def compare(ours, theirs, inputs):
    torch.testing.assert_close(ours.double(), theirs.double(), atol=1e-5, rtol=0)
    for a, b in zip(
        torch.autograd.grad(ours, inputs, retain_graph=True),
        torch.autograd.grad(theirs, inputs),
        strict=True,
    ):
        assert b.abs().max() > 1e-3
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


@pytest.mark.parametrize("widths", [(), (2, 4)])
@pytest.mark.parametrize("contrast", ["softmax", "sigmoid"])
@pytest.mark.parametrize(
    "present",
    [ALL, [True, False, True, True, False, True], [False, False, False, True, False, True]],
    ids=["all", "some", "two"],
)
def test_equals_the_loops_in_value_and_gradient(present, contrast, widths):
    model, objectives = setup("sigmoid" if contrast == "sigmoid" else "wo_tgd", widths=widths)
    f = features(present)
    losses = contrast_losses(objectives.config, model, f, None, CONTEXT)
    rows = [i for i, there in enumerate(present) if there]
    inputs = (f.images, f.second.texts)

    def naive(width):
        if contrast == "sigmoid":
            return naive_sigmoid(*inputs, model.temperature, model.logit_bias, rows, width)
        return naive_softmax(*inputs, model.temperature, rows, width)

    each = {width: naive(width) for width in (*widths, 6)}
    compare(losses["second_text"], sum(each.values()) / len(each), inputs)
    apart = {n: loss for n, loss in losses.items() if n.startswith("second_text_")}
    assert {n: loss.item() for n, loss in apart.items()} == pytest.approx(
        {f"second_text_{w}": loss.item() for w, loss in each.items()} if widths else {}, abs=1e-5
    )


@pytest.mark.parametrize("contrast", ["softmax", "sigmoid"])
def test_one_picture_with_two_texts(contrast):
    model, objectives = setup("sigmoid" if contrast == "sigmoid" else "wo_tgd", widths=())
    f = features([False, True, False])
    loss = contrast_losses(objectives.config, model, f, None, CONTEXT)["second_text"]
    if contrast == "softmax":  # the only candidate is the right one
        assert loss.item() == pytest.approx(0.0, abs=1e-6)
    else:
        expected = naive_sigmoid(
            f.images, f.second.texts, model.temperature, model.logit_bias, [1], 6
        )
        compare(loss, expected, (f.images, f.second.texts))


@pytest.mark.parametrize("contrast", ["softmax", "sigmoid"])
def test_no_picture_with_two_texts_is_no_loss(contrast):
    model, objectives = setup("sigmoid" if contrast == "sigmoid" else "wo_tgd", widths=())
    f = features([False] * 3)
    loss = contrast_losses(objectives.config, model, f, None, CONTEXT)["second_text"]
    assert loss.item() == 0.0
    gradients = torch.autograd.grad(loss, (f.images, f.second.texts))
    assert all(torch.equal(g, torch.zeros_like(g)) for g in gradients)


def step(model, objectives, batch):
    """Losses and gradients of one step."""
    model.zero_grad()
    losses = objectives(model, batch, CONTEXT).losses
    losses["total"].backward()
    return losses, {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def test_the_step_adds_the_weighted_loss_and_changes_no_other():
    torch.manual_seed(0)
    model, objectives = setup("r2d2", weight_second_text=0.5)
    batch = batch_of()
    plain, _ = step(model, objectives, batch)
    assert "second_text" not in plain
    both, gradients = step(
        model, objectives, dataclasses.replace(batch, second=second_texts(len(TEXTS)))
    )
    assert all(torch.equal(both[n], plain[n]) for n in plain if n != "total")
    expected = plain["total"] + 0.5 * both["second_text"]
    torch.testing.assert_close(both["total"], expected)
    assert gradients["towers.text.token_embedding.weight"][23].abs().max() > 1e-6  # read there only


def test_padding_and_what_absent_rows_hold_change_nothing():
    torch.manual_seed(0)
    model, objectives = setup("wo_tgd", weight_second_text=1.0)
    present = torch.tensor([True, False, True, True, False, True])
    second = dataclasses.replace(second_texts(len(TEXTS)), present=present)
    other = dataclasses.replace(
        second,
        ids=F.pad(second.ids, (0, 3)).masked_fill(~present[:, None], 5),
        mask=F.pad(second.mask, (0, 3)),
        keys=second.keys.masked_fill(~present, 21),  # the first text of a pair that takes part
    )
    found = [
        step(model, objectives, dataclasses.replace(batch_of(), second=x)) for x in (second, other)
    ]
    for a, b in zip(*found, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            torch.testing.assert_close(a[name], b[name], msg=name)


def test_the_second_stage_of_a_run_does_not_read_them():
    model, objectives = setup("r2d2", weight_second_text=1.0, list_size=2)
    batch = dataclasses.replace(batch_of(), second=second_texts(len(TEXTS)))
    context = dataclasses.replace(CONTEXT, towers=False, group_size=2)
    losses = objectives(model, batch, context).losses
    assert "second_text" not in losses
    assert "fgr" in losses


def test_it_is_off_unless_asked_for():
    assert make_config("tiny").objectives.weight_second_text == 0
    assert not make_config("tiny").reads_second_texts
    on = "objectives.weight_second_text=0.5"
    assert make_config("tiny", "r2d2", [on]).reads_second_texts
    assert not make_config("tiny", "r2d2", [on, "train.labelled=true"]).reads_second_texts
    stage = ["objectives.list_size=2", "objectives.second_stage_from=0"]
    assert not make_config("tiny", "r2d2", [on, *stage]).reads_second_texts
    assert len(KEYS) == len(TEXTS)
