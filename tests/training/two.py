"""A step, or a run, in two processes: what they run stands here, where a spawned one finds it."""

import dataclasses
import json
import math
import os
import signal
import time
from datetime import timedelta

import pytest
import torch
import torch.multiprocessing as mp
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

from helpers.runs import small_config
from helpers.small_step import CONTEXT, CONTRASTS, batch_of, second_texts, setup
from helpers.steps import endless_loss
from r2d2.config import TrainConfig
from r2d2.errors import R2D2Error
from r2d2.model.encoded_states import EncodedStates
from r2d2.training.checkpoint import optimizer_tensors
from r2d2.training.distributed import world
from r2d2.training.launch import leave
from r2d2.training.optimizer import make_optimizer
from r2d2.training.pretrain import pretrain
from r2d2.training.sharding import average_uncut, clip_gradients, full, gathered, is_cut, shard
from r2d2.training.step import Passes, Step, backward, leaves_unused, spread

TEXTS = [[7, 9, 11, 7], [8, 8], [12, 13, 14, 15, 16, 17, 18], [8, 8], [19], [], [20, 21], [9, 22]]
KEYS = [[1, 21], [1, 22], [3, 23], [4, 22], [5, 25], [6, 26], [7, 27], [3, 21]]
# Every objective, every way to compute one, and people's labels.
VARIANTS = ["r2d2", "wo_et", "prd2", "wo_twd", "wo_tgd", "wo_fgd", "labelled", *CONTRASTS]
VARIANTS += ["lists", "second", "taught", "taught_order", "unlabelled_lists"]
# Blocks in place of drawn negatives, a part of whose gradient reaches the towers; and the second
# stage, where none does; and towers that the second stage teaches.
LISTS = {"list_size": 2, "weight_listwise": 0.7, "ranking_gradient": 0.3}
BLOCKS = {
    "lists": LISTS,
    "second": LISTS,
    "taught": LISTS | {"weight_rerank": 0.6},
    "taught_order": LISTS | {"weight_rerank": 0.6, "rerank_loss": "order"},
    "unlabelled_lists": LISTS | {"unlabelled_margin": 0.02},
}
WAYS = [(1, False), (2, False), (1, True), (2, True)]  # chunks, and whether weights are cut
HANGS = 500  # seconds, many times what a busy machine takes
LABELS = [1, 0, 0, 1, 1, 0, 1, 0]
# Which pictures have a second text: unlike numbers in the processes, and none in the first one.
PRESENT = {
    "second_text": [False, False, True, False, True, True, False, True],
    "unlabelled": [False, True, True, False, True, True, False, True],
    "second_text_sigmoid": [False, False, False, False, True, True, False, True],
}


def endless_run(rank, port, table, folder):
    """A run of two processes, the second of which meets such a step."""
    place(rank, port)
    with endless_loss(step=1, rank=1), world() as here:
        summary = pretrain(table, folder / "run", small_config("prd2", "train.epochs=1"))
        (folder / f"bad-{rank}.json").write_text(json.dumps(summary.bad_steps))
        here.wait()
    leave(0)


