"""`r2d2 index` and `r2d2 search`: tables, JSON, many queries, and one clear line for mistakes."""

import json
import logging

import pytest
from PIL import Image

from helpers.cli import call_cli, start_cli
from helpers.pictures import picture, png
from helpers.runs import small_table
from helpers.searchers import TEXTS, small_model, small_searcher
from r2d2.index.gallery.emoji import INDEX, EmojiGallery, emoji_character, emoji_file, emoji_name
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.search import batch_search
from r2d2.search.display import as_table
from r2d2.search.query import SearchQuery


@pytest.fixture
def cli(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "160")
    return lambda *arguments: call_cli(monkeypatch, capsys, *arguments)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A table and a model."""
    folder = tmp_path_factory.mktemp("command")
    small_model().save(folder / "model")
    return small_table(folder / "t.lance", rows=20, bad=(3,)), folder / "model"


@pytest.fixture(scope="module")
def indexed(place):
    from r2d2.index.build import build_index

    build_index(*place)
    return ("--table", place[0], "--model", place[1])


def test_index_tells_what_it_did(cli, place, tmp_path):
    table = small_table(tmp_path / "t.lance", rows=20, bad=(3,))
    code, out, lines = cli("index", table, "--model", place[1], "--export", tmp_path / "v.parquet")
    assert code == 0, lines
    assert "images: 31 embedded, left out: 1 unreadable" in out
    assert "31 of 32 rows have a vector" in out
    assert "31 vectors" in out
    code, _, lines = cli("index", table)
    assert (code, "--model" in " ".join(lines)) == (2, True)
    code, _, lines = cli("index", table, "--ann", "ivf_sq")
    assert (code, "256" in " ".join(lines)) == (2, True)


def test_a_table_of_results(cli, indexed):
    code, out, lines = cli("search", TEXTS[5], *indexed, "-k", "3")
    assert code == 0, lines
    assert len(out.splitlines()) == 6
    for word in ("cosine", "match", "fit", "likely", "score", "image_id", "ranked again"):
        assert word in out
    code, out, _ = cli("search", TEXTS[5], *indexed, "--pre-ranking")
    assert code == 0
    assert "match" not in out


def test_json_pages_and_conditions(cli, indexed):
    def hits(*more):
        code, out, lines = cli("search", TEXTS[5], *indexed, "--json", *more)
        assert code == 0, lines
        return json.loads(out)["hits"]

    whole, second = hits("-k", "8"), hits("-k", "4", "--page", "2")
    assert [hit["row"] for hit in whole[4:]] == [hit["row"] for hit in second]
    assert all(hit["split"] == "val" for hit in hits("--where", "split = 'val'"))


def test_by_an_image(cli, indexed, tmp_path):
    file = tmp_path / "x.png"
    file.write_bytes(png(picture(9)))
    code, out, lines = cli("search", "--image", file, *indexed, "--json")
    assert code == 0, lines
    assert json.loads(out)["hits"][0]["image_id"] == "i9"
    code, out, lines = cli("search", "--image", file, "--texts", *indexed, "--json")
    assert code == 0, lines
    assert json.loads(out)["hits"][0]["match"] is not None


def test_an_animated_image_is_said_to_count_as_its_first_frame(cli, indexed, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    file = tmp_path / "x.gif"
    picture(9).save(file, "GIF", save_all=True, append_images=[picture(4)])
    code, out, lines = cli("search", "--image", file, *indexed, "--json")
    assert code == 0, lines
    assert json.loads(out)["hits"][0]["image_id"] == "i9"
    assert f"{file} has more frames than one: the first is used" in caplog.text


def test_many(cli, indexed, tmp_path):
    (tmp_path / "x.png").write_bytes(png(picture(9)))
    lines = [
        {"id": 7, "text": TEXTS[5]}, {"image": "x.png"}, {"image": "none.png"},
        {"text": "猫" * 2001}, {"text": 5}, {},
    ]  # fmt: skip
    text = "\n".join(json.dumps(line) for line in lines) + "\nno json\n\n"
    (tmp_path / "q.jsonl").write_text(text, encoding="utf-8")
    out = tmp_path / "out.jsonl"
    code, said, errors = cli("search", "--queries", tmp_path / "q.jsonl", "--out", out, *indexed)
    assert code == 0, errors
    assert "2 queries answered, 5 refused" in said
    found = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert (found[0]["id"], found[0]["query"], len(found[0]["hits"])) == (7, TEXTS[5], 10)
    assert found[1]["hits"][0]["image_id"] == "i9"
    assert [("error" in line) for line in found] == [False, False, True, True, True, True, True]
    assert "2001" in found[3]["error"]
    assert f"left out: no answer: 5 ({tmp_path / 'q.jsonl'}, line 3: " in said
    items = [{"text": TEXTS[5]}, {"text": None}, {"text": float("nan")}, {"text": "\ud800"}]
    (tmp_path / "q.json").write_text(json.dumps(items), encoding="utf-16")
    code, said, _ = cli(
        "search", "--queries", tmp_path / "q.json", "--out", out, "--overwrite", *indexed
    )
    assert "1 queries answered, 3 refused" in said
    found = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [line.get("error") for line in found] == [
        None, "no text", "no text", "half of a surrogate pair in a text",
    ]  # fmt: skip
    (tmp_path / "q.txt").write_bytes(f"{TEXTS[5]}\n".encode() + b"\xe7\x8b\nNone\n")
    code, said, _ = cli(
        "search", "--queries", tmp_path / "q.txt", "--out", out, "--overwrite", *indexed
    )
    assert "1 queries answered, 2 refused" in said
    assert f"{tmp_path / 'q.txt'}, line 2: a line in no known encoding" in said
    out.unlink()
    (tmp_path / "q.txt").write_text(f"{TEXTS[5]}\n\n{TEXTS[6]}\n", encoding="gbk")
    cli("search", "--queries", tmp_path / "q.txt", "--out", out, *indexed)
    code, _, errors = cli("search", "--queries", tmp_path / "q.txt", "--out", out, *indexed)
    assert (code, "--overwrite" in " ".join(errors)) == (2, True)
    code, said, _ = cli(
        "search", "--queries", tmp_path / "q.txt", "--out", out, "--overwrite", *indexed
    )
    assert "2 queries answered, 0 refused" in said


def test_mistakes(cli, indexed, tmp_path):
    (tmp_path / "x.png").write_bytes(b"no picture")
    for arguments, part in (
        (("search",), "one of them"),
        (("search", "猫", "--image", "x"), "one of them"),
        (("search", "猫", "--queries", "x"), "one of them"),
        (("search", "--queries", tmp_path / "x"), "belong together"),
        (("search", "猫" * 2001), "shorten it"),
        (("search", "猫", "--where", "nobody = 1"), "nobody"),
        (("search", "--image", tmp_path / "x.png"), "no image that can be read"),
        (("search", "--image", tmp_path / "none.png"), "No such file"),
        (("search", "--image", tmp_path), "folder"),
    ):
        code, _, lines = cli(*arguments, *(indexed if len(arguments) > 1 else ()))
        assert code == 2, arguments
        assert len(lines) == 1, lines
        assert part in lines[0]
    code, _, lines = cli("search", "猫", "--table", tmp_path / "none.lance")
    assert (code, "no table" in lines[0]) == (2, True)


def test_nothing_found_is_said(capsys):
    searcher = small_searcher()
    query = SearchQuery(text=TEXTS[0], where="image_id = 'x'")
    as_table(searcher.answer([query])[0], query, searcher)
    said = capsys.readouterr().out
    assert "no picture matches the filter" in said
    assert "nothing here fits" not in said
    assert "nothing found" in said


@pytest.mark.parametrize(
    ("where", "end"),
    [
        ("image_id = '[/x]'", " images, of which only those with image_id = '[/x]' count"),
        ("image_id = '[red]'", " images, of which only those with image_id = '[red]' count"),
    ],
)
def test_a_condition_that_nothing_fulfils_is_shown_as_it_was_written(capsys, where, end):
    searcher = small_searcher()
    query = SearchQuery(text=TEXTS[0], where=where)
    as_table(searcher.answer([query])[0], query, searcher)
    said = " ".join(capsys.readouterr().out.split())
    assert said.endswith(f"nothing found among {len(TEXTS)}{end}")


# The emoji corpus


def test_an_emojis_name_character_and_picture():
    assert emoji_name("1f382") == "生日蛋糕"
    assert emoji_character("1f382") == "\U0001f382"
    assert emoji_character("photo-1") is None
    assert emoji_file("1f382").startswith(b"\x89PNG")
    assert emoji_file("2604-fe0f").startswith(b"\x89PNG")


def test_the_shipped_index_is_what_is_made_now(tmp_path, monkeypatch):
    import emoji

    from r2d2.data.emoji import emoji_pairs
    from r2d2.search import shipped

    def shorten(count):
        """Let the package `emoji` know no more of the emoji."""
        characters = [emoji_character(pair.image_id) for pair in few[:count]]
        known = {character: every[character] for character in characters}
        monkeypatch.setattr(emoji, "EMOJI_DATA", known)

    few, every = emoji_pairs()[::97], emoji.EMOJI_DATA
    shorten(len(few))
    model = small_model()
    model.save(tmp_path / "model")
    assert EmojiGallery.shipped(model, tmp_path) is None
    assert shipped.write_shipped_index(tmp_path / "model", tmp_path) == tmp_path / INDEX
    read, made = EmojiGallery.open(model, tmp_path), EmojiGallery.make(model)
    assert len(read) == len(made) == len(few)
    assert read.items(range(len(few))) == made.items(range(len(few)))
    assert read.files([3]) == made.files([3])
    asked = model.encode_texts([pair.texts[0].text for pair in few]).embedding.numpy()
    for (a, x), (b, y) in zip(read.images.best(asked, 5), made.images.best(asked, 5), strict=True):
        assert x == pytest.approx(y, abs=2e-3)  # float16
        assert len(set(a) & set(b)) >= 4
    shorten(5)
    other = EmojiGallery.open(small_model(seed=8), tmp_path)  # made anew for another model
    assert len(other) == 5
    (tmp_path / INDEX).write_bytes(b"broken")
    with pytest.raises(Exception, match="damaged"):
        EmojiGallery.open(model, tmp_path)


def test_a_huge_picture_gets_one_line(tmp_path):
    """Whatever Pillow has to say about it."""
    file = tmp_path / "huge.png"
    for side in (10_000, 14_000):  # Pillow warns of the one and refuses the other
        Image.new("1", (side, side)).save(file, "PNG")
        process = start_cli("search", "--image", file, "--pre-ranking")
        out, err = process.communicate()
        assert (process.returncode, out) == (2, "")
        (line,) = err.strip().splitlines()
        assert line.startswith(f"error: {file} has ")
        assert "more than 64000000" in line


def test_only_line_breaks_end_a_query(tmp_path):
    (tmp_path / "q.jsonl").write_bytes('{"text": "猫\u2028狗"}\r\n{"text": "山\u0085"}'.encode())
    found = [text for _, text in batch_search._lines(tmp_path / "q.jsonl", DroppedRows())]
    assert found == [{"text": "猫\u2028狗"}, {"text": "山\u0085"}]


def test_a_table_of_queries_is_read_by_its_columns(cli, indexed, tmp_path):
    """A CSV was read line by line, its header and its other columns being parts of queries."""
    out = tmp_path / "out.jsonl"

    def search(name, text):
        (tmp_path / name).write_text(text, encoding="utf-8")
        arguments = ("--queries", tmp_path / name, "--out", out, "--overwrite", *indexed)
        code, said, errors = cli("search", *arguments)
        found = out.read_text(encoding="utf-8").splitlines() if code == 0 else []
        return [json.loads(line) for line in found], said, " ".join(errors)

    found, said, _ = search("q.csv", f"编号,id,Query\n1,a,{TEXTS[5]}\n2,b,\n3,c\n")
    assert [(line["id"], line["query"]) for line in found] == [("a", TEXTS[5]), ("b", None)]
    assert "1 queries answered, 2 refused" in said
    assert "left out: malformed row: 1" in said
    found, _, _ = search("q.tsv", f"text\tid\n{TEXTS[5]}\t1\n{TEXTS[6]}\t2\n")
    assert [line["query"] for line in found] == [TEXTS[5], TEXTS[6]]
    found, said, _ = search("q.json", json.dumps([TEXTS[5], {"query": TEXTS[6]}, None, 5]))
    assert [line["query"] for line in found] == [TEXTS[5], TEXTS[6], None, None]
    found, said, _ = search("q.jsonl", f'{{"query": "{TEXTS[5]}"}}\n"{TEXTS[6]}"\n')
    assert [line["query"] for line in found] == [TEXTS[5], TEXTS[6]]
    _, _, error = search("bad.csv", f"{TEXTS[5]}\n{TEXTS[6]}\n")
    assert "has no column of queries" in error
    assert "a text a line in a .txt" in error


def test_the_answer_names_the_query_without_a_mark_of_the_byte_order(tmp_path):
    (tmp_path / "q.txt").write_bytes("红色的猫\n\ufeff 蓝色的狗\n".encode())
    done = batch_search.search_many(
        small_searcher(), tmp_path / "q.txt", tmp_path / "a.jsonl", SearchQuery(k=1)
    )
    lines = (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["query"] for line in lines] == ["红色的猫", "蓝色的狗"]
    assert done.answered == 2


def test_by_words_vectors_or_both(cli, indexed, tmp_path):
    def hits(*more):
        code, out, lines = cli("search", TEXTS[5], *indexed, "--json", *more)
        assert code == 0, lines
        return json.loads(out)

    assert hits()["by"] == "both"
    assert hits("--by", "vectors")["by"] == "vectors"
    found = hits("--by", "words")
    assert {hit["found_by"] for hit in found["hits"]} == {"words"}
    code, out, _ = cli("search", TEXTS[5], *indexed)
    assert (code, "found by" in out) == (0, True)
    code, out, _ = cli("search", TEXTS[5], *indexed, "--by", "words")
    assert (code, "cosine" in out, "ranked by words (BM25)" in out) == (0, False, True)
    for wrong in (
        ("--by", "pictures"),
        ("--by", "words", "--candidates", "4"),
        ("--by", "words", "--pre-ranking"),
    ):
        code, _, lines = cli("search", TEXTS[5], *indexed, *wrong)
        assert (code, len(lines)) == (2, 1)
    file = tmp_path / "x.png"
    file.write_bytes(png(picture(9)))
    code, _, lines = cli("search", "--image", file, *indexed, "--by", "words")
    assert (code, "an image is compared by vectors" in lines[0]) == (2, True)


@pytest.mark.parametrize(
    ("query", "told", "first"),
    [
        ("貓", "searched as 猫", "🐈"),
        ("飛機", "searched as 飞机", "✈"),
        ("🎂", "the model does not know 🎂", None),
        ("𠮷", "the model does not know 𠮷", None),
        ("dog", "the model knows no English: dog", None),
        ("猫", None, "🐈"),
    ],
)
def test_characters_that_the_model_does_not_know_are_named(cli, query, told, first):
    code, out, lines = cli("search", query, "-k", "2")
    assert code == 0, lines
    assert (told is None) == ("searched as" not in out and "the model" not in out)
    assert told is None or told in out
    assert (first or "nothing found") in out


def test_a_text_of_zero_width_characters_is_refused(cli):
    code, _, lines = cli("search", "\u200b")
    assert (code, lines) == (
        2, ["error: the text holds no character that can be seen: give some words"]
    )  # fmt: skip


def test_a_second_stage_of_weight_zero_is_told_in_the_terminal(cli, tmp_path):
    from r2d2.index.build import build_index

    small_model(match_weight=0.0).save(tmp_path / "model")
    table = small_table(tmp_path / "t.lance", rows=8)
    build_index(table, tmp_path / "model")
    opened = ("--table", table, "--model", tmp_path / "model")
    code, out, lines = cli("search", TEXTS[5], *opened)
    assert code == 0, lines
    assert "no second stage" in out
    assert "match" not in out
    code, _, lines = cli("search", TEXTS[5], *opened, "--candidates", "4")
    assert (code, "weight" in lines[0]) == (2, True)
