"""What the driver holds does not grow with the number of images."""

import pytest

from benchmarks import corpus_ray


@pytest.mark.slow
def test_the_driver_grows_by_at_most_100_bytes_an_image(tmp_path):
    pytest.importorskip("ray")
    assert corpus_ray.main(["--out", str(tmp_path)]) <= 100
