"""`dfc rtl --simulate`: one operator's mapping on the RTL of its unit."""

from __future__ import annotations

import argparse
import dataclasses
import json

from dfcompiler.cli import display
from dfcompiler.cli.inputs import chip_of, dims_of
from dfcompiler.cli.progress import Progress
from dfcompiler.diagnostics import Infeasible
from dfcompiler.outputs import package_name, rtl_package
from dfcompiler.pricing import map_op
from dfcompiler.public.given import checked_seed
from dfcompiler.rtl import loops
from dfcompiler.rtl.benches import bench
from dfcompiler.rtl.cores import core_of, product_core_of
from dfcompiler.rtl.products import product_of


def run(args: argparse.Namespace) -> None:
    """Map, build, run, compare and print; raises Diag, and Infeasible where that cannot be or something differs."""
    op, *dims = args.simulate
    chip = chip_of(args)
    mapped = map_op(op, dims_of(dims), chip, dtype=args.dtype, unit=args.unit)
    p, unit, tiling = mapped.problem, mapped.unit, mapped.tiling
    core_of(unit.template)
    product = product_of(p, tiling.tile, tiling.ways, tiling.order)
    product_core_of(unit.template)
    made = bench(
        rtl_package(chip, None, args.name or package_name(chip.name)), unit.name, unit.template, ports=unit.ports
    )
    loops.check(unit.template, made, product, max(p.a_bits, p.b_bits))
    with Progress([(f"{made.core.module} in a simulator", None)]):
        found = loops.simulate(made, unit.template, product, seed=checked_seed(args.seed))
    whole = tiling.compute_cycles + float(unit.template.fill_cycles())
    if args.json:
        told = {"op": op, "chip": chip.name, "unit": unit.name, "core": made.core.module, "tile": dict(tiling.tile)}
        told |= {"order": tiling.order, "product": dict(product.extents), "priced_cycles": whole}
        print(json.dumps(told | dataclasses.asdict(found)))
        _judge(found)
        return
    display.heading(f"{op} {' '.join(dims)} on {unit.name} of {chip.name}, {made.core.module}")
    display.facts(
        [
            ("mapping", f"tile {display.pairs(tiling.tile)}; loops {' '.join(tiling.order) or 'one tile'}"),
            ("product", f"{display.pairs(product.extents)}, on one of {unit.instances} instances"),
            ("values", f"{found.results - found.wrong:,} of {found.results:,} results are numpy's"),
            (
                "cycles",
                f"{found.cycles:,} in RTL, {found.model_cycles:,.0f} by the formula of {unit.template.template_name}",
            ),
            ("price", f"{whole:,.0f} cycles: it charges ragged tiles as whole ones"),
        ]
    )
    _judge(found)


def _judge(found: loops.Outcome) -> None:
    if found.wrong or found.cycles != found.model_cycles:
        said = f"{found.wrong} results differ; {found.cycles} cycles are not {found.model_cycles:g}"
        raise Infeasible("rtl-differs", said)
