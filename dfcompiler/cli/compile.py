"""`dfc compile`: one step of a model, or a graph, on a chip."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import dfcompiler as dfc
from dfcompiler.cli.inputs import chip_of, parallel_of, pipeline_of, plan_of, ways_of
from dfcompiler.cli.progress import Progress
from dfcompiler.diagnostics import Note
from dfcompiler.graph import Graph
from dfcompiler.graphtext import show_graph
from dfcompiler.public.given import graph_of
from dfcompiler.twin import allowed
from dfcompiler.writing import check_writable


def run(args: argparse.Namespace) -> None:
    """Compile and print; raises Diag and Infeasible."""
    inserted = parallel_of(args).inserted(args.pipeline)
    out = Path(args.out) if args.out else None
    if out:
        check_writable(out)
    model, chip = graph_of(args.model) or dfc.model(args.model), chip_of(args)
    passes, names = pipeline_of(inserted, args.print_after)
    if isinstance(model, Graph):
        kept = [(p, name) for p, name in zip(passes, names, strict=True) if not p.lowers]
        passes, names = tuple(p for p, _ in kept), [name for _, name in kept]
    printed = names if args.print_after_all else args.print_after

    with Progress(plan_of(passes, names, args.time_limit)) as progress, allowed():

        def after(name: str, made: Graph, seconds: float) -> None:
            progress.done()
            if name in printed:
                print_graph(name, made, seconds)

        compiled = dfc.compile(
            model,
            chip,
            args.phase,
            batch=args.batch,
            seq=args.seq,
            context=args.context,
            dtype=args.dtype,
            pipeline=args.pipeline,
            objective=args.objective,
            power_w=args.power,
            time_limit_s=args.time_limit,
            seed=args.seed,
            verify=args.verify,
            on_note=tell,
            on_progress=progress.advance,
            after=after,
            **ways_of(args),
        )
    written = dfc.save(compiled, out) if out else []
    if args.json:
        print(json.dumps(compiled.report.to_json(), allow_nan=False))
        return
    from dfcompiler.cli import display
    from dfcompiler.cli.mapping_table import print_mapping

    print_mapping(compiled.report.to_json())
    if written:
        display.plain()
        display.facts(("written", f"{p}") for p in written)


def tell(note: Note) -> None:
    """A note of a pass, on stderr."""
    place = f"{note.span}: " if note.span else ""
    print(f"{place}note: {note.message}", file=sys.stderr)


def print_graph(name: str, graph: Graph, seconds: float) -> None:
    """The graph after a pass, on stderr."""
    print(f"# after {name} ({seconds:.3f} s)\n{show_graph(graph)}", file=sys.stderr)
