"""Pictures of any aspect: SigLIP 2's own processor and model give the same."""

import dataclasses
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from transformers.models.siglip2.image_processing_pil_siglip2 import Siglip2ImageProcessorPil

import r2d2
from helpers.cli import refused
from helpers.runs import small_table
from helpers.small_hf_models import PATCH, save_fgclip2, save_hf
from r2d2.data.preprocessing import Preprocessing
from r2d2.index.build import build_index
from r2d2.models import load_network
from r2d2.search.searcher import Searcher
from r2d2.training.start import find_start

SIZES = [(40, 40), (64, 20), (13, 90), (500, 333), (6, 6), (1, 1), (2, 300), (97, 31)]  # w, h
LIMIT = 20


def pictures(sizes=SIZES):
    noise = np.random.default_rng(0)
    return [Image.fromarray(noise.integers(0, 256, (h, w, 3)).astype(np.uint8)) for w, h in sizes]


def processor(limit=LIMIT):
    return Siglip2ImageProcessorPil(patch_size=PATCH, max_num_patches=limit)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Their model, its folder with a processor of at most LIMIT patches."""
    folder = tmp_path_factory.mktemp("flexible")
    theirs = save_hf(folder, "siglip2")
    (folder / "preprocessor_config.json").write_text(
        json.dumps(processor().to_dict()), encoding="utf-8"
    )
    return theirs, folder


@torch.no_grad()
def test_embeddings_are_those_of_their_processor_and_model(both):
    theirs, folder = both
    ours = r2d2.load(folder, "cpu")
    together = ours.encode_images(pictures()).embedding
    for number, picture in enumerate(pictures()):
        inputs = processor()(images=picture, return_tensors="pt")
        expected = F.normalize(theirs.get_image_features(**inputs).pooler_output, dim=-1)[0]
        rows, columns = inputs["spatial_shapes"][0].tolist()
        assert ours.prepare(picture).shape == (rows * PATCH, columns * PATCH, 3)
        alone = ours.encode_images([picture]).embedding[0]
        assert torch.allclose(alone, expected, atol=1e-5), picture.size
        assert torch.allclose(together[number], expected, atol=1e-5), picture.size


def test_the_aspect_makes_a_difference_and_padding_none(both):
    ours = r2d2.load(both[1], "cpu")
    wide = pictures([(64, 20)])[0]
    square = Image.fromarray(ours.preprocessing.square()(wide))
    found = ours.encode_images([wide, square])
    assert not torch.allclose(found.embedding[0], found.embedding[1], atol=1e-2)
    assert found.mask.sum(1).tolist() == [1 + 2 * 7, 1 + 16]


@pytest.mark.parametrize("size", [(w, h) for w in (5, 16, 31, 224, 640) for h in (7, 48, 480)])
@pytest.mark.parametrize("limit", [1, 20, 256])
def test_sizes_are_those_of_their_processor(size, limit):
    ours = Preprocessing(24, None, Image.Resampling.BILINEAR.value, 16, (limit,))
    picture = Image.new("RGB", size)
    theirs = Siglip2ImageProcessorPil(patch_size=16, max_num_patches=limit)
    rows, columns = theirs(images=picture, return_tensors="np")["spatial_shapes"][0]
    assert ours(picture).shape == (16 * rows, 16 * columns, 3)


@pytest.mark.parametrize(
    ("size", "limit"),
    [((64, 64), 128), ((200, 180), 256), ((400, 300), 576), ((440, 440), 784), ((2000, 900), 1024)],
)
def test_fgclip2_chooses_by_the_patches_of_the_picture(size, limit, tmp_path):
    save_fgclip2(tmp_path)
    own = r2d2.load(tmp_path, "cpu").preprocessing
    assert (own.patch, own.patches) == (PATCH, (128, 256, 576, 784, 1024))
    own = dataclasses.replace(own, patch=16)  # as the published models have it
    theirs = Siglip2ImageProcessorPil(patch_size=16, max_num_patches=limit)
    picture = Image.new("RGB", size)
    rows, columns = theirs(images=picture, return_tensors="np")["spatial_shapes"][0]
    assert own(picture).shape == (16 * rows, 16 * columns, 3)


def test_it_is_saved_indexed_and_searched_so(both, tmp_path):
    ours = r2d2.load(both[1], "cpu")
    ours.save(tmp_path / "saved")
    again = r2d2.load(tmp_path / "saved", "cpu")
    assert again.preprocessing == ours.preprocessing
    assert torch.equal(
        again.encode_images(pictures()).embedding, ours.encode_images(pictures()).embedding
    )
    assert again.fingerprint == ours.fingerprint
    table = small_table(tmp_path / "pairs.lance", rows=6)
    assert build_index(table, both[1]).vectors == 18
    searcher = Searcher.open(table, both[1], "cpu")
    assert searcher.search(pictures()[1], k=2, target="images").hits


def test_exports_are_of_squares(both):
    assert load_network(both[1], "export", "cpu").preprocessing.patch is None
    assert load_network(both[1], "fine-tune", "cpu").preprocessing.patch == PATCH


def test_training_on_squares_is_told(both, tmp_path, caplog):
    find_start(tmp_path / "run", both[1], resume=False).open(tmp_path / "run")
    (record,) = [r for r in caplog.records if r.levelname == "WARNING"]
    said = record.getMessage()
    assert "keeps the aspect of pictures and resizes by bilinear" in said
    assert "squeezed to squares of 24 pixels" in said
    caplog.clear()
    load_network(both[1], "export", "cpu").save(tmp_path / "squares")  # bilinear, saved with it
    find_start(tmp_path / "run", tmp_path / "squares", resume=False).open(tmp_path / "run")
    assert "keeps the aspect" not in caplog.text
    assert "resizes by bilinear" in caplog.text


def test_a_processor_of_another_model_is_refused(both):
    assert "patches of 16 pixels" in refused(Preprocessing.flexible, {"patch_size": 16}, 24, 6)
    said = refused(Preprocessing.flexible, {"max_num_patches": 0}, 24, 6)
    assert "no count" in said
