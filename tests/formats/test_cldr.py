"""Keywords of Unicode CLDR join the emoji corpus; what is held out stands in no row."""

import json

import pytest

from helpers.cli import call_cli
from r2d2.data.emoji import emoji_pairs
from r2d2.errors import R2D2Error
from r2d2.formats.cldr import HELD_SPLIT
from r2d2.formats.registry import TableImportOptions, import_table
from r2d2.table import PairsTable
from r2d2.tokenizer import loose_text_key, text_key

KEYWORDS = [f"词{n}" for n in range(300)]


def write_package(folder, top, entries):
    file = folder / "package" / top / "zh" / "annotations.json"
    file.parent.mkdir(parents=True)
    (file.parents[1] / "zh-Hant").mkdir()
    (file.parents[1] / "zh-Hant" / "annotations.json").write_text("{")  # not asked for
    content = {top: {"identity": {"language": "zh"}, "annotations": entries}}
    file.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8-sig")
    return folder / "package"


@pytest.fixture(scope="module")
def corpus():
    return {pair.image_id: pair for pair in emoji_pairs()}


@pytest.fixture(scope="module")
def imported(tmp_path_factory, corpus):
    folder = tmp_path_factory.mktemp("cldr")
    names = [p.texts[0].text for p in corpus.values() if p.split != "test_novel"][:200]
    novel = next(p.texts[0].text for p in corpus.values() if p.split == "test_novel")
    plain = write_package(folder / "a", "annotations", {
        "👋": {"default": ["挥手", "你好", " ", "你好", *KEYWORDS, *names], "tts": ["挥手"]},
        "❤": {"default": ["爱", novel], "tts": ["红心"]},  # the corpus has it with fe0f
        "😀": "broken",
        "￥": {"tts": [""]},
        "{": {"default": ["括号"], "tts": ["左花括号"]},  # no emoji
    })  # fmt: skip
    derived = write_package(folder / "b", "annotationsDerived", {
        "👋🏻": {"default": ["较浅肤色", *KEYWORDS], "tts": ["挥手: 较浅肤色"]},
        "👋": {"default": ["又一次"]},
    })  # fmt: skip
    found = import_table(
        [plain, derived], "cldr-annotations", folder / "t.lance",
        TableImportOptions(held_out=folder / "h.lance"),
    )  # fmt: skip
    tables = []
    for name in ("t", "h"):
        table = PairsTable.open(folder / f"{name}.lance")
        tables.append({pair.image_id: pair for pair in table.take(table.rows())})
    return found, novel, *tables


def test_a_keyword_weighs_the_less_the_more_pictures_bear_it(imported):
    *_, table, _ = imported
    weights = [
        {text.text: text.weight for text in table[image_id].texts if text.source == "query"}
        for image_id in ("1f44b", "1f44b-1f3fb")
    ]
    both = set(weights[0]) & set(weights[1])
    assert both
    assert {weights[0][word] for word in both} == {0.5}
    assert weights[0]["你好"] == 1
    assert weights[1]["较浅肤色"] == 1  # as a keyword; the names of others hold it besides


def test_the_corpus_keeps_its_ids_splits_and_pictures(imported, corpus):
    found, _, table, _ = imported
    assert list(table) == list(corpus)
    for image_id, pair in table.items():
        before = corpus[image_id]
        assert (pair.image, pair.split) == (before.image, before.split)
        assert pair.texts[: len(before.texts)] == before.texts
    assert found.dropped.counts == {
        "a name of test_novel, kept from train": 1, "malformed annotation": 1, "no text": 1,
        "annotated twice": 1, "a text of a row that is kept: no text": 1,
    }  # fmt: skip


def test_keywords_are_queries_and_spoken_names_titles(imported):
    _, novel, table, _ = imported
    hand = table["1f44b"].texts
    assert [text.text for text in hand if text.source == "title"] == ["挥手"]  # said once
    assert len({text_key(text.text) for text in hand}) == len(hand)
    heart = [(text.text, text.source) for text in table["2764-fe0f"].texts]
    assert ("爱", "query") in heart
    assert novel not in [text for text, _ in heart]
    tone = table["1f44b-1f3fb"].texts
    assert ("挥手: 较浅肤色", "title") in [(text.text, text.source) for text in tone]
    assert [text.text_id for text in tone if text.text == "较浅肤色"] == ["cldr:较浅肤色"]


