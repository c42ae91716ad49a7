"""Faster products are used only where a probe's scores stay where they were."""

import logging
from contextlib import contextmanager

import pytest
import torch

from helpers.published_weights import save_small
from r2d2.pretrained import Pretrained
from r2d2.tensor_cores import TOLERANCE, allow_tensor_cores, bears, tensor_cores, use_tensor_cores

CPU = torch.device("cpu")


@pytest.fixture(params=[2, 0], ids=["r2d2", "prd2"])
def model(request, tmp_path):
    save_small(tmp_path / "model", cross_layers=request.param)
    from r2d2 import load

    return load(tmp_path / "model", "cpu")


@contextmanager
def shifted(model, by):
    """As if the device rounded: a weight moves while the context lasts."""
    weight = model.model.towers.image_projection.weight
    before = weight.detach().clone()
    with torch.no_grad():
        weight[0] += by
    try:
        yield
    finally:
        with torch.no_grad():
            weight.copy_(before)


def test_a_model_whose_scores_stay_bears_it(model, caplog):
    caplog.set_level(logging.INFO)
    assert bears(model, lambda: shifted(model, 0.0))
    assert "products in TF32" in caplog.text


def test_a_model_whose_scores_move_does_not(model, caplog):
    caplog.set_level(logging.INFO)
    assert not bears(model, lambda: shifted(model, 1.0))
    assert f"more than {TOLERANCE:g}" in caplog.text


def test_match_scores_count_too(tmp_path):
    save_small(tmp_path / "model", cross_layers=2)
    from r2d2 import load

    model = load(tmp_path / "model", "cpu")
    head = model.model.match_head_text

    @contextmanager
    def biased():
        with torch.no_grad():
            head.bias[1] += 1
        yield
        with torch.no_grad():
            head.bias[1] -= 1

    assert not bears(model, biased)


def test_on_a_cpu_and_without_a_model_of_ours_nothing_changes(model):
    before = torch.get_float32_matmul_precision()
    assert isinstance(model, Pretrained)
    for other in (model, object()):
        allow_tensor_cores(other)
        with use_tensor_cores(other):
            assert torch.get_float32_matmul_precision() == before
    with tensor_cores(CPU):
        assert torch.get_float32_matmul_precision() == before
    assert not bears(object(), lambda: tensor_cores(CPU))


def test_the_precision_is_set_back():
    before = torch.get_float32_matmul_precision()
    with tensor_cores(torch.device("cuda")):  # asks no GPU
        assert torch.get_float32_matmul_precision() == "high"
    assert torch.get_float32_matmul_precision() == before
    with tensor_cores(torch.device("cuda"), enabled=False):
        assert torch.get_float32_matmul_precision() == before
