"""What was stored is what was encoded."""

import tempfile

import pytest
import torch

from r2d2.evaluation.states import StateStore
from r2d2.model.encoded_states import EncodedStates


def some_side(seed, count, longest, padded=True):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, longest + 1, (count,), generator=generator)
    mask = torch.arange(longest) < lengths[:, None]
    draw = torch.randn(count, longest, 6, generator=generator)
    embedding = torch.randn(count, 4, generator=generator)
    return EncodedStates(draw, mask if padded else None, embedding)


@pytest.mark.parametrize("padded", [True, False])
def test_any_items_come_back_in_any_order(padded):
    parts = [some_side(0, 5, 4, padded), some_side(1, 3, 7, padded), some_side(2, 1, 2, padded)]
    whole = EncodedStates.cat(parts)
    stored = StateStore(states=True)
    for part in parts:
        stored.add(part)
    stored.done()
    assert len(stored) == 9
    assert torch.equal(stored.embedding, whole.embedding)
    assert stored.length.tolist() == whole.real().sum(dim=1).tolist()
    for index in ([8], [3, 3, 0], [2, 7, 5, 2, 1, 8], list(range(9))):
        index = torch.tensor(index)
        found, wanted = stored.take(index), whole[index]
        longest = int(wanted.real().sum(dim=1).max())
        assert found.states.shape[1] == longest
        assert torch.equal(found.real(), wanted.real()[:, :longest])
        real = found.real()
        assert torch.equal(found.states[real], wanted.states[:, :longest][real])
        assert torch.equal(found.embedding, wanted.embedding)


def test_half_precision_is_as_near_as_it_can_be():
    side = some_side(0, 4, 5, padded=False)
    stored = StateStore(states=True, precision="float16")
    stored.add(side)
    stored.done()
    assert torch.equal(stored.take(torch.arange(4)).states, side.states.half().float())


def test_a_full_disk_is_one_clear_line(monkeypatch):
    from pathlib import Path

    from r2d2.errors import R2D2Error

    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    full = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: full)
    stored = StateStore(states=True)
    with pytest.raises(R2D2Error, match=r"hidden states .*No space left .*TMPDIR"):
        stored.add(some_side(0, 2, 3))


def test_without_states_only_embeddings_are_kept():
    stored = StateStore(states=False)
    stored.add(EncodedStates(torch.zeros(2, 1, 0), None, torch.ones(2, 3)))
    stored.done()
    assert stored.embedding.shape == (2, 3)
