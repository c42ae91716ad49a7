"""WordPiece: BERT's behaviour, the texts that people really send, files, and the key of a text."""

import os
import pickle
import subprocess
import sys
import unicodedata

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from r2d2.errors import R2D2Error
from r2d2.tokenizer import SPECIAL_TOKENS, Tokenizer, key_hash, text_key

TEXTS = [
    "红苹果",
    "男工人，中等浅肤色",
    "OK手势",
    "new按钮",
    "科科斯（基林）群岛",
    "吉林𠮷野家",
    "カメラ",
]
BERT_VOCAB = [
    *(
        "[PAD]",
        "[unused1]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "<S>",
        "!",
        ",",
        "，",
        "[",
        "]",
        "\u2028",
    ),
    *(
        "红",
        "苹",
        "果",
        "男",
        "农",
        "民",
        "𠮷",
        "野",
        "家",
        "ok",
        "##ok",
        "play",
        "##ing",
        "##s",
        "wor",
    ),
    *(
        "##ld",
        "hello",
        "a",
        "b",
        "c",
        "##a",
        "##b",
        "##c",
        "1",
        "##2",
        "##3",
        "12",
        "ａ",
        "ｂ",
        "🍎",
        "##🍎",
    ),
    *(
        "カ",
        "##メ",
        "##ラ",
        "é",
        "e",
        "##e",
        "caf",
        "·",
        "°",
        "3",
        "##d",
        "mask",
        "i",
        "##i",
        "ß",
        "ss",
    ),
]


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(TEXTS)


@pytest.fixture
def vocab_file(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(BERT_VOCAB) + "\n", encoding="utf-8")
    return path


# Encoding


def test_ids_and_mask(tokenizer):
    ids, mask = tokenizer(["红苹果", "", "红"])
    assert (ids.dtype, mask.dtype) == (torch.int64, torch.bool)
    assert ids.shape == mask.shape == (3, 5)
    assert mask.tolist() == [
        [True] * 5,
        [True, True, False, False, False],
        [True] * 3 + [False] * 2,
    ]
    assert ids[:, 0].tolist() == [tokenizer.cls_id] * 3
    assert ids[0, 4] == ids[1, 1] == ids[2, 2] == tokenizer.sep_id
    assert (ids[~mask] == tokenizer.pad_id).all()
    assert ids[0, 1] == ids[2, 1]


def test_a_batch_is_no_longer_than_its_longest(tokenizer):
    assert tokenizer(["红"])[0].shape == (1, 3)
    assert tokenizer([])[0].shape == tokenizer([])[1].shape == (0, 0)


def test_long_texts_are_cut(tokenizer):
    ids, mask = tokenizer(["果" * 500, "红"])
    assert ids.shape == (2, 64)
    assert ids[0, -1] == tokenizer.sep_id
    assert mask.sum(1).tolist() == [64, 3]
    assert len(tokenizer.tokens("果" * 500)) == 62
    assert Tokenizer.train(TEXTS, max_length=4)(["红苹果"])[0].shape == (1, 4)


@pytest.mark.parametrize("text", ["", " ", "\t\n", "\u200b", "\ufe0f", "\x00"])
def test_texts_without_tokens(tokenizer, text):
    ids, mask = tokenizer([text])
    assert ids.tolist() == [[tokenizer.cls_id, tokenizer.sep_id]]
    assert mask.all()
    assert tokenizer.tokens(text) == []


def test_a_cjk_character_is_a_token(tokenizer):
    assert tokenizer.tokens("男工人") == ["男", "工", "人"]
    assert tokenizer.tokens("𠮷野家") == ["𠮷", "野", "家"]  # beyond 16 bits


def test_latin_digits_and_width(tokenizer):
    assert tokenizer.tokens("OK手势") == tokenizer.tokens("ＯＫ手势") == ["ok", "手", "势"]
    assert tokenizer.tokens("浅肤色,") == tokenizer.tokens("浅肤色，")
    assert "".join(tokenizer.tokens("T恤2026")).replace("##", "") == "t[UNK]2026"
    assert tokenizer.tokens("É") == ["e"]


