"""`r2d2 export`: a model for other programs and libraries."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from r2d2.commands.options import MODELS, Overwrite
from r2d2.commands.renamed import with_old_names

app = typer.Typer(help="Write a model for other programs and libraries.", no_args_is_help=True)


Dim = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Write the first numbers of an embedding, this many; the default is all "
        "(see objectives.widths).",
    ),
]


@app.command(cls=with_old_names(table="--measure-on"))
def onnx(
    model: str = typer.Argument(..., help=f"Export this model. {MODELS}"),
    out: Path = typer.Option(..., help="Write the graphs to this folder."),
    int8: bool = typer.Option(
        False, "--int8", help="Also write weights of 8 bits, and print the loss of recall."
    ),
    measure_on: str | None = typer.Option(
        None,
        help="Measure the loss of --int8 on the test split of this table instead of the emoji's.",
    ),
    dim: Dim = None,
    overwrite: Overwrite = False,
) -> None:
    """Write the image encoder, the text encoder and the pair scorer as ONNX, with the tokenizer."""
    from r2d2.deploy.export import export_onnx, is_exported
    from r2d2.errors import R2D2Error
    from r2d2.outputs import a_folder, check_outputs
    from r2d2.progress import bars

    if measure_on is not None and not int8:
        raise R2D2Error("--measure-on goes with --int8: give both or none")
    check_outputs([a_folder(out, is_exported)], inputs=[model, measure_on], overwrite=overwrite)
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

            data = None if measure_on is None else of_table(measure_on)
            lines += recall_lines(out, data, lambda what, n, total: update(what, n, total))
    for line in [*lines, f"exported: {out}"]:
        typer.echo(line)


@app.command()
def immich(
    model: str = typer.Argument(..., help=f"Export this model. {MODELS}"),
    out: Path = typer.Option(..., help="Write textual/, visual/ and config.json to this folder."),
    dim: Dim = None,
    overwrite: Overwrite = False,
) -> None:
    """Write both encoders in the layout that the photo server immich reads."""
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
    model: str = typer.Argument(..., help=f"Export this model, which cannot be ONNX. {MODELS}"),
    out: Path = typer.Option(..., help="Write the model to this folder."),
    licence: str | None = typer.Option(
        None,
        help="Name the licence of the weights in the model card, as the hub spells it: apache-2.0.",
    ),
    figures: list[Path] | None = typer.Option(
        None,
        help="Show the figures that `r2d2 evaluate` wrote to this folder. Repeat the option for "
        "more.",
    ),
    dim: Dim = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a folder for sentence-transformers and, where it can be, transformers, with a card."""
    from r2d2.integrations.card import Card
    from r2d2.integrations.hf_folder import export_hf

    card = Card(licence, tuple(figures or ()))
    exported = export_hf(model, out, card, dim=dim, overwrite=overwrite)
    for line in [*exported.lines(), f"exported: {out}"]:
        typer.echo(line)
