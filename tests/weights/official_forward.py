"""A plain reading of two official forward passes, on the tensors of a checkpoint alone.

R2D2: github.com/yuxie11/R2D2, models/r2d2.py, models/bert.py, r2d2_inference_demo.py.
Chinese-CLIP: github.com/OFA-Sys/Chinese-CLIP, cn_clip/clip/model.py.
Written here from what they compute, and no line of ours is used.
"""

import torch
import torch.nn.functional as F
from torch import nn

SPACE = -10000.0  # what official masks add where not to look


def linear(w, name, x):
    return F.linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))


def norm(w, name, x, eps):
    return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], eps)


def attend(query, key, value, heads, mask=None):
    n, length, width = query.shape
    query, key, value = (
        x.view(n, -1, heads, width // heads).transpose(1, 2) for x in (query, key, value)
    )
    scores = query @ key.transpose(-1, -2) / (width // heads) ** 0.5
    if mask is not None:
        scores = scores + (1 - mask.to(scores.dtype))[:, None, None, :] * SPACE
    return (scores.softmax(-1) @ value).transpose(1, 2).reshape(n, length, width)


def bert_attention(w, name, x, context, heads, mask):
    inside = f"{name}.self"
    attended = attend(
        linear(w, f"{inside}.query", x),
        linear(w, f"{inside}.key", context),
        linear(w, f"{inside}.value", context),
        heads,
        mask,
    )
    return norm(
        w, f"{name}.output.LayerNorm", linear(w, f"{name}.output.dense", attended) + x, 1e-12
    )


def bert_layers(w, name, x, mask, heads, layers, context=None, context_mask=None):
    for i in range(layers):
        layer = f"{name}.encoder.layer.{i}"
        x = bert_attention(w, f"{layer}.attention", x, x, heads, mask)
        if context is not None:
            x = bert_attention(w, f"{layer}.crossattention", x, context, heads, context_mask)
        inner = F.gelu(linear(w, f"{layer}.intermediate.dense", x))
        x = norm(
            w, f"{layer}.output.LayerNorm", linear(w, f"{layer}.output.dense", inner) + x, 1e-12
        )
    return x


def bert(w, name, ids, mask, heads, layers):
    table = f"{name}.embeddings"
    x = w[f"{table}.word_embeddings.weight"][ids]
    x = x + w[f"{table}.position_embeddings.weight"][: ids.shape[1]]
    x = x + w[f"{table}.token_type_embeddings.weight"][0]
    return bert_layers(w, name, norm(w, f"{table}.LayerNorm", x, 1e-12), mask, heads, layers)


def clip_states(w, name, pixels, heads, layers):
    table = f"{name}.embeddings"
    kernel = w[f"{table}.patch_embedding.weight"]
    x = F.conv2d(pixels, kernel, stride=kernel.shape[-1]).flatten(2).transpose(1, 2)
    cls = w[f"{table}.class_embedding"].expand(len(x), 1, -1)
    x = torch.cat([cls, x], dim=1) + w[f"{table}.position_embedding.weight"]
    x = norm(w, f"{name}.pre_layrnorm", x, 1e-5)
    for i in range(layers):
        layer = f"{name}.encoder.layers.{i}"
        y = norm(w, f"{layer}.layer_norm1", x, 1e-5)
        maps = (linear(w, f"{layer}.self_attn.{m}_proj", y) for m in "qkv")
        x = x + linear(w, f"{layer}.self_attn.out_proj", attend(*maps, heads))
        y = linear(w, f"{layer}.mlp.fc1", norm(w, f"{layer}.layer_norm2", x, 1e-5))
        x = x + linear(w, f"{layer}.mlp.fc2", y * torch.sigmoid(1.702 * y))
    return x  # last_hidden_state: before post_layernorm


def r2d2(w, ids, mask, pixels, heads, layers, joint_layers):
    """Pre-ranking scores over tau (n, n); p_T and p_I (2, n) of image i with text i.

    Its final score of a pair is the mean of p_T and p_I, plus the cosine when ranking.
    """
    image = clip_states(w, "visual_encoder", pixels, heads, layers)
    text = bert(w, "text_encoder", ids, mask, heads, layers)
    image_embeds = F.normalize(linear(w, "vision_proj", image[:, 0]), dim=-1)
    text_embeds = F.normalize(linear(w, "text_proj", text[:, 0]), dim=-1)
    sims = image_embeds @ text_embeds.T / w["temp"]
    if not joint_layers:
        return sims, None
    seen = torch.ones(image.shape[:2])
    text_out = bert_layers(w, "text_joint_layer", text, mask, heads, joint_layers, image, seen)
    queries = linear(w, "img_joint_proj", image)
    image_out = bert_layers(w, "img_joint_layer", queries, seen, heads, joint_layers, text, mask)
    heads_out = (
        linear(w, "itm_head", text_out[:, 0]),
        linear(w, "itm_head_i", image_out[:, 0]),
    )
    return sims, torch.stack([out.softmax(-1)[:, 1] for out in heads_out])


def chinese_clip(w, ids, mask, pixels, heads, layers):
    """Image and text features, normalised, with torch's own MultiheadAttention."""
    kernel, width = w["visual.conv1.weight"], w["visual.class_embedding"].shape[0]
    x = F.conv2d(pixels, kernel, stride=kernel.shape[-1]).flatten(2).transpose(1, 2)
    x = torch.cat([w["visual.class_embedding"].expand(len(x), 1, -1), x], dim=1)
    x = norm(w, "visual.ln_pre", x + w["visual.positional_embedding"], 1e-5)
    for i in range(layers):
        block = f"visual.transformer.resblocks.{i}"
        attention = nn.MultiheadAttention(width, heads, batch_first=True, dtype=x.dtype)
        attention.load_state_dict(
            {n.removeprefix(f"{block}.attn."): t for n, t in w.items() if f"{block}.attn." in n}
        )
        y = norm(w, f"{block}.ln_1", x, 1e-5)
        x = x + attention(y, y, y, need_weights=False)[0]
        y = linear(w, f"{block}.mlp.c_fc", norm(w, f"{block}.ln_2", x, 1e-5))
        x = x + linear(w, f"{block}.mlp.c_proj", y * torch.sigmoid(1.702 * y))
    image = norm(w, "visual.ln_post", x[:, 0], 1e-5) @ w["visual.proj"]
    text = bert(w, "bert", ids, mask, heads, layers)[:, 0] @ w["text_projection"]
    return F.normalize(image, dim=-1), F.normalize(text, dim=-1)
