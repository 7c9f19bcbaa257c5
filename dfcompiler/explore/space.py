"""A space of designs as its text declares it: pools of chips with axes, loads, figures, limits and goals.

Every name is resolved here, so that what reads a space meets no unknown one. A pool's designs are the product of its
axes; a system is a design of each pool, with equal values on the axes that pools share. Figures of a pool are its
axes, what it defines by `let`, what a design costs (`DESIGN`) and what its loads take (`LOAD`); goals and limits of the
space read them as `pool.figure`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import TypeAlias

from dfcompiler import content
from dfcompiler.diagnostics import Diag, Note, Source, Span, nearest, unknown
from dfcompiler.explore import question
from dfcompiler.explore.references import paths
from dfcompiler.hardware.elaboration import find_chip
from dfcompiler.text import tree as t
from dfcompiler.text.parse import parse_items, read_source
from dfcompiler.text.show import show_cvalue
from dfcompiler.text.units import to_base

Value: TypeAlias = int | float | str
Path_: TypeAlias = tuple[str, ...]

MOST_VALUES = 1 << 16  # of one axis
# How designs are priced: each compiled in full, or all at once by exact tilings of their products and rooflines of the
# rest, one op after the other.
PRICES = ("mapped", "static")
# What a design is, whatever it runs: of one device. Energy per operation and yields are those of its node.
DESIGN = ("area_mm2", "die_mm2", "usd", "static_w", "peak_w", "dram_bytes", "dram_bytes_per_s", "link_bytes_per_s")
# What a step takes on the devices of a load, and what requests feel where it has `lengths`.
STEP = ("latency_s", "energy_j", "tokens", "devices", "kv_bytes", "free_bytes")
SERVED = ("max_rate_req_s", "goodput_req_s", "ttft_p50_s", "ttft_p90_s", "tbt_p50_s", "tbt_p90_s", "throughput_tok_s")
# How a load says what it is: a step, how it is shared out, its types; requests and what they may feel.
OPTIONS = ("phase", "batch", "seq", "context", "devices", "tp", "ep", "pp", "dp", "dtype")
SERVING = ("lengths", "requests", "rate", "ttft", "tbt", "attain", "replicas")


@dataclass(frozen=True)
class Axis:
    """A choice: its values in their base unit, ascending or as declared."""

    name: str
    values: tuple[Value, ...]
    unit: str
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Pool:
    """Equal devices, chosen together: a chip, its axes (those that pools share come first) and what these set."""

    name: str
    chip: t.ChipDecl
    axes: tuple[Axis, ...]
    sets: tuple[t.SSet, ...]
    drops: tuple[t.SDrop, ...]
    loads: Mapping[str, t.SLoad]
    lets: Mapping[str, t.SLet]
    limits: tuple[t.Rel, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """How many values each axis has."""
        return tuple(len(a.values) for a in self.axes)

    @property
    def designs(self) -> int:
        """How many designs there are, legal or not."""
        return prod(self.shape)


@dataclass(frozen=True)
class Goal(question.Goal):
    """What is to be small (`min`) or large (`max`), by its expression."""

    expr: t.Expr


@dataclass(frozen=True)
class Space:
    """Pools, and over all of them figures, limits and goals. `shared` are axes on which pools agree; `prices` says by
    which model designs are priced, one of `PRICES`."""

    name: str
    prices: str
    shared: tuple[Axis, ...]
    pools: Mapping[str, Pool]
    lets: Mapping[str, t.SLet]
    limits: tuple[t.Rel, ...]
    goals: tuple[Goal, ...]
    source: Source = field(compare=False, repr=False)

    @property
    def points(self) -> int:
        """Systems in the space, legal or not."""
        own = (len(a.values) for p in self.pools.values() for a in p.axes if a not in self.shared)
        return prod(own) * prod(len(a.values) for a in self.shared)

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Every axis once; those of a pool as `pool.axis` where there are several pools."""
        return (*self.shared, *(a for p in self.pools.values() for a in own_axes(self, p)))

    def digest(self) -> str:
        """A hash of all that it says: an answer depends on this and on the project's files."""
        said = [self.source.text, repr((self.shared, self.pools, self.lets, self.limits, self.goals))]
        return hashlib.sha256("\0".join(said).encode()).hexdigest()


def own_axes(space: Space, pool: Pool) -> list[Axis]:
    """The axes of a pool that it does not share, named `pool.axis` where the space has several pools."""
    many = len(space.pools) > 1
    return [
        Axis(f"{pool.name}.{a.name}" if many else a.name, a.values, a.unit, a.span)
        for a in pool.axes
        if a not in space.shared
    ]


def space_names() -> list[str]:
    """The spaces that have a name, ours and those of plug-ins, sorted."""
    return sorted({path.stem for path in content.files("templates", ".space", "spaces")})


