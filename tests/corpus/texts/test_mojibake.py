"""Texts decoded by a wrong encoding are told from texts that are as they were written."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from r2d2.corpus.config import TextFilterConfig
from r2d2.corpus.texts.mojibake import is_mojibake
from r2d2.corpus.texts.text_filter import TextFilter
from r2d2.data.emoji import emoji_pairs

ZERO = TextFilter(TextFilterConfig(min_chinese=None, max_repeat=None, min_chars=None))
CAPTIONS = Path(__file__).parents[3] / "../shared/data/flickr8k-cn/train.parquet"
NAMES = sorted({text.text for pair in emoji_pairs() for text in pair.texts if len(text.text) >= 4})
CHINESE = [name for name in NAMES if all("\u4e00" <= c <= "\u9fff" for c in name)]


@pytest.mark.parametrize(
    ("written_in", "read_as", "share"),
    [
        ("utf-8", "gbk", 0.95),
        ("utf-8", "gb18030", 0.95),
        ("utf-8", "latin-1", 0.99),
        ("utf-8", "cp1252", 0.99),
        ("gbk", "latin-1", 0.99),
        ("gbk", "cp1252", 0.99),
        ("gbk", "big5", 0.5),
        ("gbk", "cp949", 0.7),
        ("gbk", "utf-8", 1),
        ("big5", "gbk", 0.4),
    ],
)
def test_names_in_wrong_encodings_are_dropped(written_in, read_as, share):
    texts = [name.encode(written_in, "ignore").decode(read_as, "replace") for name in CHINESE]
    rules = ZERO(texts)[1]
    assert len(texts) > 300
    assert rules.count("mojibake") >= share * len(texts)


@pytest.mark.parametrize(
    "text",
    [
        "风景图片锟斤拷",
        "图片��大全",
        "烫烫烫烫图片",
        "cafÃ© 图片",
        "图片 浣犲ソ锛屼笘鐣",
        "\\u7f8e\\u5973",
    ],
)
def test_a_part_is_enough(text):
    assert ZERO([text])[1] == ["mojibake"]


def test_what_was_read_rightly_is_kept():
    assert [name for name in NAMES if is_mojibake(name)] == []
    japanese = ["となりのトトロ", "東京スカイツリー", "ありがとう", "進撃の巨人"]
    korean = ["한국어", "서울街景", "방탄소년단 海报"]
    rare = ["犇羴鱻骉飝", "魑魅魍魉", "饕餮纹青铜鼎", "龘靐齉齾", "氕氘氚", "饸饹面", "彳亍"]
    latin = ["Çà et là", "Übergröße", "naïve café", "Łódź", "a×b÷c±d", "½ ¼ ¾", "©®°·"]
    for text in [*japanese, *korean, *rare, *latin]:
        assert not is_mojibake(text), text


@pytest.mark.skipif(not CAPTIONS.exists(), reason=f"no captions at {CAPTIONS}")
def test_captions_that_people_wrote_are_kept():
    texts = [t for row in pq.read_table(CAPTIONS)["human"].to_pylist() for t in row]
    assert [text for text in texts if is_mojibake(text)] == []
