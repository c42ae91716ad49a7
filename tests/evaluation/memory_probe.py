"""Run by test_memory.py in a process of its own: how much memory an evaluation takes at its peak.

Prints, for each size, the growth of the peak of anonymous memory in bytes. /proc/self/clear_refs
lets the peak be measured anew without another process.
"""

import sys
from pathlib import Path

import torch
from PIL import Image

from r2d2.evaluation.dataset import EvaluationSet
from r2d2.evaluation.evaluate import evaluate
from r2d2.evaluation.settings import EvaluationSettings, RankingSettings
from r2d2.model.encoded_states import EncodedStates

WIDTH, POSITIONS, DIM = 48, 17, 32


class Random:
    """Unit vectors and hidden states from nothing; a match score that costs nothing."""

    has_match = True

    def __init__(self):
        self.generator = torch.Generator().manual_seed(0)

    def side(self, count):
        embedding = torch.randn(count, DIM, generator=self.generator)
        states = torch.randn(count, POSITIONS, WIDTH, generator=self.generator)
        return EncodedStates(states, None, torch.nn.functional.normalize(embedding, dim=1))

    def encode_images(self, images):
        return self.side(len(images))

    def encode_texts(self, texts):
        return self.side(len(texts))

    def match(self, images, texts):
        return (images.states[:, 0, 0] * texts.states[:, 0, 0]).sigmoid()


def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def peak(images, texts, block_cells):
    """Growth of the peak over what the process held before, in bytes."""
    blank = Image.new("RGB", (1, 1))
    data = EvaluationSet(
        [str(i) for i in range(images)], ["test"] * images, [f"第{t}句" for t in range(texts)],
        [t % images for t in range(texts)], lambda positions: [blank] * len(positions),
    )  # fmt: skip
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    ranking = RankingSettings(top_k=4, weight=0.5, full=(), block_cells=block_cells, matching=False)
    evaluate(Random(), data, EvaluationSettings(batch_size=64, splits=("test",)), ranking)
    return status("VmHWM") - before


if __name__ == "__main__":
    torch.set_num_threads(1)
    shrink = int(sys.argv[1])
    small = 1 << 18
    whole = 1 << 40
    images, texts = 100_000 // shrink, 500_000 // shrink
    peak(64, 128, small)  # what the first call leaves behind
    print(peak(images // 4, texts // 4, small), peak(images, texts, small), end=" ")
    print(peak(images, texts, whole))
