"""Models of sentence-transformers, measured by the code that measures ours."""

import json
import shutil

import pytest
import sentence_transformers
import torch

from helpers.cli import refused
from helpers.encoders import colour_table, noisy
from helpers.named_models import write_model
from helpers.published_weights import save_small
from r2d2.evaluation.opening import open_encoder
from r2d2.evaluation.run import evaluate_retrieval
from r2d2.evaluation.sentence_encoder import sentence_model_name
from r2d2.evaluation.settings import EvaluationSettings
from r2d2.integrations.hf_folder import export_hf

TEXTS = ["红色方块", "一张绿条的照片" * 20, "白"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Small random models, and the same as the library opens them: of one module, and of two."""
    home = tmp_path_factory.mktemp("st")
    ours = {"one": write_model("chinese_clip", home / "ours-one"), "two": home / "ours-two"}
    save_small(ours["two"])
    for name, source in ours.items():
        export_hf(source, home / name)
    return {name: (source, home / name) for name, source in ours.items()}


@pytest.mark.parametrize("name", ["one", "two"])
def test_embeddings_are_those_of_the_library(folders, name):
    folder = folders[name][1]
    opened = open_encoder(f"st:{folder}")
    assert (opened.kind, opened.name) == ("sentence-transformers", name)
    assert not opened.encoder.has_match
    model = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
    pictures = [noisy(n) for n in range(3)]
    for items, side in (
        (TEXTS, opened.encoder.encode_texts(TEXTS)),
        (pictures, opened.encoder.encode_images(pictures)),
    ):
        wanted = model.encode(items, convert_to_tensor=True)
        torch.testing.assert_close(side.embedding, wanted, atol=1e-5, rtol=0)


def test_figures_are_those_of_the_model_that_was_exported(folders, tmp_path):
    table = colour_table(tmp_path / "t.lance")
    settings = EvaluationSettings(resamples=0)
    found = []
    for number, source in enumerate((folders["one"][0], f"st:{folders['one'][1]}")):
        out = tmp_path / str(number)
        evaluate_retrieval(str(source), table, out, settings)
        metrics = json.loads((out / "metrics.json").read_text("utf-8"))
        found.append(metrics["test"]["prerank"])
        assert (out / "report.html").is_file()
    assert found[0] == found[1]
    assert metrics["run"]["kind"] == "sentence-transformers"


def test_a_folder_of_its_modules_is_told_by_itself(folders):
    assert sentence_model_name(folders["two"][1]) == str(folders["two"][1])
    assert sentence_model_name(folders["one"][1]) is None  # a class that is opened here
    assert sentence_model_name("st:jinaai/jina-clip-v2") == "jinaai/jina-clip-v2"
    assert sentence_model_name("OFA-Sys/chinese-clip-vit-base-patch16") is None
    assert open_encoder(folders["two"][1]).kind == "sentence-transformers"


def test_fewer_numbers(folders):
    folder = folders["one"][1]
    embedding = open_encoder(f"st:{folder}", dim=4).encoder.encode_texts(TEXTS).embedding
    whole = open_encoder(f"st:{folder}").encoder.encode_texts(TEXTS).embedding
    wanted = torch.nn.functional.normalize(whole[:, :4], dim=-1)
    torch.testing.assert_close(embedding, wanted, atol=1e-5, rtol=0)
    assert "leave --max-length out" in refused(open_encoder, f"st:{folder}", text_length=6)
    assert "--dim 1000: the embeddings of" in refused(open_encoder, f"st:{folder}", dim=1000)


def test_what_cannot_be_measured_is_one_line(folders, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "names no model" in refused(open_encoder, "st:")
    line = refused(open_encoder, "st:nobody/nothing")
    assert "cannot get nobody/nothing" in line
    assert "HF_ENDPOINT" in line
    assert "there is no folder /no/such" in refused(open_encoder, "st:/no/such")
    assert "has no modules.json" in refused(open_encoder, f"st:{tmp_path}")
    damaged = shutil.copytree(folders["two"][1], tmp_path / "damaged")
    (damaged / "text_0_Transformer" / "model.safetensors").write_bytes(b"0" * 99)
    assert f"cannot open {damaged}" in refused(open_encoder, damaged)
    texts = sentence_transformers.SentenceTransformer(str(folders["two"][1]), device="cpu")
    alone = tmp_path / "texts"
    router = texts[0].sub_modules["text"]
    sentence_transformers.SentenceTransformer(modules=list(router)).save(str(alone))
    assert "takes no image inputs" in refused(open_encoder, f"st:{alone}")
