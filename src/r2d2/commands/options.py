"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from r2d2.errors import R2D2Error

Preset = Annotated[
    str, typer.Option(help="Use the settings of this size: tiny, small, base or large.")
]
Variant = Annotated[
    str, typer.Option(help="Use this variant: r2d2, prd2, wo_et, wo_twd, wo_tgd or wo_fgd.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="Change a setting, as in train.lr=0.001. Repeat the option for more."
    ),
]
Processes = Annotated[
    int,
    typer.Option(
        min=1,
        help="Start this many processes here, one for each GPU. Use torchrun across machines.",
    ),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")]
MODELS = (
    "A model is the folder of a run or of a saved model, a Hugging Face folder or hub id, a "
    "checkpoint, an ONNX folder, or emoji."
)
Candidates = Annotated[
    int | None,
    typer.Option(
        min=1, help="Rank this many candidates again; the default is saved with the model."
    ),
]
Cascade = Annotated[
    int | None,
    typer.Option(
        min=1, help="Rank candidates by the text side first, and only the best N by both sides."
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is at --out.")]

# Of a folder of pictures, whose table a command makes or brings up to date.
FolderOut = Annotated[
    Path | None,
    typer.Option(
        help="Write the table of a folder of pictures there; the default is beside the folder."
    ),
]
FolderCaptions = Annotated[
    Path | None,
    typer.Option(
        "--captions",
        help="Read captions from this CSV or JSONL file, not from .txt and .json files "
        "beside the pictures.",
    ),
]
FollowLinks = Annotated[
    bool | None,
    typer.Option(
        "--follow-links/--no-follow-links", help="Follow links that lead out of the folder."
    ),
]
Copy = Annotated[
    bool | None,
    typer.Option("--copy/--no-copy", help="Keep copies of the pictures instead of thumbnails."),
]
OF_FOLDERS = ("out", "captions", "follow_links", "copies")  # the parameters of these


def refuse_given(context: typer.Context, names: tuple[str, ...], reason: str) -> None:
    """Refuse options that have no effect here; their defaults are no matter.

    Args:
        context: of the command.
        names: of its parameters.
        reason: why, after the option's name.

    Raises:
        R2D2Error: one of them stands in the command line.
    """
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.name in names and source is not None and source.name == "COMMANDLINE":
            spelled = [*parameter.opts, *parameter.secondary_opts]
            negated = len(spelled) > 1 and context.params[parameter.name] is False
            raise R2D2Error(f"{spelled[-1 if negated else 0]} {reason}")
