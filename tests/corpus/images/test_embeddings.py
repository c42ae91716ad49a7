import numpy as np
import pyarrow as pa
import pytest

from helpers.click_logs import silent
from r2d2.corpus.images import embeddings
from r2d2.corpus.images.embeddings import Embeddings, embed_images
from r2d2.corpus.rows import IMAGE_COLUMNS, IMAGES, part_file, part_range, write_images
from r2d2.errors import R2D2Error

IDS = [f"{n * 2**32 // 20:08x}{n:024x}" for n in range(20)]


def write(folder, parts):
    for part in range(parts):
        first, last = part_range(part, parts)
        rows = [{"image_id": key, "image": bytes([n + 1, 7])} for n, key in enumerate(IDS)
                if first <= key < last]  # fmt: skip
        write_images(part_file(folder, IMAGES, part), IMAGE_COLUMNS, rows)


def encode(files):
    return np.array([[data[0], data[1]] for data in files], np.float32)


def wanted(*places):
    return pa.chunked_array([pa.array([IDS[n] for n in places], pa.large_string())])


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("batch", [2, 64])
def test_the_wanted_ones_in_order_and_of_unit_length(tmp_path, monkeypatch, parts, batch):
    monkeypatch.setattr(embeddings, "BATCH", batch)
    write(tmp_path, parts)
    places = [0, 3, 4, 5, 11, 19]
    told = []
    x = embed_images(tmp_path, wanted(*places), encode, tmp_path / "x",
                     lambda *what: told.append(what))  # fmt: skip
    expected = np.array([[n + 1, 7] for n in places], np.float32)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert len(x) == 6
    np.testing.assert_allclose(x.take(np.arange(6)), expected, rtol=1e-6)
    np.testing.assert_allclose(x.take(np.array([1, 4])), expected[[1, 4]], rtol=1e-6)
    assert told[-1] == ("embedding", 6, 6)


def test_what_was_cut_off_goes_on(tmp_path):
    write(tmp_path, 4)
    seen = []

    def broken(files):
        if len(seen) == 12:
            raise KeyboardInterrupt
        seen.extend(files)
        return encode(files)

    with pytest.raises(KeyboardInterrupt):
        embed_images(tmp_path, wanted(*range(20)), _in_twos(broken), tmp_path / "x", silent)
    left = sorted(path.name for path in (tmp_path / "x").iterdir())
    assert left == ["part-0000.npy", "part-0001.npy"]
    again = []

    def whole(files):
        again.extend(files)
        return encode(files)

    x = embed_images(tmp_path, wanted(*range(20)), whole, tmp_path / "x", silent)
    assert (len(again), len(x)) == (10, 20)
    straight = embed_images(tmp_path, wanted(*range(20)), encode, tmp_path / "y", silent)
    np.testing.assert_array_equal(x.take(np.arange(20)), straight.take(np.arange(20)))


def _in_twos(work):
    def encode_in_twos(files):
        return np.concatenate([work(files[i : i + 2]) for i in range(0, len(files), 2)])

    return encode_in_twos


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (lambda files: np.ones(len(files)), r"shape \(20,\)"),
        (lambda files: np.ones((3, 2)), r"shape \(3, 2\)"),
        (lambda files: np.zeros((len(files), 2)), "without a direction"),
        (lambda files: np.full((len(files), 2), np.nan), "without a direction"),
    ],
)
def test_what_is_no_embedding(tmp_path, given, told):
    write(tmp_path, 1)
    with pytest.raises(R2D2Error, match=told):
        embed_images(tmp_path, wanted(*range(20)), given, tmp_path / "x", silent)
    assert not (tmp_path / "x").exists()


def test_files_of_another_model_are_not_mixed_in(tmp_path):
    write(tmp_path, 2)
    embed_images(tmp_path, wanted(*range(10)), encode, tmp_path / "x", silent)

    def wider(files):
        return np.ones((len(files), 3))

    with pytest.raises(R2D2Error, match="remove that folder"):
        embed_images(tmp_path, wanted(*range(20)), wider, tmp_path / "x", silent)


def test_none():
    assert len(Embeddings(())) == 0
