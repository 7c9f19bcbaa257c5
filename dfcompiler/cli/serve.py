"""`dfc serve`: what users feel of a model on a chip, under a load."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dfcompiler.cli.inputs import cannot_write, check_writable, chip_of, overrides, parallel_of, seed_of
from dfcompiler.cli.options import named, real
from dfcompiler.cli.serve_arguments import ARRIVALS
from dfcompiler.diagnostics import Diag
from dfcompiler.hardware.chip import Chip
from dfcompiler.hardware.elaboration import load_chip
from dfcompiler.models import load_model
from dfcompiler.parallelism import Parallel
from dfcompiler.serving.answers import Answers, Objectives, answers, objectives
from dfcompiler.serving.arrivals import Arrivals
from dfcompiler.serving.capacity import HOST_S, UTILIZATION
from dfcompiler.serving.cluster import Cluster, Role
from dfcompiler.serving.engine import simulate
from dfcompiler.serving.policy import policy, router
from dfcompiler.serving.rates import RUNS, Rate, at_rate, find_rate, rate_of
from dfcompiler.serving.records import request_columns, series_columns, window_trace, write_columns, write_trace
from dfcompiler.serving.replicas import Replicas, link_of, replicas
from dfcompiler.serving.requests import Requests
from dfcompiler.serving.served import Served
from dfcompiler.serving.settings import Settings
from dfcompiler.serving.spending import Spender, Spending, spending
from dfcompiler.serving.traces import read_trace
from dfcompiler.serving.workloads import lengths, synthetic

REQUESTS, SPREAD = 2000, 2.0


@dataclass(frozen=True)
class Run:
    """All that is told of a run."""

    model: str
    chip: str
    load: str
    answers: Answers
    pools: tuple[Replicas, ...]
    rate: Rate | None
    spending: Spending | None
    sim_cpu_s: float

    def to_json(self) -> dict[str, Any]:
        """The JSON object of the command line's contract; what does not exist is null."""
        said = dataclasses.asdict(self.answers)
        said["max_rate_req_s"] = self.rate.rate_per_s if self.rate else None
        said["max_rate"] = dataclasses.asdict(self.rate) if self.rate else None
        said["sim_cpu_s"] = self.sim_cpu_s
        said |= {"model": self.model, "chip": self.chip, "load": self.load}
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


def run(args: argparse.Namespace) -> None:
    """Serve and print; raises Diag and Infeasible."""
    if args.rank is not None:
        from dfcompiler.cli.serve_rank import run as rank

        rank(args)
        return
    out = Path(args.out) if args.out else None
    window = _window(args.window, out)
    if out:
        check_writable(out)
    wanted = objectives(args.slo) if args.slo else Objectives()
    requests, load = requests_of(args)
    pools = pools_of(args, requests)
    cluster = Cluster(
        tuple(x.pool for x in pools), policy(args.policy), router(args.router), link_of(pools) if args.pools else None
    )

    def serve(some: Requests, series: bool = False) -> Served:
        return simulate(some, cluster, engine=args.simulator, series=series, runs=RUNS if args.find_rate else 1)

    start = time.process_time()
    rate = find_rate(requests, serve, wanted, args.attain) if args.find_rate else None
    shown = at_rate(requests, rate.rate_per_s) if rate else requests
    served = serve(shown, series=True)
    spent_s = time.process_time() - start
    told = answers(shown, served, wanted)
    tokens = int(shown.output_tokens[~served.rejected].sum())
    energy = spending([Spender(x.steps, x.pool.replicas) for x in pools], served, tokens, told.duration_s)
    made = Run(args.model, args.on, load, told, pools, rate, energy, spent_s)
    written = _write(made, out, window, args.parquet, shown, served, wanted) if out else []
    if args.json:
        print(json.dumps(made.to_json(), allow_nan=False))
        return
    from dfcompiler.cli.serve_display import print_run

    print_run(made, wanted, args.attain, written)


# ---- from arguments ----------------------------------------------------------------------------


def requests_of(args: argparse.Namespace) -> tuple[Requests, str]:
    """The requests, and a line about them. Raises Diag."""
    rates = [(kind, rate) for kind in ARRIVALS if (rate := getattr(args, kind)) is not None]
    if len(rates) + bool(args.trace) > 1:
        raise Diag("bad-workload", "requests come from one of --trace, --poisson, --gamma and --bursty")
    count = args.requests
    if count is not None and count < 1:
        raise Diag("bad-workload", f"--requests must be at least 1, got {count}")
    if args.trace:
        if args.lengths or args.spread:
            raise Diag("bad-workload", "--lengths and --spread are for requests at a rate; a trace has its own")
        return _of_trace(args, count)
    if args.rate is not None or args.sort:
        raise Diag("bad-workload", "--rate and --sort are for a trace", hint="give the rate to --poisson")
    kind, rate = rates[0] if rates else ("poisson", 1.0)
    if args.spread is not None and kind == "poisson":
        raise Diag("bad-workload", "--spread is for --gamma and --bursty")
    spec = args.lengths or "azure-conversation"
    with named(f"--{kind}"):
        arrivals = Arrivals(kind, rate, (SPREAD if args.spread is None else args.spread) if kind != "poisson" else 1.0)
    made = synthetic(arrivals, lengths(spec), REQUESTS if count is None else count, seed_of(args))
    return made, f"{len(made):,} requests, {kind} {rate:g}/s, {spec}"


