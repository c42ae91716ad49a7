"""One spelling: the short way is the long way, and only chosen texts are spelt anew."""

import html
import unicodedata

import opencc
from hypothesis import example, given, settings
from hypothesis import strategies as st

from r2d2.corpus.texts import spelling
from r2d2.corpus.texts.spelling import clean

PIECES = [
    *(
        "红",
        "紅",
        "反覆",
        "覆",
        "Ａ",
        "９",
        "，",
        "x",
        "\ud7ff",
        "\ue000",
        "\U00020000",
        "&amp;",
        "&",
        "&amp;lt;em>",
        "</em>",
        "<br>",
        "\u2764\ufe0f",
        "e\u0301",
        "\U000e0101",
    ),
    *(" ", "  ", "\u3000", "\u200b", "\n", "\r", "\t", "\x00", "\x85", "\u00a0"),
]
lines = st.lists(st.lists(st.sampled_from(PIECES), max_size=6).map("".join), max_size=8)


def twin(text, convert):
    """One text, character by character."""
    out = ""
    while html.unescape(text) != text:
        text = html.unescape(text)
    for c in text.replace("<em>", "").replace("</em>", "").replace("<br>", " "):
        if c in "\r\n":
            out += " "
        elif spelling._UNSEEN.match(c):
            continue
        elif c.isspace():
            out += "" if out.endswith(" ") else " "
        else:
            out += chr(ord(c) - 0xFEE0) if "！" <= c <= "～" and c.isalnum() else c
    while "  " in out:
        out = out.replace("  ", " ")
    out = unicodedata.normalize("NFC", out)
    return (convert(out) if convert else out).strip()


@settings(deadline=None)
@given(lines, st.booleans())
@example(["\n"], False)
@example(["红 \u200b 车"], True)
@example([], True)
def test_a_batch_is_spelt_as_each_text_alone(texts, simplified):
    convert = opencc.OpenCC("t2s").convert if simplified else None
    assert clean(texts, simplified) == [twin(text, convert) for text in texts]
