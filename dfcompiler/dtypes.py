"""Number types by name: their bits with scales and zeros left out, and the map from roles to types of a model.

    type     := element [-scales [-z]] [-sparsity]
    scales   := t | c | gN | bRxC     one scale per tensor, per row, per N elements of a row, per R rows and C columns
    sparsity := s24 | dP | dPiB       two of four kept; P % kept, with a bitmap or with B index bits per kept element

A row runs along the last axis; all other axes together count rows. Groups start anew in each row, so a ragged row
has one scale more. Scales of integers are fp16, those of floats fp32; `-z` adds a zero point of the element's width.
`int4-g128-z-s24` says all of it; `mxfp8 mxfp6 mxfp4 nvfp4` are elements with the scales that their standards fix.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from math import inf, prod

from dfcompiler.diagnostics import Diag, Span, nearest, unknown


@dataclass(frozen=True)
class Element:
    """One number. A float has exponent and mantissa bits and a largest value, at which `saturates` ones stop;
    `quantiles` are those of a normal distribution, from -1 to 1."""

    bits: int
    exponent: int = 0
    mantissa: int = 0
    largest: float = inf
    saturates: bool = False
    quantiles: bool = False

    @property
    def integer(self) -> bool:
        """Whether it is an integer, in two's complement."""
        return not self.exponent and not self.quantiles


# IEEE 754; OCP OFP8 1.0 (e4m3 has no infinity: 448 is its largest value); OCP MX 1.0 (fp6, fp4, and the scale e8m0);
# NF4 of QLoRA (Dettmers et al. 2023).
ELEMENTS: Mapping[str, Element] = {
    "fp32": Element(32, 8, 23, (2 - 2.0**-23) * 2.0**127),
    "tf32": Element(32, 8, 10, (2 - 2.0**-10) * 2.0**127),
    "bf16": Element(16, 8, 7, (2 - 2.0**-7) * 2.0**127),
    "fp16": Element(16, 5, 10, 65504.0),
    "fp8e4m3": Element(8, 4, 3, 448.0, saturates=True),
    "fp8e5m2": Element(8, 5, 2, 57344.0, saturates=True),
    "fp6e2m3": Element(6, 2, 3, 7.5, saturates=True),
    "fp6e3m2": Element(6, 3, 2, 28.0, saturates=True),
    "fp4": Element(4, 2, 1, 6.0, saturates=True),
    "e8m0": Element(8, 8, 0, 2.0**127, saturates=True),
    "nf4": Element(4, largest=1.0, saturates=True, quantiles=True),
    **{f"int{width}": Element(width) for width in (64, 32, 16, 8, 4, 2)},
}


