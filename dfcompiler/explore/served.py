"""What requests feel of one design: its steps tabulated, a load of requests simulated, the highest rate searched."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dfcompiler.diagnostics import Diag
from dfcompiler.explore.loads import Load
from dfcompiler.hardware.chip import Chip
from dfcompiler.models import load_model
from dfcompiler.serving.answers import Objectives, answers
from dfcompiler.serving.arrivals import Arrivals
from dfcompiler.serving.capacity import HOST_S
from dfcompiler.serving.cluster import Cluster
from dfcompiler.serving.engine import simulate
from dfcompiler.serving.policy import policy, router
from dfcompiler.serving.rates import RUNS, at_rate, find_rate
from dfcompiler.serving.replicas import replicas
from dfcompiler.serving.requests import Requests
from dfcompiler.serving.served import Served
from dfcompiler.serving.settings import Settings
from dfcompiler.serving.workloads import lengths, synthetic

REQUESTS = 500  # that are simulated, where a load does not say
ATTAINED = 0.9  # of them keep to the objectives at the highest rate, where a load does not say


def served(load: Load, chip: Chip, seed: int = 0) -> Mapping[str, float]:
    """The figures of `SERVED` for a load of requests on replicas of a chip, at its rate, or where it has none at the
    highest that keeps to its objectives. The same requests for every design.

    Raises Diag `bad-option` for a load with neither a rate nor an objective, Infeasible `does-not-fit` and `slo-unmet`.
    """
    drawn = synthetic(Arrivals("poisson", 1.0), lengths(str(load.options["lengths"])), _requests(load), seed)
    pool = replicas(
        load_model(load.model), chip, drawn, Settings(), parallel=load.parallel, dtype=load.dtype,
        count=load.number("replicas", 1), host_s=HOST_S,
    ).pool  # fmt: skip
    cluster = Cluster((pool,), policy("fcfs"), router("round-robin"))
    wanted = Objectives(**{name: load.real(name) for name in ("ttft", "tbt") if name in load.options})

    def serve(some: Requests) -> Served:
        return simulate(some, cluster, runs=RUNS if wanted.given else 1)

    highest = _highest(load, drawn, serve, wanted)
    rate = load.real("rate") if "rate" in load.options else highest
    assert rate is not None
    shown = at_rate(drawn, rate)
    told = answers(shown, serve(shown), wanted)
    return {
        "max_rate_req_s": rate if highest is None else highest,
        "goodput_req_s": told.goodput_req_s,
        "ttft_p50_s": told.ttft_s.p50,
        "ttft_p90_s": told.ttft_s.p90,
        "tbt_p50_s": told.tbt_s.p50,
        "tbt_p90_s": told.tbt_s.p90,
        "throughput_tok_s": told.throughput_tok_s,
    }


def _requests(load: Load) -> int:
    return load.number("requests", REQUESTS)


def _highest(load: Load, drawn: Requests, serve: Callable[[Requests], Served], wanted: Objectives) -> float | None:
    """The highest rate that keeps to the objectives; None where there are none."""
    if wanted.given:
        return find_rate(drawn, serve, wanted, load.real("attain", ATTAINED)).rate_per_s
    if "rate" not in load.options:
        hint = "give it `rate = 2`, or objectives in seconds: `ttft = 2, tbt = 0.1`"
        raise Diag("bad-option", f"requests to `{load.model}` have neither a rate nor an objective", hint=hint)
    return None
