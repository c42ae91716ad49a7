"""Our encoders against transformers', through a folder that its save_pretrained wrote."""

import json

import pytest
import torch
import torch.nn.functional as F

from helpers.published_weights import (
    EMBED,
    HEADS,
    IMAGE,
    LAYERS,
    PATCH,
    POSITIONS,
    VOCAB,
    WIDTH,
    batch,
    save_small,
    spread,
    write_vocab,
)
from r2d2.config import ModelConfig
from r2d2.models import load
from r2d2.tokenizer import SPECIAL_TOKENS
from r2d2.weights.exporting import export_weights
from r2d2.weights.importing import import_weights
from r2d2.weights.layout import ImportOptions
from r2d2.weights.towers import TowerOptions, import_towers

transformers = pytest.importorskip(
    "transformers", reason="transformers is not installed: pip install transformers"
)

SIZES = {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS}
TEXT = {**SIZES, "intermediate_size": 128, "vocab_size": VOCAB}
TEXT["max_position_embeddings"] = POSITIONS
VISION = {**SIZES, "intermediate_size": 128, "image_size": IMAGE, "patch_size": PATCH}
VISION["projection_dim"] = EMBED
FRESH = ModelConfig(cross_layers=2, embed_dim=EMBED)


def bert(kind="BertModel", **changes):
    config = transformers.BertConfig(**{**TEXT, **changes})
    return spread(getattr(transformers, kind)(config))


def clip(kind="CLIPVisionModelWithProjection", **changes):
    config = transformers.CLIPVisionConfig(**{**VISION, **changes})
    return spread(getattr(transformers, kind)(config))


def chinese_clip(text=(), vision=()):
    config = transformers.ChineseCLIPConfig(
        text_config={**TEXT, **dict(text)},
        vision_config={**VISION, **dict(vision)},
        projection_dim=EMBED,
    )
    model = spread(transformers.ChineseCLIPModel(config))
    model.logit_scale.data.fill_(3.7)
    return model


def imported(theirs, folder, **wishes):
    """Save theirs with a vocabulary, import it, load it, in double precision."""
    theirs.save_pretrained(folder / "theirs")
    vocab = write_vocab(folder / "theirs")
    report = import_weights(
        folder / "theirs", folder / "ours", ImportOptions(vocab=vocab, **{"fresh": FRESH, **wishes})
    )
    return load(folder / "ours", device="cpu").model.double(), theirs.double(), report


