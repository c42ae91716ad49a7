"""`r2d2 weights`: published weights in, ours out."""

from __future__ import annotations

from pathlib import Path

import typer

from r2d2.commands.options import MODELS, Overwrite

app = typer.Typer(help="Read and write published weights.", no_args_is_help=True)


@app.command("import")
def import_(
    source: str = typer.Argument(
        ..., help="Read weights from this folder, file, or hub id owner/name."
    ),
    out: Path = typer.Option(..., help="Write the model to this folder."),
    others: list[str] | None = typer.Option(
        None,
        "--and",
        help="Read another part from this source, such as the ViT beside a BERT. Repeat the "
        "option for more.",
    ),
    kind: str | None = typer.Option(
        None, help="Read this layout of `r2d2 weights kinds`; the default is told by the tensors."
    ),
    image_size: int | None = typer.Option(
        None, min=1, help="Take pictures of this many pixels; positions are interpolated."
    ),
    max_length: int | None = typer.Option(None, min=3, help="Cut texts at this many tokens."),
    vocab: Path | None = typer.Option(None, help="Use this vocab.txt, where the source has none."),
    cross_layers: int | None = typer.Option(
        None, min=0, help="Give each cross encoder this many layers."
    ),
    vision_heads: int | None = typer.Option(
        None, min=1, help="Read a ViT of this many attention heads."
    ),
    text_heads: int | None = typer.Option(
        None, min=1, help="Read a text encoder of this many attention heads."
    ),
    keep_projection: bool = typer.Option(
        False, "--keep-projection", help="Keep the last norm and the projection of CLIP."
    ),
    preset: str | None = typer.Option(None, help="Take what no source gives from this preset."),
    variant: str = typer.Option("r2d2", help="Take this variant of --preset."),
    settings: list[str] | None = typer.Option(
        None, "--set", help="Change a setting of --preset, as in model.cross_layers=2."
    ),
    seed: int = typer.Option(0, help="Initialise what no source gives by this seed."),
    overwrite: Overwrite = False,
) -> None:
    """Make a model folder of BERT, CLIP, Chinese-CLIP or official R2D2 weights."""
    from r2d2.config import ModelConfig, make_config
    from r2d2.errors import R2D2Error
    from r2d2.weights.importing import import_weights
    from r2d2.weights.layout import ImportOptions

    if preset is None and settings:
        raise R2D2Error("--set needs --preset: settings are laid over a preset's")
    fresh = ModelConfig() if preset is None else make_config(preset, variant, settings or ()).model
    options = ImportOptions(
        fresh, image_size, max_length, cross_layers, vision_heads, text_heads, keep_projection,
        vocab, seed,
    )  # fmt: skip
    sources = [source, *(others or ())]
    report = import_weights(sources, out, options, kind=kind, overwrite=overwrite)
    for line in [*report.lines(), f"model: {out}"]:
        typer.echo(line)


@app.command()
def towers(
    out: Path = typer.Option(..., help="Write the model to this folder."),
    source: str | None = typer.Argument(
        None, help="Read this dual encoder: a Hugging Face folder or a hub id."
    ),
    image: str | None = typer.Option(
        None, help="Read this encoder of pictures; with --text it stands for SOURCE."
    ),
    text: str | None = typer.Option(
        None, help="Read this encoder of texts; with --image it stands for SOURCE."
    ),
    embed_dim: int | None = typer.Option(
        None,
        min=1,
        help="Make embeddings of this many numbers for a pair of encoders; the default is 768.",
    ),
    image_size: int | None = typer.Option(
        None,
        min=1,
        help="Take pictures of this many pixels for a pair; the default is from its processor.",
    ),
    cross_layers: int = typer.Option(6, min=0, help="Add cross encoders of this many new layers."),
    max_length: int | None = typer.Option(None, min=3, help="Cut texts at this many tokens."),
    mask_token: str | None = typer.Option(
        None, help="Use this token for masked ones, where the vocabulary has none of its own."
    ),
    seed: int = typer.Option(0, help="Initialise the new layers by this seed."),
    overwrite: Overwrite = False,
) -> None:
    """Put R2D2's cross encoders on a dual encoder, or on any two encoders.

    Dual encoders are Chinese-CLIP, CLIP, SigLIP, SigLIP 2 and FG-CLIP 2. Pairs, by --image and
    --text, are ViT, DINOv2, DINOv3 or ConvNeXt with BERT, RoBERTa, XLM-R or Qwen3.
    """
    from r2d2.errors import R2D2Error
    from r2d2.weights.encoder_pairs import import_pair
    from r2d2.weights.towers import TowerOptions, import_towers

    options = TowerOptions(
        cross_layers, max_length, mask_token, seed=seed, embed_dim=embed_dim, image_size=image_size
    )
    if source is None:
        if image is None or text is None:
            raise R2D2Error("give a dual encoder, or both --image and --text of a pair")
        report = import_pair(image, text, out, options, overwrite=overwrite)
    else:
        pair = {"--image": image, "--text": text, "--embed-dim": embed_dim}
        given = [name for name, value in (*pair.items(), ("--image-size", image_size)) if value]
        if given:
            raise R2D2Error(f"{given[0]} is for a pair of encoders, not for {source}: leave it out")
        report = import_towers(source, out, options, overwrite=overwrite)
    for line in [*report.lines(), f"model: {out}"]:
        typer.echo(line)


@app.command("export")
def export(
    model: str = typer.Argument(..., help=f"Write this model, which cannot be ONNX. {MODELS}"),
    kind: str = typer.Option(..., help="Write this layout of `r2d2 weights kinds`."),
    out: Path = typer.Option(..., help="Write the weights to this folder."),
    overwrite: Overwrite = False,
) -> None:
    """Write a model in the layout of another project."""
    from r2d2.models import load_network
    from r2d2.weights.exporting import export_weights
    from r2d2.weights.report import check_out

    inputs: list[str | Path] = [model, Path(model) / "model"]
    check_out(out, overwrite, inputs)  # before the model is loaded
    network = load_network(model, "export", "cpu")
    for line in export_weights(network, kind, out, inputs=inputs, overwrite=overwrite).lines():
        typer.echo(line)


@app.command()
def kinds() -> None:
    """List the layouts that can be read and written."""
    from r2d2.weights.layouts import kinds as known

    for name, what in known().items():
        typer.echo(f"{name}: {what}")
