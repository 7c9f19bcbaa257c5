"""From texts of the command line to chips, models and steps."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from dfcompiler.cli.options import DEFAULTS, PHASES, named, real
from dfcompiler.diagnostics import Diag, Source, nearest, unknown
from dfcompiler.hardware.chip import Chip
from dfcompiler.hardware.elaboration import load_chip
from dfcompiler.parallelism import Parallel
from dfcompiler.pipeline import Pipeline, parse_pipeline
from dfcompiler.steps import Step, phase
from dfcompiler.text.parse import parse_setting
from dfcompiler.text.tree import CSetting


def chip_of(args: argparse.Namespace) -> Chip:
    """The chip of `--on` with `--set` and `--without`."""
    return load_chip(args.on, overrides(args.set), args.without)


def overrides(texts: Sequence[str]) -> dict[str, CSetting]:
    """`part.axis=value` texts; the last of several for one axis wins."""
    settings = [parse_setting(Source("--set", text)) for text in texts]
    return {s.name: s for s in settings}


def step_of(args: argparse.Namespace) -> Step:
    """The step that `--phase --batch --seq --context` describe, with the defaults of its phase."""
    if args.phase not in PHASES:
        raise unknown("phase", args.phase, PHASES)
    if args.phase == "decode" and args.seq not in (None, 1):
        raise Diag("bad-option", "a decode step has one new token per sequence: `--seq` is for prefill and mixed")
    batch, seq, context = DEFAULTS[args.phase]
    pick = {"batch": batch, "seq": seq, "context": context}
    given = {k: v if getattr(args, k) is None else getattr(args, k) for k, v in pick.items()}
    return phase(args.phase, given["batch"], given["seq"], given["context"])


def parallel_of(args: argparse.Namespace) -> Parallel:
    """How `--devices --tp --ep --dp --pp` share the step out."""
    return Parallel(args.devices, args.tp, args.ep, args.dp, args.pp)


def seed_of(args: argparse.Namespace) -> int:
    """The solver's seed; raises Diag where the solver takes none such."""
    seed: int = args.seed
    if not 0 <= seed < 2**31:
        raise Diag("bad-option", f"--seed must be from 0 to {2**31 - 1}, got {seed}")
    return seed


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


def check_writable(out: Path) -> None:
    """Raises Diag where a folder cannot be made, before a long run finds out."""
    there = next(p for p in (out, *out.absolute().parents) if p.exists())
    if not there.is_dir():
        raise Diag("bad-output", f"`{there}` is not a folder", hint="choose another folder with -o")
    if not os.access(there, os.W_OK | os.X_OK):
        raise Diag("bad-output", f"`{there}` is not writable", hint="choose another folder with -o")


def cannot_write(out: Path, error: OSError) -> Diag:
    """The error for a file system that refuses."""
    return Diag(
        "bad-output",
        f"`{error.filename or out}` cannot be written: {error.strerror or error}",
        hint="choose another folder with -o",
    )
