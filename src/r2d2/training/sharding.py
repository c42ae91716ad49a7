"""Shard parameters, gradients, optimiser and teachers over the processes by FSDP2.

For what does not fit one device. Every transformer layer of a tower, and each cross encoder, is a
unit that is gathered when it runs; what is left (embeddings, projections, heads) is one more. The
contrast's own parameters are scalars, which FSDP2 does not cut: each process keeps them, and their
gradients are averaged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from r2d2.model.towers import layers_of
from r2d2.training.distributed import World
from r2d2.training.step import Step


def shard(step: Step, device: torch.device) -> Step:
    """Shard the model and the teachers of a step in place. Call this before making the optimiser.

    They may be in main memory: FSDP2 moves each unit, buffers included, to the device when it cuts
    it; the temperature, which is not cut, follows.
    """
    mesh = init_device_mesh(device.type, (step.world.size,))
    model = step.model
    towers = [model.towers, *([step.objectives.teacher] if step.objectives.teacher else [])]
    for tower in towers:
        for side in (tower.get_submodule("vision"), tower.get_submodule("text")):
            for layer in layers_of(side):
                fully_shard(layer, mesh=mesh)
    if model.has_match:
        for cross in (model.text_to_image, model.image_to_text):
            cross.register_forward_hook(_copy)  # runs before FSDP2's own hook, which follows
            fully_shard(cross, mesh=mesh)
    fully_shard(step, mesh=mesh, ignored_params=set(model.contrast_parameters.values()))
    register_fsdp_forward_method(step, "features")  # gathers the units as `forward` does
    return step


def local(tensors: Iterable[Tensor]) -> list[Tensor]:
    """Return this process's part of each tensor, for computations that need no other process."""
    return [t.to_local() if isinstance(t, DTensor) else t for t in tensors]


@torch.no_grad()
def full(tensor: Tensor) -> Tensor:
    """Return the whole tensor, without gradient; all processes must call this together.

    By `all_gather` and not by `DTensor.full_tensor`, whose collective crashes gloo now and then:
    its two worker threads write the name of each collective that has ended into one std::string,
    without a lock (PyTorch 2.13, ProcessGroupGloo::runLoop). This one's name, 19 characters, lies
    on the heap, and two threads that end together free it twice; a name of up to 15 lies in place.
    """
    if not isinstance(tensor, DTensor):
        return tensor
    assert tensor.placements == (Shard(0),)
    rows, own = tensor.shape[0], tensor.to_local()
    group = tensor.device_mesh.get_group()
    # The first processes hold the more rows, the last ones perhaps none; what is sent is as long.
    sent = own.new_zeros(-(-rows // group.size()), *tensor.shape[1:])
    sent[: len(own)] = own
    parts = [torch.empty_like(sent) for _ in range(group.size())]
    dist.all_gather(parts, sent, group=group)
    return torch.cat(parts)[:rows]


def gathered(tensors: Mapping[str, Tensor], keep: bool) -> dict[str, Tensor]:
    """Return whole tensors in main memory by name; all processes must call this together.

    They are gathered one by one, and a process that has no use for them keeps none (`keep` False
    gives an empty dict): what was cut for lack of room is never on one device at once.
    """
    kept = {}
    for name, tensor in tensors.items():
        whole = full(tensor)
        if keep:
            kept[name] = whole.detach().cpu().contiguous()
    return kept


def cut_like(whole: Tensor, like: Tensor) -> Tensor:
    """Return this process's part of a whole tensor that every process has."""
    if not isinstance(like, DTensor):
        return whole.to(like.device)
    return distribute_tensor(whole.to(like.device), like.device_mesh, like.placements)


def load_full_state(module: nn.Module, whole: Mapping[str, Tensor]) -> None:
    """Load a module's state, each process its own part; names and shapes were checked before."""
    own = module.state_dict()
    module.load_state_dict({name: cut_like(t, own[name]) for name, t in whole.items()})


def clip_gradients(parameters: Iterable[nn.Parameter], limit: float) -> Tensor:
    """Scale all gradients so that their common norm is at most `limit`; return the norm before."""
    parameters = [p for p in parameters if p.grad is not None]
    gradients = [p.grad for p in parameters if p.grad is not None]
    cut = [g for g in gradients if isinstance(g, DTensor)]
    if not cut:
        return torch.nn.utils.clip_grad_norm_(parameters, limit)
    parts = torch.as_tensor(_square(local(cut)))
    dist.all_reduce(parts)
    norm = (parts + _square([g for g in gradients if not isinstance(g, DTensor)])).sqrt()
    torch._foreach_mul_(local(gradients), (limit / (norm + 1e-6)).clamp(max=1.0))
    return norm


def average_uncut(parameters: Iterable[nn.Parameter], world: World) -> None:
    """Average the gradients that FSDP2 leaves to each process."""
    for parameter in parameters:
        if parameter.grad is not None and not isinstance(parameter.grad, DTensor):
            parameter.grad.copy_(world.average(parameter.grad))


def is_cut(module: nn.Module) -> bool:
    """Return whether a module was sharded by `shard`."""
    return isinstance(module, FSDPModule)


def _copy(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
    """FSDP2 warns of a unit that gives a view: its hook would be lost by a change in place."""
    return output.clone()


def _square(tensors: list[Tensor]) -> Tensor | float:
    if not tensors:
        return 0.0
    norms = torch._foreach_norm(tensors)
    return torch.stack([norm.float() for norm in norms]).square().sum()
