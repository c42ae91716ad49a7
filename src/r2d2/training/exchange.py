"""Fetch hard negatives from other processes; only the drawn rows are sent, with their gradient."""

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
    """Which rows this process sends to each process, and how many it receives from each."""

    rows: Tensor  # (s,) int64, rows to send, ordered by receiver and row; a row may go to several
    sent: list[int]  # how many of them each process gets
    received: list[int]  # how many each process sends to this one
    positions: Tensor  # (w,) int64, of the wanted rows among the n own rows and those received

    def carry(self, x: Tensor) -> Tensor:
        """Return the rows (r, ...) that this process needs of the other processes' x (n, ...)."""
        received_rows: Tensor = _AllToAll.apply(  # type: ignore[no-untyped-call]
            x.index_select(0, self.rows), self.sent, self.received
        )
        return received_rows


def fetch(
    sides: tuple[EncodedStates, EncodedStates], wanted: tuple[Tensor, Tensor], rank: int, size: int
) -> tuple[tuple[EncodedStates, EncodedStates], tuple[Tensor, Tensor]]:
    """See `Collectives.fetch`; every process calls it, with as many pairs."""
    images, texts = sides
    length = texts.states.shape[1]
    requested = torch.cat([*wanted, wanted[0].new_tensor([length])])
    gathered = [torch.empty_like(requested) for _ in range(size)]
    dist.all_gather(gathered, requested)
    # The only wait for the device: the numbers of rows, and the longest text of all processes.
    requests = torch.stack(gathered)
    n = len(wanted[0])
    image_route, text_route, longest = _routes(requests, n, rank, size)
    texts = _padded(texts, longest)
    joined = (_joined(images, image_route), _joined(texts, text_route))
    return joined, (image_route.positions, text_route.positions)


def _routes(requested: Tensor, n: int, rank: int, size: int) -> tuple[Route, Route, int]:
    """Return the routes of images and of texts, and the length of the longest text.

    Args:
        requested: (size, 2n + 1) int64, by process: positions of images, of texts, and a length.
        n: pairs a process.
        rank: of this process.
        size: processes.
    """
    parts = [_masks(requested[:, part * n : (part + 1) * n], n, rank, size) for part in range(2)]
    counts = [mask.sum(1) for masks in parts for mask in masks]
    numbers = torch.stack([*counts, requested[:, -1]]).tolist()
    routes = []
    for part, (give, take) in enumerate(parts):
        sent, received = numbers[2 * part], numbers[2 * part + 1]
        own = requested[rank, part * n : (part + 1) * n]
        behind = n - 1 + take.flatten().cumsum(0)  # position of each row that is received
        here = own // n == rank
        positions = torch.where(here, own - rank * n, behind[own])
        routes.append(Route(give.nonzero()[:, 1], sent, received, positions))
    return routes[0], routes[1], max(numbers[-1])


def _masks(requested: Tensor, n: int, rank: int, size: int) -> tuple[Tensor, Tensor]:
    """(size, n) bool each: own rows that each process wants, and rows of each wanted here."""
    wants = torch.zeros(size, size * n, dtype=torch.bool, device=requested.device)
    wants.scatter_(1, requested, True)
    wants = wants.view(size, size, n)  # who wants, whose, which
    give, take = wants[:, rank].clone(), wants[rank].clone()
    give[rank], take[rank] = False, False
    return give, take


def _padded(side: EncodedStates, length: int) -> EncodedStates:
    """The same with sequences as long as the longest of all processes."""
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
    """Sends rows to the processes that want them, and their gradients back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, sent: list[int], received: list[int]) -> Tensor:
        ctx.sent, ctx.received = sent, received
        return _all_to_all(x, sent, received)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _all_to_all(gradients[0], ctx.received, ctx.sent), None, None


def _all_to_all(x: Tensor, sent: list[int], received: list[int]) -> Tensor:
    received_rows = x.new_empty(sum(received), *x.shape[1:])
    dist.all_to_all_single(received_rows, x.contiguous(), received, sent)
    return received_rows
