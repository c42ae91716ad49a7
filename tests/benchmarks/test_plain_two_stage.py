"""Both sides of two-stage evaluation give the same scores; so does the head of a cascade."""

import pytest
import torch

from benchmarks.speed.second_stage import changes, ours
from benchmarks.speed.two_stage import agreement, make_stage, sizes


@pytest.mark.parametrize("name", ["toy", "toy, two widths"])
def test_scores_agree(name):
    stage = make_stage(sizes(name))
    plain, ours = stage.plain(), stage.ours()
    assert len(plain) == len(ours) == 2 * stage.size.queries
    for theirs, mine in zip(plain, ours, strict=True):
        assert set(theirs) == set(mine)
        assert len(mine) == stage.size.top_k
        for item, score in theirs.items():
            assert mine[item] == pytest.approx(score, abs=1e-4)
    spread = torch.tensor([max(one.values()) - min(one.values()) for one in ours])
    assert float(spread.min()) > 0.01  # scores that say something


def test_the_command_says_whether_they_agree():
    stage = make_stage(sizes("toy"))
    assert agreement(stage).met is True
    with torch.no_grad():
        stage.usual.match_head_text.bias += torch.tensor([0.0, 0.01])
    assert agreement(stage).met is False


def test_the_cascade_scores_its_head_alike():
    stage = make_stage(sizes("toy"))
    for theirs, mine in zip(stage.plain(), stage.cascaded(), strict=True):
        head = {item: score for item, score in mine.items() if score > -1.5}
        assert len(head) == stage.size.head
        for item, score in head.items():
            assert theirs[item] == pytest.approx(score, abs=1e-4)


def test_each_change_leaves_the_scores_alone():
    stage = make_stage(sizes("toy, two widths"))
    wanted = ours(stage)
    for name, without in changes(stage).items():
        for score, expected in zip(without(), wanted, strict=True):
            torch.testing.assert_close(score, expected, atol=1e-5, rtol=0, msg=name)
