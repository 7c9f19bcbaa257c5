"""The least cycles of a product for all capacities and DRAMs at once: every tiling in every structure, by loops.

Written to be compiled by numba; `sweep` gives the same numbers without it. `best[s, g, r]` is for the s-th capacity of
the unit's memory, the g-th of the memory above and the r-th DRAM, and never grows with a capacity. A tiling is dropped
when its bound is no less than what the least of the cells that it fits already has.

The price is that of a double-buffered pipeline, from below: compute after the first load and before the last store, or
the busiest way to memory and one tile that nothing hides.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dfcompiler.explore.prices.layout import ROUNDED, Floats, Machine, Operands, Structures, Tilings


def lower(t: Tilings, x: Operands, s: Structures, m: Machine, best: Floats) -> int:
    """Lower `best` to the least cycles; how many tilings in structures were priced."""
    count, rates, near, above = len(x.base), len(m.dram), m.near_bytes, m.above_bytes
    trips, elements, copies = np.ones(8), np.zeros(count), np.zeros(count)
    moved, room = np.zeros((len(s.operand), 6)), np.zeros((len(s.operand), 2))
    edge, total = np.zeros(rates), np.zeros(6)
    priced = 0
    for w in np.argsort(_promise(t)):
        for o in range(count):
            copies[o] = 1.0
            for i in range(3):
                if x.mask[o] >> i & 1 or not m.multicast:
                    copies[o] *= t.ways[w, i]
        thin = t.size2[t.at[t.first[w, 2]]]
        for p0 in range(t.last[w, 0] - 1, t.first[w, 0] - 1, -1):
            i0 = t.at[p0]
            t0 = np.ceil(t.shard[w, 0] / t.size0[i0])
            for p1 in range(t.last[w, 1] - 1, t.first[w, 1] - 1, -1):
                i1 = t.at[p1]
                t1 = np.ceil(t.shard[w, 1] / t.size1[i1])
                two = int(t0 > 1) + 2 * int(t1 > 1)
                fits = _first(_elements(x, two, t.size0[i0], t.size1[i1], thin, elements), near)
                if fits == len(near) or not _open(t0 * t1 * t.least[i0, i1], m.floor, best[fits, 0]):
                    continue
                for p2 in range(t.last[w, 2] - 1, t.first[w, 2] - 1, -1):
                    i2 = t.at[p2]
                    t2 = np.ceil(t.shard[w, 2] / t.size2[i2])
                    one, live = t.cycles[i0, i1, i2], two + 4 * int(t2 > 1)
                    fits = _first(_elements(x, live, t.size0[i0], t.size1[i1], t.size2[i2], elements), near)
                    if fits == len(near):
                        continue
                    trips[1], trips[2], trips[3], trips[4] = t0, t1, t0 * t1, t2
                    trips[5], trips[6], trips[7] = t0 * t2, t1 * t2, t0 * t1 * t2
                    if not _hopeful(x, m, trips, elements, copies, one, best[fits, 0], edge):
                        continue
                    for c in range(s.choice_of[live], s.choice_of[live + 1]):
                        _choice(s, c, trips, elements, copies, moved, room)
                    for row in range(s.row_of[live], s.row_of[live + 1]):
                        mine, outer = 0.0, 0.0
                        for o in range(count):
                            mine += room[s.rows[row, o], 0]
                            outer += room[s.rows[row, o], 1]
                        i, j = _first(mine, near), _first(outer, above)
                        if i == len(near) or j == len(above):
                            continue
                        priced += 1
                        total[:] = 0.0
                        for o in range(count):
                            for k in range(6):
                                total[k] += moved[s.rows[row, o], k]
                        ported = _slowest(m.chip, total[0], total[1], total[2], total[3])
                        for r in range(rates):
                            price = max(edge[r], max(ported, _longer(m.dram[r], total[4], total[5])) + one)
                            if price < best[i, j, r]:
                                _note(best, i, j, r, price)
    return priced


def _promise(t: Any) -> Any:
    """The fewest cycles of compute that each split allows."""
    found = np.full(len(t.ways), np.inf)
    for w in range(len(t.ways)):
        for p0 in range(t.first[w, 0], t.last[w, 0]):
            t0 = np.ceil(t.shard[w, 0] / t.size0[t.at[p0]])
            for p1 in range(t.first[w, 1], t.last[w, 1]):
                t1 = np.ceil(t.shard[w, 1] / t.size1[t.at[p1]])
                found[w] = min(found[w], t0 * t1 * t.least[t.at[p0], t.at[p1]])
    return found


def _open(busy: float, floor: Any, best: Any) -> bool:
    """Whether so much compute may better what there is, with any DRAM."""
    for r in range(len(floor)):  # noqa: SIM110  # numba knows no `any` of a generator
        if max(busy, floor[r]) < best[r]:
            return True
    return False


def _elements(x: Any, live: int, a: float, b: float, c: float, elements: Any) -> float:
    """Elements of a tile's operands; the least bytes of room that they take."""
    least = 0.0
    for o in range(len(elements)):
        e = x.base[o]
        if x.mask[o] & 1:
            e *= a
        if x.mask[o] & 2:
            e *= b
        if x.mask[o] & 4:
            e *= c
        elements[o] = e
        least += e / 8 * x.least_bits[live, o]
    return least