def test_a_held_keyword_is_in_no_row(imported):
    _, _, table, held = imported
    inside = {text_key(text.text) for pair in table.values() for text in pair.texts}
    out = {text_key(text.text) for pair in held.values() for text in pair.texts}
    assert not inside & out
    assert set(KEYWORDS) <= inside | out
    assert out <= set(KEYWORDS) | {"你好", "爱", "较浅肤色"}  # no name of a picture
    assert 10 <= len(out) <= 60  # a tenth of 300
    assert set(held) == {"1f44b", "1f44b-1f3fb"}  # of all that have it
    assert [t.text for t in held["1f44b"].texts] == [t.text for t in held["1f44b-1f3fb"].texts]
    assert {pair.split for pair in held.values()} == {HELD_SPLIT}


def test_all_spellings_of_a_keyword_are_held_out_together(tmp_path):
    spelled = [f"{word}{end}" for word in KEYWORDS for end in ("", "！", "。")]
    package = write_package(tmp_path / "a", "annotations", {"👋": {"default": spelled}})
    options = TableImportOptions(held_out=tmp_path / "h.lance")
    import_table([package], "cldr-annotations", tmp_path / "t.lance", options)
    sides = []
    for name in ("t", "h"):
        table = PairsTable.open(tmp_path / f"{name}.lance")
        texts = [text.text for row in table.texts(table.rows()) for text in row]
        sides.append({loose_text_key(text) for text in texts})
    assert sides[1]
    assert not sides[0] & sides[1]


def test_what_is_wrong_is_said_before_any_work(tmp_path, monkeypatch, capsys):
    (tmp_path / "en").mkdir()
    (tmp_path / "en" / "annotations.json").write_text("{}")
    for path, message in (
        (tmp_path, "no zh/annotations.json"),
        (tmp_path / "en" / "annotations.json", "within"),
    ):
        with pytest.raises(R2D2Error, match=message):
            import_table([path], "cldr-annotations", tmp_path / "t.lance")
    for kind, extra, message in (
        ("webdataset", (tmp_path / "h",), "formats that do: cldr-annotations"),
        ("cldr-annotations", (tmp_path / "h", "--held-share", "1"), "between"),
        ("cldr-annotations", (tmp_path,), "is read from"),
    ):
        code, _, lines = call_cli(
            monkeypatch, capsys, "data", "import", kind, tmp_path, "--held-out", *extra,
            "--out", tmp_path / "t.lance",
        )  # fmt: skip
        assert (code, message in " ".join(lines)) == (2, True), lines
    assert not (tmp_path / "t.lance").exists()


def test_keywords_join_the_pictures_of_every_style(tmp_path, corpus):
    words = write_package(tmp_path / "a", "annotations", {"👋": {"default": ["打招呼的手"]}})
    options = TableImportOptions(styles="twemoji,openmoji")
    import_table([words], "cldr-annotations", tmp_path / "t.lance", options)
    table = PairsTable.open(tmp_path / "t.lance")
    rows = {pair.image_id: pair for pair in table.take(table.rows())}
    for image_id in ("1f44b", "1f44b@openmoji"):
        assert [text.text for text in rows[image_id].texts if text.source == "query"] == [
            "打招呼的手"
        ]
    assert len(rows) == len(emoji_pairs(("twemoji", "openmoji"))) > len(corpus)
    assert "OpenMoji" in table.metadata["images"]
    assert "keywords_licence" in table.metadata


def test_styles_are_checked_before_anything_is_read(tmp_path):
    noto = TableImportOptions(styles="noto")
    with pytest.raises(R2D2Error, match="--styles 'noto' is not known"):
        import_table([tmp_path], "cldr-annotations", tmp_path / "t.lance", noto)
    with pytest.raises(R2D2Error, match="own does not take --styles"):
        import_table([tmp_path], "own", tmp_path / "t.lance", TableImportOptions(styles="twemoji"))
