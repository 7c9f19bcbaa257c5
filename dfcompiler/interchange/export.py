"""A nest as the YAML of Timeloop v4: the problem, the storages that it names, and the mapping."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from string import ascii_lowercase, ascii_uppercase

from dfcompiler.hardware.chip import Chip, Unit
from dfcompiler.interchange.nests import Loop, Nest, Storage

UNROLLED = "lanes"  # the container of what an array unrolls


def timeloop_text(nest: Nest, chip: Chip) -> str:
    """The file for a nest on a chip: `problem`, `architecture` and `mapping`, which refer to each other by name."""
    unit, widened, letter = chip.units[nest.unit], nest.widened.items(), letters(nest.sizes)
    lines = [
        f"# {nest.name} on {nest.unit} of {chip.name}, as mapped by dfcompiler.",
        "# MEMORY_from_N is a part of MEMORY: it holds what is kept from loop N inwards.",
        *(f"# {x} is the dimension {d}." for d, x in letter.items() if d.upper() != x),
        *(f"# {letter[d]}: tiles of {t} are {w} here: only a last round may be shorter." for d, (t, w) in widened),
        *_problem(nest, letter),
        *_architecture(nest, unit, chip),
        *_mapping(nest, letter),
    ]
    return "".join(f"{line}\n" for line in lines)


def letters(dims: Iterable[str]) -> dict[str, str]:
    """A letter for each dimension, its own first one where that is free. Timeloop reads permutations letter by letter
    (`ParseUserPermutations` of its src/mapping/parser.cpp), whatever its problems allow."""
    found = dict[str, str]()
    for d in dims:
        choice = d[0].upper() + ascii_uppercase + ascii_lowercase
        found[d] = next(c for c in choice if c.isalpha() and c not in found.values())
    return found


def _names(dims: Iterable[str]) -> str:
    return f"[{', '.join(dims)}]"


def _problem(nest: Nest, letter: Mapping[str, str]) -> Iterator[str]:
    yield from ("problem:", "  version: 0.4", "  shape:", f"    name: {nest.name}")
    yield f"    dimensions: {_names(letter.values())}"
    yield "    data_spaces:"
    for name, dims in nest.operands.items():
        yield f"    - name: {name}"
        yield f"      projection: [{', '.join(f'[[{letter[d]}]]' for d in nest.sizes if d in dims)}]"
        if name in nest.written:
            yield "      read_write: true"
    sizes = ", ".join(f"{letter[d]}: {n}" for d, n in nest.sizes.items())
    yield f"  instance: {{{sizes}}}"


def _architecture(nest: Nest, unit: Unit, chip: Chip) -> Iterator[str]:
    capacity = {x.part: x.capacity_bytes for x in unit.levels}
    yield from ("architecture:", "  version: 0.4", "  nodes:", "  - !Container", "    name: system")
    yield f'    attributes: {{technology: "{chip.node_nm:g}nm", global_cycle_seconds: {1 / chip.clock_hz!r}}}'
    for n, s in enumerate(nest.storages):
        words = int(capacity[s.part] * 8 // nest.bits)
        yield from ("  - !Component", f"    name: {s.name}", f"    class: {'DRAM' if n == 0 else 'SRAM'}")
        depth = "" if n == 0 else f"depth: {words}, "
        yield f"    attributes: {{{depth}width: {nest.bits}, datawidth: {nest.bits}}}"
        if s.across:
            yield from ("  - !Container", f"    name: {_below(s)}")
            yield f"    spatial: {{meshX: {_fan(s.across)}}}"
    yield from ("  - !Component", "    name: mac", "    class: intmac", f"    attributes: {{datawidth: {nest.bits}}}")


def _fan(loops: Sequence[Loop]) -> int:
    count = 1
    for x in loops:
        count *= x.bound
    return count


def _below(s: Storage) -> str:
    return UNROLLED if s.inside else "cores"


def _mapping(nest: Nest, letter: Mapping[str, str]) -> Iterator[str]:
    yield "mapping:"
    for s in nest.storages:
        away = sorted(set(nest.operands) - s.holds)
        yield f"- {{target: {s.name}, type: dataspace, keep: {_names(sorted(s.holds))}, bypass: {_names(away)}}}"
        yield _loops(letter, s.name, "temporal", s.temporal)
        if s.across:
            yield _loops(letter, _below(s), "spatial", s.across)


def _loops(letter: Mapping[str, str], target: str, kind: str, loops: Sequence[Loop]) -> str:
    """A directive with every dimension once; the innermost loop comes first."""
    by = {x.dim: x for x in reversed(loops)}
    order = [*by, *(d for d in letter if d not in by)]
    factors = _names(_factor(letter[d], by.get(d)) for d in order)
    return f"- {{target: {target}, type: {kind}, factors: {factors}, permutation: {_names(letter[d] for d in order)}}}"


def _factor(dim: str, x: Loop | None) -> str:
    if x is None:
        return f"{dim}=1"
    return f"{dim}={x.bound}" if x.bound == x.last else f'"{dim}={x.bound},{x.last}"'