def test_unknown_characters_are_unknown_not_lost(tokenizer):
    assert tokenizer.tokens("红🍎果") == ["红", "[UNK]", "果"]
    assert tokenizer.tokens("龘") == ["[UNK]"]


def test_every_character_of_the_training_texts_is_known(tokenizer):
    ids, _ = tokenizer(TEXTS)
    assert not (ids == tokenizer.unk_id).any()
    # Alone or in other company too, and any word of ASCII letters and digits.
    for text in [*"".join(TEXTS), "ラメカ", "zyxwvutsrqponmlkjihgfedcba9876543210", "Q7"]:
        assert "[UNK]" not in tokenizer.tokens(text)


def test_emoji_and_kana_of_the_training_texts_are_known():
    trained = Tokenizer.train(["🍎🍏 很甜", "한국어"])
    for text in ("🍎", "🍏🍎", "甜🍏", "어국한"):
        assert "[UNK]" not in trained.tokens(text)


@pytest.mark.parametrize("special", SPECIAL_TOKENS)
def test_typed_special_tokens_are_text(tokenizer, special, vocab_file):
    for one in (tokenizer, Tokenizer.from_vocab(vocab_file), pickle.loads(pickle.dumps(tokenizer))):
        ids = one([f"红{special}果"])[0][0, 1:-1].tolist()
        assert not set(ids) & (one.special_ids - {one.unk_id})
        assert len(ids) > 3


@pytest.mark.parametrize("bad", [[None], [3], ["\ud83c"]])
def test_what_is_no_text(tokenizer, bad):
    with pytest.raises(R2D2Error, match="give strings only"):
        tokenizer(bad)


def test_one_string_is_no_list(tokenizer):
    with pytest.raises(R2D2Error, match="list of strings"):
        tokenizer("红苹果")


@settings(max_examples=100)
@given(st.lists(st.text(max_size=80), min_size=1, max_size=4))
def test_any_text_encodes(texts):
    one = Tokenizer.train(TEXTS, max_length=16)
    ids, mask = one(texts)
    assert ids.shape[1] <= 16
    assert ids.max() < one.vocab_size
    assert (mask.sum(1) >= 2).all()
    assert (ids[~mask] == one.pad_id).all()
    assert ((ids == one.cls_id).sum(1) == 1).all()
    assert ((ids == one.sep_id).sum(1) == 1).all()


# Decoding


@pytest.mark.parametrize(
    "text", ["红苹果", "男工人，中等浅肤色", "ok手势", "hello world 12 红 ok", ""]
)
def test_decoding_gives_the_text_back(tokenizer, text):
    expected = text_key(text).replace(" 红 ", "红")
    assert tokenizer.decode(tokenizer([text])[0][0]) == expected


# Training


def test_special_tokens_have_bert_order(tokenizer):
    ids = [
        tokenizer.pad_id,
        tokenizer.unk_id,
        tokenizer.cls_id,
        tokenizer.sep_id,
        tokenizer.mask_id,
    ]
    assert ids == [0, 1, 2, 3, 4]
    assert tokenizer.special_ids == set(ids)


def test_a_small_vocabulary_still_holds_every_character():
    texts = [chr(0x4E00 + i) for i in range(3000)]
    one = Tokenizer.train(texts, vocab_size=100)
    assert not (one(texts)[0] == one.unk_id).any()
    assert 3000 < one.vocab_size < 3100


def test_vocab_size_and_min_frequency_bound_the_longer_pieces():
    texts = ["hello world"] * 3 + ["rare"]
    full = Tokenizer.train(texts)
    assert full.tokens("hello") == ["hello"]
    assert full.tokens("rare") == ["rare"]
    assert Tokenizer.train(texts, min_frequency=2).tokens("hello rare")[0] == "hello"
    assert len(Tokenizer.train(texts, min_frequency=2).tokens("rare")) > 1
    assert Tokenizer.train(texts, vocab_size=80).vocab_size == 80


