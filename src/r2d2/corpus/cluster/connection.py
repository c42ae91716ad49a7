"""The Ray cluster that does the work: reached within a time limit, and fit for it on every node."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from r2d2.errors import R2D2Error, first_line
from r2d2.extras import require
from r2d2.files import disk_errors

CONNECT_S = 20  # for a cluster to answer; Ray itself tries for minutes, and then ends the process
ADDRESS = "RAY_ADDRESS"
# Run in a process of its own, for Ray ends the one in which it cannot connect.
_TRY = "import ray, sys; ray.init(address=sys.argv[1], log_to_driver=False, logging_level='ERROR')"


def import_ray() -> Any:
    """The module; R2D2Error where the extra is missing."""
    return require("ray", "ray", "--runner ray")


def connect(workers: int | None) -> None:
    """Connect this process to the cluster, or start one of this machine.

    A process that is connected already stays so.

    Raises:
        R2D2Error: the cluster that RAY_ADDRESS names does not answer, or is no Ray cluster.
    """
    ray = import_ray()
    if ray.is_initialized():
        return
    address = os.environ.get(ADDRESS) or None
    if address is not None and address != "local":
        _need_answer(address)
    try:
        ray.init(
            num_cpus=workers if address in (None, "local") else None,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
        )
    except Exception as error:  # Ray's errors of connecting have no base of their own
        raise _unreachable(address or "this machine", first_line(error)) from error


def node_capacities(memory_bytes: int | None) -> dict[str, int]:
    """How many workers each node has room for, by the node's id.

    Args:
        memory_bytes: that each needs; None: whatever.

    Raises:
        R2D2Error: no node has as much memory, or there is none with a processor.
    """
    nodes = {node["NodeID"]: node["Resources"] for node in alive_nodes()}
    if not nodes:
        raise R2D2Error("the Ray cluster has no node with a processor: add one by `ray start`")
    workers_of_node = {name: int(resources["CPU"]) for name, resources in nodes.items()}
    if memory_bytes is not None:
        workers_of_node = {
            name: min(cpus, int(_memory(nodes[name]) // memory_bytes))
            for name, cpus in workers_of_node.items()
        }
        if not any(workers_of_node.values()):
            most = max(map(_memory, nodes.values()))
            raise R2D2Error(
                f"no node of the Ray cluster has --memory {memory_bytes / 1e9:.1f}GB for a worker "
                f"(the largest offers {most / 1e9:.1f}GB): give less"
            )
    return {name: count for name, count in workers_of_node.items() if count}


def alive_nodes() -> list[dict[str, Any]]:
    """The nodes with a processor, as Ray tells of them."""
    nodes: Sequence[dict[str, Any]] = import_ray().nodes()
    return [node for node in nodes if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]


def check_nodes(folder: Path | None, modules: Sequence[str]) -> None:
    """Have every node look for a file in a folder, if one is given, and for some modules.

    A node that writes into a folder of its own, under the same path, would lose what it wrote.

    Raises:
        R2D2Error: a node does not see the folder, or lacks a module.
    """
    ray = import_ray()
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    token = None
    if folder is not None:
        token = folder / f".seen-by-all-{uuid.uuid4().hex[:8]}"
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            token.touch()
    try:
        look = ray.remote(max_retries=0)(_look_around)
        asked = []
        for node in alive_nodes():
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=True)
            task = look.options(scheduling_strategy=there)
            name = node["NodeManagerAddress"]
            asked.append((name, task.remote(token, tuple(modules))))
        for name, answer in asked:
            try:
                wrong = ray.get(answer)
            except ray.exceptions.NodeDiedError:
                continue  # it does no work either
            except Exception as error:
                raise R2D2Error(
                    f"the node {name} cannot run r2d2 ({first_line(error)}): install the same "
                    'version there, pip install "zero-r2d2[ray]"'
                ) from error
            if wrong:
                raise R2D2Error(f"the node {name} {wrong}")
    finally:
        if token is not None:
            token.unlink(missing_ok=True)


def _look_around(token: Path | None, modules: Sequence[str]) -> str:
    """What keeps this node from working; nothing where it can."""
    if token is not None and not token.exists():
        return (
            f"does not see {token.parent}: let --out, --work and the logs lie on storage "
            "that all nodes share under the same path"
        )
    for module in modules:
        if importlib.util.find_spec(module) is None:
            return f'lacks {module}: pip install "zero-r2d2[ray]" on every node'
    return ""


def _memory(resources: dict[str, float]) -> float:
    return float(resources.get("memory", 0.0))


def _need_answer(address: str) -> None:
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if colon and port.isdigit():
        try:
            socket.create_connection((host, int(port)), CONNECT_S).close()
        except OSError as error:
            raise _unreachable(address, error.strerror or str(error)) from error
    try:
        done = subprocess.run(
            [sys.executable, "-c", _TRY, address],
            timeout=CONNECT_S, capture_output=True, text=True, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise _unreachable(address, f"nothing within {CONNECT_S} seconds") from error
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise _unreachable(address, said[-1].strip() if said else "no reason given")


def _unreachable(address: str, reason: str) -> R2D2Error:
    return R2D2Error(
        f"no Ray cluster answers at {address} ({reason}): start one with `ray start --head`, "
        f"correct {ADDRESS}, or unset it to work on this machine alone"
    )