def one_step(variant, here, chunks, group_size, frozen=False, cut=False):
    """Losses, gradients and queue of one step of `here`'s share of the batch."""
    torch.manual_seed(0)
    labelled = variant == "labelled"
    blocks = BLOCKS.get(variant, {})
    model, objectives = setup("r2d2" if labelled or blocks else variant, **blocks)
    if frozen:
        model.towers.vision.requires_grad_(False)
    batch = batch_of(TEXTS, KEYS)
    labels = torch.tensor(LABELS) if labelled else None
    second = second_texts(len(TEXTS), PRESENT[variant]) if variant in PRESENT else None
    index = batch.index - 40  # places in the batch
    share = dataclasses.replace(batch, index=index, labels=labels, second=second)
    share = shortened(share.chunks(here.size)[here.rank])
    context = dataclasses.replace(
        CONTEXT,
        group_size=LISTS["list_size"] if blocks else group_size,
        towers=variant != "second",
    )
    step, cpu = Step(model, objectives, here), torch.device("cpu")
    unused = leaves_unused(step, labelled)
    step = shard(step, cpu) if cut else spread(step, cpu, unused)
    output = backward(step, share, context, Passes(chunks))
    losses = {name: here.average(loss).double() for name, loss in output.losses.items()}
    if cut:
        assert is_cut(step)
        assert gathered(model.state_dict(), False) == {}
        average_uncut(model.parameters(), here)
    named = [(n, p) for n, p in model.named_parameters() if p.grad is not None]
    found = {f"grad {n}": full(p.grad).clone() for n, p in named}
    for clip in (0.1, 1e9):  # the second gives the norm after the first
        found[f"norm clipped at {clip}"] = clip_gradients(model.parameters(), clip)
    objectives.after_step(model, output.queue_entries)
    found |= {f"state {n}": t for n, t in gathered(objectives.state_dict(), True).items()}
    optimizer = make_optimizer(model, TrainConfig())
    optimizer.step()  # with nothing more to gather than what the calls above do
    found |= {f"optimizer {n}": t for n, t in gathered(moments(optimizer, model), True).items()}
    return {f"loss {n}": loss for n, loss in losses.items()} | found


def shortened(batch):
    """Texts padded to the longest of this share only, as a process pads its own."""
    length = int(batch.mask.sum(1).max())
    return dataclasses.replace(batch, ids=batch.ids[:, :length], mask=batch.mask[:, :length])


def moments(optimizer, model):
    """What AdamW keeps of each parameter's gradients."""
    kept = optimizer_tensors(optimizer, model)
    return {name: tensor for name, tensor in kept.items() if not name.endswith("/step")}


def forbid_crashing_collectives():
    """In this process: what crashes gloo now and then, see `sharding.full`, raises instead."""

    def refuse(*_arguments):
        raise AssertionError("a collective whose name gloo does not hold in place")

    for name in ("all_gather_into_tensor", "reduce_scatter_tensor"):
        setattr(torch.ops._c10d_functional, name, refuse)
        setattr(torch.ops._c10d_functional, f"{name}_coalesced", refuse)


def cut_and_whole():
    """Tensors of few rows, cut over the processes and gathered again, beside what they were."""
    mesh = init_device_mesh("cpu", (2,))
    for shape in [(7, 3), (1,), (4, 2), (3, 2, 2), (1, 5)]:
        x = torch.arange(math.prod(shape), dtype=torch.float32).view(shape)
        assert torch.equal(full(distribute_tensor(x, mesh, [Shard(0)])), x), shape


def fetched_rows(here):
    """Rows that come from the other process, with their gradient, beside all rows gathered."""
    n, first, shape = 3, 3 * here.rank, (3, 2, 4)
    torch.manual_seed(here.rank)
    lengths = [3, 2][here.rank]  # of texts: the shorter ones are padded
    wanted = [[0, 4, 4], [1, 1, 2]][here.rank]  # of its own, twice the same of the other; all
    images = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    texts = torch.randn(n, lengths, 4, dtype=torch.float64, requires_grad=True)
    mask = torch.arange(lengths) < torch.tensor([[2], [1], [lengths]])
    sides = EncodedStates(images, None, images[:, 0]), EncodedStates(texts, mask, texts[:, 0])
    own = torch.arange(n) + first
    (seen, read), places = here.fetch(sides, (torch.tensor(wanted), own))
    assert len(seen.states) == len(seen) == [4, 5][here.rank]  # a row that is drawn twice, once
    assert len(read.states) == 3  # what stays in its process does not travel
    assert read.states.shape[1] == 3
    assert read.mask.sum(1).tolist() == [2, 1, lengths]
    padded = torch.nn.functional.pad(texts, (0, 0, 0, 3 - lengths))
    assert torch.equal(read.states[places[1]], padded)
    weights = torch.randn(shape, dtype=torch.float64)
    ours, theirs = seen.states[places[0]], here.gather(images)[wanted]
    assert torch.equal(ours, theirs)
    assert torch.equal(seen.embedding[places[0]], theirs[:, 0])
    gradients = [torch.autograd.grad((x * weights).sum(), images)[0] for x in (ours, theirs)]
    torch.testing.assert_close(*gradients)
    (seen, read), places = here.fetch(sides, (own.flip(0), torch.tensor(wanted)))
    ours, mask = read.states[places[1]], read.mask[places[1]]
    lengths_of_all = [2, 1, 3, 2, 1, 2]
    assert mask.sum(1).tolist() == [lengths_of_all[row] for row in wanted]
    ours.sum().backward()
    times = here.gather(torch.bincount(torch.tensor(wanted), minlength=6)).view(2, 6).sum(0)
    assert torch.equal(texts.grad, times[own][:, None, None].expand_as(texts).double())


