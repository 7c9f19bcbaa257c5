"""Number types and the map from roles to types that a model runs with.

Bits per element include nothing but the element: scales of grouped formats are counted by the type
that carries the group.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from dfcompiler.diagnostics import Diag, Span, unknown

# Element widths in bits. OCP MX (v1.0): mx formats share one 8-bit scale per 32 elements, so 0.25 bit each.
BITS: dict[str, float] = {
    "fp32": 32,
    "tf32": 32,
    "bf16": 16,
    "fp16": 16,
    "fp8e4m3": 8,
    "fp8e5m2": 8,
    "int16": 16,
    "int8": 8,
    "int4": 4,
    "int2": 2,
    "int32": 32,
    "int64": 64,
    "mxfp8": 8.25,
    "mxfp6": 6.25,
    "mxfp4": 4.25,
}

_BY_WIDTH = {32: "fp32", 16: "bf16", 8: "int8", 4: "int4", 2: "int2"}
_TEXT = re.compile(r"w(\d+)a(\d+)(?:kv(\d+))?(?:acc(\d+))?")


def bits(dtype: str, span: Span | None = None) -> float:
    """Bits of one element of `dtype`; an unknown name is an error that lists the known ones."""
    if dtype not in BITS:
        raise unknown("dtype", dtype, BITS, span)
    return BITS[dtype]


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
    """`w16a16kv16`, `w8a8` (KV as the activations), `w8a8kv8acc16`, or one type name for all, such as `bf16`.

    Accumulation is fp32 for floating-point activations and int32 for integer ones, unless `acc16` says 16 bits.
    """
    if text in BITS:
        return DtypeMap(text, text, text, _accumulator(text))
    match = _TEXT.fullmatch(text)
    if not match:
        raise Diag(
            "unknown-dtype",
            f"unknown dtype `{text}`",
            hint=f"write `w4a8kv4` or `w8a8kv8acc16` with widths of {sorted(_BY_WIDTH)}, or one of {', '.join(BITS)}",
        )
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
    return f"int{width}" if dtype.startswith("int") else f"fp{width}"
