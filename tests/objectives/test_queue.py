"""The weighted queue: order, wrap-around, weights, and what a checkpoint brings back."""

import pytest
import torch

from r2d2.objectives.queue import FeatureQueue


def pairs(start, n, d=3):
    """Pair number k holds k everywhere, so that a place tells whose it is."""
    number = torch.arange(start, start + n)
    features = number[:, None].float().expand(n, d)
    return features, features + 0.5, torch.stack([number, number + 1000], dim=1)


def content(queue):
    """{pair number: weight} of the filled places, each place consistent with itself."""
    images, texts, keys, weights = queue.filled()
    for image, text, key in zip(images, texts, keys.tolist(), strict=True):
        assert (image == key[0]).all()
        assert (text == key[0] + 0.5).all()
        assert key[1] == key[0] + 1000
    return dict(zip(keys[:, 0].tolist(), weights.tolist(), strict=True))


def test_starts_empty_and_only_filled_places_count():
    queue = FeatureQueue(5, 3, 0.99)
    assert [len(x) for x in queue.filled()] == [0, 0, 0, 0]
    queue.push(*pairs(0, 2))
    assert content(queue) == {0: 1.0, 1: 1.0}


def test_keeps_the_newest_in_order_around_the_end():
    queue, start, expected = FeatureQueue(5, 3, 0.99), 0, []
    for n in (2, 2, 3, 1, 4, 5, 1):
        queue.push(*pairs(start, n))
        expected = [(k, w * 0.99) for k, w in expected] + [(start + i, 1.0) for i in range(n)]
        expected, start = expected[-5:], start + n
        held = content(queue)
        assert held.keys() == dict(expected).keys()
        for number, weight in expected:
            assert held[number] == pytest.approx(weight, rel=1e-5)


def test_a_larger_batch_than_the_queue_leaves_its_end():
    queue = FeatureQueue(4, 3, 0.99)
    queue.push(*pairs(0, 3))
    queue.push(*pairs(3, 11))
    assert content(queue) == dict.fromkeys(range(10, 14), 1.0)
    queue.push(*pairs(14, 1))
    held = content(queue)
    assert set(held) == {11, 12, 13, 14}
    assert held[14] == 1.0
    assert held[11] == pytest.approx(0.99)


def test_weights_fall_by_the_decay_each_step():
    queue = FeatureQueue(10, 3, 0.9)
    for step in range(5):
        queue.push(*pairs(step, 1))
    held = content(queue)
    assert [held[k] for k in range(5)] == pytest.approx([0.9 ** (4 - k) for k in range(5)])


def test_no_places_hold_nothing():
    queue = FeatureQueue(0, 3, 0.99)
    queue.push(*pairs(0, 4))
    assert content(queue) == {}


def test_holds_no_gradient_and_no_parameters():
    queue = FeatureQueue(4, 3, 0.99)
    images, texts, keys = pairs(0, 2)
    queue.push(images.clone().requires_grad_(), texts.clone().requires_grad_(), keys)
    assert not any(x.requires_grad for x in queue.filled())
    assert list(queue.parameters()) == []


@pytest.mark.parametrize("pushed", [0, 3, 5, 8])
def test_a_loaded_queue_goes_on_where_the_saved_one_stood(pushed):
    queue, other = FeatureQueue(5, 3, 0.99), FeatureQueue(5, 3, 0.99)
    for number in range(pushed):
        queue.push(*pairs(number, 1))
    other.push(*pairs(50, 4))  # whatever it held is gone
    state = {name: value.clone() for name, value in queue.state_dict().items()}
    assert other.load_state_dict(state)
    assert other.count == queue.count
    assert content(other) == content(queue)
    for side in (queue, other):
        side.push(*pairs(pushed, 2))
    assert content(other) == content(queue)
    assert queue.state_dict().keys() == state.keys()
    for name, value in queue.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])
