"""An encoder travels to another process by its name."""

import pickle

import numpy as np
import pytest

import r2d2
from helpers.corpus_builds import SCENES
from r2d2.encoder import Encoder, NamedEncoder
from r2d2.errors import R2D2Error


def test_the_encoder_of_a_name_is_the_one_that_was_sent():
    encoder = Encoder.load("emoji")
    sent = pickle.dumps(encoder)
    assert len(sent) < 1000
    named = pickle.loads(sent)
    assert named.fingerprint == encoder.fingerprint
    files, texts = [SCENES[0], b"no picture"], ["红色的汽车", "猫"]
    np.testing.assert_array_equal(named.encode_images(files), encoder.encode_images(files))
    np.testing.assert_array_equal(named.encode_texts(texts), encoder.encode_texts(texts))


def test_another_model_under_the_name_is_told():
    with pytest.raises(R2D2Error, match=r"the model emoji on .* is another one \(.*, not abc\)"):
        NamedEncoder("emoji", "abc").encode_texts(["猫"])


def test_the_name_that_is_sent_means_what_was_loaded(tmp_path, monkeypatch):
    (tmp_path / "emoji").mkdir()  # not a model; `emoji` is that of the package all the same
    monkeypatch.chdir(tmp_path)
    encoder = Encoder.load("emoji")
    named = pickle.loads(pickle.dumps(encoder))
    np.testing.assert_array_equal(named.encode_texts(["猫"]), encoder.encode_texts(["猫"]))


def test_the_old_name_of_the_encoded_states_still_works():
    with pytest.warns(FutureWarning, match="r2d2.Side is called r2d2.EncodedStates now") as warned:
        assert r2d2.Side is r2d2.EncodedStates
    assert len(warned) == 1  # the new name gives no warning
