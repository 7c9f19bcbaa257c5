"""A mapped op of several statements as a program for a sequencer: products on one unit, scalar operations on another.

All tensors that the op makes share an index, whose points are the words of lines; sums and maxima over others run down
the lines. Operands are integers; scalars have `FRACTION` bits behind the point, and what the op made and multiplies
again is cut to operands with `HEADROOM` bits before it, so that it must lie in [-2, 2), as the weights of a softmax do.
A division is a product with the square of `rsqrt`, so that what divides must be positive, by the text of the op.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, frexp, prod

from dfcompiler.diagnostics import Infeasible
from dfcompiler.opshape import Statement, accesses
from dfcompiler.problem import Problem
from dfcompiler.rtl.assembly import Assembly, Held, Operand
from dfcompiler.rtl.cores import Core
from dfcompiler.rtl.descriptors import Descriptor
from dfcompiler.scalars import attributes, scalar
from dfcompiler.text import tree as t
from dfcompiler.work import factors, index_set

FRACTION = 16  # of the vector unit's functions: dfc_functions.sv
HEADROOM = 2  # sign and one digit before the point
CONSTANT = 15  # bits of a constant that values are multiplied by


@dataclass(frozen=True)
class Program:
    """Descriptors, and what a host puts into the scratchpad: operands, and words that fill a line each; `lines` in
    all."""

    descriptors: tuple[Descriptor, ...]
    operands: Mapping[str, Operand]
    constants: Mapping[int, int]
    lines: int


def program(
    problem: Problem,
    tile: Mapping[str, int],
    ways: Mapping[str, int],
    cores: tuple[Core, Core],
    codes: tuple[int, int] = (0, 1),
    memory: int = 0,
) -> Program:
    """The program that an instance runs, on a core for products and one for scalars, whose codes and scratchpad's are
    given; `tile` and `ways` are by loop.

    Raises Infeasible `no-product` where the op is none: masked points, no index that all tensors share and that one
    factor of every product has, tiles of another one, or statements that the cores have no operation for.
    """
    body, sizes = problem.group.shape.body, problem.group.sizes
    if any(problem.mask.count(s.indices) != prod(sizes[i] for i in s.indices) for s in body):
        raise _none("a core runs all points of a product, here some are masked")
    if any(p.words != cores[1].ports["x"].words for c in cores for p in c.ports.values()):
        raise _none("two cores beside one scratchpad have lines of one length")
    shared = [i for i in body[0].free if all(i in s.free for s in body)]
    reasons = []
    for lane in reversed([i for i in shared if sizes[i] > 1] or shared[-1:]):
        try:
            points, size = _share(problem, lane, tile, ways)
            return _lowered(problem, Assembly(*cores, sizes, points, size, codes, memory), lane)
        except Infeasible as found:
            reasons.append(f"lines along `{lane}`: {found.message}")
    raise _none("; ".join(reasons) or "lines are along an index that all tensors share, and there is none")


def _lowered(problem: Problem, out: Assembly, lane: str) -> Program:
    width = out.product.ports["x"].bits - HEADROOM
    for turn in range(ceil(out.lanes / out.tile)):
        out.begin(turn)
        lowering = _Lowering(problem, out, lane, width)
        for s in problem.group.shape.body:
            lowering.run(s)
    constants = {line: word for word, line in out.constants.items()}
    return Program(tuple(out.descriptors), out.operands, constants, out.room)


def _share(problem: Problem, lane: str, tile: Mapping[str, int], ways: Mapping[str, int]) -> tuple[int, int]:
    """Points of the lanes' index that one instance has, and how many of them a tile has."""
    points, size = problem.group.sizes[lane], problem.group.sizes[lane]
    for loop in problem.loops:
        share = ceil(loop.size / ways.get(loop.name, 1))
        if lane in loop.indices and loop.size == problem.group.sizes[lane]:
            points, size = share, min(tile[loop.name], share)
        elif min(tile[loop.name], share) < loop.size:
            raise _none(f"a tile has a part of `{loop.name}`; a program has all of it")
    return points, size


