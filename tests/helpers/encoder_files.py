"""Small random encoders of one modality, of Hugging Face's classes, saved as they publish them."""

import json

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

CHARACTERS = "红橙黄绿蓝紫黑白色方块横条照片第张图一个0123456789"
DEEP = {"num_hidden_layers": 2}
IMAGE = {
    "vit": {"image_size": 32, "patch_size": 8, "hidden_size": 32, "intermediate_size": 48},
    "dinov2": {"image_size": 40, "patch_size": 8, "hidden_size": 32},
    "dinov2_with_registers": {"image_size": 40, "patch_size": 8, "hidden_size": 32},
    "dinov3_vit": {"image_size": 32, "patch_size": 8, "hidden_size": 32, "intermediate_size": 48,
                   "num_register_tokens": 2},
    "convnext": {"hidden_sizes": [8, 12, 16, 20], "depths": [1, 1, 2, 1]},
}  # fmt: skip
SPECIAL = {
    "bert": ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
    "roberta": ["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
    "xlm-roberta": ["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
    "qwen3": ["<|endoftext|>", "<unk>", "<|fim_pad|>"],
}


def tokens(kind):
    return [*SPECIAL[kind], *dict.fromkeys(CHARACTERS)]


def _random(config, seed):
    torch.manual_seed(seed)
    model = transformers.AutoModel.from_config(config)
    for name, parameter in model.named_parameters():
        torch.nn.init.normal_(parameter, std=0.1)
        if "norm" in name.lower() and name.endswith("weight"):
            parameter.data.add_(1.0)
    return model.eval()


def save_image_encoder(folder, kind, seed=0):
    """The model; its processor makes squares of 32 pixels."""
    sizes = IMAGE[kind] if "conv" in kind else {**DEEP, "num_attention_heads": 2, **IMAGE[kind]}
    model = _random(transformers.AutoConfig.for_model(kind, **sizes), seed)
    model.save_pretrained(folder)
    processor = {"crop_size": {"height": 32, "width": 32}, "image_mean": [0.4] * 3,
                 "image_std": [0.25] * 3}  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(processor), encoding="utf-8")
    return model


def save_text_encoder(folder, kind, seed=0, prefix=""):
    """The model, with its tokenizer; `prefix` of its tensors' names, as a larger model has."""
    special = SPECIAL[kind]
    ids = {token: n for n, token in enumerate(special)}
    sizes = {**DEEP, "hidden_size": 48, "intermediate_size": 64, "num_attention_heads": 4,
             "vocab_size": len(tokens(kind)), "max_position_embeddings": 20,
             "pad_token_id": ids[next(t for t in special if "pad" in t.lower() or "end" in t)],
             }  # fmt: skip
    if kind == "qwen3":
        sizes |= {"num_key_value_heads": 2, "head_dim": 12}
    model = _random(transformers.AutoConfig.for_model(kind, **sizes), seed)
    model.save_pretrained(folder)
    if kind == "bert":
        (folder / "vocab.txt").write_text("\n".join(tokens(kind)), encoding="utf-8")
        return model
    unknown = next(token for token in special if "unk" in token)
    engine = Tokenizer(
        models.WordLevel({t: n for n, t in enumerate(tokens(kind))}, unk_token=unknown)
    )
    engine.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    engine.add_special_tokens(special)
    form = "$A <|endoftext|>" if kind == "qwen3" else "<s> $A </s>"
    engine.post_processor = processors.TemplateProcessing(
        single=form, special_tokens=[(token, n) for n, token in enumerate(special)]
    )
    engine.save(str(folder / "tokenizer.json"))
    pad = "<|endoftext|>" if kind == "qwen3" else "<pad>"
    (folder / "tokenizer_config.json").write_text(json.dumps({"pad_token": pad}), encoding="utf-8")
    return model
