"""A mapped op as a nest of loops for a sequencer: steps, and by how many lines each operand moves on per turn.

In memory an operand is a block per tile, blocks in the order of its dimensions; a block is lines, those of the
dimensions that fill lines outside of those that have a line per point. Blocks of ragged tiles are as large as others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, prod

from dfcompiler.diagnostics import Infeasible
from dfcompiler.rtl.cores import Core, Port

DIMS = ("b", "m", "n", "k")  # the codes of dimensions: batch, rows, columns, what is summed
OPERANDS = ("x", "w", "y")
LEVELS = 7  # of a sequencer: batch, tiles of three dimensions, folds of three


@dataclass(frozen=True)
class Turn:
    """One loop: over `dim` in steps of `step`; `strides` are lines per turn and operand."""

    dim: str
    step: int
    strides: Mapping[str, int]


@dataclass(frozen=True)
class Nest:
    """Loops, outermost first, over `extents`; `lines` is the room of each operand."""

    extents: Mapping[str, int]
    turns: tuple[Turn, ...]
    lines: Mapping[str, int]


@dataclass(frozen=True)
class Blocks:
    """How one operand lies in memory: tiles of `tile` points per dimension, `size` in all."""

    port: Port
    size: Mapping[str, int]
    tile: Mapping[str, int]
    dims: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        lined = [d for d in self.port.dims if d not in self.port.line]
        object.__setattr__(self, "dims", ("b", *self.port.line, *lined))

    def rows(self, dim: str) -> int:
        """Lines of a block along a dimension."""
        return 1 if dim == "b" else ceil(self.tile[dim] / self.port.line.get(dim, 1))

    @property
    def block(self) -> int:
        """Lines of a block."""
        return prod(self.rows(d) for d in self.dims)

    def trips(self, dim: str) -> int:
        """Blocks along a dimension."""
        return self.size[dim] if dim == "b" else ceil(self.size[dim] / self.tile[dim])

    @property
    def lines(self) -> int:
        """Lines of all blocks."""
        return self.block * prod(self.trips(d) for d in self.dims)

    def inside(self, dim: str, step: int) -> int:
        """Lines that a loop inside of a block moves on by."""
        if dim not in self.dims:
            return 0
        return step // self.port.line.get(dim, 1) * prod(self.rows(d) for d in self.dims[self.dims.index(dim) + 1 :])

    def across(self, dim: str) -> int:
        """Lines that a loop over blocks moves on by."""
        if dim not in self.dims:
            return 0
        return self.block * prod(self.trips(d) for d in self.dims[self.dims.index(dim) + 1 :])


def nest(core: Core, extents: Mapping[str, int], tile: Mapping[str, int], order: Sequence[str]) -> Nest:
    """The loops of one op on a core: `extents` and tile sizes of `b`, `m`, `n` and `k`, tiles in this order, outermost
    first; what is not in it is one tile. Raises Infeasible `too-deep` where a sequencer has fewer levels."""
    whole = {d: min(tile.get(d, extents[d]), extents[d]) for d in DIMS}
    blocks = {name: Blocks(port, extents, whole) for name, port in core.ports.items()}
    outer = [d for d in order if d != "b" and whole[d] < extents[d]]
    turns = [
        *(Turn(d, 1, {o: b.across(d) for o, b in blocks.items()}) for d in ["b"] if extents[d] > 1),
        *(Turn(d, whole[d], {o: b.across(d) for o, b in blocks.items()}) for d in outer),
        *(Turn(d, s, {o: b.inside(d, s) for o, b in blocks.items()}) for d, s in core.folds.items()),
    ]
    if len(turns) > LEVELS:
        raise Infeasible("too-deep", f"{len(turns)} loops, and a sequencer has {LEVELS} levels")
    return Nest(dict(extents), tuple(turns), {o: b.lines for o, b in blocks.items()})


def tiles(extents: Mapping[str, int], tile: Mapping[str, int]) -> Iterator[tuple[int, dict[str, int]]]:
    """Tiles by their sizes: how many there are, and of how many points; whole ones and ragged ones."""
    kinds: list[tuple[int, dict[str, int]]] = [(1, {})]
    for d in DIMS:
        whole, rest = divmod(extents[d], size := min(tile.get(d, extents[d]), extents[d]))
        parts = [(n, s) for n, s in ((whole, size), (1, rest)) if n and s]
        kinds = [(n * m, at | {d: s}) for n, at in kinds for m, s in parts]
    yield from kinds
