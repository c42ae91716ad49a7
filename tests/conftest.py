"""One thread and one seed for every test, and no test that depends on how busy the machine is."""

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)
