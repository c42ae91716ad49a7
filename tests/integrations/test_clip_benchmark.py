"""The loader keeps to the protocol of CLIP_benchmark; its figures are those of `r2d2 evaluate`."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import DataLoader

import r2d2
from helpers.cli import refused
from helpers.named_models import write_model
from helpers.pictures import picture
from helpers.published_weights import save_small
from r2d2.evaluation.dataset import EvaluationSet
from r2d2.evaluation.evaluate import evaluate
from r2d2.evaluation.settings import EvaluationSettings, RankingSettings
from r2d2.integrations.clip_benchmark import load_r2d2, register

# Of characters that all vocabularies here have: texts equal to a model would be a tie.
PAIRS = [
    (picture(n), [first + "".join("红色"[n >> bit & 1] for bit in range(4)) for first in "一个"])
    for n in range(12)
]


def recalls(model, loader, tokenizer, k):
    """Retrieval as the benchmark does it: texts in batches, scores, and the best k of each row."""
    images, texts, owner = [], [], []
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        for pixels, captions in loader:
            first = sum(map(len, images))
            images.append(
                torch.nn.functional.normalize(model.encode_image(pixels.to("cpu")), dim=-1)
            )
            tokens = tokenizer([text for some in captions for text in some]).to("cpu")
            texts.append(torch.nn.functional.normalize(model.encode_text(tokens), dim=-1))
            owner += [first + n for n, some in enumerate(captions) for _ in some]
    scores = torch.cat(texts) @ torch.cat(images).T
    right = torch.zeros_like(scores, dtype=torch.bool)
    right[torch.arange(len(owner)), owner] = True
    found = []
    for table, positives in ((scores, right), (scores.T, right.T)):
        best = table.topk(k, dim=1).indices
        found.append(100 * float(positives.gather(1, best).any(1).float().mean()))
    return found


def collate(batch):
    return torch.stack([pixels for pixels, _ in batch]), [texts for _, texts in batch]


@pytest.mark.parametrize("kind", ["ours", "chinese_clip", "siglip"])
def test_figures_are_those_of_evaluate(kind, tmp_path):
    source = tmp_path / kind
    if kind == "ours":
        save_small(source)
    else:
        write_model(kind, source)
    models = SimpleNamespace(TYPE2FUNC={}, MODEL_TYPES=["open_clip"])
    register(models)
    register(models)
    assert models.MODEL_TYPES == ["open_clip", "r2d2"]
    model, transform, tokenizer = models.TYPE2FUNC["r2d2"](
        model_name="r2d2", pretrained=str(source), cache_dir=None, device="cpu"
    )
    rows = [(transform(shown), texts) for shown, texts in PAIRS]
    loader = DataLoader(rows, batch_size=5, collate_fn=collate)
    t2i, i2t = recalls(model, loader, tokenizer, 5)
    ours = r2d2.load(source, "cpu")
    side = ours.encode_images([shown for shown, _ in PAIRS])
    with torch.no_grad():
        found = model.encode_image(torch.stack([pixels for pixels, _ in rows]))
    torch.testing.assert_close(found, side.embedding, atol=1e-6, rtol=0)
    texts = [(text, n) for n, (_, some) in enumerate(PAIRS) for text in some]
    data = EvaluationSet(
        [f"i{n}" for n in range(len(PAIRS))], ["test"] * len(PAIRS),
        [text for text, _ in texts], [n for _, n in texts],
        lambda positions: [PAIRS[p][0] for p in positions],
    )  # fmt: skip
    metrics = evaluate(
        ours, data, EvaluationSettings(splits=("test",)), RankingSettings(weight=0.0, full=())
    ).metrics["test"]
    expected = metrics["published"]["prerank"]
    assert (t2i, i2t) == pytest.approx((expected["t2i_r5"], expected["i2t_r5"]), abs=1e-4)


def test_what_is_no_network_is_refused(tmp_path):
    assert "--pretrained" in refused(load_r2d2)
    assert "ONNX" in refused(load_r2d2, pretrained=str(write_model("onnx_pair", tmp_path)))


def test_without_the_benchmark_the_command_says_what_to_install():
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.modules['clip_benchmark'] = None\n"
         "from r2d2.integrations.clip_benchmark import main; sys.exit(main())"],
        capture_output=True, text=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "pip install clip-benchmark" in line
