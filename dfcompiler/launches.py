"""A problem as one kernel of a GPU's libraries: which kind of kernel it is follows from its facts, never from a name.

- contractions of which one sums over what another makes, with a softmax or nothing between, are streamed: attention;
- one contraction that looks up its weights is grouped by the places looked up;
- contractions side by side that share what they stream are one contraction with more columns;
- no contraction at all: bytes and lanes, a pass more for every reduction that must end first.
What else an op may be runs as a kernel per statement; a group of ops that no library has a kernel for is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod

import numpy as np
import numpy.typing as npt

from dfcompiler.grouping import Crowd, grouped
from dfcompiler.hardware.chip import Unit
from dfcompiler.hardware.template import KernelCompute
from dfcompiler.kernels import (
    Device,
    Generation,
    Latency,
    Load,
    Scale,
    contraction,
    decode,
    device_of,
    elementwise,
    load_generation,
    prefill,
)
from dfcompiler.kernels.grouped import HEIGHTS
from dfcompiler.kernels.grouped import grouped as grouped_kernel
from dfcompiler.kernels.latency import rows
from dfcompiler.problem import Problem
from dfcompiler.work import Contraction

SPECIAL = frozenset("div exp log sqrt rsqrt sin cos tanh".split())
PARTS = ("seconds", "compute_s", "memory_s")
Floats = npt.NDArray[np.float64]
BAND = 0.9  # of the pairs that a causal mask leaves: with fewer, there is a window and every query sees the mean


@dataclass(frozen=True)
class Launch:
    """What a kernel takes, or why there is none. `dram_bytes` are compulsory."""

    seconds: float
    compute_s: float
    memory_s: float
    dram_bytes: float
    why: str = ""


@dataclass(frozen=True)
class Call:
    """A kernel and the numbers that its price follows from, which broadcast. Calls of one `kind` differ in numbers
    alone."""

    kind: object
    price: Callable[..., Latency]
    numbers: tuple[float, ...]

    def latency(self) -> Latency:
        """Its price."""
        return self.price(*self.numbers)


@dataclass(frozen=True)
class Plan:
    """The kernels that run a problem, and seconds that no kernel can beat, each by itself."""

    calls: tuple[Call, ...]
    floors: tuple[float, ...]

    @property
    def kinds(self) -> tuple[object, ...]:
        """Plans of the same kinds differ in numbers alone."""
        return (*(c.kind for c in self.calls), len(self.floors))

    @property
    def numbers(self) -> tuple[float, ...]:
        """All that their seconds follow from."""
        return (*(x for c in self.calls for x in c.numbers), *self.floors)

    def seconds(self, numbers: Sequence[Floats]) -> Floats:
        """Seconds at other numbers, arrays of one length."""
        left = list(numbers)
        total: Floats = np.zeros(())
        for c in self.calls:
            mine, left = left[: len(c.numbers)], left[len(c.numbers) :]
            total = total + c.price(*mine).seconds
        for floor in left:
            total = np.maximum(total, floor)
        return total


def launch(problem: Problem, unit: Unit) -> Launch:
    """The price of a problem as one kernel on all instances of a unit, from cold caches."""
    found = plan(problem, unit)
    if isinstance(found, str):
        return Launch(0.0, 0.0, 0.0, 0.0, found)
    parts = [c.latency() for c in found.calls]
    seconds, compute_s, memory_s = (sum(float(getattr(x, f)[0]) for x in parts) for f in PARTS)
    return Launch(max(seconds, *found.floors), compute_s, memory_s, problem.total_bytes)


def plan(problem: Problem, unit: Unit) -> Plan | str:
    """The kernels that run a problem on all instances of a unit, or why there are none."""
    template = unit.template
    assert isinstance(template, KernelCompute)
    name, scale = template.generation()
    kernels = load_generation(name)
    kernels = kernels.scaled(scale) if isinstance(scale, Scale) else kernels
    bits = max(problem.a_bits, problem.b_bits) if problem.contractions else 16
    calls = _calls(problem, device_of(unit, template, bits), kernels)
    return calls if isinstance(calls, str) else Plan(tuple(calls), _floors_s(problem, unit, bits))


def _floors_s(p: Problem, unit: Unit, bits: int) -> tuple[float, ...]:
    """What no kernel can beat: tensor cores and lanes at the peak of the data sheet, side by side. Kernels were fitted
    on chips that for short work run faster than the clock behind that peak."""
    rate = unit.instances * unit.clock_hz
    macs = p.macs_on(unit.template) / float(unit.template.peak_macs_at(bits)) if p.contractions else 0.0
    lanes = (n / float(unit.template.peak_ops_per_cycle(kind)) for kind, n in p.vector.items())
    return tuple(x / rate for x in (macs, *lanes))


def _calls(p: Problem, device: Device, kernels: Generation) -> list[Call] | str:
    parts = p.contractions
    if not parts:
        return [_elementwise(p, device, kernels)]
    chained = any(x in {a.name for a in p.group.shape.body[o.statement].targets} for o in parts for c in parts
                  for x in (c.a, c.b))  # fmt: skip
    found: list[Call] | None = None
    if any(_scores(c, parts) for c in parts):
        found = _streamed(p, device, kernels)
    elif not chained and not _reduces(p):
        places = grouped(p)
        if places is not None and places.crowd is not None:
            found = [_grouped(places, places.crowd, device, kernels)]
        else:
            found = _contraction(p, device, kernels)
    if found is None and len(p.group.nodes) > 1:
        return "no library has one kernel for these ops together"
    return _in_turn(p, device, kernels) if found is None else found


def _scores(c: Contraction, parts: Sequence[Contraction]) -> bool:
    """Whether a later contraction sums over what this one makes a column each of."""
    return any(set(c.n) & set(o.k) for o in parts if o.statement > c.statement)


def _in_turn(p: Problem, device: Device, kernels: Generation) -> list[Call]:
    """An op that no kernel runs as a whole: a kernel per statement, its values through memory."""
    by_statement = {c.statement: c for c in p.contractions}
    width = p.a_bits / 8
    found = []
    for i, s in enumerate(p.group.shape.body):
        c = by_statement.get(i)
        if c is not None:
            sizes = (_size(p, c.batch), _size(p, c.m), _size(p, c.n), _size(p, c.k))
            price = partial(contraction, device=device, kernels=kernels.contraction)
            found.append(Call("contraction", price, sizes))
            continue
        read, written = (_size(p, tuple(x for x in some if x in p.group.sizes)) for some in (s.indices, s.free))
        price = partial(elementwise, device=device, kernels=kernels.elementwise)
        found.append(Call("elementwise", price, (read * width, written * width, read, 0.0)))
    return found


def _size(p: Problem, indices: tuple[str, ...]) -> float:
    return float(prod(p.group.sizes[i] for i in indices))


def _reduces(p: Problem) -> bool:
    """Whether a statement that is no contraction reduces, or carries a state."""
    made = {c.statement for c in p.contractions}
    return any((s.over or s.scan) and i not in made for i, s in enumerate(p.group.shape.body))


def _bytes_per_element(p: Problem, name: str) -> float:
    """Of an operand; what never leaves the kernel is as wide as a streamed operand."""
    kind = p.group.types.get(name)
    return kind.bytes / kind.elements if kind else p.a_bits / 8


def _contraction(p: Problem, device: Device, kernels: Generation) -> list[Call]:
    """Contractions side by side: columns add up where batch, rows and depth are the same, else times do."""
    columns: dict[tuple[float, float, float], float] = {}
    for c in p.contractions:
        key = _size(p, c.batch), _size(p, c.m), _size(p, c.k)
        columns[key] = columns.get(key, 0.0) + _size(p, c.n)
    first = p.contractions[0]
    result = p.group.shape.results[0].name
    one, other, made = (_bytes_per_element(p, x) for x in (first.a, first.b, result))
    widths = one, other, made
    products = kernels.narrow if max(widths[:2]) < 2 else kernels.contraction
    price = partial(contraction, device=device, kernels=products, widths=widths)
    return [Call(("contraction", widths), price, (b, m, n, k)) for (b, m, k), n in columns.items()]


def _grouped(p: Problem, crowd: Crowd, device: Device, kernels: Generation) -> Call:
    """Rows of each place are known in expectation only; tiles of some height are those of the drawn rows."""
    c = p.contractions[0]
    pairs = sum(crowd.more)
    active, every = rows(crowd.more[0], pairs)
    load = Load(active, every, {h: rows(crowd.pairs(1, h))[0] for h in HEIGHTS})
    n, k = sum(_size(p, x.n) for x in p.contractions), _size(p, c.k)
    places = _size(p, c.batch) if c.batch else crowd.more[0]
    found = grouped_kernel(pairs, places, n, k, load, device, kernels.grouped, width_bytes=_bytes_per_element(p, c.b))
    launch_s = found.launch_s + kernels.contraction.launch_clocks / np.asarray(device.clock_hz)
    priced = Latency(found.seconds + launch_s, launch_s, found.compute_s, found.memory_s)
    return Call(object(), lambda: priced, ())  # of a kind of its own: no number tells how rows are dealt out


def _streamed(p: Problem, device: Device, kernels: Generation) -> list[Call] | None:
    """Attention by its roles: scores `[batch; m x t]`, then `[batch; m x n]` summed over t. Of the rows, those on which
    the mask depends are queries, the others heads that share keys. None where the roles are others."""
    parts = p.contractions
    scores = [c for c in parts if _scores(c, parts)]
    values = [c for c in parts if c not in scores]
    if not values or len({c.n for c in scores}) != 1:
        return None
    one, last = max(scores, key=lambda c: len(c.batch)), values[-1]
    keys = one.n
    if not set(keys) <= set(last.k):
        return None
    queries = _size(p, tuple(i for i in one.m if p.facts.masked(i)))
    shared, total = _size(p, one.m) / queries, _size(p, keys)
    width = (sum(_size(p, c.k) for c in scores) + _size(p, last.n)) / 2
    batch, groups = _size(p, one.batch[:1]), _size(p, one.batch[1:])
    stored = _bytes_per_element(p, one.b)
    live = p.mask.count((*one.batch, *one.m, *keys)) / _size(p, (*one.batch, *one.m))
    heads = groups * shared
    if queries == 1:
        price = partial(decode, device=device, kernels=kernels.decode, element_bytes=stored)
        return [Call(("decode", stored), price, (batch, max(live, 1.0), heads, groups, width))]
    causal = live < total and live > BAND * (total - (queries - 1) / 2)
    past = (total if causal else live) - queries
    price = partial(prefill, device=device, kernels=kernels.prefill, causal=causal, element_bytes=stored)
    return [Call(("prefill", causal, stored), price, (batch, queries, past, heads, groups, width))]


def _elementwise(p: Problem, device: Device, kernels: Generation) -> Call:
    read = sum(o.total_bytes for o in p.operands if o.kind == "read")
    written = sum(o.total_bytes for o in p.operands if o.kind == "write")
    special = sum(n for kind, n in p.vector.items() if kind in SPECIAL)
    plain = sum(n for kind, n in p.vector.items() if kind not in SPECIAL)
    ends = [s for s in p.group.shape.body if s.over]
    row = max((_size(p, s.over) for s in ends), default=0.0) * p.a_bits / 8
    each = partial(elementwise, device=device, kernels=kernels.elementwise)

    def price(read: object, written: object, plain: object, special: object, row: object) -> Latency:
        return each(read, written, plain, special, passes=1 + len(ends), row_bytes=row)

    return Call(("elementwise", len(ends)), price, (read, written, plain, special, row))
