"""From texts of the command line to chips, sizes and pipelines."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TypedDict

import dfcompiler as dfc
from dfcompiler.cli.options import named, real
from dfcompiler.diagnostics import Diag, Source, nearest
from dfcompiler.hardware.chip import Chip
from dfcompiler.parallelism import Parallel
from dfcompiler.pipeline import Pipeline, parse_pipeline


class Ways(TypedDict):
    """Devices along each way of sharing out a step."""

    devices: int | None
    tp: int
    ep: int
    dp: int
    pp: int


def chip_of(args: argparse.Namespace) -> Chip:
    """The chip of `--on` with `--set` and `--without`."""
    return dfc.chip(args.on, set=args.set, without=args.without)


def parallel_of(args: argparse.Namespace) -> Parallel:
    """How `--devices --tp --ep --dp --pp` share the step out."""
    return Parallel(**ways_of(args))


def ways_of(args: argparse.Namespace) -> Ways:
    """The same as arguments of `compile` and `serve`."""
    return Ways(devices=args.devices, tp=args.tp, ep=args.ep, dp=args.dp, pp=args.pp)


def dims_of(texts: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """`t=1,2048 k=4096` as extents by name."""
    found: dict[str, tuple[float, ...]] = {}
    for text in texts:
        name, sign, values = text.partition("=")
        if not sign or not name:
            raise Diag("usage", f"`{text}` is no size", hint="write DIM=SIZE; a pack takes t=1,2048, or t= for none")
        if name in found:
            raise Diag("duplicate-option", f"`{name}` is given twice")
        with named(f"`{text}`"):
            found[name] = tuple(real(v) for v in values.split(",")) if values else ()
    return found


def pipeline_of(text: str, printed: Sequence[str]) -> tuple[Pipeline, list[str]]:
    """The passes of `--pipeline` and their names when run, among which those of `--print-after` must be."""
    passes = parse_pipeline(Source("--pipeline", text))
    names: list[str] = []
    for p in passes:
        nth = sum(n.partition("#")[0] == p.name for n in names) + 1
        names.append(p.name if nth == 1 else f"{p.name}#{nth}")
    for name in printed:
        if name not in names:
            raise Diag("unknown-pass", f"--print-after: the pipeline has no pass `{name}`", hint=nearest(name, names))
    return passes, names


def plan_of(passes: Pipeline, names: Sequence[str], time_limit_s: float) -> list[tuple[str, float | None]]:
    """The passes as `Progress` takes them: those that leave a mapping have a limit of time."""
    return [(name, time_limit_s if p.maps else None) for p, name in zip(passes, names, strict=True)]
