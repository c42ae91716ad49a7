"""The checks of a log's rows as SQL: what each row is of, what it counts, and why it is dropped.

A relation of rows has columns named by their roles (`url`, `query`, `clicks`, ...). Beside these,
`batches.py` may give `inline` (the key of an image whose bytes stand in the row), `place` (the
normalised path of an image file) and `uncoded` (the image is no base64).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from r2d2.corpus.clicks.engine import quoted
from r2d2.corpus.clicks.log_columns import TEXTS
from r2d2.inputs.encoding import LOST
from r2d2.inputs.values import GAPS

NO_QUERY = "no query to count for"  # of clicks and impressions in a row with a title alone
NO_IMAGE = "no image"
NO_TEXT = "no text"
NOT_UTF8 = "not UTF-8"
NOT_BASE64 = "image is no base64"
NO_COUNT = {
    "impressions": "impressions are no count",
    "clicks": "clicks are no count",
    "position": "position is no rank from 1",
}
NO_IMPRESSIONS = "impressions are missing"  # no number can be put in their place
TOO_MANY_CLICKS = "more clicks than impressions"
# In the order in which a row's reasons are looked for; the first one counts.
REASONS = (NOT_UTF8, NOT_BASE64, NO_IMAGE, NO_TEXT, NO_IMPRESSIONS, *NO_COUNT.values(),
           TOO_MANY_CLICKS)  # fmt: skip
MOST = 1 << 38  # of a count: sums of millions of rows stay within 64 bits
EXAMINED_UNIT = 1 << 24  # examined impressions are summed in whole parts of 1 / this
SPACES = "".join(c for c in map(chr, range(0x3001)) if c.isspace())
GAP_WORDS = sorted({v for gap in GAPS for v in (gap, gap.upper(), gap.title(), "NaN")})
NULL_WORDS = ("", "null", "none", "\\n")  # a NULL count as databases write it; also an empty cell
INLINE = "\0"  # begins the key of an image that is known by its bytes; no address holds it
INTEGERS = {f"{sign}{size}INT" for sign in ("", "U") for size in ("TINY", "SMALL", "BIG", "HUGE")}
INTEGERS |= {"INTEGER", "UINTEGER"}  # the names of its types
# a number as databases and spreadsheets write it, such as 1.0E7
_NUMBER = r"[0-9]{1,15}(\.[0-9]*)?([eE][+-]?[0-9]{1,2})?"


def trimmed(text: str) -> str:
    """A text without the spaces around it, of all kinds that Unicode knows."""
    return f"trim({text}, {quoted(SPACES)})"


def trimmed_address(url: str) -> str:
    """An address without the spaces around it.

    One that begins and ends with visible ASCII characters, as nearly all do, is not trimmed.
    """
    plain = "BETWEEN 33 AND 126"
    return (
        f"CASE WHEN unicode({url}) {plain} AND unicode(right({url}, 1)) {plain} THEN {url} "
        f"ELSE {trimmed(url)} END"
    )


def image_id(key: str) -> str:
    """The id of an image by its key: see `r2d2.corpus.rows.image_id_of`."""
    return (
        f"CASE WHEN starts_with({key}, chr(0)) THEN substr({key}, 2) "
        f"ELSE substr(sha256({key}), 1, 32) END"
    )


def check_rows(
    relation: str,
    types: Mapping[str, str],
    examination: Sequence[float] = (),
    *,
    texts_too: bool = True,
) -> str:
    """A SELECT of a log's rows with all that is needed to sum them.

    Args:
        relation: what stands after FROM.
        types: column: its type in DuckDB, of the columns named above.
        examination: chance that position 1, 2, ... is looked at; further ones as the last.
        texts_too: else only numbers are checked, as if each row had an address and a query; see
            `is_sound`.

    Returns:
        The columns of the relation and `key` (of the image), `address` (its `url`, trimmed, unless
        that is blank), `asked` (there is a query), `clicks_`, `impressions_`, `examined_` (64-bit
        counts, 0 for what is no count, NULL where there is no such column), `no_click` (NULL that
        counts as 0) and `reason` (one of REASONS, or NULL for a row that is kept).
    """
    strings = [name for name in ("url", "path", *TEXTS) if name in types]
    texts = [name for name in TEXTS if name in types]
    counts = [name for name in NO_COUNT if name in types]
    values = [f"{_count(name, types[name])} AS {name}_value" for name in counts]
    values += [f"{_missing(name, types[name])} AS {name}_missing" for name in counts]
    address = "NULL::VARCHAR"
    if "url" in types:
        address = f"CASE WHEN NOT {is_blank('url')} THEN {trimmed_address('url')} END"
    asked = "NOT " + is_blank("query") if "query" in types else "false"
    if not texts_too:
        address, asked = "url", "true"
    keys = [name for name in ("inline", "address", "place") if name in types or name == "address"]
    values += [
        f"{address} AS address",
        f"{asked} AS asked",
    ]
    tests: list[tuple[str, str | None]] = [*_count_reasons(counts)]
    if texts_too:
        tests = [*_text_reasons(types, strings, texts), *tests]
    elif set(counts) == {"impressions", "clicks"} and {types[name] for name in counts} <= INTEGERS:
        # of nearly all rows one look at both tells what all tests would
        fine = f"coalesce(clicks, 0) BETWEEN 0 AND impressions AND impressions <= {MOST}"
        tests = [(fine, None), *tests]
    reason = _case(tests)
    impressions = "coalesce(impressions_value, 0)" if "impressions" in types else "NULL::BIGINT"
    if "clicks" in types and "impressions" not in types:
        impressions = "asked::BIGINT"
    examined = "NULL::BIGINT"
    if examination:
        chances = [round(chance * EXAMINED_UNIT) for chance in examination]
        place = f"greatest(least(coalesce(position_value, 1), {len(chances)}), 1)"
        weight = f"{chances}[{place}]" if "position" in types else str(EXAMINED_UNIT)
        examined = f"impressions_ * {weight}::BIGINT"
    return f"""SELECT *, {examined} AS examined_ FROM (
        SELECT *, coalesce({", ".join(keys)}) AS key, {reason} AS reason,
            {"coalesce(clicks_value, 0)" if "clicks" in types else "NULL::BIGINT"} AS clicks_,
            {impressions} AS impressions_,
            {"asked AND clicks_missing" if "clicks" in types else "false"} AS no_click
        FROM (SELECT *, {", ".join(values)} FROM {relation}))"""


def is_blank(text: str) -> str:
    """Whether a text stands for nothing: NULL, only spaces, or a word such as NULL or NaN.

    What begins with a letter that no such word begins with, as most texts and addresses do, is
    told without being trimmed.
    """
    words = ", ".join(map(quoted, GAP_WORDS))
    ranges = (("a", "n"), ("o", "{"))
    plain = " OR ".join(f"({text} >= '{first}' AND {text} < '{end}')" for first, end in ranges)
    plain = f"{text} >= chr(12289) OR {plain}"  # beyond every space
    return f"({text} IS NULL OR CASE WHEN {plain} THEN false ELSE {trimmed(text)} IN ({words}) END)"


def is_sound(columns: Sequence[str]) -> str:
    """Whether texts without which a row is left out are there and whole."""
    broken = (f"NOT ({_broken([name])}) AND NOT {is_blank(name)}" for name in columns)
    return " AND ".join(broken)


def _text_reasons(
    types: Mapping[str, str], strings: Sequence[str], texts: Sequence[str]
) -> list[tuple[str, str]]:
    """Tests of images and texts, each with the reason that it gives, in order."""
    tests = [(_broken(strings), NOT_UTF8)]
    if "uncoded" in types:
        tests.append(("uncoded", NOT_BASE64))
    keys = ["address", *(name for name in ("inline", "place") if name in types)]
    tests.append((" AND ".join(f"{key} IS NULL" for key in keys), NO_IMAGE))
    blank = ["NOT asked" if name == "query" else is_blank(name) for name in texts]
    return [*tests, (" AND ".join(blank), NO_TEXT)]


def _count_reasons(counts: Collection[str]) -> list[tuple[str, str]]:
    """Tests of the numbers, which count where there is a query."""
    tests = []
    if "impressions" in counts:
        tests.append(("asked AND impressions_missing", NO_IMPRESSIONS))
    for name in counts:
        known = " AND NOT clicks_missing" if name == "clicks" else ""
        tests.append((f"asked AND {name}_value IS NULL{known}", NO_COUNT[name]))
    if "clicks" in counts:
        shown = "impressions_value" if "impressions" in counts else "1"
        tests.append((f"asked AND coalesce(clicks_value, 0) > {shown}", TOO_MANY_CLICKS))
    return tests


def _broken(texts: Sequence[str]) -> str:
    """Whether any of some texts holds what no table can hold."""
    return " OR ".join(
        f"contains({text}, {quoted(LOST)}) OR contains({text}, chr(0))" for text in texts
    )


def _case(tests: Sequence[tuple[str, str | None]]) -> str:
    """The reason of the first test that holds; NULL where none does."""
    branches = " ".join(f"WHEN {test} THEN {quoted(r) if r else 'NULL'}" for test, r in tests)
    return f"CASE {branches} END" if tests else "NULL::VARCHAR"


def _count(name: str, kind: str) -> str:
    """A count as a 64-bit integer; NULL for what is none."""
    least = int(name == "position")
    number, whole = name, ""
    if kind == "VARCHAR":
        text = trimmed(name)
        number = f"CASE WHEN regexp_full_match({text}, '{_NUMBER}') THEN {text}::DOUBLE END"
    if kind.startswith(("VARCHAR", "FLOAT", "DOUBLE", "DEC")):
        whole = f" AND floor({number}) = {number}"
    return f"CASE WHEN {number} BETWEEN {least} AND {MOST}{whole} THEN ({number})::BIGINT END"


def _missing(name: str, kind: str) -> str:
    """Whether a count is NULL: so in a column of numbers, or a text for it."""
    if kind == "VARCHAR":
        words = ", ".join(map(quoted, NULL_WORDS))
        return f"({name} IS NULL OR lower({trimmed(name)}) IN ({words}))"
    return f"({name} IS NULL)"
