"""An op that picks places of which a device holds some, such as experts, as it works on average.

Each row picks `j` different places out of all, and the device works on the picks that fall to it. With w devices that
is j / w of a row's, where w divides j: as many places as rows touch, and as many rows as a place has, are then right in
expectation. Where w does not divide, rows are fewer too: rows of which no pick falls to the device are not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import ceil, gcd

from dfcompiler.compose import Group
from dfcompiler.opshape import Operand
from dfcompiler.text import tree as t


def own_rows(group: Group) -> Group:
    """The group on the device's share of picks; as it is where the device holds all places. Rows that each pick one
    place, such as those of an embedding, are all there: the device makes zeros of those that are not its own."""
    for ids in group.shape.params:
        places, held = group.types[ids.name].within, group.sizes.get(ids.within or "")
        if places and held and places > held:
            group = _fewer(group, ids, held, places // held)
    return group


def _fewer(group: Group, ids: Operand, held: int, ways: int) -> Group:
    if not ids.distinct:
        return _resized(group, ids, held, {})
    picked = group.sizes[ids.distinct]
    own = picked // gcd(picked, ways)
    own = own if own <= held else 1
    sizes = {ids.distinct: own}
    rows = [d.name for d in ids.dims if isinstance(d, t.Ref) and d.name != ids.distinct]
    told = {i for a in group.shape.attrs for i in a.dims}
    if ways * own > picked and rows and not told & set(rows):
        longest = max(rows, key=lambda i: group.sizes[i])
        sizes[longest] = ceil(group.sizes[longest] * picked / (ways * own))
    return _resized(group, ids, held, sizes)


def _resized(group: Group, ids: Operand, held: int, sizes: Mapping[str, int]) -> Group:
    types = dict(group.types)
    for o in group.shape.operands:
        kind = types[o.name]
        axes = (sizes.get(d.name, n) if isinstance(d, t.Ref) else n for d, n in zip(o.dims, kind.shape, strict=True))
        types[o.name] = replace(kind, shape=tuple(axes), within=held if o.within == ids.within else kind.within)
    return replace(group, sizes={**group.sizes, **sizes}, types=types)