@dataclass(frozen=True)
class Scales:
    """One scale of type `dtype` for `rows` x `cols` elements; None is all of them."""

    dtype: str
    rows: int | None = None
    cols: int | None = None

    def count(self, rows: int, cols: int) -> int:
        """Scales of a tensor of `rows` rows."""
        return -(-rows // (self.rows or rows)) * -(-cols // (self.cols or cols))

    def cell(self, shape: tuple[int, ...]) -> tuple[int, ...] | None:
        """Extent along each axis of what shares one scale; None where an axis would be cut raggedly."""
        if not shape:
            return ()
        left, cells = self.rows, [min(self.cols or shape[-1], shape[-1])]
        for extent in reversed(shape[:-1]):
            cells.append(extent if left is None else min(left, extent))
            if left is not None and left % cells[-1]:
                return None
            left = left and left // cells[-1]
        found = tuple(reversed(cells))
        return None if any(extent % c for extent, c in zip(shape, found, strict=True)) else found


@dataclass(frozen=True)
class Sparsity:
    """The part of the elements that is kept, and index bits per kept one; 0 is a bitmap of one bit per element."""

    kept: Fraction
    index_bits: int
    of_four: bool = False

    def stored(self, rows: int, cols: int) -> int:
        """Kept elements of a tensor: two of every four in a row, or a share of all."""
        if self.of_four:
            return rows * (cols // 4 * 2 + min(2, cols % 4))
        return -(-rows * cols * self.kept.numerator // self.kept.denominator)


@dataclass(frozen=True)
class Dtype:
    """A type taken apart: element, levels of scales (each scales what is inside), zero points, sparsity."""

    element: str
    scales: tuple[Scales, ...] = ()
    zero: bool = False
    sparsity: Sparsity | None = None

    @property
    def number(self) -> Element:
        """The element's format."""
        return ELEMENTS[self.element]


# A scale per 32 (OCP MX 1.0) or 16 elements; NVFP4 has a second, fp32 scale for the whole tensor. NF4 with double
# quantisation has 8 bits per 64 elements, and 32 bits per 256 of these; fp8e4m3 stands for its code of 8 bits.
_STANDARD: Mapping[str, Dtype] = {
    "mxfp8": Dtype("fp8e4m3", (Scales("e8m0", 1, 32),)),
    "mxfp6": Dtype("fp6e2m3", (Scales("e8m0", 1, 32),)),
    "mxfp4": Dtype("fp4", (Scales("e8m0", 1, 32),)),
    "nvfp4": Dtype("fp4", (Scales("fp8e4m3", 1, 16), Scales("fp32"))),
    "nf4dq": Dtype("nf4", (Scales("fp8e4m3", 1, 64), Scales("fp32", 1, 64 * 256))),
}
NAMES = (*(n for n in ELEMENTS if n != "e8m0"), *_STANDARD)
_SUFFIXES = "-t, -c, -g128, -b128x128 (scales), -z (zero points), -s24, -d30, -d30i4 (sparsity)"
_SCALES = re.compile(r"t|c|g([1-9]\d{0,5})|b([1-9]\d{0,5})x([1-9]\d{0,5})", re.ASCII)
_DENSITY = re.compile(r"d([1-9]\d?)(?:i([1-9]\d?))?", re.ASCII)


def parse_dtype(name: str, span: Span | None = None) -> Dtype:
    """The parts of a type's name; raises Diag `unknown-dtype` that lists the known ones."""
    try:
        return _parse(name)
    except Diag as error:
        raise Diag(error.code, error.message, span, hint=error.hint) from None


@lru_cache(maxsize=1024)
def _parse(name: str) -> Dtype:
    base, *suffixes = name.split("-")
    if base not in ELEMENTS and base not in _STANDARD:
        raise unknown("dtype", name, NAMES)
    found = _STANDARD.get(base, Dtype(base))
    if suffixes and not found.scales and found.number.bits <= 8 and (match := _SCALES.fullmatch(suffixes[0])):
        found = replace(found, scales=(_scales(match, "fp16" if found.number.integer else "fp32"),))
        suffixes = suffixes[1:]
        if suffixes and suffixes[0] == "z" and found.number.integer:
            found, suffixes = replace(found, zero=True), suffixes[1:]
    if suffixes and (sparsity := _sparsity(suffixes[0])):
        found, suffixes = replace(found, sparsity=sparsity), suffixes[1:]
    if suffixes:
        message = f"unknown dtype `{name}`: `{base}` takes no `-{suffixes[0]}` there"
        raise Diag("unknown-dtype", message, hint=f"in this order: {_SUFFIXES}")
    return found


def _scales(match: re.Match[str], dtype: str) -> Scales:
    group, rows, cols = (int(n) if n else None for n in match.groups())
    if match[0] == "t":
        return Scales(dtype)
    return Scales(dtype, rows or 1, group or cols)


def _sparsity(text: str) -> Sparsity | None:
    if text == "s24":
        return Sparsity(Fraction(1, 2), 2, of_four=True)
    match = _DENSITY.fullmatch(text)
    return Sparsity(Fraction(int(match[1]), 100), int(match[2] or 0)) if match else None


def show_dtype(kind: Dtype) -> str:
    """The name of a type that was parsed or derived from one; `parse_dtype` gives it back."""
    base = next((n for n, d in _STANDARD.items() if d.scales == kind.scales and d.element == kind.element), "")
    suffixes = [*(_show_scales(s) for s in kind.scales), *("z" for _ in [0] if kind.zero)] if not base else []
    if kind.sparsity and kind.sparsity.of_four:
        suffixes.append("s24")
    elif kind.sparsity:
        index = f"i{kind.sparsity.index_bits}" if kind.sparsity.index_bits else ""
        suffixes.append(f"d{int(kind.sparsity.kept * 100)}{index}")
    return "-".join([base or kind.element, *suffixes])


def _show_scales(s: Scales) -> str:
    if s.rows == 1:
        return f"g{s.cols}" if s.cols else "c"
    return f"b{s.rows}x{s.cols}" if s.rows else "t"


# ---- bits --------------------------------------------------------------------------------------


def element_bits(dtype: str) -> int:
    """Bits of one element as a multiplier sees it: without scales and sparsity."""
    return parse_dtype(dtype).number.bits


def bits(dtype: str, span: Span | None = None) -> float:
    """Bits per element with scales, zero points and indices, in a tensor that nothing cuts raggedly."""
    kind = parse_dtype(dtype, span)
    zero = kind.number.bits if kind.zero else 0
    each = sum(
        (ELEMENTS[s.dtype].bits + zero) / (s.rows * s.cols) for s in kind.scales if s.rows is not None and s.cols
    )
    if kind.sparsity is None:
        return kind.number.bits + each
    index = kind.sparsity.index_bits * float(kind.sparsity.kept) or 1.0
    return kind.number.bits * float(kind.sparsity.kept) + index + each


def stored_bits(dtype: str, shape: tuple[int, ...]) -> int:
    """Bits of a whole tensor: kept elements and their indices, every scale and zero point of ragged rows too."""
    kind, cols = parse_dtype(dtype), shape[-1] if shape else 1
    rows, width = prod(shape[:-1]), kind.number.bits
    body = rows * cols * width
    if kind.sparsity:
        kept = kind.sparsity.stored(rows, cols)
        body = kept * width + (kept * kind.sparsity.index_bits or rows * cols)
    zero = width if kind.zero else 0
    return body + sum(s.count(rows, cols) * (ELEMENTS[s.dtype].bits + zero) for s in kind.scales)


# ---- roles -------------------------------------------------------------------------------------

_BY_WIDTH = {32: "fp32", 16: "bf16", 8: "int8", 4: "int4", 2: "int2"}
_TEXT = re.compile(r"w(\d+)a(\d+)(?:kv(\d+))?(?:acc(\d+))?", re.ASCII)
_ROLES = {"w": "weight", "a": "activation", "kv": "kv", "acc": "accumulate"}


@dataclass(frozen=True)
class DtypeMap:
    """Types by role: weights, activations, KV cache; indices are int32, accumulators `accumulate`."""

    weight: str = "bf16"
    activation: str = "bf16"
    kv: str = "bf16"
    accumulate: str = "fp32"

    def of(self, role: str | None) -> str:
        """The type of a value of this role (`w kv int f32 act`, None for an activation)."""
        match role:
            case "w":
                return self.weight
            case "kv":
                return self.kv
            case "int":
                return "int32"
            case "f32":
                return "fp32"
            case _:
                return self.activation


def parse_dtypes(text: str) -> DtypeMap:
    """`w4a16kv8`, `w8a8` (KV as the activations), `w8a8kv8acc16`; `w=int4-g128,a=bf16,kv=fp8e4m3,acc=fp32`, where
    weights and activations are bf16 unless said; or one type name for all, such as `bf16`.

    Accumulation is fp32 for floating-point activations and int32 for integer ones, unless `acc` says otherwise.
    Raises Diag `unknown-dtype`.
    """
    if "=" in text:
        return _by_role(text)
    match = _TEXT.fullmatch(text)
    if match:
        return _by_width(text, match)
    if text.split("-")[0] in NAMES:
        parse_dtype(text)
        return DtypeMap(text, text, text, _accumulator(text))
    hint = f"write `w4a8kv4`, `w=int4-g128,a=bf16,kv=fp8e4m3`, or one of {', '.join(NAMES)}"
    raise Diag("unknown-dtype", f"unknown dtype `{text}`", hint=hint)


def _by_role(text: str) -> DtypeMap:
    given: dict[str, str] = {}
    for part in text.split(","):
        role, _, name = part.partition("=")
        if role not in _ROLES:
            raise Diag("unknown-dtype", f"unknown role `{role}` in `{text}`", hint=nearest(role, _ROLES))
        if role in given:
            raise Diag("unknown-dtype", f"`{role}` is given twice in `{text}`")
        parse_dtype(name)
        given[role] = name
    if "acc" in given and (given["acc"] not in ELEMENTS or element_bits(given["acc"]) < 16):
        raise Diag("unknown-dtype", f"`{given['acc']}` is no accumulator", hint="such as fp32, int32, fp16")
    activation = given.get("a", "bf16")
    kept = {"kv": activation, "acc": _accumulator(activation)} | given
    return DtypeMap(**{_ROLES[role]: name for role, name in kept.items()})


def _by_width(text: str, match: re.Match[str]) -> DtypeMap:
    widths = [int(w) if w else int(match[2]) for w in match.groups()[:3]]
    for width in widths:
        if width not in _BY_WIDTH:
            raise Diag(
                "unknown-dtype", f"no type of {width} bits in `{text}`", hint=f"known widths: {sorted(_BY_WIDTH)}"
            )
    weight, activation, kv = (_BY_WIDTH[w] for w in widths)
    if match[4] and int(match[4]) not in (16, 32):
        raise Diag("unknown-dtype", f"no accumulator of {match[4]} bits in `{text}`", hint="known widths: 16, 32")
    return DtypeMap(weight, activation, kv, _accumulator(activation, int(match[4] or 32)))


def _accumulator(dtype: str, width: int = 32) -> str:
    return f"int{width}" if parse_dtype(dtype).number.integer else f"fp{width}"