def lose_the_other(rank, port, folder, stops):
    """The second process dies, or stops, with the first within the exchange of negatives."""
    place(rank, port)
    if rank:

        def vanish(*_arguments):
            os.kill(os.getpid(), signal.SIGSTOP) if stops else os._exit(0)

        torch.distributed.all_to_all_single = vanish
    try:
        with world(timedelta(seconds=3)) as here:
            fetched_rows(here)
    except R2D2Error as error:
        (folder / "said.txt").write_text(str(error))
    leave(0)


def spawn(work, *arguments, done=lambda: False):
    """`work(rank, port, ...)` in two processes, which meet at a store that this one keeps.

    Until both have ended; or `done`, where one of them never will.
    """
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    running = mp.spawn(work, (store.port, *arguments), nprocs=2, join=False)
    try:
        deadline = time.monotonic() + HANGS
        while not running.join(timeout=0.2) and not done():
            assert time.monotonic() < deadline, "the processes wait for each other"
    finally:
        for process in running.processes:
            process.kill()


def place(rank, port):
    """Tell a process who it is, as `torchrun` does."""
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port), "TORCHELASTIC_USE_AGENT_STORE": "True",
    }  # fmt: skip


def variants_of(cut):
    """Cut weights are the same code for all: six of them do."""
    return ["r2d2", "prd2", "wo_tgd", "sigmoid", "second_text", "second"] if cut else VARIANTS


def group_size_of(chunks):
    """Pairs that draw negatives from each other: all (0), or a chunk of one of two processes."""
    return 0 if chunks == 1 else len(TEXTS) // (2 * chunks)


def process(rank, port, folder):
    place(rank, port)
    with world() as here, world() as again:
        assert here == again
        assert (here.rank, here.size, here.first) == (rank, 2, rank == 0)
        assert here.local_size == 2
        with pytest.MonkeyPatch.context() as patch:  # as if each were on a machine of its own
            patch.setenv("LOCAL_WORLD_SIZE", "1")
            with world() as apart:
                assert apart.local_size == 1
        forbid_crashing_collectives()
        cut_and_whole()
        fetched_rows(here)
        for chunks, cut in WAYS:
            for variant in variants_of(cut):
                found = one_step(variant, here, chunks, group_size_of(chunks), cut=cut)
                torch.save(found, folder / f"{variant}-{chunks}-{cut}-{rank}.pt")
        said = {
            "any": [here.any(rank == 1, torch.device("cpu")), here.any(False, torch.device("cpu"))],
            "union": sorted(here.union({rank: 5, 9: 1}, torch.device("cpu")).items()),
            "share": list(here.share([1, 2, 3, 4])),
            "same": [here.same(k, torch.device("cpu")) for k in (7, rank)],
        }
        (folder / f"said-{rank}.json").write_text(json.dumps(said))
        here.wait()
    leave(0)
