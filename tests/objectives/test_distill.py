"""TgD and FgD against plain loops: value, gradient, the queue in every state."""

import math

import pytest
import torch
import torch.nn.functional as F

from helpers.features import is_positive, unit
from objectives.gathering import gather_from
from r2d2.objectives.distill import fgd, tgd
from r2d2.objectives.gcpr import gcpr
from r2d2.objectives.queue import FeatureQueue

N, D = 5, 6
# Pairs 0 and 1 show the same image, 1 and 3 say the same text.
KEYS = torch.tensor([[7, 10], [7, 11], [8, 12], [9, 11], [5, 13]])


def naive_tgd(
    images, texts, teacher_images, teacher_texts, keys, queued, tau, alpha, target_tau=None
):
    """`queued`: (f'_I, f'_T, keys, weight) of one queued pair each."""
    loss, n = 0.0, len(images)
    target_tau = tau.detach() if target_tau is None else target_tau
    all_keys = keys + [k for _, _, k, _ in queued]
    w = [1.0] * n + [weight for *_, weight in queued]
    for own, other, t_own, t_other, side in (
        (images, texts, teacher_images, teacher_texts, 1),
        (texts, images, teacher_texts, teacher_images, 0),
    ):
        candidates = [*other, *(q[side] for q in queued)]
        targets = [*t_other.detach(), *(q[side] for q in queued)]
        for i in range(n):
            e = [torch.exp(own[i] @ c / tau) for c in candidates]
            soft = [torch.exp(t_own[i].detach() @ c / target_tau) for c in targets]
            same = [is_positive(keys[i], k) for k in all_keys]
            for j in range(len(candidates)):
                target = alpha * soft[j] / sum(soft) + (1 - alpha) * same[j] / sum(same)
                loss = loss - w[j] * target * torch.log(e[j] / sum(e))
    return loss / (2 * n)


def filled(size, pushes):
    """A queue after `pushes`, and what it should hold, by hand."""
    queue, pairs = FeatureQueue(size, D, 0.99).double(), []
    for keys in pushes:
        images, texts = unit(len(keys)).detach(), unit(len(keys)).detach()
        queue.push(images, texts, torch.tensor(keys))
        pairs = [(i, t, k, w * 0.99) for i, t, k, w in pairs]
        pairs += [(i, t, k, 1.0) for i, t, k in zip(images, texts, keys, strict=True)]
        pairs = pairs[-size:]
    return queue, pairs


FRESH = [[100 + i, 200 + i] for i in range(20)]
PUSHES = {
    "empty": [],
    "part-filled": [[[7, 99], [98, 97]], [[96, 12]]],  # one more view of image 7, one more text 12
    "wrapped": [FRESH[:3], FRESH[3:6], [[7, 50], [51, 11], [52, 53]]],
    "refilled by one batch": [FRESH[:9], [[7, 50]]],
}


@pytest.mark.parametrize("alpha", [0.0, 0.4])
@pytest.mark.parametrize("pushes", PUSHES.values(), ids=PUSHES.keys())
def test_tgd_equals_the_loops_in_value_and_gradient(pushes, alpha):
    queue, queued = filled(7, pushes)
    images, texts, t_images, t_texts = (unit(N) for _ in range(4))
    tau = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
    ours = tgd(images, texts, t_images, t_texts, KEYS, queue, tau, alpha)
    theirs = naive_tgd(images, texts, t_images, t_texts, KEYS.tolist(), queued, tau, alpha)
    torch.testing.assert_close(ours.double(), theirs, atol=1e-5, rtol=0)
    for a, b in zip(
        torch.autograd.grad(ours, (images, texts, tau)),
        torch.autograd.grad(theirs, (images, texts, tau)),
        strict=True,
    ):
        assert b.abs().max() > 1e-3
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


def test_tgd_gives_the_teachers_and_the_queue_no_gradient():
    queue, _ = filled(7, PUSHES["wrapped"])
    images, texts, t_images, t_texts = (unit(N) for _ in range(4))
    tgd(images, texts, t_images, t_texts, KEYS, queue, torch.tensor(0.2), 0.4).backward()
    assert images.grad is not None
    assert texts.grad is not None
    assert t_images.grad is None
    assert t_texts.grad is None
    assert not any(b.requires_grad for b in queue.buffers())


def test_tgd_takes_no_gradient_through_the_targets_temperature():
    queue, queued = filled(7, PUSHES["wrapped"])
    features = [unit(N) for _ in range(4)]
    tau = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
    (ours,) = torch.autograd.grad(tgd(*features, KEYS, queue, tau, 0.4), tau)
    frozen, free = (
        torch.autograd.grad(naive_tgd(*features, KEYS.tolist(), queued, tau, 0.4, target_tau), tau)[
            0
        ]
        for target_tau in (tau.detach(), tau)
    )
    assert (frozen - free).abs() > 1e-2  # it would be seen
    torch.testing.assert_close(ours, frozen, atol=1e-5, rtol=0)


