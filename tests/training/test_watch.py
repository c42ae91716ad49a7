"""What the log says of a run that does not learn."""

import math

import pytest
import torch

from r2d2.config import make_config
from r2d2.training.epochs import Epoch
from r2d2.training.watch import WINDOW, Watch


def watch(texts=1000, *settings, steps=1000, variant="r2d2"):
    config = make_config("tiny", variant, ["train.warmup_steps=50", "train.lr=1e-4", *settings])
    return Watch(steps, config, lambda: (texts, 1000))


def said(seen, loss, steps=1000, name="tgd"):
    """What is said over a run, by step."""
    found = {}
    for step in range(1, steps + 1):
        message = seen.see(step, {name: torch.tensor(loss(step))})
        if message:
            found[step] = message
    return found


def chance(step, batch=64, queue=2048):
    return math.log(batch + min((step - 1) * batch, queue))


def test_a_loss_that_falls_is_not_talked_about():
    assert said(watch(), lambda step: chance(step) * (1 - 0.5 * min(1, step / 300))) == {}


def test_the_chance_of_a_sigmoid_contrast_is_that_of_a_constant():
    n = 64
    each = -math.log(1 / n) - (n - 1) * math.log(1 - 1 / n)
    settings = ("objectives.contrast=sigmoid", "objectives.tgd=false")
    found = said(watch(1000, *settings, variant="prd2"), lambda step: each, name="sigmoid")
    ((_, message),) = found.items()
    assert "100% of chance's at first, 100% now" in message


def test_a_loss_at_chance_is_told_once():
    found = said(watch(), chance)
    assert len(found) == 1
    ((step, message),) = found.items()
    assert 50 + 5 * WINDOW <= step < 300
    assert "has not fallen" in message
    assert "100%" in message
    assert "r2d2 data check" in message


def test_the_queue_filling_up_is_no_rise():
    """The loss grows while the queue does, and a healthy run's still falls by chance's measure."""
    falling = said(watch(), lambda step: chance(step) * (1 - 0.2 * min(1, step / 100)))
    assert falling == {}


def test_the_cause_is_the_likeliest():
    assert "looks like labels" in next(iter(said(watch(texts=10), chance).values()))
    hot = said(watch(1000, "train.lr=0.01"), chance)
    assert "may be too high" in next(iter(hot.values()))
    assert "try a tenth" in next(iter(hot.values()))
    stuck = said(watch(1000, "train.freeze_vision=true"), chance)
    assert "train.freeze_vision=false" in next(iter(stuck.values()))
    slow = said(watch(1000, "train.lr=1e-6"), chance)
    assert "--set train.lr=" in next(iter(slow.values()))


def test_a_rate_is_not_called_too_high_where_it_cannot_be_the_cause():
    """A tower that is frozen learns at no rate; 1e-3 is the rate of the preset tiny."""
    for settings in (("train.lr=0.01", "train.freeze_vision=true"),
                     ("train.lr=0.01", "train.freeze_text=true"), ("train.lr=1e-3",)):  # fmt: skip
        (message,) = said(watch(1000, *settings), chance).values()
        assert "high" not in message, settings


@pytest.mark.parametrize(("figures", "is_said"), [
    ((), True), ((10.0,), True), ((10.0, 12.0), False), ((10.0, 12.0, 11.0), True),
])  # fmt: skip
def test_nothing_is_said_while_recall_rises(figures, is_said):
    epochs = [Epoch(n + 1, 100 * n, figure, 1.0) for n, figure in enumerate(figures)]
    config = make_config("tiny", "r2d2", ["train.warmup_steps=50", "train.lr=1e-2"])
    seen = Watch(1000, config, lambda: (1000, 1000), lambda: epochs)
    assert bool(said(seen, chance)) == is_said


def test_other_objectives_have_their_own_chance():
    flat = said(watch(variant="wo_twd"), lambda step: math.log(64), name="gcpr")
    assert len(flat) == 1
    matching = said(watch(1000, "train.labelled=true"), lambda step: math.log(2), name="fgr")
    assert "100% of chance's at first" in next(iter(matching.values()))
    assert said(watch(1000, "train.labelled=true"), lambda s: 0.69 - 0.0005 * s, name="fgr") == {}


def test_a_short_run_is_never_judged():
    assert said(watch(steps=30), chance, steps=30) == {}
