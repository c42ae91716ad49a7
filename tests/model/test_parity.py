"""Our towers against Hugging Face's, weight by weight, on random weights and input."""

import pytest
import torch
from torch import nn

from r2d2.config import TextConfig, VisionConfig
from r2d2.model.bert import Bert
from r2d2.model.vit import ViT

REASON = "transformers is not installed: pip install transformers"


def spread(module):
    for name, p in module.named_parameters():
        nn.init.normal_(p, std=0.1)
        if "norm" in name.lower() and name.endswith("weight"):
            p.data.add_(1.0)
    return module.double().eval()


def copy(ours, theirs):
    """Fill `ours` from {name: weight} and see that every weight of ours is filled."""
    state = ours.state_dict()
    assert theirs.keys() == state.keys()
    for name, value in theirs.items():
        assert value.shape == state[name].shape, name
    ours.load_state_dict(theirs)
    return ours.double().eval()


def joined(state, prefix, query, key, value, out):
    """Our attention's weights from separate query, key and value maps."""
    return {
        f"{to}.{end}": torch.cat([state[f"{prefix}{name}.{end}"] for name in names])
        for to, names in (("query", [query]), ("key_value", [key, value]), ("out", [out]))
        for end in ("weight", "bias")
    }


def both(state, theirs, ours):
    return {f"{ours}.{end}": state[f"{theirs}.{end}"] for end in ("weight", "bias")}


def test_bert_equals_bert_model():
    transformers = pytest.importorskip("transformers", reason=REASON)
    config = transformers.BertConfig(
        vocab_size=50,
        hidden_size=24,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=96,
        max_position_embeddings=16,
    )
    theirs = spread(transformers.BertModel(config, add_pooling_layer=False))
    state = theirs.state_dict()
    weights = {
        "token_embedding.weight": state["embeddings.word_embeddings.weight"],
        "position_embedding": state["embeddings.position_embeddings.weight"],
        "segment_embedding": state["embeddings.token_type_embeddings.weight"][0],
        **both(state, "embeddings.LayerNorm", "input_norm"),
    }
    for i in range(3):
        there = f"encoder.layer.{i}."
        parts = joined(
            state, there + "attention.", "self.query", "self.key", "self.value", "output.dense"
        )
        weights |= {f"layers.{i}.attention.{name}": value for name, value in parts.items()}
        weights |= both(state, there + "attention.output.LayerNorm", f"layers.{i}.attention_norm")
        weights |= both(state, there + "intermediate.dense", f"layers.{i}.feed_forward.0")
        weights |= both(state, there + "output.dense", f"layers.{i}.feed_forward.2")
        weights |= both(state, there + "output.LayerNorm", f"layers.{i}.feed_forward_norm")
    shape = TextConfig(vocab_size=50, max_length=16, width=24, layers=3, heads=4)
    ours = copy(Bert(shape), weights)
    mask = torch.arange(16) < torch.tensor([16, 2, 9, 5])[:, None]
    ids = torch.randint(50, mask.shape)
    with torch.no_grad():
        expected = theirs(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        states = ours(ids, mask)
    assert expected[mask].std() > 0.1
    torch.testing.assert_close(states[mask], expected[mask], atol=1e-5, rtol=0)


def test_vit_equals_clip_vision_model():
    transformers = pytest.importorskip("transformers", reason=REASON)
    config = transformers.CLIPVisionConfig(
        hidden_size=24,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=96,
        image_size=24,
        patch_size=6,
    )
    theirs = spread(transformers.CLIPVisionModel(config))
    state = {n.removeprefix("vision_model."): value for n, value in theirs.state_dict().items()}
    weights = {
        "patch_embedding.weight": state["embeddings.patch_embedding.weight"].flatten(1),
        "class_embedding": state["embeddings.class_embedding"],
        "position_embedding": state["embeddings.position_embedding.weight"],
        **both(state, "pre_layrnorm", "input_norm"),
    }
    for i in range(3):
        there = f"encoder.layers.{i}."
        parts = joined(state, there + "self_attn.", "q_proj", "k_proj", "v_proj", "out_proj")
        weights |= {f"layers.{i}.attention.{name}": value for name, value in parts.items()}
        weights |= both(state, there + "layer_norm1", f"layers.{i}.attention_norm")
        weights |= both(state, there + "layer_norm2", f"layers.{i}.feed_forward_norm")
        weights |= both(state, there + "mlp.fc1", f"layers.{i}.feed_forward.0")
        weights |= both(state, there + "mlp.fc2", f"layers.{i}.feed_forward.2")
    ours = copy(
        ViT(VisionConfig(image_size=24, patch_size=6, width=24, layers=3, heads=4)), weights
    )
    pixels = torch.randn(3, 3, 24, 24, dtype=torch.float64)
    with torch.no_grad():
        expected = theirs(pixel_values=pixels).last_hidden_state
        states = ours(pixels)
    assert expected.std() > 0.1
    torch.testing.assert_close(states, expected, atol=1e-5, rtol=0)
