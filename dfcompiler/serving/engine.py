"""Serving requests: the one door to the three engines."""

from __future__ import annotations

from typing import Literal

from dfcompiler.diagnostics import Diag, unknown
from dfcompiler.serving import compiled, lazy, timeline
from dfcompiler.serving.cluster import Cluster
from dfcompiler.serving.iterative import Replica
from dfcompiler.serving.jump import JumpingReplica
from dfcompiler.serving.requests import Requests
from dfcompiler.serving.served import Served

PLAIN = {"iter": Replica, "jump": JumpingReplica}
ENGINES = ("lazy", *PLAIN)
Engine = Literal["lazy", "jump", "iter"]

# Requests, over all runs, from which on compiled functions are worth their start: read from where they are kept they
# take 0.86 CPU s, in which the plain functions serve 24,000 of the Azure conversations; compiling them takes 23 CPU s.
WORTH_LOADING, WORTH_COMPILING = 20_000, 600_000


def simulate(
    requests: Requests,
    cluster: Cluster,
    *,
    engine: Engine = "lazy",
    series: bool = False,
    fast: bool | None = None,
    runs: int = 1,
) -> Served:
    """What becomes of requests in a cluster; seconds of its clock, not of ours.

    All engines give the same: `lazy` takes time for what happens, `jump` for each request whenever something
    happens, and `iter`, the specification, for each request in each step. With `series`, what replicas did is kept,
    a row per step, or per run of equal steps where the engine makes one. `fast` says whether the lazy engine is
    compiled, by default where numba is installed and there are enough requests in so many `runs` like this. Raises
    Diag `no-numba`, `unknown-engine`, and `bad-policy`.
    """
    if engine in PLAIN:
        return timeline.play(requests, cluster, PLAIN[engine], series=series)
    if engine != "lazy":
        raise unknown("engine", engine, ENGINES)
    if fast and not compiled.available():
        raise Diag(
            "no-numba", "numba, which compiles the engine, is not installed", hint="pip install dfcompiler[fast]"
        )
    if fast is None:
        worth = WORTH_LOADING if compiled.available() and compiled.kept() else WORTH_COMPILING
        fast = compiled.available() and len(requests) * runs >= worth
    return lazy.play(requests, cluster, series=series, fast=fast)
