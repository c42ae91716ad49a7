"""HTML pages that ask the network for nothing: one style, pictures and drawings inside."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from r2d2.language import catalogue, language, sentences_in_language

# What stands between the texts of a template: tags, expressions and statements.
MARKS = re.compile(r"({%.*?%}|{{.*?}}|{#.*?#}|<[^>]*>)", re.DOTALL)
THUMBNAIL = 128  # pixels; shown at half of it, for dense screens


def template(package: str, name: str) -> Any:
    """A template of a package; it extends `page.html`, with the head and the style of all pages."""
    environment = Environment(
        loader=_Pages("r2d2", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "percent": percent}
    environment.filters["translated"] = page_text
    css = resources.files("r2d2").joinpath("page.css").read_text(encoding="utf-8")
    environment.globals |= {"css": Markup(css), "thumbnail": thumbnail}
    text = resources.files(package).joinpath(name).read_text(encoding="utf-8")
    return environment.from_string(in_user_language(text))


def in_user_language(source: str) -> str:
    """The source of a template with its own texts in the language of the user.

    Only what the template itself says is translated, never what is filled in.
    """
    if language() == "en":
        return source
    texts = catalogue("pages")
    parts = MARKS.split(source.replace('<html lang="en">', '<html lang="zh">'))
    for index in range(0, len(parts), 2):
        words = " ".join(parts[index].split())
        if words in texts:
            before, after = re.match(r"(\s*).*?(\s*)$", parts[index], re.DOTALL).groups()  # type: ignore[union-attr]
            parts[index] = before + texts[words] + after
    return "".join(parts)


def page_text(text: str) -> str:
    """A text that is filled into a page, in the language of the user: the filter `translated`.

    It is for texts of our own alone. Names and captions, which are the user's, go without it.
    """
    return sentences_in_language(text, "pages")


class _Pages(PackageLoader):
    """The pages that others extend."""

    def get_source(
        self, environment: Environment, template: str
    ) -> tuple[str, str, Callable[[], bool] | None]:
        source, path, is_fresh = super().get_source(environment, template)
        return in_user_language(source), path, is_fresh


def thumbnail(picture: Image.Image) -> str:
    """A picture as a data URI, at most THUMBNAIL pixels wide and high."""
    picture = picture.convert("RGB")
    photo = max(picture.size) > THUMBNAIL
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    file = io.BytesIO()
    if photo:
        picture.save(file, "JPEG", quality=85)
    else:
        picture.save(file, "PNG", optimize=True)
    kind = "jpeg" if photo else "png"
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def number(value: Any) -> str:
    """Short and readable: 1,234,567; 0.0123; 1.2e-05."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def percent(value: float | None) -> str:
    """A figure in % with one decimal, as papers print it."""
    return "–" if value is None else f"{value:.1f}"
