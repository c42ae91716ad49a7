"""The second stage teaches the towers: against plain loops, and where the gradient flows."""

import dataclasses

import pytest
import torch

from helpers.calls import watched
from helpers.cli import refused
from helpers.runs import small_config, small_table
from helpers.small_step import CONTEXT, batch_of, setup
from r2d2.objectives.gcpr import positives
from r2d2.objectives.listwise import as_blocks, block_pairs, diagonal_blocks
from r2d2.objectives.rerank import judged_pairs, rerank
from r2d2.training.pretrain import pretrain

# Two blocks of three: in the first one image stands twice, in the second one text three times.
KEYS = torch.tensor([[1, 21], [1, 22], [3, 23], [4, 24], [5, 24], [6, 24]])
NONE, FIRST = torch.zeros(6, dtype=torch.bool), torch.arange(6) == 0
LOSSES = ("kl", "order")


def is_positive(i, j):
    return bool((KEYS[i] == KEYS[j]).any())


def naive_kl(student, teacher):
    p, q = (torch.stack(scores) for scores in (teacher, student))
    p, q = p.exp() / p.exp().sum(), q.exp() / q.exp().sum()
    return sum(a * torch.log(a / b) for a, b in zip(p, q, strict=True))


def naive_order(student, teacher, own):
    """`own`: the place of the right candidate, or None."""
    places = range(len(student))
    gaps = [
        student[j] - student[k]
        for j in places for k in places if teacher[j] > teacher[k] and k != own
    ]  # fmt: skip
    return sum(torch.log(1 + torch.exp(-gap)) for gap in gaps) / max(1, len(gaps))


def naive_rerank(student, teacher, size, masked, kind):
    """Both: of image i with text j, of any two pairs. `masked`: texts that are not judged."""
    n, loss = len(KEYS), 0 * student.sum()
    for i in range(n):
        block = range(i - i % size, i - i % size + size)
        near = [j for j in block if j == i or not is_positive(i, j)]
        texts = [(i, j) for j in near if not masked[j]]
        images = [(j, i) for j in near if not masked[i]]
        for pairs in (texts, images):
            scores = [[x[pair] for pair in pairs] for x in (student, teacher)]
            if not pairs:
                continue
            own = pairs.index((i, i)) if (i, i) in pairs else None
            loss = loss + (naive_kl(*scores) if kind == "kl" else naive_order(*scores, own))
    return loss / (2 * n)


def ours(student, teacher, size, masked, kind):
    images, texts = block_pairs(len(KEYS), size, student.device)
    judged = judged_pairs(diagonal_blocks(positives(KEYS, KEYS), size), masked)
    blocks = (as_blocks(x[images, texts], size) for x in (student, teacher))
    return rerank(*blocks, judged, kind)


