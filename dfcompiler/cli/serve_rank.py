"""`dfc serve --rank strategies`: which way of using so many devices keeps the objectives at the highest rate."""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import Any

import dfcompiler as dfc
from dfcompiler.cli.serve import host_s, load_of
from dfcompiler.diagnostics import Diag, unknown
from dfcompiler.serving.answers import Objectives, objectives
from dfcompiler.serving.capacity import UTILIZATION
from dfcompiler.serving.rates import TOLERANCE
from dfcompiler.serving.runs import finite
from dfcompiler.serving.settings import Settings
from dfcompiler.serving.strategies import Outcome, Strategy

KINDS = ("strategies",)


def run(args: argparse.Namespace) -> None:
    """Rank and print; raises Diag."""
    _check(args)
    wanted, load = objectives(args.slo) if args.slo else Objectives(), load_of(args)
    settings = Settings(args.semantics, args.max_tokens, args.max_sequences, args.block_tokens, args.prefix_caching)
    found = dfc.rank(
        args.model,
        [dfc.chip(name, set=args.set, without=args.without) for name in args.on.split(",")],
        args.devices,
        load,
        slo=wanted,
        attain=args.attain,
        dtype=args.dtype,
        policy=args.policy,
        router=args.router,
        settings=settings,
        host_s=host_s(args.host_us),
        memory_utilization=UTILIZATION if args.memory_utilization is None else args.memory_utilization,
        check=args.check,
    )
    if args.json:
        told = {"model": args.model, "load": load.title, "devices": args.devices, "objectives": dict(wanted.given)}
        told |= {"attain": args.attain, "tolerance": TOLERANCE}
        told["strategies"] = [_row(x) for x in found if x.rate]
        told["skipped"] = [_row(x) for x in found if not x.rate]
        told["skipped_by_proof"] = sum(x.proven for x in found)
        print(json.dumps(finite(told), allow_nan=False))
        return
    _print(args, load.title, wanted, TOLERANCE, found)


def _check(args: argparse.Namespace) -> None:
    if args.rank not in KINDS:
        raise unknown("ranking", args.rank, KINDS)
    if args.devices is None or args.devices < 1:
        raise Diag("bad-option", "--rank needs the number of devices", hint="say how many: --devices N")
    fixed = {"--tp": args.tp > 1, "--pp": args.pp > 1, "--pools": bool(args.pools), "--replicas": args.replicas > 1}
    fixed |= {"--ep": args.ep > 1, "--dp": args.dp > 1, "--find-rate": args.find_rate, "-o": bool(args.out)}
    fixed |= {"--spill": bool(args.spill), "--shared-link": args.shared_link}
    given = [name for name, used in fixed.items() if used]
    if given:
        raise Diag("bad-option", f"--rank goes with none of {', '.join(given)}: it tries them, or has no use for them")


def _row(x: Outcome) -> dict[str, Any]:
    said = dataclasses.asdict(x.strategy) | {"devices": x.strategy.devices, "ceiling_per_s": x.ceiling_per_s}
    if x.rate:
        return said | dataclasses.asdict(x.rate) | {"goodput_per_s": x.goodput_per_s}
    return said | {"why": x.why, "proven": x.proven}


def _print(args: argparse.Namespace, load: str, wanted: Objectives, tolerance: float, found: list[Outcome]) -> None:
    from dfcompiler.cli import display

    limits = ", ".join(f"{n} {display.seconds(x)}" for n, x in wanted.given.items())
    display.heading(f"{args.model} on {args.devices} devices of {args.on}: {load}")
    ranked, skipped = [x for x in found if x.rate], [x for x in found if not x.rate]
    proven = sum(x.proven for x in found)
    display.facts([
        ("objective", f"{limits}, for {display.percent(args.attain)} of all; rates to {display.percent(tolerance)}"),
        ("tried", f"{len(ranked)} of {len(found)}; {proven} skipped as they provably cannot win"),
    ])  # fmt: skip
    display.plain()
    right = ("requests/s", "too high", "goodput", "at most", "devices")
    columns = [display.Column("chip"), display.Column("replicas"), *(display.Column(t, right=True) for t in right)]
    rows = []
    for x in ranked:
        assert x.rate is not None
        numbers = (x.rate.rate_per_s, x.rate.too_high_per_s, x.goodput_per_s, x.ceiling_per_s or 0.0)
        rows.append([x.strategy.chip, _replicas(x.strategy), *(f"{n:.4g}" for n in numbers), str(x.strategy.devices)])
    display.table(columns, rows)
    if skipped:
        display.plain()
        display.table([display.Column("skipped"), display.Column("replicas"), display.Column("why")],
                      [[x.strategy.chip, _replicas(x.strategy), x.why] for x in skipped])  # fmt: skip


def _replicas(s: Strategy) -> str:
    """How a strategy's devices are shared out."""
    roles = " + ".join(f"{n}" if role == "both" else f"{n} {role}" for role, n in s.roles.items())
    split = "".join(f" {name} {n}" for name, n in (("tp", s.tp), ("pp", s.pp)) if n > 1)
    return f"{roles} x{split or ' 1 device'}"
