"""Any kind of model behind the protocol, against the code it comes from."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import r2d2
from helpers.encoders import COLOURS, colour_table, noisy, picture
from helpers.graph_files import onnx_pair
from helpers.small_hf_models import IMAGE, KINDS, LENGTH, save_hf
from r2d2.errors import R2D2Error
from r2d2.evaluation import precomputed
from r2d2.evaluation.opening import open_encoder
from r2d2.evaluation.run import evaluate_retrieval
from r2d2.evaluation.settings import EvaluationSettings
from r2d2.onnx_models.encoder_pair import LAYOUT

TEXTS = ["红色方块", "一张绿条的照片", "白"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_hugging_face_folder_gives_what_its_own_classes_give(kind, tmp_path):
    theirs = save_hf(tmp_path, kind)
    opened = open_encoder(tmp_path)
    assert opened.kind == "hugging face"
    assert not opened.encoder.has_match
    images = [noisy(n, *size) for n, size in enumerate([(50, 37), (24, 61), (24, 24)])]
    found = opened.encoder.encode_images(images).embedding
    if kind == "siglip2":
        return  # its own processor keeps the aspect; ours squeezes, and says so
    names = {"chinese_clip": "ChineseCLIP", "clip": "CLIP", "siglip": "Siglip"}
    import transformers

    processor = getattr(transformers, f"{names[kind]}ImageProcessorPil")
    square = {"height": IMAGE, "width": IMAGE}
    settings = {"size": {"shortest_edge": IMAGE}, "crop_size": square}
    if kind != "clip":
        settings = {"size": square, "do_center_crop": False}
    pixels = processor(**settings)(images, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        wanted = theirs.get_image_features(pixel_values=pixels).pooler_output
    assert torch.allclose(found, F.normalize(wanted, dim=-1), atol=2e-3)


@pytest.mark.parametrize(
    ("config", "size"),
    [
        ({"size": 24, "do_center_crop": True, "crop_size": 24}, (48, 24)),
        ({"size": {"shortest_edge": 24}, "crop_size": {"height": 24, "width": 24}}, (24, 60)),
    ],
)
def test_the_middle_is_cut_out_where_the_processor_does(config, size, tmp_path):
    save_hf(tmp_path, "clip")
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    encoder = open_encoder(tmp_path).encoder
    middle = Image.new("RGB", size, (255, 0, 0))
    edge = Image.new("RGB", size, (0, 255, 0))
    left, top = (size[0] - 24) // 2, (size[1] - 24) // 2
    edge.paste(middle.crop((0, 0, 24, 24)), (left, top))
    whole, cut = encoder.encode_images([middle, edge]).embedding
    assert torch.allclose(whole, cut)


def test_text_length_is_a_setting_and_what_is_cut_is_counted(tmp_path):
    save_hf(tmp_path, "clip")
    opened = open_encoder(tmp_path)
    assert opened.text_length == LENGTH
    assert opened.cut(["红" * (LENGTH - 2), "红" * (LENGTH - 1)]) == 1
    short = open_encoder(tmp_path, text_length=4)
    assert short.cut(["红绿", "红绿蓝"]) == 1
    side = short.encoder.encode_texts(["红绿蓝", "红绿黄"]).embedding
    assert torch.allclose(side[0], side[1])
    with pytest.raises(R2D2Error, match=f"places for {LENGTH} tokens, not 99"):
        open_encoder(tmp_path, text_length=99)


def test_a_processor_of_another_size_is_refused(tmp_path):
    save_hf(tmp_path, "siglip")
    config = {"size": {"height": 99, "width": 99}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    with pytest.raises(R2D2Error, match="pictures of 99 pixels, and the model takes 24"):
        open_encoder(tmp_path)


# Embeddings made elsewhere


def embeddings(path, seed=0, without=()):
    generator = np.random.default_rng(seed)
    ids = [f"{split}-{c}" for split in ("test", "val") for c in COLOURS if c not in without]
    texts = [f"{c}{word}" for c in COLOURS for word in ("方块", "照片")]
    by_colour = {c: generator.normal(size=6).astype(np.float32) for c in COLOURS}
    images = np.stack([by_colour[name[-1]] for name in ids])
    sentences = np.stack([by_colour[text[0]] for text in texts])
    precomputed.write(path, images, ids, sentences, texts)
    return images, ids, sentences, texts


def test_embeddings_are_found_by_id_and_text(tmp_path, caplog):
    table = colour_table(tmp_path / "t.lance")
    embeddings(tmp_path / "e", without=("黑",))
    report = evaluate_retrieval(
        tmp_path / "e", table, tmp_path / "out", EvaluationSettings(resamples=5, splits=("test",))
    )
    metrics = json.loads((report.parent / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["test"]["prerank"]["r_mean"] == 100.0
    assert metrics["skipped"] == {"no embedding": 1}
    (left_out,) = [line for line in caplog.messages if line.startswith("left out: ")]
    assert left_out.startswith("left out: no embedding: 1 (")  # and which image it is
    assert metrics["run"]["kind"] == "embeddings"
    assert metrics["run"]["cut"]["test"]["cut"] is None
    with pytest.raises(R2D2Error, match="leave --max-length out"):
        open_encoder(tmp_path / "e", text_length=20)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0])
@pytest.mark.parametrize("side", ["images", "texts"])
def test_embeddings_without_a_direction_are_refused_by_name(side, value, tmp_path):
    """One NaN among the images made every rank the last one, and R@1 fell to 0 without a word."""
    table = colour_table(tmp_path / "t.lance")
    images, ids, sentences, texts = embeddings(tmp_path / "e")
    matrix, names = (images, ids) if side == "images" else (sentences, texts)
    rows = [n for n, name in enumerate(names) if name.startswith(("test-", "红", "黑"))][:2]
    matrix[rows] = value
    shutil.rmtree(tmp_path / "e")
    precomputed.write(tmp_path / "e", images, ids, sentences, texts)
    with pytest.raises(R2D2Error, match=rf"[12] of \d+ embeddings of {side}.*{names[rows[0]]}"):
        evaluate_retrieval(
            tmp_path / "e",
            table,
            tmp_path / "out",
            EvaluationSettings(resamples=5, splits=("test",)),
        )
    assert not (tmp_path / "out" / "metrics.json").exists()


def test_parquet_is_read_as_numpy_is(tmp_path):
    images, ids, sentences, texts = embeddings(tmp_path / "e")
    (tmp_path / "p").mkdir()
    for name, column, matrix, names in (
        ("images", "image_id", images, ids), ("texts", "text", sentences, texts)
    ):  # fmt: skip
        table = pa.table({column: names, "embedding": matrix.tolist()})
        pq.write_table(table, tmp_path / "p" / f"{name}.parquet", row_group_size=3)
    one, other = (open_encoder(tmp_path / name).encoder for name in "ep")
    assert torch.equal(one.encode_texts(texts).embedding, other.encode_texts(texts).embedding)
    assert torch.equal(one.known_images(ids).embedding, other.known_images(ids).embedding)
    with pytest.raises(R2D2Error, match="no embedding of the text '没有'"):
        one.encode_texts(["没有"])


@pytest.mark.parametrize("harm", ["listing", "short", "shape", "widths"])
def test_embeddings_that_do_not_fit_are_refused(harm, tmp_path):
    images, _, sentences, _ = embeddings(tmp_path)
    if harm == "listing":
        (tmp_path / "image_ids.json").unlink()
    elif harm == "short":
        (tmp_path / "texts.json").write_text("[]")
    elif harm == "shape":
        np.save(tmp_path / "images.npy", images[0])
    else:
        np.save(tmp_path / "texts.npy", sentences[:, :2])
    with pytest.raises(R2D2Error, match=r"give|not as many|cannot read"):
        open_encoder(tmp_path)


# A pair of ONNX files


@pytest.mark.parametrize("pixels", ["normalised", "uint8"])
def test_a_pair_of_onnx_encoders(pixels, tmp_path):
    folder = tmp_path / "pair"
    folder.mkdir()
    onnx_pair(folder, pixels)
    opened = open_encoder(folder)
    assert opened.kind == "onnx"
    images = opened.encoder.encode_images([picture(c) for c in COLOURS]).embedding
    texts = opened.encoder.encode_texts([f"{c}方块" for c in COLOURS]).embedding
    assert torch.allclose(images, texts, atol=1e-5)
    assert opened.cut(["红方块照片", "红方块照片红方"]) == 1
    assert open_encoder(folder, text_length=3).cut(["红方块照片"]) == 1
    table = colour_table(tmp_path / "t.lance")
    evaluate_retrieval(
        folder, table, tmp_path / "out", EvaluationSettings(resamples=0, splits=("test",))
    )
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["test"]["queries"] == {"images": 8, "texts": 12}
    assert metrics["test"]["prerank"]["i2t_r5"] == 100.0


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ({"image": {"size": 8, "pixels": "odd"}, "text": {"max_length": 6}}, "pixels are 'odd'"),
        ({"image": {"size": 8, "pixels": "uint8"}}, "does not describe two encoders"),
        (
            {
                "image": {"size": 8, "pixels": "uint8", "file": "../x.onnx"},
                "text": {"max_length": 6},
            },
            "has no file",
        ),
    ],
)  # fmt: skip
def test_a_layout_that_cannot_be_is_refused(layout, message, tmp_path):
    onnx_pair(tmp_path, "uint8")
    (tmp_path / LAYOUT).write_text(json.dumps(layout))
    with pytest.raises(R2D2Error, match=message):
        open_encoder(tmp_path)


def test_what_is_no_model_is_told_what_may_be_given(tmp_path):
    with pytest.raises(R2D2Error, match=r"no model at .* Hugging Face .* encoders.json"):
        open_encoder(tmp_path)


@pytest.mark.parametrize(("splits", "chosen"), [(("val",), False), (("test",), True)])
def test_the_measured_split_does_not_choose_the_weight(splits, chosen, tmp_path):
    table = colour_table(tmp_path / "t.lance")
    settings = EvaluationSettings(resamples=0, splits=splits)
    evaluate_retrieval("emoji", table, tmp_path / "out", settings)
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    assert ("weight_curve" in metrics) == chosen
    if not chosen:
        assert metrics["weight"] == r2d2.load("emoji", "cpu").match_weight
