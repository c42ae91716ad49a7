"""Small random dual encoders of Hugging Face's classes, saved as others publish them."""

import json

import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

KINDS = ("chinese_clip", "clip", "siglip", "siglip2")
IMAGE, PATCH, LENGTH = 24, 6, 12
CHARACTERS = "红橙黄绿蓝紫黑白色方块横条照片第张图一个0123456789"
SPECIAL = {
    "chinese_clip": ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
    "clip": ["<pad>", "<unk>", "<bos>", "<eos>"],
    "siglip": ["<pad>", "<unk>", "<eos>", "<mask>"],
    "siglip2": ["<pad>", "<unk>", "<eos>", "<mask>"],
}
DEEP = {"num_hidden_layers": 2}
SIZES = {**DEEP, "hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2}
WIDE = {**DEEP, "hidden_size": 48, "intermediate_size": 64, "num_attention_heads": 4}
NAMES = {"chinese_clip": "ChineseCLIP", "clip": "CLIP", "siglip": "Siglip", "siglip2": "Siglip2"}


def tokens(kind):
    return [*SPECIAL[kind], *dict.fromkeys(CHARACTERS)]


def hf_model(kind, seed=0):
    """A random model with other widths on either side."""
    ids = {token.strip("<>[]").lower(): n for n, token in enumerate(SPECIAL[kind])}
    text = {
        **SIZES,
        "vocab_size": len(tokens(kind)),
        "max_position_embeddings": LENGTH,
        "pad_token_id": ids["pad"],
        "eos_token_id": ids.get("eos", 3),
        "bos_token_id": ids.get("bos", 2),
    }
    vision = {**WIDE, "patch_size": PATCH, "image_size": IMAGE}
    vision["num_patches"] = (IMAGE // PATCH) ** 2
    if "siglip" in kind:  # its towers meet without a projection
        text |= {"hidden_size": 48, "num_attention_heads": 4, "projection_size": 48}
    config_class = getattr(transformers, f"{NAMES[kind]}Config")
    extra = {"projection_dim": 20} if "clip" in kind else {}
    config = config_class(text_config=text, vision_config=vision, **extra)
    torch.manual_seed(seed)
    model = getattr(transformers, f"{NAMES[kind]}Model")(config)
    for name, parameter in model.named_parameters():
        torch.nn.init.normal_(parameter, std=0.1)
        if "norm" in name.lower() and name.endswith("weight"):
            parameter.data.add_(1.0)
        if name == "logit_scale":
            parameter.data.fill_(2.5)
    return model.eval()


def save_hf(folder, kind, seed=0):
    model = hf_model(kind, seed)
    model.save_pretrained(folder)
    if kind == "chinese_clip":
        (folder / "vocab.txt").write_text("\n".join(tokens(kind)), encoding="utf-8")
    else:
        engine = Tokenizer(
            models.WordLevel({token: n for n, token in enumerate(tokens(kind))}, unk_token="<unk>")
        )
        engine.normalizer = normalizers.Replace(" ", "")
        engine.pre_tokenizer = pre_tokenizers.Split("", "isolated")
        engine.add_special_tokens(SPECIAL[kind])
        ends = [(token, n) for n, token in enumerate(SPECIAL[kind])]
        first = "<bos> " if kind == "clip" else ""
        engine.post_processor = processors.TemplateProcessing(
            single=f"{first}$A <eos>", special_tokens=ends
        )
        engine.save(str(folder / "tokenizer.json"))
    if "siglip" in kind:
        (folder / "preprocessor_config.json").write_text(
            json.dumps({"image_mean": [0.5] * 3, "image_std": [0.5] * 3}), encoding="utf-8"
        )
    return model
