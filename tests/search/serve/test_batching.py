"""The queue before the model: batches, bounds, failures, closing."""

import asyncio
import threading

import pytest

from r2d2.search.serve.model_thread import Batcher, Busy

LONG = 60.0


class Model:
    """Runs when it is let."""

    def __init__(self, fails=()):
        self.batches = []
        self.let = threading.Event()
        self.begun = threading.Event()
        self.fails = fails

    def run(self, jobs):
        self.begun.set()
        assert self.let.wait(LONG)
        self.batches.append(list(jobs))
        if set(self.fails) & set(jobs):
            raise ValueError("a bad one")
        return [job * 10 for job in jobs]


def play(scene, **settings):
    model = settings.pop("model", None) or Model()
    batcher = Batcher(model.run, **settings)
    try:
        return asyncio.run(scene(model, batcher)), model
    finally:
        model.let.set()
        batcher.close()


async def started(batcher, model, jobs):
    """The first in the model, the others waiting behind it."""
    tasks = [asyncio.create_task(batcher.submit(jobs[0], LONG))]
    await asyncio.to_thread(model.begun.wait, LONG)
    for job in jobs[1:]:
        tasks.append(asyncio.create_task(batcher.submit(job, LONG)))
        await asyncio.sleep(0)
    return tasks


def test_what_waits_goes_together_and_each_gets_its_own():
    async def scene(model, batcher):
        tasks = await started(batcher, model, list(range(8)))
        model.let.set()
        return await asyncio.gather(*tasks)

    found, model = play(scene, max_batch=4)
    assert found == [n * 10 for n in range(8)]
    assert model.batches == [[0], [1, 2, 3, 4], [5, 6, 7]]


def test_a_full_queue_refuses_at_once_and_the_others_are_answered():
    async def scene(model, batcher):
        tasks = await started(batcher, model, [0, 1, 2])
        assert batcher.waiting == 2
        with pytest.raises(Busy):
            await batcher.submit(3, LONG)
        model.let.set()
        return await asyncio.gather(*tasks)

    found, _ = play(scene, max_queue=2)
    assert found == [0, 10, 20]


def test_a_failure_is_only_its_own():
    async def scene(model, batcher):
        tasks = await started(batcher, model, [0, 1, 2, 3])
        model.let.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    found, _ = play(scene, model=Model(fails={2}))
    assert [*found[:2], found[3]] == [0, 10, 30]
    assert isinstance(found[2], ValueError)


def test_who_does_not_wait_any_more_is_not_worked_for():
    async def scene(model, batcher):
        tasks = await started(batcher, model, [0, 1])
        with pytest.raises(Busy):
            await batcher.submit(2, 0.01)
        tasks[1].cancel()
        await asyncio.sleep(0)
        model.let.set()
        return await tasks[0]

    found, model = play(scene)
    assert found == 0
    assert model.batches == [[0]]


def test_closing_ends_the_batch_in_hand_and_refuses_the_rest():
    async def scene(model, batcher):
        tasks = await started(batcher, model, [0, 1])
        closing = asyncio.create_task(asyncio.to_thread(batcher.close))
        with pytest.raises(Busy):
            await tasks[1]
        model.let.set()
        await closing
        with pytest.raises(Busy):
            await batcher.submit(2, LONG)
        return await tasks[0]

    found, model = play(scene)
    assert (found, model.batches) == (0, [[0]])
