"""The same study on a Ray cluster of several nodes, with workers and nodes that go away; nodes are processes here."""

from __future__ import annotations

import os
import pickle
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import studycases
from studycases import Bowl

from dfcompiler.diagnostics import Diag
from dfcompiler.explore import evaluation
from dfcompiler.explore.cluster import Cluster, work
from dfcompiler.explore.study import read

ray = pytest.importorskip("ray", reason="the extra `ray` is not installed (`make cluster` installs it)")
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.filterwarnings("ignore"),  # what ray itself warns of is not ours
]

BUDGET = 600


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A head with two processors and one more node; both run raylets of their own on the loopback interface."""
    from ray.cluster_utils import Cluster as Nodes

    tests = str(Path(__file__).parent)
    os.environ["PYTHONPATH"] = os.pathsep.join([tests, str(Path(tests).parent)])
    made = Nodes(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    yield made
    ray.shutdown()
    made.shutdown()


def lines(folder: Path) -> list[str]:
    return sorted((folder / "results.jsonl").read_text().splitlines())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    studycases.explore(Bowl(), folder, BUDGET)
    return folder


def test_a_cluster_gives_what_one_process_gives(tmp_path: Path, nodes: Any, whole: Path) -> None:
    nodes.add_node(num_cpus=2)
    question = Bowl()
    studycases.explore(question, tmp_path / "s", BUDGET, by=Cluster(question, nodes.address))
    assert lines(tmp_path / "s") == lines(whole)


def test_no_result_is_lost_with_a_worker_and_a_node(tmp_path: Path, nodes: Any, whole: Path) -> None:
    """Workers are killed by the points they evaluate, and a node is taken away while it evaluates."""
    points = [p for r in read(whole).rounds for p in r]
    question = Bowl(pause_s=0.01, deaths=(points[7], points[290]), marks=str(tmp_path))
    extra = nodes.add_node(num_cpus=2)
    taken: list[int] = []

    def take_the_node_away() -> None:
        while (done := len(read(tmp_path / "s").answers or {})) < BUDGET // 4:
            time.sleep(0.05)
        nodes.remove_node(extra, allow_graceful=False)
        taken.append(done)

    thief = threading.Thread(target=take_the_node_away)
    thief.start()
    studycases.explore(question, tmp_path / "s", BUDGET, by=Cluster(question, nodes.address))
    thief.join()
    assert taken and taken[0] < BUDGET, "the node was to go while the study ran"
    assert len(list(tmp_path.glob("(*"))) == 2, "two workers should have died"
    assert lines(tmp_path / "s") == lines(whole)


def test_a_point_that_workers_die_of_is_named(tmp_path: Path, nodes: Any, whole: Path) -> None:
    bad = read(whole).rounds[0][3]
    question = Bowl(deaths=(bad,), times=99, marks=str(tmp_path))
    with pytest.raises(Diag) as told:
        studycases.explore(question, tmp_path / "s", 80, by=Cluster(question, nodes.address))
    assert told.value.code == "worker-died" and str(bad) in told.value.message
    assert len(list(tmp_path.glob("(*"))) == evaluation.STRIKES


def test_no_cluster_is_an_error_of_the_input() -> None:
    with pytest.raises(Diag) as told:
        Cluster(Bowl(), "127.0.0.1:9")
    assert told.value.code == "no-cluster"


def test_a_machine_with_another_version_is_found() -> None:
    ((_, fault),) = work(pickle.dumps(Bowl()), "another identity", [(0, 0, 0)])
    assert isinstance(fault, evaluation.Fault) and fault.error is not None and fault.error.code == "cluster-differs"