def test_tgd_without_soft_target_and_queue_is_gcpr():
    queue, _ = filled(7, [])
    images, texts = unit(N), unit(N)
    tau = torch.tensor(0.2, dtype=torch.float64)
    ours = tgd(images, texts, unit(N), unit(N), KEYS, queue, tau, 0.0)
    assert ours.item() == pytest.approx(gcpr(images, texts, KEYS, tau).item(), abs=1e-5)


def test_tgd_sees_the_queue_as_it_was_before_the_step():
    queue, _ = filled(7, PUSHES["part-filled"])
    before = {name: value.clone() for name, value in queue.state_dict().items()}
    tgd(unit(N), unit(N), unit(N), unit(N), KEYS, queue, torch.tensor(0.2), 0.4)
    assert all(torch.equal(before[name], value) for name, value in queue.state_dict().items())


@pytest.mark.parametrize("ranks", [2, 3])
def test_tgd_of_ranks_that_gather_has_the_gradient_of_one_process(ranks):
    keys = torch.tensor([[7, 10], [1, 1], [7, 11], [2, 2], [9, 11], [3, 3]])
    queue, _ = filled(7, PUSHES["wrapped"])
    full = tuple(unit(6) for _ in range(4))
    tau = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    whole = tgd(*full, keys, queue, tau, 0.4)
    mean = 0.0
    for own in torch.arange(6).chunk(ranks):
        local = (*(x[own] for x in full), keys[own])

        mean = mean + tgd(*local, queue, tau, 0.4, gather_from(local, (*full, keys))) / ranks
    torch.testing.assert_close(mean, whole, atol=1e-5, rtol=0)
    wanted = (full[0], full[1], tau)
    for a, b in zip(
        torch.autograd.grad(mean, wanted), torch.autograd.grad(whole, wanted), strict=True
    ):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


def naive_fgd(masked_images, masked_texts, teacher_images, teacher_texts, tau_t, tau_s):
    loss, entropy, n = 0.0, 0.0, len(masked_images)
    for students, teachers in ((masked_images, teacher_images), (masked_texts, teacher_texts)):
        for student, teacher in zip(students, teachers.detach(), strict=True):
            t = [torch.exp(x / tau_t) for x in teacher]
            s = [torch.exp(x / tau_s) for x in student]
            for t_k, s_k in zip(t, s, strict=True):
                loss = loss - t_k / sum(t) * torch.log(s_k / sum(s)) / (2 * n)
                entropy = entropy - t_k / sum(t) * torch.log(t_k / sum(t)) / (2 * n)
    return loss, entropy


@pytest.mark.parametrize(("tau_t", "tau_s"), [(0.05, 0.05), (0.3, 0.1)])
def test_fgd_equals_the_loops_in_value_gradient_and_entropy(tau_t, tau_s):
    students, teachers = (unit(N), unit(N)), (unit(N), unit(N))
    ours, our_entropy = fgd(*students, *teachers, tau_t, tau_s)
    theirs, their_entropy = naive_fgd(*students, *teachers, tau_t, tau_s)
    torch.testing.assert_close(ours.double(), theirs, atol=1e-5, rtol=0)
    torch.testing.assert_close(our_entropy.double(), their_entropy, atol=1e-5, rtol=0)
    gradients = torch.autograd.grad(ours, students), torch.autograd.grad(theirs, students)
    for a, b in zip(*gradients, strict=True):
        assert b.abs().max() > 1e-3
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


def test_fgd_gives_the_teachers_no_gradient():
    students, teachers = (unit(N), unit(N)), (unit(N), unit(N))
    loss, entropy = fgd(*students, *teachers, 0.05, 0.05)
    assert not entropy.requires_grad
    loss.backward()
    assert all(s.grad is not None for s in students)
    assert all(t.grad is None for t in teachers)


def test_fgd_is_lowest_at_the_teachers_own_features():
    images, texts = unit(N).detach(), unit(N).detach()
    own = images.clone().requires_grad_(), texts.clone().requires_grad_()
    loss, entropy = fgd(*own, images, texts, 0.05, 0.05)
    torch.testing.assert_close(loss, entropy, atol=1e-5, rtol=0)
    assert all(g.abs().max() < 1e-5 for g in torch.autograd.grad(loss, own))


def test_fgd_entropy_spans_zero_to_ln_d():
    even, peak = torch.zeros(2, D), F.one_hot(torch.tensor([1, 2]), D).float()
    _, highest = fgd(even, even, even, even, 0.05, 0.05)
    _, lowest = fgd(even, even, peak, peak, 0.01, 0.05)
    assert highest.item() == pytest.approx(math.log(D), abs=1e-5)
    assert lowest.item() == pytest.approx(0, abs=1e-5)
