"""`dfc serve`: what users feel of a model on a chip, under a load."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import dfcompiler as dfc
from dfcompiler.cli.inputs import chip_of, ways_of
from dfcompiler.cli.options import named, real, whole
from dfcompiler.cli.progress import Progress
from dfcompiler.cli.serve_arguments import ARRIVALS
from dfcompiler.diagnostics import Diag
from dfcompiler.public.serving import Pools
from dfcompiler.serving.arrivals import Arrivals
from dfcompiler.serving.capacity import HOST_S, UTILIZATION
from dfcompiler.serving.loads import LENGTHS, REQUESTS, Load
from dfcompiler.writing import check_writable


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
    with Progress() as progress:
        progress.begin("prices of steps")
        made = dfc.serve(
            args.model,
            chip_of(args),
            load_of(args),
            slo=args.slo,
            find_rate=args.find_rate,
            attain=args.attain,
            curve=args.curve,
            dtype=args.dtype,
            replicas=args.replicas,
            pools=pools_of(args),
            spill=spill_of(args.spill),
            shared_link=args.shared_link,
            policy=args.policy,
            router=args.router,
            semantics=args.semantics,
            max_tokens=args.max_tokens,
            max_sequences=args.max_sequences,
            block_tokens=args.block_tokens,
            prefix_caching=args.prefix_caching,
            host_s=host_s(args.host_us),
            memory_utilization=UTILIZATION if args.memory_utilization is None else args.memory_utilization,
            simulator=args.simulator,
            check=args.check,
            on_run=lambda some: progress.begin(f"{len(some):,} requests"),
            **ways_of(args),
        )
    written = made.write(out, window_s=window, parquet=args.parquet) if out else []
    if args.json:
        print(json.dumps(made.to_json(), allow_nan=False))
        return
    from dfcompiler.cli.serve_display import print_run

    print_run(made, args.attain, written)


def load_of(args: argparse.Namespace) -> Load:
    """The requests of the options. Raises Diag."""
    rates = [(kind, rate) for kind in ARRIVALS if (rate := getattr(args, kind)) is not None]
    if len(rates) + bool(args.trace) > 1:
        raise Diag("bad-workload", "requests come from one of --trace, --poisson, --gamma and --bursty")
    if args.trace:
        if args.lengths or args.spread:
            raise Diag("bad-workload", "--lengths and --spread are for requests at a rate; a trace has its own")
        return dfc.trace(
            args.trace,
            sort=args.sort,
            requests=args.requests,
            rate_per_s=args.rate,
            prefixes=prefixes_of(args.prefixes),
            seed=args.seed,
        )
    if args.rate is not None or args.sort:
        raise Diag("bad-workload", "--rate and --sort are for a trace", hint="give the rate to --poisson")
    kind, rate = rates[0] if rates else ("poisson", 1.0)
    count = REQUESTS if args.requests is None else args.requests
    lengths = args.lengths or LENGTHS
    with named(f"--{kind}"):
        Arrivals(kind, rate)
    return dfc.workload(
        rate,
        lengths=lengths,
        requests=count,
        arrivals=kind,
        spread=args.spread,
        prefixes=prefixes_of(args.prefixes),
        seed=args.seed,
    )


def prefixes_of(text: str | None) -> tuple[int, int] | None:
    """`--prefixes N,TOKENS`. Raises Diag."""
    if text is None:
        return None
    with named("--prefixes"):
        prefixes, tokens = _pair(text, "N,TOKENS")
        return whole(prefixes), whole(tokens)


def spill_of(text: str | None) -> tuple[int, float] | None:
    """When pools help each other, of `--spill TOKENS,PART`. Raises Diag."""
    if text is None:
        return None
    with named("--spill"):
        tokens, part = _pair(text, "TOKENS,PART")
        return whole(tokens), real(part)


def _pair(text: str, wanted: str) -> tuple[str, str]:
    head, comma, tail = text.partition(",")
    if not comma:
        raise Diag("bad-option", f"`{text}` is one value where there are two", hint=f"write {wanted}")
    return head, tail


def pools_of(args: argparse.Namespace) -> Pools:
    """The pools of `--pools`, none where there are `--replicas`. Raises Diag."""
    found = []
    for item in args.pools.split(",") if args.pools else ():
        role, sign, spec = item.partition("=")
        name, colon, count = spec.rpartition(":")
        if not sign or role not in ("prefill", "decode", "both") or not count.isdecimal():
            hint = "write prefill=N,decode=N, or prefill=CHIP:N,decode=CHIP:N"
            raise Diag("bad-cluster", f"`{item}` is no pool", hint=hint)
        if int(count) < 1:
            raise Diag("bad-cluster", f"the pool `{item}` has no devices", hint="every pool has at least one replica")
        chip = dfc.chip(name, set=args.set, without=args.without) if colon else None
        found.append((role, chip, int(count)))
    return found


def host_s(us: float | None) -> float:
    """Seconds of `--host-us`; raises Diag `bad-option`."""
    if us is None:
        return HOST_S
    if not 0 <= us < math.inf:
        raise Diag("bad-option", f"--host-us must not be negative, got {us:g}")
    return us * 1e-6


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
