"""`dfc serve --rank strategies`: which way of using so many devices keeps the objectives at the highest rate."""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import Any

from dfcompiler.cli.inputs import overrides
from dfcompiler.cli.serve import finite, pool_of, requests_of
from dfcompiler.diagnostics import Diag, unknown
from dfcompiler.hardware.elaboration import load_chip
from dfcompiler.serving.answers import Objectives, objectives
from dfcompiler.serving.policy import policy, router
from dfcompiler.serving.strategies import Outcome, Question, Strategy, rank

KINDS = ("strategies",)


def run(args: argparse.Namespace) -> None:
    """Rank and print; raises Diag."""
    _check(args)
    wanted = objectives(args.slo) if args.slo else Objectives()
    requests, load = requests_of(args)
    chips = [load_chip(name, overrides(args.set), args.without) for name in args.on.split(",")]
    asked = Question(requests, wanted, args.attain, policy(args.policy), router(args.router))
    found = rank(chips, args.devices, lambda c, p: pool_of(args, requests, c, p, 1, "both"), asked)
    if args.json:
        told = {"model": args.model, "load": load, "devices": args.devices, "objectives": dict(wanted.given)}
        told |= {"attain": args.attain, "tolerance": asked.tolerance}
        told["strategies"] = [_row(x) for x in found if x.rate]
        told["skipped"] = [_row(x) for x in found if not x.rate]
        told["skipped_by_proof"] = sum(x.proven for x in found)
        print(json.dumps(finite(told), allow_nan=False))
        return
    _print(args, load, wanted, asked.tolerance, found)


def _check(args: argparse.Namespace) -> None:
    if args.rank not in KINDS:
        raise unknown("ranking", args.rank, KINDS)
    if args.devices is None or args.devices < 1:
        raise Diag("bad-option", "--rank needs the number of devices", hint="say how many: --devices N")
    fixed = {"--tp": args.tp > 1, "--pp": args.pp > 1, "--pools": bool(args.pools), "--replicas": args.replicas > 1}
    fixed |= {"--ep": args.ep > 1, "--dp": args.dp > 1, "--find-rate": args.find_rate, "-o": bool(args.out)}
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