def close(ours, theirs):
    assert theirs.std() > 0.05
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"hidden_act": "gelu_new", "layer_norm_eps": 1e-3, "intermediate_size": 48},
        {"hidden_act": "relu", "num_attention_heads": 4},
    ],
)
@torch.no_grad()
def test_bert(tmp_path, changes):
    model, theirs, report = imported(bert(**changes), tmp_path)
    ids, mask, _ = batch()
    expected = theirs(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    close(model.towers.text(ids, mask)[mask], expected[mask])
    assert model.config.text.max_length == 64  # of 80
    (source,) = report.sources
    assert set(source.unused) == {"pooler.dense.weight", "pooler.dense.bias"}
    assert "towers.text_projection.weight" in report.fresh


@torch.no_grad()
def test_bert_for_masked_words(tmp_path):
    theirs = bert("BertForPreTraining", hidden_act="relu", layer_norm_eps=1e-4)
    model, theirs, report = imported(theirs, tmp_path)
    ids, mask, _ = batch()
    expected = theirs(input_ids=ids, attention_mask=mask.long()).prediction_logits
    states = model.towers.text(ids, mask)[mask]
    close(model.mlm_head(states, model.towers.token_embedding), expected[mask])
    assert "cls.seq_relationship.weight" in report.sources[0].unused
    assert not [name for name in report.fresh if name.startswith("mlm_head")]


@torch.no_grad()
def test_clip_vision_tower(tmp_path):
    model, theirs, report = imported(clip("CLIPVisionModel"), tmp_path)
    pixels = batch()[2]
    close(model.towers.vision(pixels), theirs(pixel_values=pixels).last_hidden_state)
    assert set(report.sources[0].unused) == {"post_layernorm.weight", "post_layernorm.bias"}
    assert model.config.projection_bias
    assert not model.config.vision.pooled_norm


@pytest.mark.parametrize(
    "changes", [{}, {"hidden_act": "gelu", "layer_norm_eps": 1e-3, "intermediate_size": 48}]
)
@torch.no_grad()
def test_clip_vision_tower_with_its_projection(tmp_path, changes):
    model, theirs, report = imported(clip(**changes), tmp_path, keep_projection=True)
    pixels = batch()[2]
    out = theirs(pixel_values=pixels)
    side = model.encode_images(pixels)
    close(side.states, out.last_hidden_state)
    close(side.embedding, F.normalize(out.image_embeds, dim=-1))
    assert not report.sources[0].unused


@torch.no_grad()
def test_clip_with_both_encoders_gives_its_vision_tower(tmp_path):
    config = transformers.CLIPConfig(
        text_config={**SIZES, "vocab_size": VOCAB, "bos_token_id": 0, "eos_token_id": 1},
        vision_config=VISION,
        projection_dim=EMBED,
    )
    model, theirs, report = imported(spread(transformers.CLIPModel(config)), tmp_path)
    pixels = batch()[2]
    close(model.towers.vision(pixels), theirs.vision_model(pixel_values=pixels).last_hidden_state)
    unused = report.sources[0].unused
    assert "no BERT" in unused["text_model.final_layer_norm.weight"]
    assert {"logit_scale", "text_projection.weight", "visual_projection.weight"} <= set(unused)


@pytest.mark.parametrize(
    ("text", "vision"),
    [({}, {}), ({"hidden_act": "gelu_new"}, {"hidden_act": "gelu", "layer_norm_eps": 1e-3})],
)
@torch.no_grad()
def test_chinese_clip(tmp_path, text, vision):
    model, theirs, report = imported(chinese_clip(text, vision), tmp_path)
    ids, mask, pixels = batch()
    out = theirs(input_ids=ids, attention_mask=mask.long(), pixel_values=pixels)
    images, texts = model.encode_images(pixels), model.encode_texts(ids, mask)
    close(images.embedding, out.image_embeds)
    close(texts.embedding, out.text_embeds)
    close(images.embedding @ texts.embedding.T / model.temperature, out.logits_per_image)
    assert not report.fresh
    assert not report.sources[0].unused
    assert not model.has_match


def test_chinese_clips_own_towers_read_texts_as_its_own_code(tmp_path):
    chinese_clip().save_pretrained(tmp_path / "theirs")
    vocab = tmp_path / "theirs" / "vocab.txt"
    vocab.write_text("\n".join([*SPECIAL_TOKENS, "a", "##a", *"bcdef"]), encoding="utf-8")
    import_towers(tmp_path / "theirs", tmp_path / "ours", TowerOptions(cross_layers=0))
    tokenizer = load(tmp_path / "ours", device="cpu").tokenizer
    assert tokenizer(["a " * 99])[0].shape == (1, 52)  # of 80 places
    assert tokenizer.uncut(["a" * 200]) == [["a"] + ["##a"] * 199]
    assert tokenizer.uncut(["a" * 201]) == [["[UNK]"]]


@torch.no_grad()
def test_another_resolution_equals_their_interpolation(tmp_path):
    model, theirs, report = imported(chinese_clip(), tmp_path, image_size=42)
    pixels = torch.randn(2, 3, 42, 42, dtype=torch.float64)
    out = theirs.get_image_features(pixel_values=pixels, interpolate_pos_encoding=True)
    close(model.encode_images(pixels).embedding, F.normalize(out.pooler_output, dim=-1))
    how = {used.ours: used.how for used in report.sources[0].used}
    assert "7 x 7" in how["towers.vision.position_embedding"]


@torch.no_grad()
def test_two_towers_and_fresh_parts(tmp_path):
    text, vision = bert("BertForMaskedLM"), clip("CLIPVisionModel", hidden_size=48)
    text.save_pretrained(tmp_path / "roberta")
    vision.save_pretrained(tmp_path / "clip")
    write_vocab(tmp_path / "roberta")
    sources = [tmp_path / "roberta", tmp_path / "clip"]
    report = import_weights(sources, tmp_path / "ours", ImportOptions(fresh=FRESH, seed=3))
    model = load(tmp_path / "ours", device="cpu").model.double()
    ids, mask, pixels = batch()
    expected = text.double().bert(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    close(model.towers.text(ids, mask)[mask], expected[mask])
    close(model.towers.vision(pixels), vision.double()(pixel_values=pixels).last_hidden_state)
    assert model.config.cross_layers == 2
    stems = {name.split(".")[0] for name in report.fresh}
    assert {"text_to_image", "image_to_text", "match_head_text", "log_temperature"} <= stems
    assert "mlm_head" not in stems
    again = import_weights(sources, tmp_path / "again", ImportOptions(fresh=FRESH, seed=3))
    other = import_weights(sources, tmp_path / "other", ImportOptions(fresh=FRESH, seed=4))
    name = "image_cross_projection.weight"
    assert name in again.fresh
    weights = [
        load(tmp_path / where, device="cpu").model.state_dict()[name]
        for where in ("ours", "again", "other")
    ]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert other.config == again.config


@torch.no_grad()
def test_transformers_reads_what_we_export(tmp_path):
    towers = {"vision": {"pooled_norm": True}, "projection_bias": False}
    model = save_small(tmp_path / "ours", **towers).double()
    ids, mask, pixels = batch()
    images, texts = model.encode_images(pixels), model.encode_texts(ids, mask)

    export_weights(load(tmp_path / "ours"), "chinese_clip", tmp_path / "chinese_clip")
    theirs, info = transformers.ChineseCLIPModel.from_pretrained(
        tmp_path / "chinese_clip", output_loading_info=True, dtype=torch.float64
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    out = theirs(input_ids=ids, attention_mask=mask.long(), pixel_values=pixels)
    close(out.image_embeds, images.embedding)
    close(out.text_embeds, texts.embedding)

    export_weights(load(tmp_path / "ours"), "clip", tmp_path / "clip")
    theirs, info = transformers.CLIPVisionModelWithProjection.from_pretrained(
        tmp_path / "clip", output_loading_info=True, dtype=torch.float64
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    close(F.normalize(theirs(pixel_values=pixels).image_embeds, dim=-1), images.embedding)

    export_weights(load(tmp_path / "ours"), "bert", tmp_path / "bert")
    theirs, info = transformers.BertForMaskedLM.from_pretrained(
        tmp_path / "bert", output_loading_info=True, dtype=torch.float64
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    logits = theirs(input_ids=ids, attention_mask=mask.long()).logits
    close(model.mlm_head(texts.states[mask], model.towers.token_embedding), logits[mask])
    tokenizer = transformers.BertTokenizerFast.from_pretrained(tmp_path / "bert")
    ours = load(tmp_path / "ours", device="cpu").tokenizer
    sentence = "一个ABC男孩??"
    assert tokenizer(sentence)["input_ids"] == ours([sentence])[0][0].tolist()


@torch.no_grad()
def test_a_tower_without_pooled_norm_is_a_plain_clip_vision_model(tmp_path):
    model = save_small(tmp_path / "ours").double()
    report = export_weights(load(tmp_path / "ours"), "clip", tmp_path / "clip")
    assert "last_hidden_state" in report.notes[0]
    theirs, info = transformers.CLIPVisionModel.from_pretrained(
        tmp_path / "clip", output_loading_info=True, dtype=torch.float64
    )
    assert {name.split(".")[0] for name in info["missing_keys"]} == {"post_layernorm"}
    assert not info["unexpected_keys"]
    pixels = batch()[2]
    close(theirs(pixel_values=pixels).last_hidden_state, model.towers.vision(pixels))


def test_a_config_of_another_model_is_refused(tmp_path):
    bert().save_pretrained(tmp_path / "theirs")
    write_vocab(tmp_path / "theirs")
    config = json.loads((tmp_path / "theirs/config.json").read_text())
    for change, words in (
        ({"hidden_size": 64}, "hidden_size is 64 in config.json and 32"),
        ({"hidden_act": "silu"}, "silu"),
        ({"model_type": "ernie"}, "ernie"),
        ({"position_embedding_type": "relative_key"}, "relative_key"),
        ({"num_attention_heads": "2"}, "not a number"),
    ):
        (tmp_path / "theirs/config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(Exception, match=words) as error:
            import_weights(tmp_path / "theirs", tmp_path / "ours", ImportOptions(fresh=FRESH))
        assert type(error.value).__name__ == "R2D2Error"
        assert not (tmp_path / "ours").exists()
