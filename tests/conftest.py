"""One thread and one seed for every test, none that depends on the clock; a browser."""

import os
import shutil

import pytest
import torch
from hypothesis import settings

from helpers.cli import call_cli
from helpers.hub_server import loopback_hub
from helpers.steps import StepWatch

os.environ["R2D2_LANG"] = "en"  # whatever the locale of who runs the tests
torch.set_num_threads(1)
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

CHROMIUM = (
    os.environ.get("R2D2_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def steps():
    """The steps of the runs in this process; see `StepWatch`."""
    with StepWatch() as watch:
        yield watch


@pytest.fixture
def cli(monkeypatch, capsys):
    """The command line in this process; see `call_cli`."""
    return lambda *arguments: call_cli(monkeypatch, capsys, *arguments)


@pytest.fixture
def chinese(monkeypatch):
    """The language of who runs the tests."""
    monkeypatch.setenv("R2D2_LANG", "zh")


@pytest.fixture
def hub():
    """A hub of models on this machine."""
    with loopback_hub() as server:
        yield server


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no browser: install Debian's chromium, or name one in R2D2_CHROMIUM")
    api = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install playwright")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()
