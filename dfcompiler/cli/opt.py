"""`dfc opt`: passes on a graph that is written as text."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from dfcompiler.api import check_pass
from dfcompiler.cli.compile import print_graph, tell
from dfcompiler.cli.inputs import chip_of, pipeline_of, plan_of
from dfcompiler.cli.progress import Progress
from dfcompiler.diagnostics import Diag, Source
from dfcompiler.dtypes import parse_dtypes
from dfcompiler.graph import Graph
from dfcompiler.graphtext import parse_graph, show_graph
from dfcompiler.models import library
from dfcompiler.pipeline import Context, run_pipeline
from dfcompiler.public.given import checked_seed
from dfcompiler.text.parse import read_source


def run(args: argparse.Namespace) -> None:
    """Run the pipeline and print the last graph; raises Diag and Infeasible."""
    if args.time_limit <= 0:
        raise Diag("bad-option", f"the time limit must be positive, got {args.time_limit}")
    passes, names = pipeline_of(args.pipeline, args.print_after)
    printed = names if args.print_after_all else args.print_after
    chip = chip_of(args) if args.on else None
    source = Source("<stdin>", sys.stdin.read()) if args.file == "-" else read_source(args.file)
    graph = parse_graph(source, library())
    seed, dtypes = checked_seed(args.seed), parse_dtypes(args.dtype)
    ctx = Context(dtypes=dtypes, chip=chip, seed=seed, time_limit_s=args.time_limit, on_note=tell)
    before = whole = graph

    with Progress(plan_of(passes, names, args.time_limit)) as progress:

        def after(name: str, made: Graph, seconds: float) -> None:
            nonlocal before, whole
            progress.done()
            if args.verify:
                check_pass(name, before, made, ctx, whole)
            before, whole = made, whole if made.mesh else made
            if name in printed:
                print_graph(name, made, seconds)

        graph, _ = run_pipeline(passes, graph, replace(ctx, on_progress=progress.advance), after=after)
    sys.stdout.write(show_graph(graph))
