"""What a tile reaches where scalar attributes are in subscripts: brute force over the elements of one tile."""

from __future__ import annotations

import itertools

import pytest

from dfcompiler.diagnostics import Source
from dfcompiler.facts import facts
from dfcompiler.models import library
from dfcompiler.opshape import bind
from dfcompiler.text import tree as t
from dfcompiler.text.parse import parse_items

EXTENT, AT = 12, 4
SUBSCRIPTS = {"s + at": 1, "at + s": 1, "at": 0, "s": 1, "2 * s + at": 2, "at // 2": 0, "s // 2 + at": 0.5}


@pytest.mark.parametrize("sub", SUBSCRIPTS)
@pytest.mark.parametrize("tile", [1, 2, 4])
def test_a_scalar_attribute_only_shifts_what_a_tile_reaches(sub: str, tile: int) -> None:
    text = f"op f(x: [n, d], o: [s]) -> (y: [s, d]) {{\n attr at = 0\n y[s, d] = x[{sub}, d] + o[s]\n}}"
    (op,) = (i for i in parse_items(Source("f.dfir", text)) if isinstance(i, t.OpDecl))
    found = facts(bind(op, (2, 1))).reach("x", {"s": tile, "d": 3}, {"s": tile, "d": 3, "n": EXTENT}, (EXTENT, 3))
    touched = {eval(sub, {"s": s, "at": AT}) for s in range(tile)}
    rows = len(touched) if "*" not in sub else max(touched) - min(touched) + 1  # in steps: what lies between may count
    assert len(touched) * 3 <= float(found) <= rows * 3


def test_every_op_of_the_library_reaches_no_more_than_its_operands() -> None:
    """Sizes alone, without any attribute, are enough."""
    seen = 0
    for op in library().ops.values():
        shape = bind(op, tuple(len(p.type.dims) for p in op.params))
        names = [d.name for o in shape.operands for d in o.dims if isinstance(d, t.Ref)]
        sizes = dict.fromkeys(
            [*names, *(d.name for d in shape.dims), *(o.within for o in shape.operands if o.within)], 4
        )
        for o, tile in itertools.product(shape.operands, (1.0, 2.0, 4.0)):
            if facts(shape).patterns[o.name]:
                axes = (4,) * len(o.dims)
                found = facts(shape).reach(o.name, dict.fromkeys(sizes, tile), sizes, axes)
                assert 0 < float(found) <= 4 ** len(axes)
                seen += 1
    assert seen > len(library().ops)
