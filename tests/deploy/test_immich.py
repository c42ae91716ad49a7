"""The folder for immich, read by a plain reader, gives the model's embeddings."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from deploy.immich_reader import ImmichReader
from helpers.cli import refused
from helpers.named_models import write_model
from r2d2.deploy.immich import export_immich
from r2d2.models import load_network

pytest.importorskip("onnxscript", reason="the extra onnx is not installed")

TEXTS = ["红色方块", "一张绿条的照片", "", "白" * 200, "[PAD] 白 [SEP]", "ＡＢ 红\u3000色"]


def pictures():
    random = np.random.default_rng(0)
    sizes = ((24, 24), (60, 40), (33, 90), (500, 300))
    return [Image.fromarray(random.integers(0, 256, (h, w, 3)).astype(np.uint8)) for w, h in sizes]


@pytest.mark.parametrize("kind", ["saved", "chinese_clip", "siglip2", "clip"])
def test_a_plain_reader_gives_the_models_embeddings(kind, tmp_path):
    source = write_model(kind, tmp_path / "model")
    written = export_immich(source, tmp_path / "out")
    model, reader = load_network(source, "export", "cpu"), ImmichReader(tmp_path / "out")
    assert {"config.json", "visual/model.onnx", "textual/tokenizer.json"} <= set(written.sizes)
    images = model.encode_images(pictures()).embedding.numpy()
    for picture, embedding in zip(pictures(), images, strict=True):
        assert np.abs(reader.picture(picture) - embedding).max() < 1e-4
    # immich makes all white space one space, which tokenizers of BERT's kind do not tell apart
    bert = kind in ("saved", "chinese_clip")
    given = TEXTS if bert else [" ".join(text.split()) for text in TEXTS]
    texts = model.encode_texts(given).embedding.numpy()
    for text, embedding in zip(TEXTS, texts, strict=True):
        assert np.abs(reader.text(text) - embedding).max() < 1e-4, text
    assert np.ptp(texts, axis=0).max() > 0.01  # they differ, so the parity says something
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["embed_dim"] == model.embed_dim
    assert reader.pictures["resize_mode"] == ("shortest" if kind == "clip" else "squash")


def test_what_immich_cannot_prepare_is_refused(tmp_path):
    source = write_model("clip", tmp_path / "model")
    square = {"height": 24, "width": 24}
    config = {"size": {"shortest_edge": 30}, "crop_size": square, "do_center_crop": True}
    (source / "preprocessor_config.json").write_text(json.dumps(config))
    assert "shorter edge is 30" in refused(export_immich, source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_there_is_kept(tmp_path):
    source = write_model("chinese_clip", tmp_path / "model")
    out = tmp_path / "out"
    export_immich(source, out)
    assert "--overwrite" in refused(export_immich, source, out)
    export_immich(source, out, overwrite=True)
    shutil.rmtree(out / "visual")  # no longer a folder of this kind
    assert "was not written by this command" in refused(export_immich, source, out, overwrite=True)


def test_graphs_cannot_be_exported_again(tmp_path):
    source = write_model("onnx_pair", tmp_path / "pair")
    assert "ONNX already" in refused(export_immich, source, tmp_path / "out")
