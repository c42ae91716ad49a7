"""FG-CLIP 2's layout, made small: read as SigLIP 2 for short texts and for long ones.

Written from its published code; the published weights were not at hand.
"""

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

import r2d2
from helpers.cli import refused
from helpers.small_hf_models import IMAGE, KEEP, LENGTH, LONG, PATCH, save_fgclip2
from r2d2.weights.towers import TowerOptions, import_towers

TEXTS = ["红色方块", "第3张图", "一个黑色的横条照片", "白"]


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A folder in its layout, SigLIP 2's model of the same weights, and all tensors."""
    folder = tmp_path_factory.mktemp("fgclip2")
    return folder, *save_fgclip2(folder)


def padded(model, texts, length):
    ids, _ = model.tokenizer(texts)
    return F.pad(ids, (0, length - ids.shape[1]), value=0)


def long_features(model, tensors, ids):
    """The long walk of its published code, step by step."""
    first = (torch.arange(LONG) < KEEP).float()[:, None]
    name = "text_model.embeddings.position_embedding"
    places = tensors[f"{name}_ori.weight"] * first + tensors[f"{name}_res.weight"] * (1 - first)
    text = model.text_model
    states = text.embeddings.token_embedding(ids) + places
    states = text.final_layer_norm(text.encoder(inputs_embeds=states).last_hidden_state)
    return F.linear(states[:, -1], tensors["longtext_head.weight"], tensors["longtext_head.bias"])


def test_short_texts_and_pictures_are_siglip2s(published, tmp_path):
    folder, theirs, tensors = published
    report = import_towers(folder, tmp_path / "ours", TowerOptions(cross_layers=1))
    ours = r2d2.load(tmp_path / "ours", "cpu")
    assert ours.tokenizer.pad_id == 0  # by tokenizer_config.json: config.json says another
    assert ours.tokenizer._engine.normalizer.normalize_str("一张 ABC") == "一张abc"
    with torch.no_grad():
        ids = padded(ours, TEXTS, LENGTH)
        expected = theirs.get_text_features(input_ids=ids).pooler_output
        found = ours.encode_texts(TEXTS).embedding
        assert torch.allclose(F.normalize(expected, dim=-1), found, atol=1e-5)
        side = IMAGE // PATCH
        x = torch.randn(2, 3, IMAGE, IMAGE)
        rows = x.view(2, 3, side, PATCH, side, PATCH).permute(0, 2, 4, 3, 5, 1)
        expected = theirs.get_image_features(
            pixel_values=rows.reshape(2, side * side, -1),
            pixel_attention_mask=torch.ones(2, side * side, dtype=torch.long),
            spatial_shapes=torch.full((2, 2), side),
        ).pooler_output
        towers = ours.model.towers
        pooled = towers.family.read_images(towers.vision, x, towers._choice)[1]
        assert torch.allclose(expected, pooled, atol=1e-5)
    (one,) = report.sources
    used = {name for made in one.used for name in made.theirs}
    assert used | set(one.unused) == set(tensors)
    assert not used & set(one.unused)
    assert {name.split(".")[0] for name in one.unused} == {
        "longtext_head", "boxtext_head", "dense_feature_head", "text_model",
    }  # fmt: skip


def test_long_texts_have_their_own_places_and_head(published, tmp_path):
    folder, theirs, tensors = published
    report = import_towers(folder, tmp_path / "ours", TowerOptions(cross_layers=1, max_length=LONG))
    ours = r2d2.load(tmp_path / "ours", "cpu")
    assert ours.tokenizer.max_length == LONG
    texts = [*TEXTS, "一张红色方块照片第3张图" + "白" * 30]
    with torch.no_grad():
        ids = padded(ours, texts, LONG)
        expected = F.normalize(long_features(theirs, tensors, ids), dim=-1)
        assert torch.allclose(expected, ours.encode_texts(texts).embedding, atol=1e-5)
    (one,) = report.sources
    used = {name for made in one.used for name in made.theirs}
    assert used | set(one.unused) == set(tensors)
    assert {"longtext_head.weight", "text_model.embeddings.position_embedding_res.weight"} <= used
    assert {"text_model.head.weight", "text_model.embeddings.position_embedding.weight"} <= set(
        one.unused
    )


@torch.no_grad()
def test_it_is_measured_as_a_dual_encoder(published):
    folder, theirs, tensors = published
    short, long = r2d2.load(folder), r2d2.load(folder, text_length=LONG)
    ids = padded(short, TEXTS, LENGTH)
    expected = F.normalize(theirs.get_text_features(input_ids=ids).pooler_output, dim=-1)
    assert torch.allclose(expected, short.encode_texts(TEXTS).embedding.cpu(), atol=1e-5)
    expected = F.normalize(long_features(theirs, tensors, F.pad(ids, (0, LONG - LENGTH))), dim=-1)
    assert torch.allclose(expected, long.encode_texts(TEXTS).embedding.cpu(), atol=1e-5)


def test_what_does_not_fit_is_refused(published, tmp_path):
    folder, _, tensors = published
    assert f"{LENGTH} places, or of {LONG}" in refused(
        import_towers, folder, tmp_path / "x", TowerOptions(max_length=LONG - 1)
    )
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    less = {name: t for name, t in tensors.items() if not name.startswith("longtext")}
    save_file(less, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert "longtext_head.weight" in refused(
        import_towers, tmp_path, tmp_path / "x", TowerOptions(max_length=LONG)
    )
    places = "text_model.embeddings.position_embedding_res.weight"
    save_file(tensors | {places: torch.zeros(7, 48)}, tmp_path / "model.safetensors")
    assert "another model's" in refused(
        import_towers, tmp_path, tmp_path / "x", TowerOptions(max_length=LONG)
    )
    assert not (tmp_path / "x").exists()
