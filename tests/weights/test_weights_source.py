"""Reading files that others wrote: nothing in them is run, and what is wrong is told in a line."""

import json
import os
import pickle
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from helpers.cli import refused
from r2d2.errors import R2D2Error
from r2d2.weights.files import choose_weights
from r2d2.weights.pickles import load_pickled
from r2d2.weights.source import open_source


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


class EvilSystem(Evil):
    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("kind", [Evil, EvilSystem])
def test_code_in_a_pickle_is_not_run(tmp_path, legacy, kind):
    ran = tmp_path / "ran"
    bad = tmp_path / "bad.pth"
    content = {"model": {"w": torch.ones(2)}, "z": kind(ran)}
    torch.save(content, bad, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(R2D2Error, match="convert it to safetensors") as error:
        open_source(bad)
    assert not ran.exists()
    assert "\n" not in str(error.value)
    assert str(bad) in str(error.value)
    if kind is EvilSystem:
        assert "posix.system" in str(error.value)
    torch.load(bad, weights_only=False)  # the file is as bad as it should be
    assert ran.exists()


def test_a_plain_pickle_is_not_run(tmp_path):
    ran, bad = tmp_path / "ran", tmp_path / "bad.bin"
    bad.write_bytes(pickle.dumps({"w": Evil(ran)}))
    with pytest.raises(R2D2Error):
        open_source(bad)
    assert not ran.exists()


def test_a_program_is_refused(tmp_path):
    program = tmp_path / "clip.pt"
    with zipfile.ZipFile(program, "w") as archive:
        archive.writestr("clip/data.pkl", b"")
        archive.writestr("clip/constants.pkl", b"")
    with pytest.raises(R2D2Error, match="TorchScript"):
        open_source(program)


def test_a_compressed_archive_is_refused(tmp_path):
    bomb = tmp_path / "bomb.pt"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", b"\0" * 100_000)
    with pytest.raises(R2D2Error, match="is a compressed archive"):
        open_source(bomb)


def test_a_small_storage_cannot_claim_a_large_tensor(tmp_path):
    path = tmp_path / "huge.pth"
    torch.save({"w": torch.zeros(1).expand(1 << 40)}, path)
    with pytest.raises(R2D2Error, match="larger than the whole file"):
        open_source(path)


@pytest.mark.parametrize(
    "content", [{}, [1, 2], {"model": {}}, {"epoch": 3}, torch.ones(2), {"model": {"a": 1}}]
)
def test_no_weights(tmp_path, content):
    path = tmp_path / "empty.pth"
    torch.save(content, path)
    with pytest.raises(R2D2Error, match="holds no weights"):
        open_source(path)


@given(st.binary(max_size=200))
def test_any_bytes_end_in_one_line(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("any") / "any.pth"
    path.write_bytes(content)
    with pytest.raises(R2D2Error) as error:
        load_pickled(path)
    assert "\n" not in str(error.value)


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_damaged_file_ends_in_one_line_or_is_read(tmp_path_factory, place, byte):
    path = tmp_path_factory.mktemp("any") / "any.pth"
    torch.save({"w": torch.arange(9.0)}, path)
    content = bytearray(path.read_bytes())
    content[place % len(content)] = byte
    path.write_bytes(bytes(content[: len(content) - place % 3]))
    told = ""
    try:
        load_pickled(path)
    except R2D2Error as error:
        told = str(error)
    assert "\n" not in told


def test_a_damaged_safetensors_file(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"\x10\0\0\0\0\0\0\0{")
    with pytest.raises(R2D2Error, match="not a readable safetensors"):
        open_source(tmp_path)


@pytest.mark.parametrize("text", ["{", "[1]", "\ud83d".encode("utf-8", "surrogatepass")])
def test_a_damaged_config(tmp_path, text):
    torch.save({"w": torch.ones(1)}, tmp_path / "a.pth")
    raw = text if isinstance(text, bytes) else text.encode()
    (tmp_path / "config.json").write_bytes(raw)
    with pytest.raises(R2D2Error, match=r"config\.json"):
        open_source(tmp_path)


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["pytorch_model.bin", "model.safetensors", "tf_model.h5"], "model.safetensors"),
        (["pytorch_model.bin.index.json", "pytorch_model-1.bin"], "pytorch_model.bin.index.json"),
        (["x.pt", "training_args.bin"], "x.pt"),
        (["r2d2.pth", "vocab.txt"], "r2d2.pth"),
        (["other.safetensors", "pytorch_model.bin"], "pytorch_model.bin"),
        (["one.safetensors", "two.pt"], "one.safetensors"),
    ],
)
def test_which_file_is_read(names, chosen):
    assert choose_weights(names, "here") == chosen


