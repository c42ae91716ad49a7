"""`r2d2 weights`: published weights in, ours out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from r2d2.commands.options import MODELS, Overwrite

app = typer.Typer(help="Read and write published weights.", no_args_is_help=True)


@app.command("import")
def import_(
    source: Annotated[str, typer.Argument(help="A folder, a file, or a hub id owner/name.")],
    out: Annotated[Path, typer.Option(help="Folder for the model.")],
    others: Annotated[
        list[str] | None,
        typer.Option("--and", help="A source of another part, as the ViT beside a BERT."),
    ] = None,
    kind: Annotated[
        str | None, typer.Option(help="See `weights kinds`; told by the tensors if not given.")
    ] = None,
    image_size: Annotated[int | None, typer.Option(min=1, help="Pixels; interpolates.")] = None,
    max_length: Annotated[int | None, typer.Option(min=3, help="Tokens of a text.")] = None,
    vocab: Annotated[Path | None, typer.Option(help="A vocab.txt, where there is none.")] = None,
    cross_layers: Annotated[int | None, typer.Option(min=0, help="Of the cross encoders.")] = None,
    vision_heads: Annotated[int | None, typer.Option(min=1)] = None,
    text_heads: Annotated[int | None, typer.Option(min=1)] = None,
    keep_projection: Annotated[
        bool, typer.Option("--keep-projection", help="CLIP's last norm and projection too.")
    ] = False,
    preset: Annotated[
        str | None, typer.Option(help="What no source gives is as in this preset.")
    ] = None,
    variant: Annotated[str, typer.Option(help="With --preset.")] = "r2d2",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="With --preset, as model.cross_layers=2.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of what is initialised afresh.")] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Make a model folder of BERT, CLIP, Chinese-CLIP or official R2D2 weights."""
    from r2d2.config import make_config
    from r2d2.errors import R2D2Error
    from r2d2.weights.importing import import_weights

    if preset is None and settings:
        raise R2D2Error("--set needs --preset: settings are laid over a preset's")
    fresh = None if preset is None else make_config(preset, variant, settings or ()).model
    report = import_weights(
        [source, *(others or ())], out, kind, image_size, max_length=max_length, vocab=vocab,
        cross_layers=cross_layers, vision_heads=vision_heads, text_heads=text_heads,
        keep_projection=keep_projection, fresh=fresh, seed=seed, overwrite=overwrite,
    )  # fmt: skip
    for line in [*report.lines(), f"model: {out}"]:
        typer.echo(line)


@app.command()
def towers(
    out: Annotated[Path, typer.Option(help="Folder for the model.")],
    source: Annotated[
        str | None, typer.Argument(help="A dual encoder: a Hugging Face folder, or a hub id.")
    ] = None,
    image: Annotated[
        str | None, typer.Option(help="An encoder of pictures, with --text, in SOURCE's place.")
    ] = None,
    text: Annotated[str | None, typer.Option(help="An encoder of texts, with --image.")] = None,
    embed_dim: Annotated[
        int | None, typer.Option(min=1, help="Numbers of an embedding, of a pair; else 768.")
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(min=1, help="Pixels, of a pair; else as its processor says.")
    ] = None,
    cross_layers: Annotated[int, typer.Option(min=0, help="Of the cross encoders, fresh.")] = 6,
    max_length: Annotated[int | None, typer.Option(min=3, help="Tokens of a text.")] = None,
    mask_token: Annotated[
        str | None, typer.Option(help="Stands for masked tokens, where there is no [MASK].")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of what is initialised.")] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Put R2D2's cross encoders on a dual encoder, or on any two encoders by --image and --text.

    Dual encoders: Chinese-CLIP, CLIP, SigLIP, SigLIP 2, FG-CLIP 2. Pairs: ViT, DINOv2, DINOv3 or
    ConvNeXt with BERT, RoBERTa, XLM-R or Qwen3.
    """
    from r2d2.errors import R2D2Error
    from r2d2.weights.encoder_pairs import import_pair
    from r2d2.weights.towers import import_towers

    if source is None:
        if image is None or text is None:
            raise R2D2Error("give a dual encoder, or both --image and --text of a pair")
        report = import_pair(
            image, text, out, embed_dim=embed_dim, cross_layers=cross_layers,
            image_size=image_size, max_length=max_length, mask_token=mask_token, seed=seed,
            overwrite=overwrite,
        )  # fmt: skip
    else:
        pair = {"--image": image, "--text": text, "--embed-dim": embed_dim}
        given = [name for name, value in (*pair.items(), ("--image-size", image_size)) if value]
        if given:
            raise R2D2Error(f"{given[0]} is for a pair of encoders, not for {source}: leave it out")
        report = import_towers(
            source, out, cross_layers=cross_layers, max_length=max_length, mask_token=mask_token,
            seed=seed, overwrite=overwrite,
        )  # fmt: skip
    for line in [*report.lines(), f"model: {out}"]:
        typer.echo(line)


@app.command("export")
def export(
    model: Annotated[str, typer.Argument(help=f"{MODELS}; but no ONNX.")],
    kind: Annotated[str, typer.Option(help="See `weights kinds`.")],
    out: Annotated[Path, typer.Option(help="Folder for the weights.")],
    overwrite: Overwrite = False,
) -> None:
    """Write a model in another's layout."""
    from r2d2.weights.exporting import export_weights

    for line in export_weights(model, kind, out, overwrite).lines():
        typer.echo(line)


@app.command()
def kinds() -> None:
    """The layouts that can be read and written."""
    from r2d2.weights.layouts import kinds as known

    for name, what in known().items():
        typer.echo(f"{name}: {what}")
