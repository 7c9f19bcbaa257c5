"""Serving requests: the one door to the three engines."""

from __future__ import annotations

from typing import Literal

from dfcompiler.diagnostics import unknown
from dfcompiler.serving.cluster import Cluster
from dfcompiler.serving.iterative import Replica
from dfcompiler.serving.jump import JumpingReplica
from dfcompiler.serving.requests import Requests
from dfcompiler.serving.served import Served
from dfcompiler.serving.timeline import play

PLAIN = {"iter": Replica, "jump": JumpingReplica}
Engine = Literal["lazy", "jump", "iter"]


def simulate(requests: Requests, cluster: Cluster, *, engine: Engine = "iter", series: bool = False) -> Served:
    if engine not in PLAIN:
        raise unknown("engine", engine, PLAIN)
    return play(requests, cluster, PLAIN[engine], series=series)