@pytest.mark.parametrize(
    ("names", "words"),
    [([], "holds no weights"), (["flax_model.msgpack"], "no weights"), (["a.pt", "b.pth"], "one")],
)
def test_which_file_is_not_clear(names, words):
    with pytest.raises(R2D2Error, match=words):
        choose_weights(names, "here")


def test_a_file_of_another_kind(tmp_path):
    (tmp_path / "a.h5").write_bytes(b"x")
    with pytest.raises(R2D2Error, match="no weights file"):
        open_source(tmp_path / "a.h5")


def test_a_hub_id_without_network(monkeypatch):
    with socket.socket() as free:  # a port that no one listens on
        free.bind(("127.0.0.1", 0))
        code = (
            "from r2d2.weights.source import open_source\n"
            "from r2d2.errors import R2D2Error\n"
            "try: open_source('owner/name@main')\n"
            "except R2D2Error as error: print(error)\n"
        )
        endpoint = {"HF_ENDPOINT": f"http://127.0.0.1:{free.getsockname()[1]}"}
        ran = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            env={**os.environ, **endpoint, "HF_HUB_OFFLINE": "1"},
            check=True,
        )
    assert "owner/name@main is no path here" in ran.stdout
    assert "give its path" in ran.stdout
    assert ran.stdout.count("\n") == 1


def test_importing_the_package_touches_no_network_and_no_hub():
    code = (
        "import sys, r2d2.weights.importing, r2d2.weights.exporting\n"
        "assert 'huggingface_hub' not in sys.modules and 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_vocabulary_beside_it(tmp_path):
    torch.save({"w": torch.ones(1)}, tmp_path / "a.pth")
    assert open_source(tmp_path / "a.pth").tokenizer is None
    (tmp_path / "tokenizer.json").write_text(json.dumps({}))
    assert open_source(tmp_path / "a.pth").tokenizer.name == "tokenizer.json"
    (tmp_path / "vocab.txt").write_text("[PAD]\n")
    assert open_source(tmp_path).tokenizer.name == "vocab.txt"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"image_mean": [0.5, 0.5]}, "not three numbers"),
        ({"image_mean": "0.5"}, "not three numbers"),
        ({"image_std": [0.2, None, 0.2]}, "not three numbers"),
        ({"image_std": 0}, "not three numbers"),
        ({"image_std": [0.2, 0, 0.2]}, "not above 0"),
        ({"size": {"height": "a", "width": 32}}, "not pixels"),
        ({"crop_size": 0}, "not pixels"),
    ],
)
def test_settings_of_pictures_that_cannot_be_name_their_file(settings, said, tmp_path):
    save_file({"w": torch.zeros(1)}, tmp_path / "model.safetensors")
    path = tmp_path / "preprocessor_config.json"
    good = {"image_mean": [0, 0.5, 0.5], "image_std": None, "size": {"shortest_edge": 32},
            "crop_size": 32}  # fmt: skip
    path.write_text(json.dumps(good), encoding="utf-8")
    assert open_source(tmp_path).preprocessor == good
    path.write_text(json.dumps(good | settings), encoding="utf-8")
    line = refused(open_source, tmp_path)
    assert line.startswith(f"{path}: {next(iter(settings))} is ")
    assert said in line
