"""What is not enumerated: work at the peaks of units, compulsory bytes at the DRAM's bandwidth, exchanges on links."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product as every

import numpy as np

from dfcompiler.exchanges import links_of
from dfcompiler.explore.designs import chip_at
from dfcompiler.explore.floors import runs
from dfcompiler.explore.needs import needs, room_bytes
from dfcompiler.explore.prices.steps import Exchange
from dfcompiler.explore.references import Array
from dfcompiler.explore.space import Pool
from dfcompiler.fabrics import Fabric, exchange_time
from dfcompiler.hardware.chip import Chip
from dfcompiler.hardware.plurals import most, plain
from dfcompiler.hardware.template import Interconnect, Memory
from dfcompiler.problem import Problem


def moving_s(chips: Chip, read: float, written: float) -> Array:
    """Seconds of bytes out of and into the DRAM over the designs, on the way of the units that it is fastest for."""
    found: Array = np.asarray(np.inf)
    for unit in chips.units.values():
        out, into = read / unit.levels[1].source_bytes_per_cycle, written / unit.levels[1].sink_bytes_per_cycle
        found = np.minimum(found, out + into if unit.levels[0].half_duplex else np.maximum(out, into))
    return np.asarray(found / chips.clock_hz)


def roof_s(p: Problem, chips: Chip) -> Array:
    """Seconds below which no unit runs a problem: multiply-accumulates on those that do most of them, all other work
    on units that do it, kinds in turn, and compulsory bytes; inf where no unit can."""
    read, written = (sum(o.total_bytes for o in p.operands if o.kind == kind) for kind in ("read", "write"))
    time = moving_s(chips, read, written)
    if p.contractions:
        each = (
            p.macs_on(u.template) / (u.template.peak_macs_at(max(p.a_bits, p.b_bits)) * u.instances)
            for u in chips.units.values()
            if u.template.runs("mac")
        )
        time = np.maximum(time, _least(each) / chips.clock_hz)
    beside: Array = np.asarray(0.0)
    for kind, count in p.vector.items():
        rates = (u.template.peak_ops_per_cycle(kind) * u.instances for u in chips.units.values() if u.does(kind))
        beside = beside + _least(count / r for r in rates)
    return np.asarray(np.maximum(time, beside / chips.clock_hz))


def unheld(p: Problem, chips: Chip) -> Array:
    """Where no unit that runs a problem has room for any tile of it: the full compiler refuses such a design."""
    found: Array = np.asarray(True)
    need = needs(p)[0]
    for u in chips.units.values():
        helper = chips.units.get(u.vector or "")
        if runs(p, u, helper):
            found = found & (room_bytes(need, u.instances) > u.levels[-1].capacity_bytes)
    return found


def _least(each: Iterable[Array | float]) -> Array:
    found: Array = np.asarray(np.inf)
    for a in each:
        found = np.minimum(found, a)
    return found


def exchange_s(e: Exchange, fabrics: Array, chips: Chip) -> Array:
    """Seconds of an exchange: its algorithms on the links, or its operands and results at the DRAM if that is more."""
    linked = np.array([_linked_s(e, f) for f in fabrics.ravel()]).reshape(fabrics.shape)
    return np.asarray(np.maximum(linked, moving_s(chips, e.read_bytes, e.written_bytes)))


def _linked_s(e: Exchange, fabric: Fabric) -> float:
    return sum((exchange_time(d.pattern, e.devices, d.bytes, fabric)[0] for d in e.demands), start=0.0)


def exchange_pj(e: Exchange, fabrics: Array, chips: Chip) -> Array:
    """Picojoules of an exchange in one device, over the designs: of its bytes in the DRAM and on the links."""
    ways = [p.template for p in chips.links if isinstance(p.template, Interconnect)]
    dram = chips.dram.template
    assert isinstance(dram, Memory)
    stored = (e.read_bytes + e.written_bytes) * plain(dram.pj_per_byte(chips.tech))
    crossing = np.array([_linked_bytes(e, f) for f in fabrics.ravel()]).reshape(fabrics.shape)
    return np.asarray(stored + crossing * most(0.0, *(plain(w.pj_per_byte(chips.tech)) for w in ways)))


def _linked_bytes(e: Exchange, fabric: Fabric) -> float:
    return sum((exchange_time(d.pattern, e.devices, d.bytes, fabric)[2] for d in e.demands), start=0.0)


def fabrics_of(pool: Pool, chips: Chip, design: tuple[int, ...]) -> Array:
    """The links of the designs as `Fabric`s, an array of objects; the axes that no link reads are as in `design`.

    Raises Diag `no-link`, `unlike-links`.
    """
    arrays = [np.asarray(v) for part in chips.links for v in part.template.settings().values()]
    shape = np.broadcast_shapes(*(a.shape for a in (*arrays, np.asarray(chips.clock_hz))))
    shape = (1,) * (len(pool.axes) - len(shape)) + shape
    found = np.empty(shape, dtype=object)
    for at in every(*(range(n) for n in shape)):
        point = [i if n > 1 else d for i, n, d in zip(at, shape, design, strict=True)]
        chip = chip_at(pool, {a.name: a.values[i] for a, i in zip(pool.axes, point, strict=True)})
        fabric: Fabric = links_of(chip).fabric
        found[at] = fabric
    return found
