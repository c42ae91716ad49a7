"""Two processes, or chunks, or both: every loss and every gradient is the joined batch's."""

import json

import pytest
import torch

from helpers.runs import small_table
from r2d2.training.distributed import ALONE, World, world
from training.two import (
    TEXTS,
    VARIANTS,
    WAYS,
    endless_run,
    group_size_of,
    lose_the_other,
    one_step,
    process,
    spawn,
    variants_of,
)


def assert_same(ours, theirs, what):
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(
            ours[name].double(), value.double(), atol=1e-6, rtol=1e-5, msg=f"{what}: {name}"
        )


@pytest.mark.parametrize("chunks", [2, 4])
@pytest.mark.parametrize("variant", VARIANTS)
def test_chunks_equal_the_whole_batch(variant, chunks):
    group_size = len(TEXTS) // chunks
    whole = one_step(variant, ALONE, 1, group_size)
    assert_same(one_step(variant, ALONE, chunks, group_size), whole, variant)
    assert all(share > 0 for name, share in whole.items() if name.startswith("loss unlabelled"))
    reached = [name for name in whole if name.startswith("grad")]
    assert len(reached) > 30
    assert any(name.startswith("grad towers") for name in reached) == (variant != "second")


def test_chunks_equal_the_whole_batch_where_a_tower_is_frozen():
    whole = one_step("r2d2", ALONE, 1, 4, frozen=True)
    assert_same(one_step("r2d2", ALONE, 2, 4, frozen=True), whole, "frozen")
    assert not any("vision" in name for name in whole if name.startswith("grad"))


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """What two processes found."""
    folder = tmp_path_factory.mktemp("both")
    spawn(process, folder)
    return folder


@pytest.mark.parametrize(("chunks", "cut"), WAYS)
def test_two_processes_equal_one(chunks, cut, both):
    for variant in variants_of(cut):
        whole = one_step(variant, ALONE, 1, group_size_of(chunks))
        for rank in (0, 1):
            found = torch.load(both / f"{variant}-{chunks}-{cut}-{rank}.pt", weights_only=True)
            assert_same(found, whole, f"{variant}, process {rank}")


def test_processes_tell_each_other(both):
    said = [json.loads((both / f"said-{rank}.json").read_text()) for rank in (0, 1)]
    for one in said:
        assert one["any"] == [True, False]
        assert one["union"] == [[0, 5], [1, 5], [9, 1]]
        assert one["same"] == [True, False]
    assert [one["share"] for one in said] == [[1, 2], [3, 4]]


def test_without_other_processes_nothing_is_sent():
    x = torch.randn(3, 2, requires_grad=True)
    assert World().gather(x) is x
    assert not World().average(x).requires_grad
    with world() as here:
        assert here == ALONE


def test_a_loss_that_is_not_finite_in_one_process_is_left_out_in_all(tmp_path):
    spawn(endless_run, small_table(tmp_path / "pairs.lance"), tmp_path)
    assert [(tmp_path / f"bad-{rank}.json").read_text() for rank in (0, 1)] == ["1", "1"]


@pytest.mark.parametrize(
    ("stops", "said"), [(False, "process 0 lost another one"), (True, "has waited 0.05 minutes")]
)
def test_a_process_that_dies_in_the_exchange_of_negatives_is_told_in_one_line(
    stops, said, tmp_path
):
    told = tmp_path / "said.txt"
    spawn(lose_the_other, tmp_path, stops, done=told.exists)
    message = told.read_text()
    assert message.startswith(f"process 0 {said.removeprefix('process 0 ')}")
    assert "--resume" in message
    assert "\n" not in message
    assert ("system.timeout_minutes" in message) == stops
