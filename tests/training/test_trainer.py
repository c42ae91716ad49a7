"""What a process takes of its machine: its cores, and bfloat16 where the GPU has it."""

import os
from types import SimpleNamespace

import pytest
import torch

from r2d2.training.distributed import ALONE, World
from r2d2.training.hardware import bfloat16, decoders


@pytest.mark.parametrize(
    ("cores", "world", "threads"),
    [
        (64, World(9, 64, 1, 8), 8),  # eight machines of eight processes: not a 64th of one
        (16, World(0, 8, 0, 8), 2),
        (4, World(0, 8, 0, 8), 1),
        (64, ALONE, 8),
    ],
)
def test_a_process_decodes_on_its_share_of_the_machine_it_is_on(cores, world, threads, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: range(cores))
    assert decoders(world) == threads


@pytest.mark.parametrize(("major", "used"), [(7, False), (8, True), (9, True)])
def test_a_gpu_that_only_emulates_bfloat16_is_not_asked_to(major, used, monkeypatch):
    # Volta and Turing hold such tensors, but have no unit that multiplies them.
    card = SimpleNamespace(major=major)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _device: card)
    monkeypatch.setattr(torch.cuda, "_check_bf16_tensor_supported", lambda _device: True)
    assert bfloat16("auto", torch.device("cuda")) is used
    assert bfloat16("bfloat16", torch.device("cuda"))
    assert not bfloat16("auto", torch.device("cpu"))
