"""Bootstrap over images, against drawing them one by one."""

import numpy as np
import pytest
import torch

from r2d2.ranking.metrics import (
    draws,
    grouped_interval,
    recall_gains,
    recall_intervals,
    recalls,
    resampled_recalls,
)


def test_recalls_are_those_of_the_drawn_images():
    generator = torch.Generator().manual_seed(0)
    i2t = torch.randint(1, 15, (8,), generator=generator)
    t2i = torch.randint(1, 15, (20,), generator=generator)
    image = torch.arange(20) % 8
    found = recall_intervals(
        {"i2t": i2t, "t2i": t2i}, {"i2t": torch.arange(8), "t2i": image}, 50, seed=3
    )
    drawn = []
    for weight in draws(8, 50, 3):
        images = [i for i in range(8) for _ in range(int(weight[i]))]
        texts = [t for i in images for t in range(20) if image[t] == i]
        drawn.append(recalls(i2t[images], t2i[texts]))
    assert set(found) == set(drawn[0])
    for name, bounds in found.items():
        wanted = np.percentile([one[name] for one in drawn], [2.5, 97.5])
        assert bounds == pytest.approx(list(wanted))


def test_the_gain_of_a_stage_is_measured_on_the_same_images_as_the_stage_before():
    generator = torch.Generator().manual_seed(1)
    image = torch.arange(20) % 8
    groups = {"i2t": torch.arange(8), "t2i": image}
    stages = [
        {
            "i2t": torch.randint(1, 15, (8,), generator=generator),
            "t2i": torch.randint(1, 15, (20,), generator=generator),
        }
        for _ in range(2)
    ]
    resampled = [resampled_recalls(ranks, groups, 50, 3) for ranks in stages]
    totals = [recalls(ranks["i2t"], ranks["t2i"]) for ranks in stages]
    first, last = zip(totals, resampled, strict=True)
    found = recall_gains(first, last)
    gains = {"r1": [], "r_mean": []}
    for weight in draws(8, 50, 3):
        images = [i for i in range(8) for _ in range(int(weight[i]))]
        texts = [t for i in images for t in range(20) if image[t] == i]
        once, twice = (recalls(ranks["i2t"][images], ranks["t2i"][texts]) for ranks in stages)
        gains["r_mean"].append(twice["r_mean"] - once["r_mean"])
        at_1 = [twice[name] - once[name] for name in ("i2t_r1", "t2i_r1")]
        gains["r1"].append(sum(at_1) / 2)
    for name, (gain, *bounds) in found.items():
        assert bounds == pytest.approx(list(np.percentile(gains[name], [2.5, 97.5])))
        if name == "r_mean":
            assert gain == pytest.approx(totals[1]["r_mean"] - totals[0]["r_mean"])
    same = recall_gains(first, first)
    assert same == {"r1": [0, 0, 0], "r_mean": [0, 0, 0]}


def test_the_same_seed_draws_the_same_and_another_not():
    ranks = {"t2i": torch.arange(1, 41)}
    groups = {"t2i": torch.arange(40)}
    once, again, other = (recall_intervals(ranks, groups, 30, seed) for seed in (1, 1, 2))
    assert once == again != other


def test_captions_of_one_image_are_drawn_together():
    # Ten images of ten captions that are right together or wrong together: as good as ten queries.
    ranks = torch.tensor([1, 20] * 5).repeat_interleave(10)
    together = recall_intervals({"t2i": ranks}, {"t2i": torch.arange(100) // 10}, 200, 0)
    apart = recall_intervals({"t2i": ranks}, {"t2i": torch.arange(100)}, 200, 0)
    assert np.ptp(together["t2i_r1"]) > 2 * np.ptp(apart["t2i_r1"])


def test_any_figure_of_weighted_items():
    values = np.array([1.0, 2.0, 3.0, 4.0])
    mean = grouped_interval(lambda w: float((w @ values) / w.sum()), np.array([0, 0, 1, 1]), 100, 0)
    assert mean == [1.5, 3.5]
    assert grouped_interval(lambda w: float("nan"), np.array([0, 1]), 5, 0) is None
