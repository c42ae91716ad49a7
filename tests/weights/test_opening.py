"""Whatever `--model` names is opened by one function; each command uses it, or says why not."""

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch

import r2d2
from helpers.cli import call_cli, refused
from helpers.named_models import DUAL, EVERY, GRAPHS, RANKING, write_model
from helpers.pictures import picture, png
from helpers.runs import small_table
from r2d2.errors import R2D2Error
from r2d2.images.decode import read_image


class Models(dict):
    def __init__(self, root):
        self.root = root

    def __missing__(self, kind):
        self[kind] = write_model(kind, self.root / kind)
        return self[kind]


TEXTS = ["红色方块", "一张绿条的照片", "白"]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Kind: what names the model; each is written when it is first asked for."""
    return Models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def cli(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *arguments: call_cli(monkeypatch, capsys, *arguments)


@pytest.mark.parametrize("kind", EVERY)
def test_one_function_opens_it_and_it_encodes_both_sides(kind, models):
    model = r2d2.load(models[kind], "cpu")
    pictures = [picture(n, 40) for n in range(3)]
    images, texts = model.encode_images(pictures), model.encode_texts(TEXTS)
    assert images.embedding.shape == texts.embedding.shape == (3, model.embed_dim)
    norms = torch.cat([images.embedding, texts.embedding]).norm(dim=1)
    assert torch.allclose(norms, torch.ones(6), atol=1e-5)
    assert model.has_match == (kind in (*RANKING, "onnx"))
    # a file is prepared as its picture is
    files = [png(one) for one in pictures]
    from_files = model.encode_pixels([model.read(file) for file in files])
    assert torch.allclose(from_files.embedding, images.embedding, atol=1e-5)
    if model.has_match:
        scores = model.match(images, texts)
        assert scores.shape == (3,)
        assert bool(((scores >= 0) & (scores <= 1)).all())


@pytest.mark.parametrize("kind", EVERY)
def test_it_says_what_it_cannot_do(kind, models):
    model = r2d2.load(models[kind], "cpu")
    graphs, ranks = kind in GRAPHS, kind in (*RANKING, "onnx")
    assert (model.why_not("match") is None) == ranks
    for use in ("fine-tune", "export"):
        assert (model.why_not(use) is None) == (not graphs)


@pytest.mark.parametrize("kind", EVERY)
def test_every_kind_is_indexed_and_searched(kind, models, cli, caplog, tmp_path):
    caplog.set_level(logging.INFO, "r2d2")
    table = small_table(tmp_path / "t.lance", rows=8)
    # the pair's few tokens give some of the texts no direction
    texts = "--no-texts" if kind == "onnx_pair" else "--texts"
    code, out, lines = cli("index", table, "--model", models[kind], texts)
    assert code == 0, lines
    assert "20 of 20 rows have a vector" in out
    ranks = kind in (*RANKING, "onnx")
    told = ["cosine alone" in line for line in caplog.messages]
    assert sum(told) == (0 if ranks else 1)
    caplog.clear()
    code, out, lines = cli(
        "search", "红色方块", "--table", table, "--model", models[kind], "--json"
    )
    assert code == 0, lines
    found = json.loads(out)
    assert len(found["hits"]) == 10
    ranks = kind in (*RANKING, "onnx")
    assert (found["hits"][0]["match"] is not None) == ranks
    told = [line for line in caplog.messages if "cosine alone" in line]
    assert len(told) == (0 if ranks else 1)
    code, _, lines = cli("index", table, "--model", "emoji")
    assert (code, "another model" in " ".join(lines)) == (2, True)


@pytest.mark.parametrize("command", ["index FOLDER", "search 红色方块 --table FOLDER"])
def test_a_folder_of_pictures_with_texts_is_told_once(command, models, cli, caplog, tmp_path):
    caplog.set_level(logging.INFO, "r2d2")
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes(png(picture(number)))
        (folder / f"{number}.txt").write_text(TEXTS[number], encoding="utf-8")
    words = [str(folder) if word == "FOLDER" else word for word in command.split()]
    code, _, lines = cli(*words, "--model", models["chinese_clip"])
    assert code == 0, lines
    assert sum("cosine alone" in line for line in caplog.messages) == 1


@pytest.mark.parametrize("kind", ["siglip2", "onnx", "chinese_clip_pt"])
def test_corpora_and_reports_take_it_too(kind, models, cli, tmp_path):
    table = small_table(tmp_path / "t.lance", rows=8)
    code, _, lines = cli("data", "check", table, "--model", models[kind])
    assert code in (0, 1), lines
    out = tmp_path / "stats.html"
    code, _, lines = cli("corpus", "stats", table, "--model", models[kind], "--out", out)
    assert code == 0, lines
    assert out.is_file()


@pytest.mark.parametrize("kind", DUAL)
def test_a_dual_encoder_is_fine_tuned_by_contrast_alone(kind, models, cli, tmp_path):
    table = small_table(tmp_path / "t.lance", rows=8)
    small = ("train.epochs=1", "train.batch_size=8", "system.threads=1", "objectives.queue_size=16")
    sets = [word for one in small for word in ("--set", one)]
    out = tmp_path / "run"
    code, _, lines = cli(
        "finetune", "retrieval", table, "--init", models[kind], "--out", out, *sets
    )
    assert code == 0, lines
    tuned, before = r2d2.load(out, "cpu"), r2d2.load(models[kind], "cpu")
    assert not tuned.has_match
    assert not torch.equal(
        tuned.encode_texts(TEXTS).embedding, before.encode_texts(TEXTS).embedding
    )
    code, _, lines = cli("finetune", "retrieval", table, "--out", out, "--resume", *sets)
    assert code == 0, lines  # it knows by itself what it was started from
    code, _, lines = cli(
        "finetune", "matching", table, "--init", models[kind], "--out", tmp_path / "m"
    )
    assert (code, "no cross encoders" in " ".join(lines)) == (2, True)


@pytest.mark.parametrize("kind", GRAPHS)
@pytest.mark.parametrize(
    ("command", "use"),
    [
        ("finetune retrieval TABLE --init MODEL --out OUT", "cannot be trained"),
        ("pretrain TABLE --init MODEL --out OUT", "cannot be trained"),
        ("export onnx MODEL --out OUT", "ONNX already"),
        ("weights export MODEL --kind official --out OUT", "ONNX"),
    ],
)
def test_what_a_folder_of_graphs_cannot_do(kind, command, use, models, cli, tmp_path):
    table = small_table(tmp_path / "t.lance", rows=8)
    words = {"TABLE": table, "MODEL": models[kind], "OUT": tmp_path / "out"}
    code, _, lines = cli(*(words.get(word, word) for word in command.split()))
    assert code == 2
    (line,) = [line for line in lines if line.startswith("error: ")]
    assert use in line
    assert Path(models[kind]).name in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", [*DUAL, *GRAPHS])
def test_a_model_without_attention_is_explained_by_dropping(kind, models, cli, tmp_path):
    (tmp_path / "p.png").write_bytes(png(picture(1)))
    asked = ("explain", tmp_path / "p.png", "红方块", "--model", models[kind])
    code, said, lines = cli(*asked, "--out", tmp_path / "x.png")
    assert code == 0, lines
    assert said.startswith("match " if kind == "onnx" else "cosine ")
    assert "what each part adds" in said
    assert (tmp_path / "x.png").is_file()
    code, _, lines = cli(*asked, "--out", tmp_path / "y.png", "--attention")
    assert code == 2
    assert "no cross encoders" in " ".join(lines)


# Names


def test_a_folder_named_emoji_does_not_hide_the_shipped_model(models, tmp_path, monkeypatch):
    shipped = r2d2.load("emoji", "cpu")
    shutil.copytree(models["saved"], tmp_path / "emoji")
    monkeypatch.chdir(tmp_path)
    assert r2d2.load("emoji", "cpu").embed_dim == shipped.embed_dim
    own = r2d2.load("./emoji", "cpu")
    assert own.embed_dim == r2d2.load(models["saved"], "cpu").embed_dim != shipped.embed_dim
    assert r2d2.load(Path("emoji"), "cpu").embed_dim == own.embed_dim  # a path is a path


def test_the_commands_tell_emoji_from_a_folder_of_that_name(models, cli, tmp_path, monkeypatch):
    shutil.copytree(models["siglip2"], tmp_path / "emoji")
    table = small_table(tmp_path / "t.lance", rows=8)
    monkeypatch.chdir(tmp_path)
    code, out, _ = cli("index", table, "--model", "./emoji")
    own = out.split(", by ")[-1]
    assert code == 0
    code, out, _ = cli("index", table, "--model", "emoji", "--overwrite")
    assert code == 0
    assert out.split(", by ")[-1] != own
    small = ("train.epochs=1", "train.batch_size=8", "system.threads=1")
    sets = [word for one in small for word in ("--set", one)]
    code, _, lines = cli("pretrain", table, "--init", "./emoji", "--out", tmp_path / "r", *sets)
    assert code == 0, lines
    run = json.loads((tmp_path / "r" / "run.json").read_text())
    assert run["init"] == str(tmp_path / "emoji")


def test_a_local_path_comes_before_a_hub_id(models, tmp_path, monkeypatch):
    shutil.copytree(models["siglip"], tmp_path / "owner" / "name")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert r2d2.load("owner/name", "cpu").embed_dim == r2d2.load(models["siglip"], "cpu").embed_dim
    (tmp_path / "runs" / "demo").mkdir(parents=True)  # a run without a model is no hub id
    assert "there is no model at runs/demo" in refused(r2d2.load, "runs/demo")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"config.json": '{"model_type": "bert"}', "model.safetensors": ""}, "type 'bert'"),
        ({"config.json": "{"}, "config.json is no JSON"),
        ({"images.npy": "", "texts.npy": ""}, "embeddings"),
        ({"config.json": '{"model_type": ["siglip"]}'}, "model_type"),
        ({"notes.txt": ""}, "there is no model"),
    ],
)
def test_what_is_no_model_is_told_in_one_line(files, words, tmp_path):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    assert words in refused(r2d2.load, tmp_path)


def test_an_official_file_without_a_vocabulary_says_what_to_put_beside_it(models, tmp_path):
    file = tmp_path / "r2d2.pth"
    shutil.copyfile(models["official"], file)
    message = refused(r2d2.load, file)
    assert "vocab.txt" in message
    assert "--vocab" not in message.split("weights import")[0]
    shutil.copyfile(models["official"].parent / "vocab.txt", tmp_path / "vocab.txt")
    assert r2d2.load(file, "cpu").has_match
    assert r2d2.load(tmp_path, "cpu").has_match  # its folder, too


def test_a_part_of_a_model_is_no_model(models, tmp_path):
    from r2d2.weights.exporting import export_weights

    export_weights(r2d2.load(models["saved"]), "bert", tmp_path / "bert")
    assert "bert" in refused(r2d2.load, tmp_path / "bert")


def test_a_file_that_wants_to_run_code_is_refused(tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path(tmp_path / "ran").touch, ())

    torch.save({"model": {"x": torch.zeros(2)}, "y": Trap()}, tmp_path / "r2d2.pth")
    assert "could run code" in refused(r2d2.load, tmp_path / "r2d2.pth")
    assert not (tmp_path / "ran").exists()


def test_its_own_preprocessing_is_saved_with_it(models, tmp_path):
    folder = tmp_path / "clip"
    shutil.copytree(models["clip"], folder)
    square = {"height": 24, "width": 24}
    config = {"size": {"shortest_edge": 30}, "crop_size": square, "do_center_crop": True}
    (folder / "preprocessor_config.json").write_text(json.dumps(config))
    model = r2d2.load(folder, "cpu")
    model.save(tmp_path / "saved")
    again = r2d2.load(tmp_path / "saved", "cpu")
    pictures = [picture(n, 50).resize((70, 40)) for n in range(2)]
    found = again.encode_images(pictures).embedding
    assert torch.equal(found, model.encode_images(pictures).embedding)
    plain = r2d2.load(models["clip"], "cpu")
    assert not torch.allclose(found, plain.encode_images(pictures).embedding, atol=1e-4)
    assert "cuts the middle out" in refused(
        __import__("r2d2.deploy.export", fromlist=["x"]).export_onnx, folder, tmp_path / "graphs"
    )


def test_a_picture_of_the_gallery_is_read_as_the_model_wants(models, tmp_path):
    file = tmp_path / "p.png"
    file.write_bytes(png(picture(1).resize((90, 40))))
    model = r2d2.load(models["clip"], "cpu")
    whole = model.encode_images([read_image(file)]).embedding
    assert torch.allclose(model.encode_pixels([model.read(file.read_bytes())]).embedding, whole)


def test_load_refuses_what_cannot_be(models):
    with pytest.raises(R2D2Error, match="no device"):
        r2d2.load(models["clip"], "nonsense")
