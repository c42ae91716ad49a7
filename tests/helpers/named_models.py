"""Small random models of every kind that `--model` can name, each in a folder or a file."""

from dataclasses import replace

from helpers.graph_files import onnx_pair
from helpers.published_weights import save_small, small_config, spread, write_vocab
from helpers.small_hf_models import KINDS, save_fgclip2, save_hf
from r2d2.deploy.export import export_onnx
from r2d2.model.r2d2 import R2D2
from r2d2.models import load
from r2d2.pretrained import Pretrained
from r2d2.tokenizer import Tokenizer
from r2d2.weights.exporting import export_weights

DUAL = (*KINDS, "fgclip2", "chinese_clip_pt")  # without cross encoders
RANKING = ("saved", "run", "official")
GRAPHS = ("onnx", "onnx_dual", "onnx_pair")
EVERY = (*DUAL, *RANKING, *GRAPHS)


def save_wide(folder, **changes):
    """As wide as official files tell their heads by: one for each 64."""
    config = small_config(**changes)
    sides = {name: replace(getattr(config, name), width=64, heads=1) for name in ("vision", "text")}
    model = spread(R2D2(replace(config, **sides)))
    model.log_temperature.data.fill_(-2.5)
    tokenizer = Tokenizer.from_vocab(write_vocab(folder.with_name(f"{folder.name}_vocab")), 16)
    Pretrained(model, tokenizer).save(folder)


def write_model(kind, place):
    """Write a model of a kind below `place`; what names it."""
    place.mkdir(parents=True, exist_ok=True)
    if kind == "fgclip2":
        save_fgclip2(place)
    elif kind in KINDS:
        save_hf(place, kind)
    elif kind == "saved":
        save_small(place / "ours")
        return place / "ours"
    elif kind == "run":
        save_small(place / "run" / "model")
        return place / "run"
    elif kind == "official":
        save_wide(place / "ours")
        export_weights(load(place / "ours"), "official", place / "theirs")
        return next((place / "theirs").glob("*.pth"))
    elif kind == "chinese_clip_pt":
        save_wide(
            place / "ours", vision={"pooled_norm": True}, projection_bias=False, cross_layers=0
        )
        export_weights(load(place / "ours"), "chinese_clip_pt", place / "theirs")
        return next((place / "theirs").glob("*.pt"))
    elif kind in ("onnx", "onnx_dual"):
        save_small(place / "ours", cross_layers=2 if kind == "onnx" else 0)
        export_onnx(place / "ours", place / "graphs")
        return place / "graphs"
    elif kind == "onnx_pair":
        onnx_pair(place)
    return place