def load_space(name_or_path: str) -> Space:
    """The space of a name (`templates/spaces/NAME.space`, ours or a plug-in's) or of a file.

    Raises Diag: `unknown-space`, `not-one-space`, and whatever `resolve` raises.
    """
    path = Path(name_or_path)
    if path.suffix != ".space" and not path.is_file():
        known = space_names()
        found = content.find("templates/spaces", f"{name_or_path}.space") if name_or_path in known else None
        if found is None:
            raise unknown("space", name_or_path, known)
        path = found
    source = read_source(path)
    spaces = [item for item in parse_items(source) if isinstance(item, t.SpaceDecl)]
    if len(spaces) != 1:
        raise Diag("not-one-space", f"`{path}` declares {len(spaces)} spaces", hint="a space file declares one")
    return resolve(spaces[0], source)


def resolve(decl: t.SpaceDecl, source: Source) -> Space:
    """The space that a declaration means.

    Raises Diag: `bad-axis`, `cyclic-figure`, `duplicate-name`; `missing-axis`, `missing-chip`, `missing-goal`,
    `missing-pool`; `unknown-axis`, `unknown-figure`, `unknown-option`, `unknown-prices`, `unknown-setting`; and what
    finding a chip raises.
    """
    shared = tuple(axis_of(s) for s in decl.body if isinstance(s, t.SAxis))
    _distinct("axis", shared)
    pools = {name: _pool(name, decl, shared) for name in _pool_names(decl)}
    lets = _by_name("figure", [s for s in decl.body if isinstance(s, t.SLet)])
    space = Space(
        decl.name,
        _prices(decl),
        shared,
        pools,
        lets,
        tuple(s.rel for s in decl.body if isinstance(s, t.SLimit)),
        tuple(_goal(s) for s in decl.body if isinstance(s, t.SGoal)),
        source,
    )
    if not space.goals:
        raise Diag("missing-goal", f"space `{decl.name}` has no goal", decl.span, hint="`minimize NAME = FIGURE`")
    _check(space)
    return space


def _goal(s: t.SGoal) -> Goal:
    return Goal(s.name, "min" if s.sense == "minimize" else "max", s.value)


def _prices(decl: t.SpaceDecl) -> str:
    found = PRICES[0]
    for s in decl.body:
        if not isinstance(s, t.CSetting):
            continue
        if s.name != "prices":
            raise unknown("setting", s.name, ["prices"], s.span)
        if s.value not in PRICES:
            raise unknown("prices", show_cvalue(s.value), PRICES, s.span)
        found = str(s.value)
    return found


# ---- axes --------------------------------------------------------------------------------------


def axis_of(s: t.SAxis) -> Axis:
    """An axis with its values in the base unit; raises Diag `bad-axis`."""
    if isinstance(s.values, t.SRange):
        return Axis(s.name, _range(s, s.values), "", s.span)
    found = [_based(v, s.span) for v in s.values]
    units = {unit for _, unit in found}
    if len(units) > 1:
        listed = ", ".join(f"`{u}`" if u else "none" for u in sorted(units))
        raise Diag("bad-axis", f"values of `{s.name}` have different units: {listed}", s.span)
    values = tuple(value for value, _ in found)
    twice = [v for i, v in enumerate(values) if v in values[:i]]
    if twice:
        raise Diag("bad-axis", f"`{s.name}` has the value {twice[0]} twice", s.span)
    return Axis(s.name, values, units.pop(), s.span)


def _based(value: t.CValue, span: Span | None) -> tuple[Value, str]:
    if isinstance(value, str):
        return value, "name"
    return to_base(value.value, value.unit, value.span or span)


def _range(s: t.SAxis, ends: t.SRange) -> tuple[Value, ...]:
    first, last = ends.first.value, ends.last.value
    if ends.first.unit or ends.last.unit or not (isinstance(first, int) and isinstance(last, int)):
        raise Diag("bad-axis", f"the range of `{s.name}` wants two whole numbers", s.span, hint="write `1 .. 10`")
    if last < first:
        raise Diag("bad-axis", f"the range {first} .. {last} of `{s.name}` is empty", s.span)
    if last - first >= MOST_VALUES:
        raise Diag("bad-axis", f"`{s.name}` has {last - first + 1:,} values; up to {MOST_VALUES:,} are taken", s.span)
    return tuple(range(first, last + 1))


# ---- pools -------------------------------------------------------------------------------------


def _pool_names(decl: t.SpaceDecl) -> list[str]:
    found = list(dict.fromkeys(n for s in decl.body if isinstance(s, t.SPool) for n in s.names))
    if not found:
        raise Diag(
            "missing-pool", f"space `{decl.name}` has no pool", decl.span, hint="write `pool NAME on CHIP { ... }`"
        )
    return found


