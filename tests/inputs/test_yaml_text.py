"""YAML of a user's: any encoding, no key twice, errors with file and line."""

import pytest

from r2d2.corpus.config import make_corpus_config
from r2d2.errors import R2D2Error
from r2d2.evaluation.classification import read_templates
from r2d2.evaluation.published import read_published
from r2d2.inputs.yaml_text import read_yaml

SETTINGS = "# 词表\ntext:\n  word_lists: [词表/违禁词.txt]\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
def test_settings_of_a_corpus_in_the_encodings_of_editors(encoding, tmp_path):
    file = tmp_path / "own.yaml"
    file.write_bytes(SETTINGS.encode(encoding))
    assert make_corpus_config(file=file).text.word_lists == ("词表/违禁词.txt",)


def test_a_group_that_stands_twice_is_refused(tmp_path):
    """YAML would keep the last one, and drop the first without a word."""
    file = tmp_path / "own.yaml"
    file.write_text("rank:\n  min_clicks: 5\ntext: {}\nrank:\n  top_count: 9\n", encoding="utf-8")
    with pytest.raises(R2D2Error, match="'rank' stands in line 1 and again in line 4") as raised:
        make_corpus_config(file=file)
    assert str(file) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("read", [make_corpus_config, read_templates, read_published])
@pytest.mark.parametrize(
    "content", ["a: [1", "a: 1\na: 2\n", "{a: 1, a: 2}", "a: !!python/name:os.system x"]
)
def test_no_yaml_is_one_line_that_names_the_file(read, content, tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(R2D2Error) as raised:
        read(file=file) if read is make_corpus_config else read(file)
    assert str(file) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_anchors_and_merged_keys_are_read(tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text("a: &x {k: 1, n: 2}\nb:\n  <<: *x\n  k: 3\n", encoding="utf-8")
    assert read_yaml(file) == {"a": {"k": 1, "n": 2}, "b": {"k": 3, "n": 2}}
