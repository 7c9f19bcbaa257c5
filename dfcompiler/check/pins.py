"""Whether tensors that stay on the chip are there for all who touch them, and have places of their own."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from dfcompiler.check.contents import File, Mapping, Pin, Place, Segment
from dfcompiler.check.verdicts import Fault, Verdict, verdict


def pins(m: Mapping) -> Verdict:
    """A pinned tensor is so for all who touch it, and no two lie at one place at one moment."""
    what = "tensors that stay on the chip are there for all, each at a place of its own"
    return verdict("pins", what, sum(len(s.pinned) for s in m.segments), _pins(m))


def _pins(m: Mapping) -> Iterator[Fault]:
    for s in m.segments:
        yield from _agreed(s)
        yield from _lives(s)
        for a, b in combinations(s.pinned, 2):
            if _memory(s, a) == _memory(s, b) and _meet(s, a, b):
                yield Fault(f"{b.at.path}.address", f"lies where `{_pin(s, a).tensor}` lies at the same time")
        if s.pinned and s.period < s.cycles and max(s.runs) > 1:
            yield Fault(f"{s.at.path}.period", "lets runs overlap, of which each has pinned tensors at the same places")


def _agreed(s: Segment) -> Iterator[Fault]:
    """Tasks that touch a tensor with others all find it pinned, or none does."""
    here = {p.pin for p in s.pinned}
    for i, pin in enumerate(s.pins):
        for t in s.tasks:
            crosses = pin.crosses(t.column.nodes)
            if (i in t.column.pins) != (crosses and i in here):
                found = "finds" if i in t.column.pins else "does not find"
                yield Fault(f"{t.at.path}.column", f"{found} `{pin.tensor}` in `{pin.memory}`, unlike others")
        asked = {(v, w) for v, w in s.flow if v == pin.touch[0] and w in pin.touch[1:]}
        if {w for _, w in asked} != set(pin.touch[1:]):
            yield Fault(f"{s.at.path}.pins[{i}].readers", f"do not all wait for `{pin.touch[0]}`")


def _lives(s: Segment) -> Iterator[Fault]:
    """Tensors live as long as they are touched, where there is room."""
    for x in s.pinned:
        pin = _pin(s, x)
        spans = [(t.start, t.end) for t in s.tasks if set(t.column.nodes) & set(pin.touch)]
        if x.start > min((a for a, _ in spans), default=x.start) or x.end < max((b for _, b in spans), default=x.end):
            yield Fault(x.at.path, f"leaves out some of the time in which `{pin.tensor}` is touched")
        if x.address + pin.bytes > pin.room:
            yield Fault(f"{x.at.path}.address", f"ends at {x.address + pin.bytes}, there are {pin.room} bytes")


def _pin(s: Segment, x: Place) -> Pin:
    return s.pins[x.pin]


def _memory(s: Segment, x: Place) -> str:
    return _pin(s, x).memory


def _meet(s: Segment, a: Place, b: Place) -> bool:
    beside = a.start < b.end and b.start < a.end
    over = a.address < b.address + _pin(s, b).bytes and b.address < a.address + _pin(s, a).bytes
    return a.pin == b.pin or (beside and over)


def rooms(f: File) -> Verdict:
    """What is pinned lies in memories that set so much aside, above the units that find it there."""
    count = sum(len(s.pins) for s in f.mapping.segments)
    return verdict("rooms", "memories set aside what tensors are pinned in", count, _rooms(f))


def _rooms(f: File) -> Iterator[Fault]:
    units = {u["name"].text(): u["levels"].each() for u in f.at["hardware"]["units"].each()}
    above = {name: levels[-2] for name, levels in units.items() if len(levels) > 2}
    aside = {level["part"].text(): level["pinned_bytes"].whole() for level in above.values()}
    for s in f.mapping.segments:
        for i, pin in enumerate(s.pins):
            if pin.room > (most := aside.get(pin.memory, 0)):
                yield Fault(f"{s.at.path}.pins[{i}].room_bytes", f"is {pin.room}, `{pin.memory}` sets aside {most}")
        for t in s.tasks:
            for i in t.column.pins:
                if t.said.unit not in above or above[t.said.unit]["part"].text() != s.pins[i].memory:
                    yield Fault(f"{t.at.path}.unit", f"does not lie below `{s.pins[i].memory}`")
