"""Teachers: copies that follow by exactly the momentum and stay out of the gradient."""

import pytest
import torch
from torch import nn

from r2d2.objectives.momentum import teacher_of, update_teacher


def small():
    net = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.LayerNorm(4)).double()
    for p in net.parameters():
        nn.init.normal_(p)
    return net


def test_a_teacher_is_an_equal_copy_that_learns_nothing_and_drops_nothing():
    net = small().train()
    teacher = teacher_of(net)
    for ours, theirs in zip(teacher.parameters(), net.parameters(), strict=True):
        assert torch.equal(ours, theirs)
        assert ours.data_ptr() != theirs.data_ptr()
        assert not ours.requires_grad
        assert theirs.requires_grad
    assert net.training
    x = torch.randn(5, 3, dtype=torch.float64)
    assert torch.equal(teacher(x), teacher(x))


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.99, 0.995, 1.0])
def test_moves_by_exactly_the_momentum(momentum):
    net, teacher = small(), teacher_of(small())
    before = [[p.detach().clone() for p in m.parameters()] for m in (teacher, net)]
    update_teacher(teacher, net, momentum)
    for new, old, theirs in zip(teacher.parameters(), *before, strict=True):
        torch.testing.assert_close(
            new, momentum * old + (1 - momentum) * theirs, atol=1e-12, rtol=0
        )
    for now, then in zip(net.parameters(), before[1], strict=True):
        assert torch.equal(now, then)
        assert now.requires_grad
    assert not any(p.requires_grad for p in teacher.parameters())


def test_steps_add_up_as_a_geometric_mean():
    net, teacher = small(), teacher_of(small())
    first = [p.clone() for p in teacher.parameters()]
    for _ in range(10):
        update_teacher(teacher, net, 0.9)
    for new, old, theirs in zip(teacher.parameters(), first, net.parameters(), strict=True):
        expected = 0.9**10 * old + (1 - 0.9**10) * theirs.detach()
        torch.testing.assert_close(new, expected, atol=1e-12, rtol=0)
