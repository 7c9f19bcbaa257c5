"""`dfc compile`: one step of a model, or a graph, on a chip."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from dfcompiler.api import compile_graph, compile_model
from dfcompiler.cli.inputs import cannot_write, check_writable, chip_of, parallel_of, pipeline_of, seed_of, step_of
from dfcompiler.cli.progress import Progress
from dfcompiler.diagnostics import Diag, Note
from dfcompiler.graph import Graph
from dfcompiler.graphtext import parse_graph, show_graph
from dfcompiler.models import library, load_model
from dfcompiler.text.parse import read_source


def run(args: argparse.Namespace) -> None:
    """Compile and print; raises Diag and Infeasible."""
    parallel = parallel_of(args)
    out = Path(args.out) if args.out else None
    if out:
        check_writable(out)
    chip, graph = chip_of(args), graph_of(args)
    passes, names = pipeline_of(parallel.inserted(args.pipeline), args.print_after)
    if graph is not None:
        names = [name for p, name in zip(passes, names, strict=True) if not p.lowers]
    printed = names if args.print_after_all else args.print_after

    with Progress(names) as progress:

        def after(name: str, made: Graph, seconds: float) -> None:
            progress.done()
            if name in printed:
                print_graph(name, made, seconds)

        how: dict[str, Any] = {
            "pipeline": args.pipeline,
            "objective": args.objective,
            "power_w": args.power,
            "time_limit_s": args.time_limit,
            "seed": seed_of(args),
            "verify": args.verify,
            "on_note": tell,
            "after": after,
        }
        if graph is not None:
            compiled = compile_graph(graph, chip, dtype=args.dtype or "w16a16kv16", **how)
        else:
            model = load_model(args.model)
            compiled = compile_model(model, chip, step_of(args), dtype=args.dtype, parallel=parallel, **how)
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


def graph_of(args: argparse.Namespace) -> Graph | None:
    """The graph of a `.dfir` file in the place of a model; raises Diag `bad-option` for what only a model takes."""
    if Path(args.model).suffix != ".dfir":
        return None
    for name in ("batch", "seq", "context"):
        if getattr(args, name) is not None:
            raise Diag("bad-option", f"--{name} is for models: the sizes of a graph are written in its file")
    if parallel_of(args).count > 1:
        raise Diag("bad-option", "a graph is of one device: its pipeline may name a pass that shares it out")
    return parse_graph(read_source(args.model), library())


def tell(note: Note) -> None:
    """A note of a pass, on stderr."""
    place = f"{note.span}: " if note.span else ""
    print(f"{place}note: {note.message}", file=sys.stderr)


def print_graph(name: str, graph: Graph, seconds: float) -> None:
    """The graph after a pass, on stderr."""
    print(f"# after {name} ({seconds:.3f} s)\n{show_graph(graph)}", file=sys.stderr)