@dataclass
class _Lowering:
    """Statements of an op for the tile at hand; `width` is the fraction of what was made and is multiplied again."""

    problem: Problem
    out: Assembly
    lane: str
    width: int
    held: dict[str, Held] = field(default_factory=dict)

    def __post_init__(self) -> None:
        group = self.problem.group
        self.attrs = attributes(group.shape, group.sizes, group.attrs)
        self.positive: set[str] = set()

    def run(self, s: Statement) -> None:
        """Write a statement, and put a result where the host finds it."""
        if s.scan or len(s.targets) != 1 or s.fn not in (None, "sum", "max"):
            raise _none(f"`{s.targets[0].name}` is no sum, maximum or expression")
        name = s.targets[0].name
        self.out.label = name
        value = self._statement(s)
        if s.fn != "max" and self._is_positive(s.expr):
            self.positive.add(name)
        if any(r.name == name for r in self.problem.group.shape.results):
            place = self.out.beside(name, value.along, self.lane, value.fraction)
            self.out.moved(value, place)
            value = place
        self.held[name] = value

    def _statement(self, s: Statement) -> Held:
        over = self._live(s.over)
        if not over:
            return self._value(s.expr)
        top, bottom = factors(s.expr) if s.fn == "sum" else ([s.expr], [])
        inner = [f for f in top if {*self._indices(f)} & {*over}]
        streams = [f for f in inner if self.lane not in self._indices(f)]
        if streams:
            value = self._product(inner, streams, over)
            return self._divided(self._times(value, [f for f in top if f not in inner]), bottom)
        found = self._value(s.expr)
        if len(over) != 1 or found.along != over[0]:
            raise _none(f"`{s.targets[0].name}` is reduced over {', '.join(over)}, which is not down its lines")
        return self.out.scalar({"sum": "rsum", "max": "rmax"}[s.fn or ""], found, found, found.fraction, reduced=True)

    def _product(self, inner: Sequence[t.Expr], streams: Sequence[t.Expr], over: Sequence[str]) -> Held:
        """A contraction: one factor comes from outside and has no lanes, the other one has them."""
        x = streams[0]
        stationary = [f for f in inner if f not in streams]
        rows = [i for i in self._indices(x) if i not in over]
        if len(streams) != 1 or len(stationary) != 1 or len(over) != 1 or len(rows) > 1:
            raise _none("a product has one index of rows, one that is summed, and one factor with lanes")
        if not isinstance(x, t.Access) or x.name in self.held:
            raise _none("what a product streams comes from outside")
        w = self._value(stationary[0])
        if w.fraction:
            w = self.out.scalar("mul", w, self.out.constant(1, 0), self.width, w.fraction - self.width)
        m = rows[0] if rows else ""
        return self.out.multiplied(self.out.streamed(x.name, m, over[0]), w, m, over[0], w.fraction)

    # ---- expressions

    def _value(self, e: t.Expr) -> Held:
        match e:
            case t.Access(name, _) if name in self.held:
                return self.held[name]
            case t.Access(name, _) if self.lane in self._indices(e) and len(self._indices(e)) <= 2:
                along = [i for i in self._indices(e) if i != self.lane]
                return self.out.beside(name, along[0] if along else "", self.lane)
            case t.Neg(a):
                return self._added("sub", t.Num(0), a)
            case t.Bin("*" | "/"):
                top, bottom = factors(e)
                first = next((f for f in top if not self._is_number(f)), None)
                if first is None:
                    raise _none("a number is divided by a tensor")
                return self._divided(self._times(self._value(first), [f for f in top if f is not first]), bottom)
            case t.Bin("+" | "-" as op, a, b):
                return self._added({"+": "add", "-": "sub"}[op], a, b)
            case t.Call("maximum", (a, b)):
                return self._added("max", a, b)
            case t.Call("exp" | "rsqrt" as fn, (a,)):
                found = self._at(self._value(a), FRACTION)
                return self.out.scalar(fn, found, found, FRACTION)
            case t.Access(name, _):
                raise _none(f"`{name}` has no points along them, or those of two more indices")
            case t.Call(fn, _):
                raise _none(f"no core has an operation for `{fn}`")
            case _:
                raise _none("no core has an operation for an index as a value")

    def _times(self, value: Held, more: Sequence[t.Expr]) -> Held:
        number = prod(self._number(f) for f in more if self._is_number(f))
        for f in more:
            if not self._is_number(f):
                value = self._multiplied(value, self._value(f))
        return self._scaled(value, number)

    def _divided(self, value: Held, by: Sequence[t.Expr]) -> Held:
        number = prod(self._number(f) for f in by if self._is_number(f))
        for f in by:
            if not self._is_number(f):
                if not self._is_positive(f):
                    raise _none("what divides may be zero or negative")
                found = self._at(self._value(f), FRACTION)
                root = self.out.scalar("rsqrt", found, found, FRACTION)
                value = self._multiplied(value, self._multiplied(root, root))
        return self._scaled(value, 1 / number)

    def _scaled(self, value: Held, number: float) -> Held:
        """A value times a number, of which CONSTANT bits are kept."""
        if number == 1:
            return value
        return self._multiplied(value, self.out.constant(number, max(0, CONSTANT - frexp(number)[1])))

    def _multiplied(self, x: Held, w: Held) -> Held:
        fraction = min(FRACTION, x.fraction + w.fraction)
        return self.out.scalar("mul", x, w, fraction, x.fraction + w.fraction - fraction)

    def _added(self, kind: str, a: t.Expr, b: t.Expr) -> Held:
        """What needs both points in one place."""
        one, other = (None if self._is_number(e) else self._value(e) for e in (a, b))
        known = [h.fraction for h in (one, other) if h]
        fraction = FRACTION if len(known) < 2 else max(known)
        x, w = (self._at(h, fraction) if h else self.out.constant(self._number(e), fraction)
                for h, e in ((one, a), (other, b)))  # fmt: skip
        return self.out.scalar(kind, x, w, fraction)

    def _at(self, value: Held, fraction: int) -> Held:
        """The value with so many bits behind the point, no fewer than it has."""
        if value.fraction == fraction:
            return value
        return self.out.scalar("mul", value, self.out.constant(2 ** (fraction - value.fraction), 0), fraction)

    # ---- what is known of an expression

    def _indices(self, e: t.Expr) -> list[str]:
        return self._live(index_set(self.problem.group.shape, e))

    def _live(self, indices: Sequence[str]) -> list[str]:
        """Indices of several points, and that of the lanes."""
        return [i for i in dict.fromkeys(indices) if self.problem.group.sizes[i] > 1 or i == self.lane]

    def _is_number(self, e: t.Expr) -> bool:
        return all(a.name in self.attrs for a in accesses(e)) and not self._indices(e)

    def _number(self, e: t.Expr) -> float:
        return float(scalar(e, self.problem.group.sizes, self.attrs, {}))

    def _is_positive(self, e: t.Expr) -> bool:
        match e:
            case t.Call("exp" | "rsqrt"):
                return True
            case t.Access(name, _):
                return name in self.positive
            case t.Bin("+" | "*" | "/", a, b):
                return self._is_positive(a) and self._is_positive(b)
            case _:
                return self._is_number(e) and self._number(e) > 0


def _none(why: str) -> Infeasible:
    return Infeasible("no-product", why)
