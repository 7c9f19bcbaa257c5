"""What users feel of a model on a chip, under a load."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from dfcompiler.diagnostics import Diag
from dfcompiler.hardware.chip import Chip
from dfcompiler.parallelism import Parallel
from dfcompiler.public.given import AnyChip, AnyModel, checked_seed, chip_of, model_of
from dfcompiler.serving import loads, runs, strategies
from dfcompiler.serving.answers import Objectives, objectives
from dfcompiler.serving.capacity import HOST_S, UTILIZATION
from dfcompiler.serving.cluster import Role, Spill
from dfcompiler.serving.engine import Engine
from dfcompiler.serving.loads import Load
from dfcompiler.serving.policy import policy as find_policy
from dfcompiler.serving.policy import router as find_router
from dfcompiler.serving.replicas import Replicas
from dfcompiler.serving.replicas import replicas as make_replicas
from dfcompiler.serving.requests import Requests
from dfcompiler.serving.runs import Aim, Dispatch, Run
from dfcompiler.serving.settings import Settings
from dfcompiler.serving.strategies import Outcome, Question
from dfcompiler.serving.workloads import Sharing

Pools: TypeAlias = Sequence[tuple[Role, AnyChip | None, int]]


def workload(
    rate_per_s: float = 1.0,
    *,
    lengths: str = loads.LENGTHS,
    requests: int = loads.REQUESTS,
    arrivals: str = "poisson",
    spread: float | None = None,
    prefixes: tuple[int, int] | None = None,
    seed: int = 0,
) -> Load:
    """Requests at a rate: `lengths` are `PROMPT,OUTPUT` tokens, a name of `names("workloads")`, a file of quantiles,
    or a trace to draw from; `arrivals` are `poisson`, `gamma` or `bursty`; of `prefixes`, so
    many of so many tokens, each prompt begins with one. Raises what `loads.drawn` raises."""
    return loads.drawn(
        rate_per_s,
        arrivals=arrivals,
        lengths_of=lengths,
        count=requests,
        spread=spread,
        prefixes=Sharing(*prefixes) if prefixes else None,
        seed=checked_seed(seed),
    )


def trace(
    file: str | Path,
    *,
    sort: bool = False,
    requests: int | None = None,
    rate_per_s: float | None = None,
    prefixes: tuple[int, int] | None = None,
    seed: int = 0,
) -> Load:
    """The requests of a CSV or JSONL file, the first so many of them, stretched to a rate, each
    prompt beginning with one of `prefixes`, so many of so many tokens. Raises what `loads.recorded` raises."""
    return loads.recorded(
        Path(file),
        sort=sort,
        count=requests,
        rate_per_s=rate_per_s,
        prefixes=Sharing(*prefixes) if prefixes else None,
        seed=checked_seed(seed),
    )


def serve(
    model: AnyModel,
    chip: AnyChip,
    load: Load | Requests | str | Path | None = None,
    *,
    slo: Objectives | str | None = None,
    find_rate: bool = False,
    attain: float = 0.99,
    curve: int = 0,
    dtype: str | None = None,
    devices: int | None = None,
    tp: int = 1,
    ep: int = 1,
    dp: int = 1,
    pp: int = 1,
    replicas: int = 1,
    pools: Pools = (),
    spill: tuple[int, float] | None = None,
    shared_link: bool = False,
    policy: str = "fcfs",
    router: str = "round-robin",
    semantics: str = "vllm-v1",
    max_tokens: int = 2048,
    max_sequences: int = 256,
    block_tokens: int = 16,
    prefix_caching: bool = False,
    host_s: float = HOST_S,
    memory_utilization: float = UTILIZATION,
    simulator: Engine = "lazy",
    check: int = 0,
    on_run: Callable[[Requests], None] | None = None,
) -> Run:
    """What users feel of a model under a load (default: `workload()`; a path is that of a trace).

    `slo` is `ttft=1,tbt=0.1` in seconds; with `find_rate` the run is that at the highest rate at which the part
    `attain` of the requests keeps to it; with `curve` the answers at so many rates are kept too. `pools` are (role,
    chip or None, replicas): `[("prefill", None, 1), ("decode", "h200", 2)]`, else there are `replicas` that do both;
    with `spill`, tokens and part of `cluster.Spill`, they help each other, with `shared_link` all caches move over one
    link.
    `check` compiles so many random steps to tell the error of those that are looked up. Raises Diag and Infeasible as
    the modules of `dfcompiler.serving` say.
    """
    wanted = objectives(slo) if isinstance(slo, str) else slo or Objectives()
    by = Dispatch(policy, router, simulator, Spill(*spill) if spill else None, shared_link)
    settings = Settings(semantics, max_tokens, max_sequences, block_tokens, prefix_caching)
    parallel = Parallel(devices, tp, ep, dp, pp)
    if not pools and replicas < 1:
        raise Diag("bad-cluster", f"--replicas must be at least 1, got {replicas}")
    asked = _load(load)
    served, first = model_of(model), chip_of(chip)
    made = [
        make_replicas(
            served, first if on is None else chip_of(on), asked.requests, settings, parallel=parallel, dtype=dtype,
            count=count, role=role, host_s=host_s, utilization=memory_utilization, check=check,
        )
        for role, on, count in pools or [("both", None, replicas)]
    ]  # fmt: skip
    goal = Aim(wanted, attain, find_rate, curve)
    return runs.run(served.name, first.name, asked, made, by, goal, on_run=on_run)


def rank(
    model: AnyModel,
    chips: Sequence[AnyChip],
    devices: int,
    load: Load | Requests | str | Path | None = None,
    *,
    slo: Objectives | str | None = None,
    attain: float = 0.99,
    dtype: str | None = None,
    policy: str = "fcfs",
    router: str = "round-robin",
    settings: Settings = Settings(),
    host_s: float = HOST_S,
    memory_utilization: float = UTILIZATION,
    check: int = 0,
) -> list[Outcome]:
    """Every way to use up to so many devices of one of these chips (`tp`, `pp`, replicas that do both, or that prefill
    and decode apart), by the highest rate at which the part `attain` of the requests keeps to `slo`; those that
    provably cannot be the best are skipped, and told last. Raises as `serve` does."""
    wanted = objectives(slo) if isinstance(slo, str) else slo or Objectives()
    asked, served = _load(load), model_of(model)
    question = Question(asked.requests, wanted, attain, find_policy(policy), find_router(router))

    def made(chip: Chip, parallel: Parallel) -> Replicas:
        return make_replicas(
            served, chip, asked.requests, settings, parallel=parallel, dtype=dtype, count=1, role="both",
            host_s=host_s, utilization=memory_utilization, check=check,
        )  # fmt: skip

    return strategies.rank([chip_of(c) for c in chips], devices, made, question)


def _load(load: Load | Requests | str | Path | None) -> Load:
    if isinstance(load, Load):
        return load
    if isinstance(load, Requests):
        return loads.of(load)
    return workload() if load is None else trace(load)