def test_training_is_deterministic(tmp_path):
    code = (
        "import sys; from r2d2.tokenizer import Tokenizer;"
        "texts = [f'w{i * 7919 % 1000}x{i % 13} ab{i % 7}cd{chr(0x4e00 + i)}'"
        " for i in range(2000)];"
        "Tokenizer.train(texts[::int(sys.argv[2])]).save(sys.argv[1])"
    )
    for i, step in enumerate(("1", "1", "-1")):
        env = {**os.environ, "PYTHONHASHSEED": str(i), "TOKENIZERS_PARALLELISM": "false"}
        path = str(tmp_path / f"{i}.json")
        subprocess.run([sys.executable, "-c", code, path, step], check=True, env=env)
    contents = {(tmp_path / f"{i}.json").read_bytes() for i in range(3)}
    assert len(contents) == 1


def test_importing_the_room_does_not_import_torch():
    code = "import sys, r2d2.tokenizer; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Files


def test_save_and_load(tokenizer, tmp_path):
    path = tmp_path / "tokenizer.json"
    Tokenizer.train(TEXTS, max_length=9).save(path)
    loaded = Tokenizer.load(path)
    texts = [*TEXTS, "", "[MASK]", "果" * 50]
    assert loaded.max_length == 9
    assert loaded.vocab_size == tokenizer.vocab_size
    assert [loaded.tokens(t) for t in texts] == [tokenizer.tokens(t)[:7] for t in texts]
    tokenizer.save(path)  # replaces it
    assert Tokenizer.load(path).max_length == 64
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer.json"]


def test_pickling(tokenizer):
    copy = pickle.loads(pickle.dumps(tokenizer))
    assert torch.equal(copy(TEXTS)[0], tokenizer(TEXTS)[0])


def test_saving_where_it_cannot(tokenizer, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(R2D2Error, match="cannot write"):
        tokenizer.save(tmp_path / "file" / "tokenizer.json")
    (tmp_path / "tokenizer.json").mkdir()
    with pytest.raises(R2D2Error, match="cannot write"):
        tokenizer.save(tmp_path / "tokenizer.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "tokenizer.json"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1, 2]", b"{}", b"\xff\xfe\x00", b'{"model": {"type": "Weird"}}']
)
def test_loading_what_is_no_tokenizer(tmp_path, content):
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(R2D2Error, match=r"tokenizer\.json") as error:
        Tokenizer.load(path)
    assert "\n" not in str(error.value)


def test_loading_what_is_not_there(tmp_path):
    with pytest.raises(R2D2Error, match="cannot read tokenizer"):
        Tokenizer.load(tmp_path / "tokenizer.json")
    with pytest.raises(R2D2Error, match="cannot read vocabulary"):
        Tokenizer.from_vocab(tmp_path / "vocab.txt")


def test_loading_another_kind_of_model(tmp_path):
    from tokenizers import Tokenizer as Engine
    from tokenizers import models

    Engine(models.BPE()).save(str(tmp_path / "bpe.json"))
    with pytest.raises(R2D2Error, match="BPE"):
        Tokenizer.load(tmp_path / "bpe.json")
    Engine(models.WordPiece({"[UNK]": 0, "a": 1}, unk_token="[UNK]")).save(
        str(tmp_path / "wp.json")
    )
    with pytest.raises(R2D2Error, match=r"lacks \[PAD\], \[CLS\], \[SEP\], \[MASK\]"):
        Tokenizer.load(tmp_path / "wp.json")


@pytest.mark.parametrize("saved", ["utf-8-sig", "utf-16", "gb18030"])
def test_a_vocabulary_saved_by_another_program(tmp_path, vocab_file, saved):
    ours = Tokenizer.from_vocab(vocab_file)
    text = vocab_file.read_text(encoding="utf-8")
    (tmp_path / "saved.txt").write_bytes(text.replace("\n", "\r\n").encode(saved))
    theirs = Tokenizer.from_vocab(tmp_path / "saved.txt")
    assert theirs.vocab_size == ours.vocab_size
    assert (theirs.pad_id, theirs.mask_id) == (ours.pad_id, ours.mask_id)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"lacks \[PAD\]"),
        (b"[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n", r"lacks \[MASK\]"),
        (
            b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\na\n",
            "line 8: token 'a' stands on line 6 too",
        ),
        (b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n\xff\xfe\x81\na\nb\n", "not UTF-8"),
    ],
)
def test_malformed_vocabularies(tmp_path, content, message):
    path = tmp_path / "vocab.txt"
    path.write_bytes(content)
    with pytest.raises(R2D2Error, match=message) as error:
        Tokenizer.from_vocab(path)
    assert str(path) in str(error.value)


