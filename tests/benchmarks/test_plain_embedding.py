"""Both ways of embedding pictures lead to the same vectors."""

import pytest
import torch

from benchmarks.speed.embedding import make_sides, photograph


@pytest.mark.parametrize(("kind", "least"), [("PNG", 0.999999), ("JPEG", 0.999)])
def test_vectors_agree(tmp_path, kind, least):
    # A JPEG may differ by the rounding of the fast decoder and resize, a grey level at most.
    sides = make_sides("toy", tmp_path, lambda n: photograph(n, (200, 150), kind))
    sides.ours()
    plain, ours = sides.plain(), sides.vectors()
    assert plain.shape == ours.shape == (len(sides.files), 24)
    assert float((plain * ours).sum(1).min()) > least
    if kind == "PNG":
        assert torch.allclose(plain, ours, atol=1e-4)
    assert float((plain @ plain.T).min()) < 0.99  # vectors that differ
