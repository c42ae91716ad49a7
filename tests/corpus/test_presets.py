"""The presets: zero holds every setting, and what it holds is what the code does by itself."""

from dataclasses import fields, is_dataclass, replace

import pytest
import yaml

from r2d2.corpus.config import PRESETS, CorpusConfig, make_corpus_config
from r2d2.errors import R2D2Error
from r2d2.settings import data_files


def test_zero_is_complete():
    held = yaml.safe_load(data_files(PRESETS)["zero"].read_text(encoding="utf-8"))
    groups = {f.name: getattr(CorpusConfig(), f.name) for f in fields(CorpusConfig)}
    groups = {name: group for name, group in groups.items() if is_dataclass(group)}
    assert set(held) == set(groups)
    for name, group in groups.items():
        assert set(held[name]) == {f.name for f in fields(group)}, name


def test_zero_is_what_the_code_does_by_itself():
    assert make_corpus_config("zero") == make_corpus_config() == CorpusConfig()
    assert sorted(data_files(PRESETS)) == ["danqing", "zero"]


def test_a_copy_of_zero_may_be_edited(tmp_path):
    text = data_files(PRESETS)["zero"].read_text(encoding="utf-8")
    own = tmp_path / "own.yaml"
    own.write_text(text.replace("top_share: null", "top_share: 0.05"), encoding="utf-8")
    rank = make_corpus_config("zero", own, ["rank.min_clicks=0"]).rank
    assert rank == replace(CorpusConfig().rank, top_share=0.05, min_clicks=0)
    with pytest.raises(R2D2Error, match="one of threshold"):
        make_corpus_config("zero", own, ["rank.threshold=0.1"])
