"""`r2d2 export`: a model for other programs and libraries."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from r2d2.commands.options import MODELS, Overwrite

app = typer.Typer(help="Write a model for other programs and libraries.", no_args_is_help=True)


Dim = Annotated[
    int | None,
    typer.Option(min=1, help="Numbers of an embedding; all if not given. See objectives.widths."),
]


@app.command()
def onnx(
    model: Annotated[str, typer.Argument(help=f"{MODELS}.")],
    out: Annotated[Path, typer.Option(help="Folder for the graphs.")],
    int8: Annotated[
        bool, typer.Option("--int8", help="Also with weights of 8 bits; prints the loss of recall.")
    ] = False,
    table: Annotated[
        str | None,
        typer.Option(help="With --int8: measure on this table's test split, not the emoji's."),
    ] = None,
    dim: Dim = None,
    overwrite: Overwrite = False,
) -> None:
    """Image encoder from raw pixels, text encoder and pair scorer as ONNX; tokenizer; README."""
    from r2d2.deploy.export import export_onnx, is_exported
    from r2d2.errors import R2D2Error
    from r2d2.outputs import a_folder, check_outputs
    from r2d2.progress import bars

    if table is not None and not int8:
        raise R2D2Error("--table is what --int8 is measured on: give both or none")
    check_outputs([a_folder(out, is_exported)], inputs=[model, table], overwrite=overwrite)
    with bars() as update:
        steps = 6 if int8 else 3
        done = 0

        def progress(name: str) -> None:
            nonlocal done
            update("export", done, steps, name)
            done += 1

        found = export_onnx(model, out, int8=int8, dim=dim, overwrite=overwrite, progress=progress)
        update("export", steps, steps, "")
        lines = found.lines()
        if int8:
            from r2d2.deploy.quantise import of_table, recall_lines

            data = None if table is None else of_table(table)
            lines += recall_lines(out, data, lambda what, n, total: update(what, n, total))
    for line in [*lines, f"exported: {out}"]:
        typer.echo(line)


@app.command()
def immich(
    model: Annotated[str, typer.Argument(help=f"{MODELS}.")],
    out: Annotated[Path, typer.Option(help="Folder for textual/, visual/ and config.json.")],
    dim: Dim = None,
    overwrite: Overwrite = False,
) -> None:
    """Both encoders in the layout that the photo server immich reads, for its search."""
    from r2d2.deploy.immich import export_immich
    from r2d2.progress import bars

    steps = ("image", "text")
    with bars() as update:
        exported = export_immich(
            model, out, dim=dim, overwrite=overwrite,
            progress=lambda name: update("export", steps.index(name), len(steps), name),
        )  # fmt: skip
        update("export", len(steps), len(steps), "")
    for line in [*exported.lines(), f"exported: {out}"]:
        typer.echo(line)


@app.command()
def hf(
    model: Annotated[str, typer.Argument(help=f"{MODELS}; but no ONNX.")],
    out: Annotated[Path, typer.Option(help="Folder for the model.")],
    licence: Annotated[
        str | None,
        typer.Option(help="Of the weights, for the model card, as the hub spells it: apache-2.0."),
    ] = None,
    figures: Annotated[
        list[Path] | None,
        typer.Option(help="A folder that `r2d2 evaluate` wrote for this model; may be repeated."),
    ] = None,
    dim: Dim = None,
    overwrite: Overwrite = False,
) -> None:
    """A folder for sentence-transformers and, where one class holds it, transformers; its card."""
    from r2d2.integrations.card import Card
    from r2d2.integrations.hf_folder import export_hf

    card = Card(licence, tuple(figures or ()))
    exported = export_hf(model, out, card, dim=dim, overwrite=overwrite)
    for line in [*exported.lines(), f"exported: {out}"]:
        typer.echo(line)
