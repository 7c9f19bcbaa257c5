"""A run: a load on pools of replicas, what users felt, and what is written of it."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dfcompiler.amounts import digits, percent, seconds
from dfcompiler.diagnostics import Diag, unknown
from dfcompiler.frames import Columns, Tabular
from dfcompiler.serving.answers import Answers, Objectives, answers
from dfcompiler.serving.cluster import Cluster, Spill
from dfcompiler.serving.engine import ENGINES, Engine, simulate
from dfcompiler.serving.loads import Load
from dfcompiler.serving.policy import policy, router
from dfcompiler.serving.rates import RUNS, Point, Rate, at_rate, curve, find_rate, rate_of
from dfcompiler.serving.records import request_columns, series_columns, window_trace, write_columns, write_trace
from dfcompiler.serving.replicas import Replicas, link_of
from dfcompiler.serving.requests import Requests
from dfcompiler.serving.served import Served
from dfcompiler.serving.spending import Spender, Spending, spending
from dfcompiler.writing import make_folder, write_text

BEYOND = 1.25  # how far a curve goes, in the highest rate or that of the requests


@dataclass(frozen=True)
class Aim:
    """What requests are to keep to, and which part of them; with `find_rate` the highest rate at which they do is
    searched, and `curve` asks for the answers at so many rates."""

    wanted: Objectives = Objectives()
    attain: float = 0.99
    find_rate: bool = False
    curve: int = 0

    def __post_init__(self) -> None:
        if self.curve < 0:
            raise Diag("bad-option", f"--curve is a number of rates, got {self.curve}")


@dataclass(frozen=True)
class Run(Tabular):
    """All that is told of a run. Its table has a row per request: times in seconds, nan where it was rejected."""

    model: str
    chip: str
    load: Load
    answers: Answers
    pools: tuple[Replicas, ...]
    rate: Rate | None
    spending: Spending | None
    sim_cpu_s: float
    aim: Aim
    served: Served
    curve: tuple[Point, ...] = ()

    @property
    def wanted(self) -> Objectives:
        """What requests are to keep to."""
        return self.aim.wanted

    def title(self) -> str:
        """Model, chip and load."""
        return f"{self.model} on {self.chip}: {self.load.title}"

    def facts(self) -> Mapping[str, str]:
        """The figures that are looked at first."""
        a = self.answers
        found = {"served": f"{a.completed:,} of {a.requests:,} requests in {seconds(a.duration_s)}"}
        found["through"] = f"{digits(a.throughput_tok_s)} tokens/s, {a.throughput_req_s:.4g} requests/s"
        found |= {n: f"{seconds(x.p50)}, p99 {seconds(x.p99)}" for n, x in (("TTFT", a.ttft_s), ("TBT", a.tbt_s))}
        if self.wanted.given:
            found["objective"] = f"kept for {percent(a.slo_attainment)} of the requests"
        return found

    def columns(self) -> Columns:
        """A row per request."""
        return request_columns(self.load.requests, self.served, self.wanted)

    def to_json(self) -> dict[str, Any]:
        """The JSON object of the command line's contract; what does not exist is null."""
        said = dataclasses.asdict(self.answers)
        said["max_rate_req_s"] = self.rate.rate_per_s if self.rate else None
        said["max_rate"] = dataclasses.asdict(self.rate) if self.rate else None
        if self.rate:
            del said["max_rate"]["points"]
        said["sim_cpu_s"] = self.sim_cpu_s
        said |= {"model": self.model, "chip": self.chip, "load": self.load.title}
        said |= {"slo": dict(self.wanted.given), "attain": self.aim.attain}
        said["rate_req_s"] = rate_of(self.load.requests)
        said["curve"] = [{"rate_req_s": p.rate_per_s} | dataclasses.asdict(p.answers) for p in self.curve]
        said["spending"] = dataclasses.asdict(self.spending) if self.spending else None
        said["pools"] = [
            {
                "role": x.pool.role,
                "chip": x.steps.setting.chip.name,
                "devices": x.steps.setting.parallel.count,
                "replicas": x.pool.replicas,
                "kv": dataclasses.asdict(x.room),
                "host_s": x.pool.table.host_s,
                "step_error": dataclasses.asdict(x.steps.error) if x.steps.error else None,
            }
            for x in self.pools
        ]
        plain: dict[str, Any] = finite(said)
        return plain

    def write(self, out: Path, *, window_s: tuple[float, float] | None = None, parquet: bool = False) -> list[Path]:
        """Write the answers, a row per request and what replicas did into a folder, and of a window of seconds a trace
        for https://ui.perfetto.dev. Raises Diag `bad-output`, `no-pyarrow`, `bad-window`."""
        kind = "parquet" if parquet else "csv"
        blocks = max(x.pool.blocks for x in self.pools)
        written = [out / f"requests.{kind}", out / f"series.{kind}", out / "serve.json"]
        make_folder(out)
        write_columns(request_columns(self.load.requests, self.served, self.wanted), written[0])
        if self.served.series is not None:
            write_columns(series_columns(self.served.series, blocks), written[1])
        write_text(written[2], json.dumps(self.to_json(), allow_nan=False, indent=1) + "\n")
        if window_s:
            written.append(out / "trace.json")
            name = f"{self.model} on {self.chip}"
            write_trace(window_trace(self.load.requests, self.served, *window_s, blocks, name), written[-1])
        return written


