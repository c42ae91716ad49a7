"""Small random dual encoders of Hugging Face's classes, saved as others publish them."""

import json

import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

KINDS = ("chinese_clip", "clip", "siglip", "siglip2")
IMAGE, PATCH, LENGTH = 24, 6, 12
KEEP, LONG = 5, 20  # of FG-CLIP 2: the places of long texts that are those of short ones; all
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


def save_fgclip2(folder):
    """FG-CLIP 2's layout; returns SigLIP 2's model of the same weights, and all tensors."""
    model = save_hf(folder, "siglip2")
    tensors = load_file(folder / "model.safetensors")
    torch.manual_seed(1)
    places = "text_model.embeddings.position_embedding"
    more = {f"{places}_{end}.weight": torch.randn(LONG, 48) for end in ("ori", "res")}
    for head in ("longtext_head", "boxtext_head"):
        more |= {f"{head}.weight": torch.randn(48, 48) * 0.2, f"{head}.bias": torch.randn(48)}
    for name in [name for name in tensors if name.startswith("vision_model.head.")]:
        more[name.replace("vision_model.head", "dense_feature_head")] = tensors[name] + 1
    tensors |= more | {name: tensors[name].reshape(1) for name in ("logit_scale", "logit_bias")}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    text = config["text_config"] | {
        "model_type": "fgclip2_text_model", "keep_len": KEEP, "longtext_len": LONG,
        "pad_token_id": 1,
    }  # fmt: skip
    code = {"AutoConfig": "configuration_fgclip2.Fgclip2Config"}
    vision = config["vision_config"] | {"model_type": "fgclip2_vision_model"}
    config |= {"model_type": "fgclip2", "auto_map": code}
    config |= {"text_config": text, "vision_config": vision, "architectures": ["Fgclip2Model"]}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer_config.json").write_text(json.dumps({"pad_token": {"content": "<pad>"}}))
    pixels = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "patch_size": PATCH}
    (folder / "preprocessor_config.json").write_text(json.dumps(pixels | {"max_num_patches": 16}))
    return model, tensors
