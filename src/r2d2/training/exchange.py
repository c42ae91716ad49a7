"""Hard negatives that other processes hold: only the rows that were drawn travel, with gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from r2d2.model.encoded_states import EncodedStates


@dataclass(frozen=True)
class Route:
    """Which of its n rows this process sends to which process, and how many come from each."""

    rows: Tensor  # (s,) int64, rows to send, by receiver and by place; a row may go to several
    sent: list[int]  # how many of them each process gets
    received: list[int]  # how many each process sends to this one
    places: Tensor  # (w,) int64, where each wanted row stands behind n own rows and what comes

    def carry(self, x: Tensor) -> Tensor:
        """The rows (r, ...) of other processes' x that this one wants, of its own x (n, ...)."""
        came: Tensor = _AllToAll.apply(  # type: ignore[no-untyped-call]
            x.index_select(0, self.rows), self.sent, self.received
        )
        return came


def fetch(
    sides: tuple[EncodedStates, EncodedStates], wanted: tuple[Tensor, Tensor], rank: int, size: int
) -> tuple[tuple[EncodedStates, EncodedStates], tuple[Tensor, Tensor]]:
    """See `Collectives.fetch`; every process calls it, with as many pairs."""
    images, texts = sides
    length = texts.states.shape[1]
    asked = torch.cat([*wanted, wanted[0].new_tensor([length])])
    told = [torch.empty_like(asked) for _ in range(size)]
    dist.all_gather(told, asked)
    # The only wait for the device: how much goes where, and the longest text of all.
    asked_of_all = torch.stack(told)
    n = len(wanted[0])
    image_route, text_route, longest = _routes(asked_of_all, n, rank, size)
    texts = _padded(texts, longest)
    joined = (_joined(images, image_route), _joined(texts, text_route))
    return joined, (image_route.places, text_route.places)


def _routes(asked: Tensor, n: int, rank: int, size: int) -> tuple[Route, Route, int]:
    """The routes of images and of texts, and the longest text.

    Args:
        asked: (size, 2n + 1) int64, by process: places of images, of texts, and a length.
        n: pairs a process.
        rank: of this process.
        size: processes.
    """
    parts = [_masks(asked[:, part * n : (part + 1) * n], n, rank, size) for part in range(2)]
    counts = [mask.sum(1) for masks in parts for mask in masks]
    numbers = torch.stack([*counts, asked[:, -1]]).tolist()
    routes = []
    for part, (give, take) in enumerate(parts):
        sent, received = numbers[2 * part], numbers[2 * part + 1]
        own = asked[rank, part * n : (part + 1) * n]
        behind = n - 1 + take.flatten().cumsum(0)  # where a row that comes will stand
        here = own // n == rank
        places = torch.where(here, own - rank * n, behind[own])
        routes.append(Route(give.nonzero()[:, 1], sent, received, places))
    return routes[0], routes[1], max(numbers[-1])


def _masks(asked: Tensor, n: int, rank: int, size: int) -> tuple[Tensor, Tensor]:
    """(size, n) bool each: which own rows each process wants, and which rows of each come here."""
    wants = torch.zeros(size, size * n, dtype=torch.bool, device=asked.device)
    wants.scatter_(1, asked, True)
    wants = wants.view(size, size, n)  # who wants, whose, which
    give, take = wants[:, rank].clone(), wants[rank].clone()
    give[rank], take[rank] = False, False
    return give, take


def _padded(side: EncodedStates, length: int) -> EncodedStates:
    """A side whose sequences are as long as those of every process."""
    more = length - side.states.shape[1]
    if not more and side.mask is not None:
        return side
    return EncodedStates(
        F.pad(side.states, (0, 0, 0, more)), F.pad(side.real(), (0, more)), side.embedding
    )


def _joined(side: EncodedStates, route: Route) -> EncodedStates:
    states = torch.cat([side.states, route.carry(side.states)])
    embedding = torch.cat([side.embedding, route.carry(side.embedding.detach())])
    mask = None
    if side.mask is not None:
        mask = torch.cat([side.mask, route.carry(side.mask.to(torch.uint8)).bool()])
    return EncodedStates(states, mask, embedding)


class _AllToAll(torch.autograd.Function):
    """Rows to the processes that want them; their gradients come back the same way."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, sent: list[int], received: list[int]) -> Tensor:
        ctx.sent, ctx.received = sent, received
        return _all_to_all(x, sent, received)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _all_to_all(gradients[0], ctx.received, ctx.sent), None, None


def _all_to_all(x: Tensor, sent: list[int], received: list[int]) -> Tensor:
    came = x.new_empty(sum(received), *x.shape[1:])
    dist.all_to_all_single(came, x.contiguous(), received, sent)
    return came
