"""Two processes, or chunks, or both: every loss and every gradient is the joined batch's."""

import dataclasses
import json
import os
import socket

import pytest
import torch
import torch.multiprocessing as mp
from small_step import MOMENT, batch_of, setup

from r2d2.training.distributed import ALONE, World, world
from r2d2.training.sharding import average_uncut, clip_gradients, full, full_state, is_cut, shard
from r2d2.training.step import Passes, Step, backward, spread

TEXTS = [[7, 9, 11, 7], [8, 8], [12, 13, 14, 15, 16, 17, 18], [8, 8], [19], [], [20, 21], [9, 22]]
KEYS = [[1, 21], [1, 22], [3, 23], [4, 22], [5, 25], [6, 26], [7, 27], [8, 21]]
VARIANTS = ["r2d2", "wo_et", "prd2", "wo_twd", "wo_fgd"]


def one_step(variant, here, chunks, group_size, frozen=False, cut=False):
    """Losses, gradients and queue of one step of `here`'s share of the batch."""
    torch.manual_seed(0)
    model, objectives = setup(variant)
    if frozen:
        model.towers.vision.requires_grad_(False)
    batch = batch_of(TEXTS, KEYS)
    share = dataclasses.replace(batch, index=batch.index - 40)  # a place in the batch
    share = share.chunks(here.size)[here.rank]
    moment = dataclasses.replace(MOMENT, group_size=group_size)
    step, cpu = Step(model, objectives, here), torch.device("cpu")
    step = shard(step, cpu) if cut else spread(step, cpu, find_unused=variant == "prd2")
    losses = backward(step, share, moment, Passes(chunks))
    losses = {name: here.average(loss).double() for name, loss in losses.items()}
    if cut:
        assert is_cut(step)
        average_uncut(model.parameters(), here)
    named = [(n, p) for n, p in model.named_parameters() if p.grad is not None]
    found = {f"grad {n}": full(p.grad).clone() for n, p in named}
    for clip in (0.1, 1e9):  # the second gives the norm after the first
        found[f"norm clipped at {clip}"] = clip_gradients(model.parameters(), clip)
    objectives.after_step(model)
    found |= {f"state {n}": t for n, t in full_state(objectives).items()}
    return {f"loss {n}": loss for n, loss in losses.items()} | found


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def process(rank, port, variants, chunks, group_size, cut, folder):
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
    with world() as here:
        assert (here.rank, here.size, here.first) == (rank, 2, rank == 0)
        for variant in variants:
            found = one_step(variant, here, chunks, group_size, cut=cut)
            torch.save(found, folder / f"{variant}-{rank}.pt")
        said = {
            "any": [here.any(rank == 1, torch.device("cpu")), here.any(False, torch.device("cpu"))],
            "union": sorted(here.union({rank: 5, 9: 1}, torch.device("cpu")).items()),
            "share": list(here.share([1, 2, 3, 4])),
        }
        (folder / f"said-{rank}.json").write_text(json.dumps(said))
        here.wait()


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
    assert sum(name.startswith("grad") for name in whole) > 30


def test_chunks_equal_the_whole_batch_where_a_tower_is_frozen():
    whole = one_step("r2d2", ALONE, 1, 4, frozen=True)
    assert_same(one_step("r2d2", ALONE, 2, 4, frozen=True), whole, "frozen")
    assert not any("vision" in name for name in whole if name.startswith("grad"))


@pytest.mark.parametrize(("chunks", "cut"), [(1, False), (2, False), (1, True), (2, True)])
def test_two_processes_equal_one(chunks, cut, tmp_path):
    group_size = len(TEXTS) // (2 * chunks)
    variants = ["r2d2", "prd2"] if cut else VARIANTS
    mp.spawn(process, (free_port(), variants, chunks, group_size, cut, tmp_path), nprocs=2)
    for variant in variants:
        whole = one_step(variant, ALONE, 1, group_size)
        for rank in (0, 1):
            found = torch.load(tmp_path / f"{variant}-{rank}.pt", weights_only=True)
            assert_same(found, whole, f"{variant}, process {rank}")
    said = [json.loads((tmp_path / f"said-{rank}.json").read_text()) for rank in (0, 1)]
    for one in said:
        assert one["any"] == [True, False]
        assert one["union"] == [[0, 5], [1, 5], [9, 1]]
    assert [one["share"] for one in said] == [[1, 2], [3, 4]]


def test_without_other_processes_nothing_is_sent():
    x = torch.randn(3, 2, requires_grad=True)
    assert World().gather(x) is x
    assert not World().average(x).requires_grad
    with world() as here:
        assert here == ALONE
