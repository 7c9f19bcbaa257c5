"""Descriptors written one after another: products and scalar operations on tensors in one scratchpad.

A tensor is lines: for every group of lanes one per point of the index that it has beside the lanes. What is written has
lines of its own; the temporary ones of a tile are those of the tile before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import ceil

from dfcompiler.diagnostics import Infeasible
from dfcompiler.rtl.cores import Core, Port
from dfcompiler.rtl.descriptors import WORD, Descriptor
from dfcompiler.rtl.nests import DIMS, Blocks, Nest, Turn, nest


@dataclass(frozen=True)
class Held:
    """A tensor in the scratchpad: words with `fraction` bits behind the point, lines `along` an index (empty: one line
    per group of lanes). A constant is one line for all groups: `once`."""

    base: int
    along: str
    fraction: int
    once: bool = False


@dataclass(frozen=True)
class Operand:
    """What a host fills or reads: blocks of lines from `base` on, whose dimensions stand for these indices of the
    op; `fraction` bits of its words are behind the point."""

    base: int
    blocks: Blocks
    indices: Mapping[str, str]
    fraction: int = 0


@dataclass
class Assembly:
    """Descriptors for a unit that multiplies matrices and one that does scalar operations, over tiles of `tile` of
    `lanes` points, beside one scratchpad. `codes` are those of the two units, `memory` that of the scratchpad."""

    product: Core
    scalars: Core
    sizes: Mapping[str, int]
    lanes: int
    tile: int
    codes: tuple[int, int]
    memory: int
    label: str = ""
    turn: int = 0  # the tile at hand
    room: int = 0
    descriptors: list[Descriptor] = field(default_factory=list)
    operands: dict[str, Operand] = field(default_factory=dict)
    constants: dict[int, int] = field(default_factory=dict)  # the line that holds a word
    _passing: list[int] = field(default_factory=list)  # lines of the first tile's tensors, in the order of writing
    _used: int = 0

    @property
    def words(self) -> int:
        """Words of a line."""
        return self.scalars.ports["x"].words

    def points(self, index: str) -> int:
        """Points of an index, 1 for none."""
        return self.sizes[index] if index else 1

    def begin(self, turn: int) -> None:
        """Go on with a tile."""
        self.turn, self._used = turn, 0

    def constant(self, value: float, fraction: int) -> Held:
        """A number, rounded, in every word of a line."""
        word = round(value * 2**fraction)
        if abs(word) >> (WORD - 1):
            raise Infeasible("no-product", f"{value:g} does not fit a word of {WORD} bits")
        if word not in self.constants:
            self.constants[word] = self._space(1)
        return Held(self.constants[word], "", fraction, once=True)

    def streamed(self, name: str, m: str, k: str) -> int:
        """The first line of an input that a product streams: rows along `m`, summed along `k`."""
        port = self.product.ports["x"]
        size = {"b": 1, "m": self.points(m), "k": self.points(k)}
        return self._operand(name, Blocks(Port(port.dims, port.line, WORD), size, size), {"m": m, "k": k}).base

    def beside(self, name: str, along: str, lane: str, fraction: int = 0) -> Held:
        """An input or a result with lanes, in the tile at hand."""
        size = {"b": 1, "k": self.points(along), "n": self.lanes}
        blocks = Blocks(Port(("k", "n"), {"n": self.words}, WORD), size, size | {"n": self.tile})
        found = self._operand(name, blocks, {"k": along, "n": lane}, fraction)
        return Held(found.base + self.turn * blocks.across("n"), along, fraction)

    def _operand(self, name: str, blocks: Blocks, indices: Mapping[str, str], fraction: int = 0) -> Operand:
        if name not in self.operands:
            self.operands[name] = Operand(self._space(blocks.lines), blocks, indices, fraction)
        if self.operands[name].indices != indices:
            raise Infeasible("no-product", f"`{name}` is needed in two layouts")
        return self.operands[name]

    def multiplied(self, x: int, w: Held, m: str, k: str, fraction: int) -> Held:
        """The product of a streamed input and a tensor with lanes along `k`."""
        extents = {"b": 1, "m": self.points(m), "n": self._here, "k": self.points(k)}
        y = Held(self._line(m), m, fraction)
        self._write(0, nest(self.product, extents, {}, ()), 0, 0, (x, w.base, y.base))
        return y

    def scalar(self, kind: str, x: Held, w: Held, fraction: int, amount: int = 0, reduced: bool = False) -> Held:
        """An operation on every word, or down the lines to one; what has no lines of its own is the same for all."""
        if x.along and w.along and x.along != w.along:
            raise Infeasible("no-product", f"lines of `{x.along}` and of `{w.along}` meet in one operation")
        along = x.along or w.along
        left = "" if reduced else along
        y = Held(self._line(left), left, fraction)
        places = {"x": x, "w": w, "y": y}
        strides = {o: 0 if h.once else self.points(h.along) for o, h in places.items()}
        dim = "k" if reduced else "m"
        turns = (Turn("n", self.words, strides), Turn(dim, 1, {o: int(h.along != "") for o, h in places.items()}))
        extents = dict.fromkeys(DIMS, 1) | {"n": self._here, dim: self.points(along)}
        self._write(1, Nest(extents, turns, {}), self.scalars.opcodes[kind], amount, (x.base, w.base, y.base))
        return y

    def moved(self, value: Held, to: Held) -> None:
        """Let what was written last lie elsewhere; a tensor that was not is copied there."""
        if not self.descriptors or self.descriptors[-1].bases[2] != value.base:
            self.scalar("mul", value, self.constant(1, 0), value.fraction)
        last = self.descriptors[-1]
        self.descriptors[-1] = replace(last, bases=(*last.bases[:2], to.base))

    @property
    def _here(self) -> int:
        """Lanes of the tile at hand."""
        return min(self.tile, self.lanes - self.turn * self.tile)

    def _write(self, unit: int, walked: Nest, opcode: int, amount: int, bases: tuple[int, int, int]) -> None:
        where = (self.memory, self.memory, self.memory)
        self.descriptors.append(Descriptor(self.label, walked, opcode, self.codes[unit], amount, where, bases))

    def _space(self, lines: int) -> int:
        self.room += lines
        return self.room - lines

    def _line(self, along: str) -> int:
        """The first line of the next tensor of the tile."""
        if self._used == len(self._passing):
            self._passing.append(self._space(ceil(self.tile / self.words) * self.points(along)))
        self._used += 1
        return self._passing[self._used - 1]
