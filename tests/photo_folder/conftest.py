"""A saved model, and a cache of the test's own."""

import pytest

from helpers.searchers import small_model


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "model"
    small_model().save(folder)
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def photos(tmp_path):
    """The place of a folder of pictures, with nothing beside it."""
    return tmp_path / "home" / "photos"
