"""A Ray cluster of three nodes with one processor each, on this machine, for all tests here."""

import os
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]
NODE = {"num_cpus": 1, "object_store_memory": 80_000_000}


class ThreeNodes:
    """The cluster; a node that a test has killed is replaced for the next one."""

    def __init__(self):
        from ray.cluster_utils import Cluster

        head = {**NODE, "include_dashboard": False}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.address = self.cluster.address
        self.fill()

    def fill(self):
        """Add what is missing of the three."""
        while len(self.cluster.list_all_nodes()) < 3:
            self.cluster.add_node(**NODE)

    def kill(self):
        """End the node that was added last, at once."""
        self.cluster.remove_node(self.cluster.list_all_nodes()[-1], allow_graceful=False)


@pytest.fixture(scope="session")
def _three_nodes():
    ray = pytest.importorskip("ray")
    os.environ.setdefault("RAY_worker_niceness", "0")  # else other processes leave them no time
    before = os.environ.get("PYTHONPATH")
    # the nodes import what the tests hand to them
    os.environ["PYTHONPATH"] = os.pathsep.join([str(TESTS), *([before] if before else [])])
    nodes = ThreeNodes()
    ray.init(address=nodes.address, log_to_driver=False, logging_level="ERROR")
    yield nodes
    ray.shutdown()
    nodes.cluster.shutdown()
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


@pytest.fixture
def three_nodes(_three_nodes):
    """The cluster, whole, and this process connected to it."""
    _three_nodes.fill()
    return _three_nodes
