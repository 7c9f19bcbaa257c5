"""`dfc compile`: one step of a model on a chip."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from dfcompiler.api import compile_model
from dfcompiler.cli.inputs import cannot_write, check_writable, chip_of, parallel_of, pipeline_of, seed_of, step_of
from dfcompiler.cli.progress import Progress
from dfcompiler.diagnostics import Note
from dfcompiler.graph import Graph
from dfcompiler.graphtext import show_graph
from dfcompiler.models import load_model


def run(args: argparse.Namespace) -> None:
    """Compile and print; raises Diag and Infeasible."""
    parallel = parallel_of(args)
    out = Path(args.out) if args.out else None
    if out:
        check_writable(out)
    step, seed = step_of(args), seed_of(args)
    model, chip = load_model(args.model), chip_of(args)
    _, names = pipeline_of(parallel.inserted(args.pipeline), args.print_after)
    printed = names if args.print_after_all else args.print_after

    with Progress(names) as progress:

        def after(name: str, graph: Graph, seconds: float) -> None:
            progress.done()
            if name in printed:
                print_graph(name, graph, seconds)

        compiled = compile_model(
            model,
            chip,
            step,
            dtype=args.dtype,
            parallel=parallel,
            pipeline=args.pipeline,
            objective=args.objective,
            power_w=args.power,
            time_limit_s=args.time_limit,
            seed=seed,
            verify=args.verify,
            on_note=tell,
            after=after,
        )
    written: list[Path] = []
    if out:
        from dfcompiler.outputs import write_outputs

        try:
            written = write_outputs(compiled, out, compiled.report.model)
        except OSError as error:
            raise cannot_write(out, error) from error
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
