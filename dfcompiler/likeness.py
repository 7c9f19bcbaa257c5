"""Equal problems: those that differ in nothing but names are searched once."""

from __future__ import annotations

from dataclasses import replace

from dfcompiler.grouping import grouped
from dfcompiler.problem import Problem
from dfcompiler.renaming import canonical, index_names
from dfcompiler.tiling import Tiling


def content_key(p: Problem) -> str:
    """What a search depends on besides the unit; no name is in it."""
    g = p.group
    return repr(
        (
            canonical(g.shape),
            tuple(g.sizes.get(i) for i in index_names(g.shape)),
            [g.attrs.get(a.name) for a in g.shape.attrs],
            tuple((x.dtype, x.shape, x.within) for x in (g.types[o.name] for o in g.shape.operands)),
            (p.a_bits, p.b_bits, p.acc_bits, *sorted(p.multiplied)),
            [(o.kind, o.bits, o.partial_bits, o.pinned) for o in p.operands],  # inside as wide as `--dtype` says
        )
    )


def in_words_of(p: Problem, same: Problem, tiling: Tiling) -> Tiling:
    """A tiling of an equal problem, by the names that this one gives to its loops, in any form, and operands."""
    pairs = [(x, y) for x, y in ((same, p), (grouped(same), grouped(p))) if x and y]
    loop = {x.name: y.name for a, b in pairs for x, y in zip(a.loops, b.loops, strict=True)}
    operand = {x.name: y.name for x, y in zip(same.operands, p.operands, strict=True)}
    return replace(
        tiling,
        tile={loop[n]: v for n, v in tiling.tile.items()},
        ways={loop[n]: v for n, v in tiling.ways.items()},
        order=tuple(loop[n] for n in tiling.order),
        keeps=tuple(replace(k, operand=operand[k.operand]) for k in tiling.keeps),
    )