@pytest.mark.parametrize("masked", [NONE, FIRST, ~FIRST, ~NONE], ids=["none", "0", "but 0", "all"])
@pytest.mark.parametrize("size", [2, 3, 6])
@pytest.mark.parametrize("kind", LOSSES)
def test_equals_the_loops_in_value_and_gradient(kind, size, masked):
    student = torch.randn(6, 6, dtype=torch.float64, requires_grad=True)
    teacher = 2 * torch.randn(6, 6, dtype=torch.float64)
    teacher[2] = teacher[2].mean()  # ties have no order
    losses = [f(student, teacher, size, masked, kind) for f in (ours, naive_rerank)]
    torch.testing.assert_close(losses[0].double(), losses[1], atol=1e-6, rtol=0)
    assert losses[0].item() > 0 or masked.sum() > 1
    gradients = [torch.autograd.grad(loss, student)[0] for loss in losses]
    torch.testing.assert_close(*gradients, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", LOSSES)
def test_a_block_of_nothing_but_positives_teaches_nothing(kind):
    judged = judged_pairs(torch.ones(1, 3, 3, dtype=torch.bool), torch.zeros(3, dtype=torch.bool))
    student = torch.randn(1, 3, 3, requires_grad=True)
    loss = rerank(student, torch.randn(1, 3, 3), judged, kind)
    assert loss.item() == 0
    assert not torch.autograd.grad(loss, student)[0].any()


def test_a_teacher_that_scores_as_the_towers_do_gives_no_divergence():
    judged = judged_pairs(torch.eye(3, dtype=torch.bool)[None], torch.zeros(3, dtype=torch.bool))
    student = torch.randn(1, 3, 3, requires_grad=True)
    loss = rerank(student, student.detach() + 5, judged, "kl")
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert torch.autograd.grad(loss, student)[0].abs().max() < 1e-6


def test_the_order_does_not_depend_on_how_far_apart_the_teacher_puts_them():
    judged = judged_pairs(torch.eye(4, dtype=torch.bool)[None], torch.zeros(4, dtype=torch.bool))
    student, teacher = torch.randn(1, 4, 4), torch.randn(1, 4, 4)
    near, far = (rerank(student, scale * teacher, judged, "order") for scale in (0.1, 100))
    assert near.item() == far.item()
    other = rerank(student, teacher.flip(-1), judged, "order")
    assert other.item() != near.item()


def test_the_order_never_puts_a_wrong_candidate_before_the_right_one():
    """The teacher errs in every row: only the order among the wrong ones is left, of one each."""
    judged = judged_pairs(torch.eye(2, dtype=torch.bool)[None], torch.zeros(2, dtype=torch.bool))
    student = torch.randn(1, 2, 2, requires_grad=True)
    loss = rerank(student, -torch.eye(2)[None], judged, "order")
    assert loss.item() == 0
    assert not torch.autograd.grad(loss, student)[0].any()


ALONE = {
    f"weight_{name}": 0.0 for name in ("contrastive", "fgr", "listwise", "mlm", "fgd")
}  # the other losses are computed, and weigh nothing


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("variant", ["r2d2", "wo_et", "wo_twd", "sigmoid"])
def test_only_the_embeddings_of_the_towers_learn(variant, kind):
    taught = {"list_size": 3, "rerank_loss": kind}
    model, objectives = setup(variant, **taught, **ALONE, weight_rerank=2.0)
    losses = objectives(model, batch_of(), CONTEXT).losses
    assert losses["rerank"].item() > 0
    assert losses["total"].item() == pytest.approx(2 * losses["rerank"].item())
    losses["total"].backward()
    for name, p in model.named_parameters():
        learns = p.grad is not None and bool(p.grad.any())
        if not name.startswith("towers."):
            assert not learns, name
    for name in ("image_projection", "text_projection"):
        assert model.get_parameter(f"towers.{name}.weight").grad.any()
    assert model.get_parameter("towers.text.token_embedding.weight").grad.any()


@pytest.mark.parametrize("kind", LOSSES)
def test_towers_that_are_taught_score_as_the_teacher_did_at_first(kind):
    taught = {"list_size": 3, "rerank_loss": kind, "weight_rerank": 1.0}
    model, objectives = setup("wo_tgd", **taught, **ALONE)
    optimizer, batch = torch.optim.SGD(model.parameters(), lr=0.01), batch_of()
    with watched(rerank) as calls:
        for _ in range(12):
            optimizer.zero_grad()
            objectives(model, batch, CONTEXT).losses["total"].backward()
            optimizer.step()
    scores = [(c.arguments["student"].detach(), c.arguments["teacher"]) for c in calls]
    judged = judged_pairs(
        diagonal_blocks(positives(batch.keys, batch.keys), 3), torch.zeros(6, dtype=torch.bool)
    )
    teacher = scores[0][1]
    first, last = (
        rerank(towers, teacher, judged, kind).item() for towers, _ in (scores[0], scores[-1])
    )
    assert last < 0.8 * first


@pytest.mark.parametrize("phase", [{"towers": False}, {"ranking": False}])
def test_it_has_no_part_in_steps_without_both_stages(phase):
    model, objectives = setup("r2d2", list_size=3, weight_rerank=1.0)
    context = dataclasses.replace(CONTEXT, group_size=3, **phase)
    assert "rerank" not in objectives(model, batch_of(), context).losses


def test_off_it_is_not_computed():
    model, objectives = setup("r2d2", list_size=3, weight_listwise=1.0)
    assert "rerank" not in objectives(model, batch_of(), CONTEXT).losses


TAUGHT = ("objectives.list_size=4", "objectives.weight_rerank=1")


@pytest.mark.parametrize(
    ("variant", "settings", "said"),
    [
        ("r2d2", ("objectives.weight_rerank=1",), "objectives.list_size is 0"),
        ("prd2", TAUGHT, "objectives.fgr is off"),
        ("r2d2", (*TAUGHT, "train.labelled=true"), "train.labelled"),
        ("r2d2", (*TAUGHT, "objectives.second_stage_from=0"), "no step trains both stages"),
        (
            "r2d2",
            (*TAUGHT, "objectives.second_stage_from=0.4", "objectives.ranking_from=0.4"),
            "no step trains both stages",
        ),
        ("r2d2", (*TAUGHT, "objectives.et_masked_share=1"), "objectives.et_masked_share=1"),
        ("r2d2", (*TAUGHT, "objectives.rerank_loss=rank"), "choose one of kl, order"),
    ],
)
def test_it_is_refused_where_it_has_no_effect(variant, settings, said):
    assert said in refused(small_config, variant, *settings)


def test_a_run_in_which_both_stages_never_meet_is_refused(tmp_path):
    """Shares that lie apart, and no step between them: 16 steps, both begin with the seventh."""
    shares = ("objectives.ranking_from=0.4", "objectives.second_stage_from=0.43")
    table = small_table(tmp_path / "pairs.lance")
    config = small_config("r2d2", *TAUGHT, *shares, "train.epochs=4")
    assert "none of 16 steps trains both" in refused(pretrain, table, tmp_path / "run", config)
    assert not (tmp_path / "run" / "run.json").exists()


def test_without_et_every_text_is_judged():
    small_config("wo_et", *TAUGHT, "objectives.et_masked_share=1")
