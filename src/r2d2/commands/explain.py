"""`r2d2 explain`: which parts of a picture each thing in a text is in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from r2d2.commands.options import MODELS, Overwrite
from r2d2.errors import R2D2Error

if TYPE_CHECKING:
    from PIL.Image import Image


def explain(
    image: Path = typer.Argument(
        ..., help="Explain this picture: a file, or with --table the id of a picture."
    ),
    text: str = typer.Argument(..., help="Explain this Chinese text, as in 一只狗在草地上追飞盘."),
    table: str | None = typer.Option(
        None, help="Take the picture from this table of pairs or folder of pictures."
    ),
    model: str = typer.Option("emoji", help=f"Ask this model. {MODELS}"),
    out: Path = typer.Option(Path("explain.png"), help="Write the panel to this PNG file."),
    weighted: bool | None = typer.Option(
        None,
        "--weighted/--plain",
        help="Weight attention by the gradient of the match score, or do not; the default suits "
        "the model.",
    ),
    alone: bool | None = typer.Option(
        None,
        "--alone/--in-text",
        help="Give each entity as a text of its own, or within the text; the default suits the "
        "model.",
    ),
    dropping: bool | None = typer.Option(
        None,
        "--dropping/--attention",
        help="Show what each part adds to the match score, or show attention.",
    ),
    layer: int | None = typer.Option(
        None,
        help="Use this layer of the cross encoders, counted from 1; the default suits the model.",
    ),
    only: list[str] | None = typer.Option(
        None, help="Explain this word of the text instead of its nouns. Repeat the option for more."
    ),
    overwrite: Overwrite = False,
) -> None:
    """Draw where each noun of a text is in a picture, as far as the model can tell."""
    from r2d2.explain import explain as run
    from r2d2.explain.report import lines, write_panel
    from r2d2.models import load
    from r2d2.outputs import a_file, check_outputs

    check_outputs(
        [a_file(out, ".png")],
        inputs=[image if table is None else table, model],
        overwrite=overwrite,
    )
    picture = _picture(image, table)
    found = run(
        load(model), picture, text, weighted=weighted, alone=alone, layer=layer,
        dropping=dropping, only=only,
    )  # fmt: skip
    write_panel(out, found)
    for line in lines(found):
        typer.echo(line)
    typer.echo(f"panel: {out}")


def _picture(image: Path, table: str | None) -> Image:
    """The picture of a file, or of the row of a table that has this id."""
    from r2d2.images.decode import decode_image, read_image
    from r2d2.photo_folder.settings import is_picture_folder
    from r2d2.table import PairsTable

    if table is None:
        return read_image(image)
    if is_picture_folder(table):
        return read_image(Path(table) / image)
    opened = PairsTable.open(table)
    for first, batch in opened.scan(["image_id"]):
        position = batch["image_id"].index(str(image)).as_py()
        if position >= 0:
            [pair] = opened.take([first + position], ["image"])
            return decode_image(pair.image)
    raise R2D2Error(f"{table} has no picture of the id {image}: `r2d2 search` shows ids")
