"""Train the text tower of a model against the pictures of a table, which stay as they are.

    python examples/tune_texts.py MODEL TABLE --out DIR --steps 2000

The image tower is applied once to every picture and is not trained, as in locked-image tuning
(Zhai et al., arXiv 2111.07991). A step is therefore cheap, and its negatives are all the pictures
of the table instead of those of a batch. This teaches a model many texts of few pictures: names,
keywords, the terms of one's own collection. The text tower and both projections are trained.

Each step draws distinct texts. The right pictures of a text are all that have it. The loss is the
mean of both directions: of a text among all pictures, and of a picture among the drawn texts, with
every right pair as a positive of equal weight, at each width that the model was trained to be cut
to.

The state is written every 500 steps into DIR.state, from which a run that was interrupted goes on.
Cross encoders of the model are kept as they are; they were trained with the old texts.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

import r2d2
from r2d2.errors import R2D2Error
from r2d2.evaluation.dataset import EvaluationSet
from r2d2.evaluation.encode import usable_batches
from r2d2.files import whole_file
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.models import load_network
from r2d2.pretrained import Pretrained
from r2d2.progress import bars

READ_AT_ONCE = 256  # pictures


@dataclass(frozen=True)
class TextTuningSettings:
    """How the text tower is trained."""

    steps: int = 2000
    batch_size: int = 256  # distinct texts a step
    lr: float = 2e-3  # at its peak; it rises for 50 steps and falls as a cosine
    weight_decay: float = 0.1  # of matrices
    temperature: float = 0.03
    drop_tokens: float = 0.0  # share of the tokens left out of a text, redrawn each time
    checkpoint_every: int = 500  # steps
    seed: int = 0


@dataclass(frozen=True)
class TaughtTexts:
    """The pictures of a table as pooled states, and its texts.

    Attributes:
        pooled: (pictures, width), the state of the image tower that is projected.
        texts: the n distinct texts, sorted.
        positives: (n, pictures) bool: whether a picture has a text.
    """

    pooled: Tensor
    texts: list[str]
    positives: Tensor


def read_texts(model: Pretrained, table: r2d2.PairsTable, splits: Sequence[str]) -> TaughtTexts:
    """The texts of these splits, and the states of their pictures; unusable rows are named."""
    data = EvaluationSet.from_table(table, splits)
    dropped, kept, pooled = DroppedRows(), list[int](), list[Tensor]()
    with bars() as update:
        told = partial(update, "pictures")
        for positions, encoded in usable_batches(
            model, data.image_ids, data.load, READ_AT_ONCE, dropped, told
        ):
            kept += positions
            pooled.append(model.model.towers.pooled_norm(encoded.states[:, 0]))
    if not kept:
        raise R2D2Error(f"{table.path}: no picture can be used ({dropped.reasons()})")
    data = data.keep(kept, dropped)
    for line in data.dropped.lines():
        print(line)
    pictures_of: dict[str, set[int]] = {}
    for number, text in enumerate(data.texts):
        pictures_of.setdefault(text, set()).update(data.owners(number))
    texts = sorted(pictures_of)
    positives = torch.zeros(len(texts), len(kept), dtype=torch.bool)
    for number, text in enumerate(texts):
        positives[number, sorted(pictures_of[text])] = True
    return TaughtTexts(torch.cat(pooled), texts, positives)


def contrastive_loss(
    texts: Tensor, images: Tensor, positives: Tensor, dims: Sequence[int], temperature: float
) -> Tensor:
    """The contrastive loss of texts (b, d) among all images (n, d), and back.

    `positives` (b, n): the right pairs. Images without a right text in the batch are negatives
    only. The mean over `dims`, at each of which both are cut and normalised.
    """
    answered = positives.any(0)
    total = texts.new_zeros(())
    for dim in dims:
        cosine = F.normalize(texts[:, :dim], dim=1) @ F.normalize(images[:, :dim], dim=1).T
        scores = cosine / temperature
        for rows, right in ((scores, positives), (scores[:, answered].T, positives[:, answered].T)):
            kept = rows.log_softmax(1).masked_fill(~right, 0.0)
            total = total - (kept.sum(1) / right.sum(1)).mean()
    return total / (2 * len(dims))


def without_tokens(
    ids: Tensor, mask: Tensor, share: float, draw: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Token ids (n, L) and mask (n, L) with a share of the tokens left out.

    The first token stays, and so do all tokens of a text that would keep fewer than three.
    """
    keep = mask & (torch.rand(mask.shape, generator=draw) >= share)
    keep[:, 0] = mask[:, 0]
    keep = torch.where((keep.sum(1) < 3)[:, None], mask, keep)
    order = (~keep).int().argsort(dim=1, stable=True)
    return ids.gather(1, order), keep.gather(1, order)


