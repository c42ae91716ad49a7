"""The registry of layouts, and how a checkpoint's is recognised."""

from __future__ import annotations

from collections.abc import Iterable

from r2d2.errors import R2D2Error
from r2d2.settings import one_of
from r2d2.weights import bert, chinese_clip, clip_vision, official
from r2d2.weights.layout import Layout

# In this order: the names of the later ones are parts of the earlier ones'.
_LAYOUTS = (
    official.LAYOUT,
    chinese_clip.HF_LAYOUT,
    chinese_clip.LAYOUT,
    clip_vision.LAYOUT,
    bert.LAYOUT,
)
SAFE_OFFICIAL = "official_safetensors"  # the same names, without a pickle around them
_WRAPPERS = ("module.", "_orig_mod.")  # of DistributedDataParallel and torch.compile


def kinds() -> dict[str, str]:
    """The layouts by name, with what each is; all are read and written."""
    layouts = {layout.name: layout.about for layout in _LAYOUTS}
    return {**layouts, SAFE_OFFICIAL: "the official names in safetensors, without a pickle"}


def layout_of(kind: str) -> Layout:
    """The layout of a name; R2D2Error with those known for any other."""
    one_of("kind", kind, list(kinds()))
    name = official.LAYOUT.name if kind == SAFE_OFFICIAL else kind
    return next(layout for layout in _LAYOUTS if layout.name == name)


def bare(names: Iterable[str]) -> dict[str, str]:
    """Map names to names without the prefix that a wrapper added to all of them."""
    stripped = {name: name for name in names}
    for wrapper in _WRAPPERS:
        if stripped and all(name.startswith(wrapper) for name in stripped.values()):
            stripped = {name: short.removeprefix(wrapper) for name, short in stripped.items()}
    return stripped


def recognise(names: Iterable[str], where: str) -> Layout:
    """The layout of a checkpoint, by the names of its tensors.

    Raises:
        R2D2Error: it is none of them.
    """
    names = list(names)
    for layout in _LAYOUTS:
        try:
            if layout.recognises({layout.canonical(name) for name in names}):
                return layout
        except R2D2Error as error:
            raise R2D2Error(f"{where}: {error}") from error
    if any(name.startswith("towers.vision.") for name in names):
        raise R2D2Error(f"{where} is a model of ours already: load it, or start training from it")
    examples = ", ".join(sorted(names)[:3])
    raise R2D2Error(
        f"{where} is in no layout known here (its tensors begin {examples}): "
        f"known are {', '.join(kinds())}"
    )