def _hopeful(x: Any, m: Any, trips: Any, elements: Any, copies: Any, one: float, best: Any, edge: Any) -> bool:
    """Whether a tile may better what there is: with compute after the first load and before the last store, which
    `edge` is for each DRAM, and with every tile of every operand moved once."""
    load, load_all, loads, loads_all = 0.0, 0.0, 0.0, 0.0
    store, store_all, stores, stores_all = 0.0, 0.0, 0.0, 0.0
    for o in range(len(elements)):
        b = elements[o] / 8 * x.bits[o]
        if x.writes[o]:
            store, stores = store + b, stores + b * trips[x.mask[o]]
            store_all, stores_all = store_all + b * copies[o], stores_all + b * copies[o] * trips[x.mask[o]]
        else:
            load, loads = load + b, loads + b * trips[x.mask[o]]
            load_all, loads_all = load_all + b * copies[o], loads_all + b * copies[o] * trips[x.mask[o]]
    begin = max(load * m.chip[0], load_all * max(m.chip[2], m.chip[4]))
    end = max(store * m.chip[1], store_all * max(m.chip[3], m.chip[5]))
    ported = _slowest(m.chip, loads, stores, loads_all, stores_all)
    hopeful = False
    for r in range(len(edge)):
        d = m.dram[r]
        edge[r] = trips[7] * one + (max(begin, load_all * max(d[0], d[2])) + max(end, store_all * max(d[1], d[3])))
        least = max(ported, _longer(d, loads_all, stores_all)) * ROUNDED + one
        if max(edge[r], least) < best[r]:
            hopeful = True
    return hopeful


def _slowest(chip: Any, load: float, store: float, load_all: float, store_all: float) -> float:
    """Cycles of the busiest way on the chip."""
    own: float = max(load * chip[0], store * chip[1])
    above: float = max(load_all * chip[2], store_all * chip[3], load_all * chip[4] + store_all * chip[5])
    return max(own, above)


def _longer(dram: Any, load: float, store: float) -> float:
    """Cycles of the way to the DRAM."""
    longer: float = max(load * dram[0], store * dram[1], load * dram[2] + store * dram[3])
    return longer


def _choice(s: Any, c: int, trips: Any, elements: Any, copies: Any, moved: Any, room: Any) -> None:
    """Bytes that a choice for an operand moves, and its room."""
    o = s.operand[c]
    e = elements[o] / 8
    for way in range(4):
        n = s.weight[c, way, 0] * trips[s.over[c, way, 0]] + s.weight[c, way, 1] * trips[s.over[c, way, 1]]
        if way < 2:
            moved[c, way] = n * e
        moved[c, way + 2] = n * e * copies[o]
    region = e * trips[s.inside[c]]
    if s.inner[c]:
        room[c, 0] = max(region * s.held_bits[c], min(region + e, region * s.buffers[c]) * s.bits[c])
    else:
        room[c, 0] = e * s.tile_bits[c]
    room[c, 1] = region * copies[o] * s.bits[c] if s.outer[c] else 0.0


def _first(room: float, capacities: Any) -> int:
    """The first capacity that has room; their number where none has."""
    for i in range(len(capacities)):
        if room <= capacities[i]:
            return i
    return len(capacities)


def _note(best: Any, s: int, g: int, r: int, price: float) -> None:
    """A price for these capacities, and for all larger ones that have none as low."""
    for i in range(s, best.shape[0]):
        if best[i, g, r] <= price:
            break
        for j in range(g, best.shape[1]):
            if best[i, j, r] <= price:
                break
            best[i, j, r] = price