def tune_texts(
    model: Pretrained, taught: TaughtTexts, settings: TextTuningSettings, state_file: Path
) -> None:
    """Train the text tower and the projections of `model`, in place.

    Goes on from `state_file` where it exists.

    Raises:
        R2D2Error: the state is of another model, of other texts or of other settings.
    """
    origin = json.dumps([model.fingerprint, asdict(settings), taught.texts], ensure_ascii=False)
    towers = model.model.towers.requires_grad_(False)
    trained = [towers.text, towers.text_projection, towers.image_projection]
    parameters = [p for module in trained for p in module.requires_grad_(True).parameters()]
    matrices = [p for p in parameters if p.ndim > 1]
    vectors = [p for p in parameters if p.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=settings.lr, betas=(0.9, 0.98))
    dims = sorted({*model.widths, model.embed_dim})
    ids, mask = model.tokenizer(taught.texts)
    first = 0
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        if state["origin"] != origin:
            raise R2D2Error(
                f"{state_file} is of a run with another model, other texts or other settings: "
                "remove it to begin anew, or give what that run was given"
            )
        first = state["step"]
        model.model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    model.model.train()
    with bars() as update:
        for step in range(first, settings.steps):
            draw = torch.Generator().manual_seed(settings.seed * 1_000_003 + step)
            for group in optimizer.param_groups:
                rise = min(1.0, (step + 1) / 50)
                fall = 0.5 + 0.5 * math.cos(math.pi * step / settings.steps)
                group["lr"] = settings.lr * rise * fall
            batch = torch.randperm(len(taught.texts), generator=draw)[: settings.batch_size]
            tokens = ids[batch], mask[batch]
            if settings.drop_tokens:
                tokens = without_tokens(*tokens, settings.drop_tokens, draw)
            images = F.normalize(towers.image_projection(taught.pooled), dim=1)
            loss = contrastive_loss(
                towers.embed_texts(*tokens), images, taught.positives[batch], dims,
                settings.temperature,
            )  # fmt: skip
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            update("texts", step + 1, settings.steps, f"loss {loss.item():.3f}")
            if (step + 1) % settings.checkpoint_every == 0:
                state = {
                    "origin": origin,
                    "step": step + 1,
                    "model": model.model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                }
                with whole_file(state_file) as work:
                    torch.save(state, work)
    model.model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("table")
    parser.add_argument("--out", type=Path, required=True, help="the folder of the new model")
    parser.add_argument("--split", action="append", help="may be repeated; train by default")
    default = TextTuningSettings()
    parser.add_argument("--steps", type=int, default=default.steps)
    parser.add_argument("--batch-size", type=int, default=default.batch_size)
    parser.add_argument("--lr", type=float, default=default.lr)
    parser.add_argument("--drop-tokens", type=float, default=default.drop_tokens)
    parser.add_argument("--threads", type=int, default=0, help="0: those of PyTorch")
    arguments = parser.parse_args()
    if arguments.out.exists():
        parser.error(f"{arguments.out} exists: remove it, or name another folder")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    settings = TextTuningSettings(
        steps=arguments.steps,
        batch_size=arguments.batch_size,
        lr=arguments.lr,
        drop_tokens=arguments.drop_tokens,
    )
    model = load_network(arguments.model, "fine-tune")
    table = r2d2.PairsTable.open(arguments.table)
    taught = read_texts(model, table, arguments.split or ["train"])
    print(f"{len(taught.texts):,} texts of {len(taught.pooled):,} pictures")
    state_file = arguments.out.with_name(arguments.out.name + ".state")
    tune_texts(model, taught, settings, state_file)
    model.save(arguments.out)
    state_file.unlink(missing_ok=True)
    print(f"model: {arguments.out}")


if __name__ == "__main__":
    main()