@dataclass(frozen=True)
class Dispatch:
    """How pools serve: who is first, which replica takes a request, which simulator tells; whether pools of prefill
    and decode help each other, and all send caches over one link.

    Raises Diag `unknown-engine`, `unknown-policy`, `unknown-router`.
    """

    policy: str = "fcfs"
    router: str = "round-robin"
    simulator: Engine = "lazy"
    spill: Spill | None = None
    shared_link: bool = False

    def __post_init__(self) -> None:
        if self.simulator not in ENGINES:
            raise unknown("engine", self.simulator, ENGINES)
        policy(self.policy)
        router(self.router)


def run(
    model: str,
    chip: str,
    load: Load,
    pools: Sequence[Replicas],
    by: Dispatch = Dispatch(),
    aim: Aim = Aim(),
    *,
    on_run: Callable[[Requests], None] | None = None,
) -> Run:
    """Serve a load as it comes, or as `aim` says at the highest rate. `on_run` is told before every simulation.

    Raises what `find_rate` and `simulate` raise, and Diag `bad-cluster` for pools that do not go together.
    """
    apart = any(x.pool.role == "prefill" for x in pools)
    if by.shared_link and not apart:
        raise Diag("bad-cluster", "only pools of the roles `prefill` and `decode` have a link to share")
    link = link_of(pools, shared=by.shared_link) if apart else None
    cluster = Cluster(tuple(x.pool for x in pools), policy(by.policy), router(by.router), link, by.spill)

    def serve(some: Requests, series: bool = False) -> Served:
        if on_run:
            on_run(some)
        return simulate(some, cluster, engine=by.simulator, series=series, runs=RUNS if aim.find_rate else 1)

    start = time.process_time()
    wanted = aim.wanted
    rate = find_rate(load.requests, serve, wanted, aim.attain) if aim.find_rate else None
    shown = at_rate(load.requests, rate.rate_per_s) if rate else load.requests
    served = serve(shown, series=True)
    told, points = answers(shown, served, wanted), rate.points if rate else ()
    if aim.curve:
        highest = BEYOND * (rate.rate_per_s if rate else rate_of(load.requests))
        points += curve(load.requests, serve, wanted, (highest * i / aim.curve for i in range(1, aim.curve + 1)))
    spent_s = time.process_time() - start
    tokens = int(shown.output_tokens[~served.rejected].sum())
    energy = spending([Spender(x.steps, x.pool.replicas) for x in pools], served, tokens, told.duration_s)
    points = tuple(sorted(points, key=lambda p: p.rate_per_s))
    return Run(model, chip, Load(shown, load.title), told, tuple(pools), rate, energy, spent_s, aim, served, points)


def finite(value: Any) -> Any:
    """Without nan and inf, which JSON has not."""
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
