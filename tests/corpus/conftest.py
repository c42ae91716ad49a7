"""A server of images for the tests of fetching, here and on a cluster."""

import pytest

from helpers.image_server import serving


@pytest.fixture(scope="module")
def server():
    with serving() as server:
        yield server
