"""Images as text: both alphabets, every type that a column of text or of bytes may have."""

import base64

import pyarrow as pa
import pytest

from r2d2.images.base64_images import binary_column, from_base64

DATA = bytes(range(256))


def test_base64_of_either_alphabet():
    for encode in (base64.b64encode, base64.urlsafe_b64encode, base64.encodebytes):
        assert from_base64(encode(DATA)) == DATA
        assert from_base64(b" " + encode(DATA).rstrip(b"=\n") + b"\r") == DATA
    for wrong in (b"a", b"ab c", b"a%bc", "好".encode()):
        assert from_base64(wrong) is None


@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())],
)
def test_columns_of_text_are_decoded(kind):
    cells = [base64.b64encode(DATA).decode(), None, "", "no base64", "YQ"]
    column = pa.chunked_array([pa.array(cells[:2]).cast(kind), pa.array(cells[2:]).cast(kind)])
    files, bad = binary_column(column)
    assert files.to_pylist() == [DATA, None, b"", None, b"a"]
    assert bad.tolist() == [False, False, False, True, False]


@pytest.mark.parametrize(
    "kind",
    [pa.binary(), pa.large_binary(), pa.binary_view(), pa.dictionary(pa.int8(), pa.binary())],
)
def test_columns_of_bytes_are_as_they_are(kind):
    column = pa.chunked_array([pa.array([DATA, None, b"YQ=="], pa.binary()).cast(kind)])
    files, bad = binary_column(column)
    assert files.to_pylist() == [DATA, None, b"YQ=="]
    assert not bad.any()


def test_a_column_of_nothing():
    files, bad = binary_column(pa.chunked_array([pa.nulls(2)]))
    assert (files.to_pylist(), bad.tolist()) == ([None, None], [False, False])