def _pool(name: str, decl: t.SpaceDecl, shared: Sequence[Axis]) -> Pool:
    """All statements about one pool together; of the shared axes it has those that it reads."""
    stated = [s for s in decl.body if isinstance(s, t.SPool) and name in s.names]
    chips = [s for s in stated if s.chip is not None]
    if len(chips) != 1:
        message = f"pool `{name}` has {len(chips)} chips" if chips else f"pool `{name}` has no chip"
        raise Diag("missing-chip", message, (chips or stated)[-1].span, hint=f"once: `pool {name} on CHIP {{ ... }}`")
    try:
        chip = find_chip(chips[0].chip or "")
    except Diag as fault:
        raise type(fault)(fault.code, fault.message, fault.span or chips[0].chip_span, hint=fault.hint) from None
    body = [s for one in stated for s in one.body]
    own = tuple(axis_of(s) for s in body if isinstance(s, t.SAxis))
    _distinct("axis", [*shared, *own])
    loads = [s for s in body if isinstance(s, t.SLoad)]
    lets = [s for s in body if isinstance(s, t.SLet)]
    _distinct("figure", [*shared, *own, *lets, *loads])
    sets, drops = tuple(s for s in body if isinstance(s, t.SSet)), tuple(s for s in body if isinstance(s, t.SDrop))
    limits = tuple(s.rel for s in body if isinstance(s, t.SLimit))
    written = [s.value for s in sets] + [s.value for s in lets] + [o.value for one in loads for o in one.options]
    compared = [*limits, *(r for d in drops for c in d.where for r in c)]
    read = {path[0] for e in (*written, *compared) for path, _ in paths(e)}
    axes = (*(a for a in shared if a.name in read), *own)
    if not axes:
        message = f"pool `{name}` has no axis: nothing of it can be chosen"
        raise Diag("missing-axis", message, stated[0].span, hint="one value is an axis too: `axis cores = 32`")
    return Pool(name, chip, axes, sets, drops, {x.name: x for x in loads}, {x.name: x for x in lets}, limits)


def _distinct(kind: str, named: Sequence[Axis | t.SLet | t.SLoad]) -> None:
    seen: dict[str, Span | None] = {}
    for one in named:
        if one.name in seen:
            notes = [Note("first declared here", seen[one.name])]
            raise Diag("duplicate-name", f"{kind} `{one.name}` is declared twice", one.span, notes=notes)
        seen[one.name] = one.span


def _by_name(kind: str, lets: Sequence[t.SLet]) -> dict[str, t.SLet]:
    _distinct(kind, lets)
    return {x.name: x for x in lets}


# ---- names -------------------------------------------------------------------------------------


def _check(space: Space) -> None:
    """Every name that is read exists; `let` goes around in no circle."""
    for pool in space.pools.values():
        known = _names_in(pool)
        for load in pool.loads.values():
            _check_load(pool, load)
        for s in pool.sets:
            _check_paths(s.value, {a.name for a in pool.axes}, f"axis of {pool.name}")
        for relation in (*pool.limits, *(r for d in pool.drops for c in d.where for r in c)):
            _check_paths(relation, known, f"figure of {pool.name}")
        for let in pool.lets.values():
            _check_paths(let.value, known, f"figure of {pool.name}")
        _acyclic(pool.lets)
    known = {f"{p.name}.{n}" for p in space.pools.values() for n in _names_in(p)}
    known |= {a.name for a in space.shared} | set(space.lets)
    if len(space.pools) == 1:
        known |= {n for p in space.pools.values() for n in _names_in(p)}
    for read in (*(x.value for x in space.lets.values()), *space.limits, *(g.expr for g in space.goals)):
        _check_paths(read, known, "figure")
    _acyclic(space.lets)


def _names_in(pool: Pool) -> set[str]:
    """All that expressions of a pool may read, dotted."""
    names = {a.name for a in pool.axes} | set(pool.lets) | set(DESIGN)
    for load in pool.loads.values():
        served = any(o.name == "lengths" for o in load.options)
        names |= {f"{load.name}.{figure}" for figure in (*STEP, *(SERVED if served else ()))}
    return names


def _check_load(pool: Pool, load: t.SLoad) -> None:
    for option in load.options:
        if option.name not in (*OPTIONS, *SERVING):
            raise unknown("option", option.name, (*OPTIONS, *SERVING), option.span)
        if option.name in ("phase", "dtype", "lengths"):
            continue
        _check_paths(option.value, {a.name for a in pool.axes}, f"axis of {pool.name}")


def _check_paths(read: t.Expr | t.Rel, known: set[str], kind: str) -> None:
    for path, span in paths(read):
        if ".".join(path) not in known:
            fault = unknown(kind, ".".join(path), known, span)
            raise Diag(fault.code, fault.message, span, hint=nearest(".".join(path), known))


def _acyclic(lets: Mapping[str, t.SLet]) -> None:
    """Raises Diag `cyclic-figure`."""

    def visit(name: str, above: tuple[str, ...]) -> Iterator[str]:
        if name in above:
            way = " -> ".join((*above[above.index(name) :], name))
            raise Diag("cyclic-figure", f"`{name}` is defined by itself: {way}", lets[name].span)
        for path, _ in paths(lets[name].value):
            if len(path) == 1 and path[0] in lets:
                yield from visit(path[0], (*above, name))
        yield name

    for name in lets:
        list(visit(name, ()))
