"""What the alignment shows of its bounds, against looking at all texts at once."""

import base64
import json

import numpy as np

from helpers.photographs import encode, noise
from r2d2.corpus.config import AlignConfig
from r2d2.corpus.images.align import EDGES, SHOWN, AlignmentSamples, together

FILES = [encode(noise((300, 150), seed)) for seed in range(3)]


def seen(scores, config):
    found = AlignmentSamples(config)
    for start in range(0, len(scores), 5):  # five texts an image
        some = np.array(scores[start : start + 5], np.float32)
        texts = [f"text {start + n}" for n in range(len(some))]
        found.see(FILES[start % 3], texts, some)
    return found.to_dict()


def test_the_histogram_and_the_nearest_on_both_sides_of_each_bound():
    scores = np.random.default_rng(0).uniform(-0.5, 1.0, 400).astype(np.float32)
    found = seen(scores, AlignConfig(low=0.1, high=0.7))
    inner = np.histogram(scores, [-9, *EDGES[1:], 9])[0]
    assert found["counts"] == inner.tolist()
    for name, bound in (("low", 0.1), ("high", 0.7)):
        below, above = (np.flatnonzero(side) for side in (scores < bound, scores >= bound))
        near = [
            *below[np.argsort(bound - scores[below])[:SHOWN]],
            *above[np.argsort(scores[above] - bound)[:SHOWN]],
        ]
        assert {text for _, text, _ in found["nearest"][name]} == {f"text {n}" for n in near}
        shown = [score for score, _, _ in found["nearest"][name]]
        assert shown == sorted(shown)
        assert len(shown) == 2 * SHOWN
    assert base64.b64decode(found["nearest"]["low"][0][2]).startswith(b"\xff\xd8")


def test_one_bound_and_texts_on_one_side_of_it():
    found = seen([0.5, 0.6], AlignConfig(low=-1.0))
    assert [text for _, text, _ in found["nearest"]["low"]] == ["text 0", "text 1"]
    assert "high" not in found["nearest"]


def test_parts_together_show_what_all_texts_at_once_do():
    scores = np.random.default_rng(1).uniform(-0.5, 1.0, 300).astype(np.float32)
    config = AlignConfig(low=0.1, high=0.7)
    parts = []
    for start in range(0, 300, 100):
        found = AlignmentSamples(config)
        for first in range(start, start + 100, 5):
            texts = [f"text {first + n}" for n in range(5)]
            found.see(FILES[first % 3], texts, scores[first : first + 5])
        parts.append(json.loads(json.dumps(found.to_part())))
    assert together(config, parts) == seen(scores, config)
