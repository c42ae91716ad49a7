"""Files with a damage: what is whole in them is kept, and an error is one line."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from formats.test_odd_inputs import tar
from helpers.published_formats import imported, picture
from r2d2.errors import R2D2Error


def test_a_character_that_was_lost_spoils_its_own_text_alone(tmp_path):
    record = {"captions": ["猫\ufffd", "一只狗"], "split": "val"}
    data = json.dumps(record, ensure_ascii=False).encode()
    tar(tmp_path / "a.tar", [("0.jpg", picture(0)), ("0.json", data), ("0.txt", "别的".encode())])
    found, table, _ = imported("webdataset", tmp_path / "t.lance", tmp_path / "a.tar")
    assert [(row.split, [text.text for text in row.texts]) for row in table] == [
        ("val", ["一只狗"])
    ]
    assert found.dropped.counts == {
        "a text of a row that is kept: characters that cannot be read": 1
    }


def test_an_error_of_parquet_is_one_line(tmp_path):
    file = tmp_path / "a.parquet"
    pq.write_table(pa.table({"image": [picture(0)], "caption": ["猫"]}), file)
    data = file.read_bytes()
    start = len(data) - 8 - int.from_bytes(data[-8:-4], "little")  # of the footer
    file.write_bytes(data[:start] + b"\xff" * 40 + data[start + 40 :])
    with pytest.raises(R2D2Error, match="no readable Parquet file") as caught:
        imported("parquet", tmp_path / "t.lance", file)
    assert "\n" not in str(caught.value)