def _of_trace(args: argparse.Namespace, count: int | None) -> tuple[Requests, str]:
    trace = read_trace(Path(args.trace), sort=args.sort)
    if not trace.timed:
        hint = f"draw from it: --poisson RATE --lengths {args.trace}"
        raise Diag("bad-trace", f"`{args.trace}` has lengths only: it does not say when requests come", hint=hint)
    found = trace.requests if count is None else trace.requests.take(np.arange(min(count, len(trace.requests))))
    if args.rate is not None:
        with named("--rate"):
            found = at_rate(found, args.rate)
    return found, f"{len(found):,} requests of {args.trace}, {rate_of(found):.3g}/s"


def pools_of(args: argparse.Namespace, requests: Requests) -> tuple[Replicas, ...]:
    """The pools of `--replicas` or `--pools`. Raises Diag."""
    parallel = parallel_of(args)
    found = []
    for role, chip, count in _pool_specs(args):
        loaded = chip_of(args) if chip is None else load_chip(chip, overrides(args.set), args.without)
        found.append(pool_of(args, requests, loaded, parallel, count, role))
    return tuple(found)


def pool_of(
    args: argparse.Namespace, requests: Requests, chip: Chip, parallel: Parallel, count: int, role: Role
) -> Replicas:
    """Replicas with the settings that the options say. Raises Diag."""
    settings = Settings(args.semantics, args.max_tokens, args.max_sequences, args.block_tokens, args.prefix_caching)
    host_s = HOST_S if args.host_us is None else args.host_us * 1e-6
    if not 0 <= host_s < math.inf:
        raise Diag("bad-option", f"--host-us must not be negative, got {args.host_us:g}")
    utilization = UTILIZATION if args.memory_utilization is None else args.memory_utilization
    return replicas(
        load_model(args.model), chip, requests, settings, parallel=parallel, dtype=args.dtype, count=count, role=role,
        host_s=host_s, utilization=utilization, check=args.check,
    )  # fmt: skip


def _pool_specs(args: argparse.Namespace) -> list[tuple[Role, str | None, int]]:
    if not args.pools:
        if args.replicas < 1:
            raise Diag("bad-cluster", f"--replicas must be at least 1, got {args.replicas}")
        return [("both", None, args.replicas)]
    found: list[tuple[Role, str | None, int]] = []
    for item in args.pools.split(","):
        role, sign, spec = item.partition("=")
        chip, colon, count = spec.rpartition(":")
        if not sign or role not in ("prefill", "decode", "both") or not count.isdecimal():
            hint = "write prefill=N,decode=N, or prefill=CHIP:N,decode=CHIP:N"
            raise Diag("bad-cluster", f"`{item}` is no pool", hint=hint)
        if int(count) < 1:
            raise Diag("bad-cluster", f"the pool `{item}` has no devices", hint="every pool has at least one replica")
        found.append((role, chip if colon else None, int(count)))
    return found


def _window(text: str | None, out: Path | None) -> tuple[float, float] | None:
    if text is None:
        return None
    if out is None:
        raise Diag("bad-window", "--window writes a trace: it needs -o DIR")
    start, comma, end = text.partition(",")
    with named("--window"):
        found = real(start), real(end) if comma else math.nan
    if not found[0] < found[1]:
        raise Diag("bad-window", f"--window {text} is no window", hint="write START,END in seconds")
    return found


# ---- to files ----------------------------------------------------------------------------------


def _write(
    made: Run,
    out: Path,
    window: tuple[float, float] | None,
    parquet: bool,
    requests: Requests,
    served: Served,
    wanted: Objectives,
) -> list[Path]:
    kind = "parquet" if parquet else "csv"
    blocks = max(x.pool.blocks for x in made.pools)
    written = [out / f"requests.{kind}", out / f"series.{kind}", out / "serve.json"]
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_columns(request_columns(requests, served, wanted), written[0])
        if served.series is not None:
            write_columns(series_columns(served.series, blocks), written[1])
        written[2].write_text(json.dumps(made.to_json(), allow_nan=False, indent=1) + "\n", encoding="utf-8")
        if window:
            written.append(out / "trace.json")
            write_trace(window_trace(requests, served, *window, blocks, f"{made.model} on {made.chip}"), written[-1])
    except OSError as error:
        raise cannot_write(out, error) from error
    return written


def finite(value: Any) -> Any:
    """Without nan and inf, which JSON has not."""
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
