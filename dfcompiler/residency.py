"""Which operands of a nest stay where: every useful choice, and what none of the choices can beat.

An operand pays to keep across a loop that it does not depend on and that has loops inside which it does. Keeping
takes room, so choices exclude each other; what keeping saves, it saves whatever the others do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from operator import add
from typing import TypeAlias

import numpy as np

from dfcompiler.nest import INNER, Keep, Nest, Traffic

FAR = 1e30  # bytes of what has no room

Parts: TypeAlias = Sequence[Mapping[Keep | None, Traffic]]  # per operand, by where it is kept


def ideal(nest: Nest) -> Traffic:
    """Traffic that no choice can beat: every operand kept as early as it pays, as if there were room."""
    total = nest.nothing
    for o in nest.problem.operands:
        spots = nest.idle_positions(o)
        if o.kind != "local":
            total = total + nest.part(o, Keep(o.name, INNER, spots[0], o.kind) if spots else None, bound=True)
    return total


def parts(nest: Nest, levels: Sequence[str]) -> Parts:
    """Every operand's traffic, streamed and kept in one of `levels` from every position where that pays, without what
    takes no less room than a choice that moves no more."""
    found = []
    for o in nest.problem.operands:
        spots = nest.idle_positions(o) if o.kind != "local" else []
        keeps = [*(Keep(o.name, w, p, o.kind) for p in spots for w in levels), None]
        each = {k: nest.part(o, k) for k in keeps}
        beaten = {k for k in keeps for other in keeps if _moves_no_more(nest, other, k) and _fits_where(each, other, k)}
        found.append({k: t for k, t in each.items() if k not in beaten})
    return found


def _moves_no_more(nest: Nest, one: Keep | None, other: Keep | None) -> bool:
    """Whether the first choice moves no more than the second, in any step. Kept across masked loops it may."""
    if one is None or one == other or nest.thick:
        return False
    return other is None or (one.since <= other.since and one.where in (INNER, other.where))


def _fits_where(each: Mapping[Keep | None, Traffic], one: Keep | None, other: Keep | None) -> bool:
    a, b = each[one], each[other]
    return bool(np.all(a.room <= b.room) and np.all(a.room_above <= b.room_above))


def floors(nest: Nest, each: Parts, capacity: float, above: float) -> list[Traffic]:
    """Per operand the traffic that no choice can beat that fits where the others take the least room."""
    least = [np.minimum.reduce([t.room for t in p.values()]) for p in each]
    least_above = [np.minimum.reduce([t.room_above for t in p.values()]) for p in each]
    room, room_above = capacity - reduce(add, least), above - reduce(add, least_above)
    found = []
    for p, own, own_above in zip(each, least, least_above, strict=True):
        some, *more = p.values()
        if not more:
            found.append(some)
            continue
        moved = np.full_like(some.moved, FAR)
        for t in p.values():
            fits = (t.room - own <= room) & (t.room_above - own_above <= room_above)
            moved = np.where(fits, np.minimum(moved, t.moved), moved)
        found.append(Traffic(moved, some.last, some.last_all, own, own_above))
    return found


def options(
    each: Parts, least: Sequence[Traffic], capacity: float, above: float, open_: Callable[[Traffic], bool]
) -> Iterator[tuple[tuple[Keep, ...], Traffic]]:
    """Every useful set of kept operands with its traffic: per operand none, or one level and one position.

    `least` are the operands' floors, and `open_` says of a floor of all traffic whether it is worth going on.
    """
    fixed = [i for i, p in enumerate(each) if len(p) == 1]
    chosen = [i for i, p in enumerate(each) if len(p) > 1]
    always = reduce(add, (least[i] for i in fixed)) if fixed else None  # operands without a choice are added up once

    def extend(
        depth: int, keeps: tuple[Keep, ...], so_far: Traffic | None
    ) -> Iterator[tuple[tuple[Keep, ...], Traffic]]:
        rest = [least[i] for i in chosen[depth:]]
        floor = reduce(add, rest if so_far is None else [so_far, *rest])
        if not np.any((floor.room <= capacity) & (floor.room_above <= above)):
            return
        if depth == len(chosen):
            yield keeps, floor
        elif depth == 0 or open_(floor):
            for keep, part in each[chosen[depth]].items():
                yield from extend(
                    depth + 1, (*keeps, keep) if keep else keeps, part if so_far is None else so_far + part
                )

    yield from extend(0, (), always)
