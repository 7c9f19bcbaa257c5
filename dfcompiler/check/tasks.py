"""Whether a task can do what it is said to do: in its time, with its shares, in the memories of its unit."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from dfcompiler.check.contents import File, Task
from dfcompiler.check.reading import At
from dfcompiler.check.verdicts import Fault, Verdict, verdict

NEAR = 1 + 1e-9  # sums of floats


def _tasks(f: File) -> list[Task]:
    return [t for s in f.mapping.segments for t in s.tasks]


def times(f: File) -> Verdict:
    """Computing, helping and moving fit into what is reserved."""
    what = "computing, helping, moving fit into cycles and shares"
    return verdict("work", what, 3 * len(_tasks(f)), _times(f))


def _times(f: File) -> Iterator[Fault]:
    whole = f.mapping.resolution
    for t in _tasks(f):
        cycles = t.end - t.start
        room = {"compute": cycles, "memory": cycles * t.said.dram / whole, "helper": cycles * t.said.beside / whole}
        for name, most in room.items():
            place = t.at[f"{name}_cycles"]
            if place.amount() > most * NEAR:
                yield Fault(place.path, f"is {place.value}, the task reserves {most:g}")


def memory(f: File) -> Verdict:
    """The bytes of a task fit through its share of the way to memory."""
    what = "bytes of the DRAM fit into the bandwidth that is reserved"
    return verdict("memory", what, len(_tasks(f)), _memory(f))


def _memory(f: File) -> Iterator[Fault]:
    rate = f.at["hardware"]["dram_bytes_per_cycle"].amount() / f.mapping.resolution
    levels = [u["levels"].each() for u in f.at["hardware"]["units"].each()]
    ways = 1 if all(x[0]["half_duplex"].truth() for x in levels if x) else 2  # bytes come and go, or share the time
    for t in _tasks(f):
        moved, most = t.at["dram_bytes"], (t.end - t.start) * rate * t.said.dram * ways
        if moved.amount() > most * NEAR:
            yield Fault(moved.path, f"is {moved.value}, its share of the bandwidth carries {most:.0f}")


def buffers(f: File) -> Verdict:
    """Buffers fit into the memories of their unit."""
    return verdict("buffers", "buffers fit into the memories of their unit", 2 * len(_tasks(f)), _buffers(f))


def _buffers(f: File) -> Iterator[Fault]:
    levels = {u["name"].text(): u["levels"].each() for u in f.at["hardware"]["units"].each()}
    others = {p["name"].text() for p in f.at["hardware"]["parts"].each()} - levels.keys()
    for t in _tasks(f):
        for name in filter(None, (t.said.unit, t.said.helper)):
            if name not in levels.keys() | others:
                yield Fault(t.at["unit"].path, f"the chip has no `{name}`")
        mine = levels.get(t.said.unit, [])
        for key, level in (("buffer_bytes", -1), ("buffer_above_bytes", -2)):
            if (used := t.at[key]).amount() > (most := _capacity(mine, level)):
                yield Fault(used.path, f"is {used.value}, `{t.said.unit}` has {most:,.0f} bytes there")


def _capacity(levels: list[At], level: int) -> float:
    return levels[level]["capacity_bytes"].limit() if len(levels) >= -level else inf