def test_max_length_needs_room(vocab_file):
    with pytest.raises(R2D2Error, match="at least 3"):
        Tokenizer.from_vocab(vocab_file, max_length=2)


# A BERT vocabulary


def test_ids_are_line_numbers(vocab_file):
    one = Tokenizer.from_vocab(vocab_file)
    assert one.vocab_size == len(BERT_VOCAB)
    assert (one.pad_id, one.unk_id, one.mask_id) == (0, 2, 5)
    expected = [BERT_VOCAB.index(t) for t in ("[CLS]", "红", "苹", "play", "##ing", "[SEP]")]
    assert one(["红苹 PLAYing"])[0].tolist() == [expected]


def test_a_vocabulary_of_windows(tmp_path, vocab_file):
    (tmp_path / "crlf.txt").write_bytes(vocab_file.read_bytes().replace(b"\n", b"\r\n"))
    one, other = Tokenizer.from_vocab(vocab_file), Tokenizer.from_vocab(tmp_path / "crlf.txt")
    assert torch.equal(one(["红苹果ok"])[0], other(["红苹果ok"])[0])


def test_width_is_kept_where_the_vocabulary_knows_it(vocab_file):
    assert Tokenizer.from_vocab(vocab_file).tokens("ａ a，,") == ["ａ", "a", "，", ","]


def test_bert_vocabulary_equals_transformers(vocab_file):
    transformers = pytest.importorskip("transformers", reason="pip install transformers to compare")
    theirs = transformers.BertTokenizer.from_pretrained(str(vocab_file.parent), do_lower_case=True)
    ours = Tokenizer.from_vocab(vocab_file, max_length=12)
    texts = [
        *(
            "红苹果",
            "",
            "  ",
            "Hello, WORLD!",
            "playing plays okok",
            "café CAFÉ",
            "Straße ß",
            "İi ıI",
        ),
        *(
            "𠮷野家",
            "🍎🍎 🍏",
            "ａｂ，",
            "1234 123",
            "カメラ",
            "a\u2028b",
            "a\u200bb\ufe0f",
            "红" * 40,
            "x" * 150,
        ),
        *("农民·3°d", "a-b_c", "[ ]", "\x00a\x07", "ﬁ", "…——", "３Ｄ", "한국어", "नमस्ते", "e\u0301"),
    ]
    expected = theirs(texts, padding=True, truncation=True, max_length=12)
    ids, mask = ours(texts)
    assert ids.tolist() == expected["input_ids"]
    assert mask.long().tolist() == expected["attention_mask"]


# The key of a text


def test_text_key():
    assert text_key("  ＯＫ 手势\u3000\n女 ") == text_key("ok 手势 女") == "ok 手势 女"
    assert text_key("①") == text_key("1")
    assert text_key("") == text_key(" \t") == ""
    assert text_key("红苹果") != text_key("青苹果")
    assert text_key("e\u0301") == text_key("é")


@given(st.text())
def test_texts_of_one_key_get_the_same_ids(text):
    one = Tokenizer.train(TEXTS)
    wide = unicodedata.normalize("NFKC", text)
    assert text_key(wide) == text_key(text)
    assert torch.equal(one([wide])[0], one([text])[0])


def test_key_hash():
    hashes = [key_hash(str(i)) for i in range(10_000)]
    assert len(set(hashes)) == 10_000
    assert min(hashes) < 0 < max(hashes)
    assert torch.tensor(hashes).tolist() == hashes  # fits a signed 64-bit integer
    assert key_hash("红苹果") == -7_563_616_049_409_304_270  # files keep it: it must never change
