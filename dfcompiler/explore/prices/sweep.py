"""The least cycles of a product for all capacities and DRAMs at once, in numpy: what `kernel` computes, by arrays."""

from __future__ import annotations

import numpy as np

from dfcompiler.explore.prices.layout import LOOPS, Floats, Ints, Machine, Operands, Structures, Tilings

BLOCK = 1024  # tilings that are priced at once, the most promising ones first


def lower(t: Tilings, x: Operands, s: Structures, m: Machine, best: Floats) -> int:
    """Lower `best` to the least cycles; how many tilings in structures were priced."""
    return sum(_split(t, x, s, m, w, best) for w in range(len(t.ways)))


def _split(t: Tilings, x: Operands, s: Structures, m: Machine, w: int, best: Floats) -> int:
    at = [t.at[a:b] for a, b in zip(t.first[w], t.last[w], strict=True)]
    sizes = [every[i] for every, i in zip((t.size0, t.size1, t.size2), at, strict=True)]
    trips = [np.ceil(n / size) for n, size in zip(t.shard[w], sizes, strict=True)]
    busy = trips[0][:, None] * trips[1] * t.least[np.ix_(*at[:2])]
    outer = np.argwhere((np.maximum(busy[..., None], m.floor) < best[0, 0]).any(-1))
    if not len(outer):
        return 0
    inner = np.arange(len(at[2]))
    where = [np.repeat(outer[:, 0], len(inner)), np.repeat(outer[:, 1], len(inner)), np.tile(inner, len(outer))]
    spread = [[bool(k >> i & 1) or not m.multicast for i in range(LOOPS)] for k in x.mask.tolist()]
    copies = np.where(spread, t.ways[w], 1.0).prod(1)
    tiles, often = [i[n] for i, n in zip(at, where, strict=True)], [i[n] for i, n in zip(trips, where, strict=True)]
    block = _Block(t, x, m, tiles, often, copies)
    priced = 0
    fits = np.searchsorted(m.near_bytes, block.least)
    fits_in = fits < len(m.near_bytes)
    for live in range(len(s.choice_of) - 1):
        chosen = np.flatnonzero((block.live == live) & fits_in)
        chosen = chosen[np.argsort(block.edge[0, chosen], kind="stable")]
        for start in range(0, len(chosen), BLOCK):
            some = chosen[start : start + BLOCK]
            whole = np.maximum(block.edge[:, some], m.floor[:, None] + block.one[some])
            some = some[(whole < best[fits[some], 0].T).any(0)]
            if len(some):
                priced += _structures(block, s, m, live, some, best)
    return priced


class _Block:
    """Tilings of one split: `[operand, tiling]`, `[rate, tiling]` or `[tiling]`."""

    def __init__(
        self, t: Tilings, x: Operands, m: Machine, at: list[Ints], trips: list[Floats], copies: Floats
    ) -> None:
        self.x, self.copies = x, copies[:, None]
        t0, t1, t2 = trips
        self.trips = np.stack([np.ones_like(t0), t0, t1, t0 * t1, t2, t0 * t2, t1 * t2, t0 * t1 * t2])
        self.live = (t0 > 1) + 2 * (t1 > 1) + 4 * (t2 > 1).astype(np.int64)
        self.one = t.cycles[at[0], at[1], at[2]]
        self.elements = np.repeat(x.base[:, None], len(t0), 1)
        for i, size in enumerate((t.size0[at[0]], t.size1[at[1]], t.size2[at[2]])):
            self.elements = np.where((x.mask >> i & 1)[:, None] > 0, self.elements * size, self.elements)
        self.least = _added(self.elements / 8 * x.least_bits.T[:, self.live])
        moved = self.elements / 8 * x.bits[:, None]
        load, store = (_added(moved[some]) for some in (~x.writes, x.writes))
        load_all, store_all = (_added((moved * self.copies)[some]) for some in (~x.writes, x.writes))
        begin = np.maximum(load * m.chip[0], load_all * max(m.chip[2], m.chip[4]))
        end = np.maximum(store * m.chip[1], store_all * max(m.chip[3], m.chip[5]))
        out, into = (np.maximum(m.dram[:, i], m.dram[:, i + 2])[:, None] for i in (0, 1))
        self.edge = self.trips[7] * self.one + (np.maximum(begin, load_all * out) + np.maximum(end, store_all * into))


def _structures(block: _Block, s: Structures, m: Machine, live: int, some: Ints, best: Floats) -> int:
    """Price some tilings in all structures of the loops that run more than once."""
    c = slice(s.choice_of[live], s.choice_of[live + 1])
    rows = s.rows[s.row_of[live] : s.row_of[live + 1]] - s.choice_of[live]
    of, trips = s.operand[c], block.trips[:, some]
    e, copies = block.elements[of][:, some] / 8, block.copies[of]
    n = [
        s.weight[c, w, 0, None] * trips[s.over[c, w, 0]] + s.weight[c, w, 1, None] * trips[s.over[c, w, 1]]
        for w in range(4)
    ]
    moved = [n[0] * e, n[1] * e, *(x * e * copies for x in n)]
    region = e * trips[s.inside[c]]
    held = np.minimum(region + e, region * s.buffers[c, None]) * s.bits[c, None]
    kept = np.maximum(region * s.held_bits[c, None], held)
    room = np.where(s.inner[c, None], kept, e * s.tile_bits[c, None])
    outer = np.where(s.outer[c, None], region * copies * s.bits[c, None], 0.0)
    near, above = (np.searchsorted(cap, _rows(a, rows)) for cap, a in ((m.near_bytes, room), (m.above_bytes, outer)))
    fits = (near < len(m.near_bytes)) & (above < len(m.above_bytes))
    total = [_rows(a, rows)[fits] for a in moved]
    ported = np.maximum(np.maximum(total[0] * m.chip[0], total[1] * m.chip[1]), total[2] * m.chip[2])
    ported = np.maximum(np.maximum(ported, total[3] * m.chip[3]), total[2] * m.chip[4] + total[3] * m.chip[5])
    at = np.broadcast_to(some, fits.shape)[fits]
    for r, d in enumerate(m.dram):
        far = np.maximum(np.maximum(total[4] * d[0], total[5] * d[1]), total[4] * d[2] + total[5] * d[3])
        price = np.maximum(block.edge[r, at], np.maximum(ported, far) + block.one[at])
        np.minimum.at(best[..., r], (near[fits], above[fits]), price)
    np.minimum.accumulate(best, 0, out=best)
    np.minimum.accumulate(best, 1, out=best)
    return int(fits.sum())


def _rows(of_choice: Floats, rows: Ints) -> Floats:
    """Sums over the operands of structures, `[structure, tiling]`, in the operands' order."""
    return _added(of_choice[rows.T])


def _added(parts: Floats) -> Floats:
    total = np.zeros(parts.shape[1:])
    for part in parts:
        total = total + part
    return total
