"""The contrast at several widths against plain loops: value, gradient, queue, edges."""

import pytest
import torch

from helpers.features import unit
from helpers.small_step import CONTEXT, setup
from objectives.test_distill import filled, naive_tgd
from objectives.test_gcpr import KEYS
from objectives.test_gcpr import naive as naive_gcpr
from r2d2.config import make_config
from r2d2.errors import R2D2Error
from r2d2.objectives.batch import Denominators, Features, TeacherFeatures
from r2d2.objectives.contrast import check_contrast, contrast_losses
from r2d2.objectives.widths import at_width

WIDTHS = (2, 4)  # of 6 numbers


def cut(rows, width):
    """By hand: the first numbers, divided by their length; the whole has unit length already."""
    if width == 6:
        return list(rows)
    return [row[:width] / row[:width].square().sum().sqrt() for row in rows]


def features(n, teacher_features):
    none = torch.zeros((), dtype=torch.float64)
    teacher = TeacherFeatures(unit(n).detach(), unit(n).detach()) if teacher_features else None
    return Features(unit(n), unit(n), teacher, KEYS[:n], Denominators(none, none))


def compare(ours, theirs, inputs):
    torch.testing.assert_close(ours.double(), theirs.double(), atol=1e-5, rtol=0)
    for a, b in zip(
        torch.autograd.grad(ours, inputs), torch.autograd.grad(theirs, inputs), strict=True
    ):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


@pytest.mark.parametrize("n", [1, 3, 5])
def test_gcpr_is_the_mean_over_the_widths(n):
    model, objectives = setup("wo_tgd", widths=WIDTHS)
    f = features(n, False)
    losses = contrast_losses(objectives.config, model, f, None, CONTEXT)
    assert losses.keys() == {"gcpr", "gcpr_2", "gcpr_4", "gcpr_6"}
    each = [
        naive_gcpr(cut(f.images, w), cut(f.texts, w), KEYS[:n].tolist(), model.temperature)
        for w in (*WIDTHS, 6)
    ]
    compare(losses["gcpr"], sum(each) / 3, (f.images, f.texts))
    for width, loss in zip((*WIDTHS, 6), each, strict=True):
        assert losses[f"gcpr_{width}"].item() == pytest.approx(loss.item(), abs=1e-5)


def test_tgd_cuts_teachers_and_queue_too():
    model, objectives = setup("widths")
    f = features(5, True)
    queue, pairs = filled(4, [[[1, 99], [7, 98]], [[96, 11]]])
    losses = contrast_losses(objectives.config, model, f, queue, CONTEXT)
    each = []
    for w in (*WIDTHS, 6):
        queued = [(cut([i], w)[0], cut([t], w)[0], k, weight) for i, t, k, weight in pairs]
        rows = (torch.stack(cut(x, w)) for x in (f.teacher.images, f.teacher.texts))
        each.append(
            naive_tgd(cut(f.images, w), cut(f.texts, w), *rows, KEYS.tolist(), queued,
                      model.temperature, CONTEXT.alpha)
        )  # fmt: skip
    compare(losses["tgd"], sum(each) / 3, (f.images, f.texts))


def test_without_widths_nothing_changes():
    model, objectives = setup("wo_tgd")
    f = features(4, False)
    losses = contrast_losses(objectives.config, model, f, None, CONTEXT)
    assert losses.keys() == {"gcpr"}


def test_the_whole_width_may_be_named_and_counts_once():
    model, objectives = setup("wo_tgd", widths=(2, 6))
    losses = contrast_losses(objectives.config, model, features(4, False), None, CONTEXT)
    assert losses.keys() == {"gcpr", "gcpr_2", "gcpr_6"}
    assert losses["gcpr"].item() == pytest.approx(
        (losses["gcpr_2"].item() + losses["gcpr_6"].item()) / 2
    )


def test_a_cut_embedding_has_unit_length():
    x = unit(3)
    assert torch.allclose(at_width(x, 2).norm(dim=1), torch.ones(3).double())
    assert at_width(x, 6) is x


@pytest.mark.parametrize(
    ("widths", "said"),
    [("[4, 2]", "larger than"), ("[0, 2]", "above 0"), ("[2, 2]", "larger than")],
)
def test_widths_that_make_no_sense(widths, said):
    with pytest.raises(R2D2Error, match=said):
        make_config("tiny", "r2d2", [f"objectives.widths={widths}"])


def test_a_width_beyond_the_embedding_is_refused():
    config = make_config("tiny", "r2d2", ["objectives.widths=[64, 129]"])
    with pytest.raises(R2D2Error, match="128 numbers"):
        check_contrast(config)
