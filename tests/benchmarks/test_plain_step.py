"""Both sides of the comparison are the same computation: losses, gradients, and the next state."""

import pytest
import torch

from benchmarks.speed.plain.layers import plain_names
from benchmarks.speed.sides import CONTEXT, draws_of, make_sides, settings
from benchmarks.speed.step import agreement


@pytest.fixture(params=["toy", "toy, one width"])
def sides(request):
    more = ("model.vision.width=48",) if "one width" in request.param else ()
    return make_sides(settings("toy", *more), torch.device("cpu"))


def test_losses_and_gradients_agree(sides):
    batch = sides.padded
    ours = sides.step.objectives(sides.step.model, sides.batch, CONTEXT).losses
    theirs = sides.plain.losses(
        batch.pixels, batch.ids, batch.mask, batch.keys, draws_of(batch, sides.config, CONTEXT),
        CONTEXT.alpha, CONTEXT.uniform_share,
    )  # fmt: skip
    assert set(theirs) == set(ours) - {"fgd_entropy"}
    for name, loss in theirs.items():
        assert loss > 0
        torch.testing.assert_close(ours[name], loss, atol=1e-5, rtol=0, msg=name)
    ours["total"].backward()
    theirs["total"].backward()
    expected = {name: p.grad for name, p in sides.plain.model.named_parameters()}
    found = plain_names(
        {name: p.grad for name, p in sides.step.model.named_parameters()},
        sides.config.model.vision.patch_size,
    )
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        top = float(gradient.abs().max())
        bound = 1e-4 if ".key.bias" in name else 1e-4 * min(1.0, top)  # of keys: 0 but for rounding
        torch.testing.assert_close(found[name], gradient, atol=bound, rtol=0, msg=name)
        assert top > 1e-5 or ".key.bias" in name, name


def test_teachers_and_queues_agree_after_a_step(sides):
    a, b = sides.ours(), sides.usual()
    torch.testing.assert_close(a["total"], b["total"], atol=1e-5, rtol=0)
    objectives, plain = sides.step.objectives, sides.plain
    patch = sides.config.model.vision.patch_size
    teacher = plain_names(objectives.teacher.state_dict(), patch)
    for name, weight in plain.teacher.state_dict().items():
        torch.testing.assert_close(teacher[name], weight, atol=1e-5, rtol=1e-5, msg=name)
    torch.testing.assert_close(objectives.queue.images, plain.image_queue)
    torch.testing.assert_close(objectives.queue.texts, plain.text_queue)
    assert objectives.queue.keys.equal(plain.queue_keys)
    torch.testing.assert_close(objectives.queue.weights, plain.queue_weights)


def test_the_command_says_whether_they_agree(sides):
    assert [found.met for found in agreement(sides, "toy")] == [True, True]


def test_and_whether_they_do_not():
    sides = make_sides(settings("toy"), torch.device("cpu"))
    with torch.no_grad():
        sides.plain.model.match_head_text.bias += torch.tensor([0.0, 0.01])
    assert [found.met for found in agreement(sides, "toy")] == [False, False]
