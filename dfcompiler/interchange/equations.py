"""Operators of ONNX in index notation: for operands of given shapes, the text of an op of ours.

Every shape gets a text of its own, with an index per dimension: what ONNX says by broadcasting, axes and permutations
is written out. Semantics are those of the operator specification (opset 13 and later).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, TypeAlias

Shape: TypeAlias = tuple[int, ...]
Attributes: TypeAlias = Mapping[str, Any]

UNARY = {
    "Abs": "abs(x)", "Cos": "cos(x)", "Erf": "erf(x)", "Exp": "exp(x)", "Log": "log(x)", "Neg": "-x",
    "Reciprocal": "1 / x", "Relu": "maximum(x, 0)", "Sigmoid": "1 / (1 + exp(-x))", "Sin": "sin(x)",
    "Sqrt": "sqrt(x)", "Tanh": "tanh(x)", "Gelu": "x / 2 * (1 + erf(x / sqrt(2)))",
}  # fmt: skip
BINARY = {
    "Add": "a + b", "Div": "a / b", "Max": "maximum(a, b)", "Min": "minimum(a, b)", "Mul": "a * b", "Sub": "a - b",
}  # fmt: skip
POWERS = {2.0: "x * x", 3.0: "x * x * x", 0.5: "sqrt(x)", -1.0: "1 / x", -0.5: "rsqrt(x)"}


class Unwritten(Exception):
    """An operator, or a form of it, that has no text here; the message says which and why."""


@dataclass(frozen=True)
class Operand:
    """An operand: its shape, its role in a signature (`w`, `int` or none), its value where that is one number."""

    shape: Shape
    role: str = ""
    number: float | None = None


@dataclass(frozen=True)
class Equation:
    """The signature's operands and result and the statements of an op; `used` are the numbers of its operands."""

    params: tuple[str, ...]
    result: tuple[str, ...]
    body: tuple[str, ...]
    used: tuple[int, ...]

    def text(self, name: str) -> str:
        """The declaration."""
        lines = "".join(f"  {line}\n" for line in self.body)
        return f"op {name}({', '.join(self.params)}) -> (y: [{', '.join(self.result)}]) {{\n{lines}}}\n"


def equation(kind: str, xs: Sequence[Operand], attrs: Attributes, out: Shape) -> Equation:
    """The text of an operator for these operands; raises Unwritten."""
    if kind in UNARY:
        return _pointwise(xs[:1], out, UNARY[kind], "x")
    if kind in BINARY and len(xs) == 2:
        return _pointwise(xs, out, BINARY[kind], "ab")
    if kind not in WRITTEN:
        raise Unwritten(f"`{kind}` has no text in index notation here")
    return WRITTEN[kind](xs, attrs, out)


def _i(n: int) -> list[str]:
    return [f"i{d}" for d in range(n)]


def _param(name: str, x: Operand, dims: Sequence[str]) -> str:
    return f"{name}: {x.role + ' ' if x.role else ''}[{', '.join(dims)}]"


def _at(name: str, subs: Sequence[str]) -> str:
    return f"{name}[{', '.join(subs)}]"


def _axis(attrs: Attributes, rank: int, default: int = -1) -> int:
    return int(attrs.get("axis", default)) % max(rank, 1)


# ---- point by point ----------------------------------------------------------------------------


def _pointwise(xs: Sequence[Operand], out: Shape, form: str, names: str) -> Equation:
    """`form` of the operands at each point; one number stands in the text, dimensions of one are repeated."""
    index, params, used, said = _i(len(out)), [], [], {}
    for n, (name, x) in enumerate(zip(names, xs, strict=True)):
        if x.number is not None:
            said[name] = f"({x.number!r})" if x.number < 0 else f"{x.number!r}"
            continue
        skipped = len(out) - len(x.shape)
        repeated = [size == 1 and out[skipped + d] > 1 for d, size in enumerate(x.shape)]
        dims = [f"{name}{d}" if again else index[skipped + d] for d, again in enumerate(repeated)]
        said[name] = _at(name, ["0" if again else index[skipped + d] for d, again in enumerate(repeated)])
        params.append(_param(name, x, dims))
        used.append(n)
    if not used:
        raise Unwritten("an operator of numbers alone")
    named = "".join(said.get(c, c) if _alone(form, i) else c for i, c in enumerate(form))
    return Equation(tuple(params), tuple(index), (f"{_at('y', index)} = {named}",), tuple(used))


def _alone(form: str, i: int) -> bool:
    """Whether a letter is an operand rather than part of a function's name."""
    return not (form[i - 1 : i].isalpha() or form[i + 1 : i + 2].isalpha())


def _power(xs: Sequence[Operand], attrs: Attributes, out: Shape) -> Equation:
    power = xs[1].number
    if power not in POWERS:
        raise Unwritten(
            f"`Pow` by {'a tensor' if power is None else power}; by {', '.join(map(str, POWERS))} it has one"
        )
    return _pointwise(xs[:1], out, POWERS[power], "x")


# ---- sums --------------------------------------------------------------------------------------


def _matmul(xs: Sequence[Operand], attrs: Attributes, out: Shape) -> Equation:
    a, b = xs
    if len(a.shape) < 2 or len(b.shape) < 2:
        raise Unwritten("`MatMul` with a vector")
    batch = _i(len(out) - 2)

    def dims(name: str, x: Operand, last: Sequence[str]) -> tuple[list[str], list[str]]:
        own = batch[len(out) - len(x.shape) :]
        again = [s == 1 and out[len(out) - len(x.shape) + d] > 1 for d, s in enumerate(x.shape[:-2])]
        declared = [f"{name}{d}" if r else o for d, (r, o) in enumerate(zip(again, own, strict=True))]
        return [*declared, *last], [*("0" if r else o for r, o in zip(again, own, strict=True)), *last]

    (da, sa), (db, sb) = dims("a", a, ("m", "k")), dims("b", b, ("k", "n"))
    result = [*batch, "m", "n"]
    body = f"{_at('y', result)} = sum(k) {_at('a', sa)} * {_at('b', sb)}"
    return Equation((_param("a", a, da), _param("b", b, db)), tuple(result), (body,), (0, 1))


def _gemm(xs: Sequence[Operand], attrs: Attributes, out: Shape) -> Equation:
    a, b = ["k", "m"] if attrs.get("transA") else ["m", "k"], ["n", "k"] if attrs.get("transB") else ["k", "n"]
    params = [_param("a", xs[0], a), _param("b", xs[1], b)]
    scale = "" if (alpha := attrs.get("alpha", 1.0)) == 1 else f" * {alpha!r}"
    product = f"sum(k) {_at('a', a)} * {_at('b', b)}{scale}"
    if len(xs) < 3:
        return Equation(tuple(params), ("m", "n"), (f"y[m, n] = {product}",), (0, 1))
    if attrs.get("beta", 1.0) != 1 or xs[2].shape != out[-1:]:
        raise Unwritten("`Gemm` whose C is no vector of one addend per column")
    params.append(_param("c", xs[2], ["n"]))
    return Equation(tuple(params), ("m", "n"), (f"s[m, n] = {product}", "y[m, n] = s[m, n] + c[n]"), (0, 1, 2))


def _reduced(how: str, mean: bool = False) -> Callable[[Sequence[Operand], Attributes, Shape], Equation]:
    def write(xs: Sequence[Operand], attrs: Attributes, out: Shape) -> Equation:
        index = _i(rank := len(xs[0].shape))
        over = {int(a) % rank for a in attrs.get("axes", range(rank))}
        kept = [i for d, i in enumerate(index) if d not in over]
        gone = [index[d] for d in sorted(over)]
        share = "".join(f" / |{i}|" for i in gone) if mean else ""
        ones = [f"u{d}" if d in over else i for d, i in enumerate(index)] if len(out) == rank else kept
        body = [f"dim u{d} = 1" for d in sorted(over)] if len(out) == rank else []
        body.append(f"r[{', '.join(kept)}] = {how}({', '.join(gone)}) {_at('x', index)}{share}")
        return Equation(
            (_param("x", xs[0], index),), tuple(ones), (*body, f"{_at('y', ones)} = {_at('r', kept)}"), (0,)
        )

    return write


def _softmax(xs: Sequence[Operand], attrs: Attributes, out: Shape) -> Equation:
    index = _i(len(out))
    axis = _axis(attrs, len(out))
    rest, x = [i for d, i in enumerate(index) if d != axis], _at("x", index)
    body = (
        f"{_at('m', rest)} = max({index[axis]}) {x}",
        f"{_at('e', index)} = exp({x} - {_at('m', rest)})",
        f"{_at('z', rest)} = sum({index[axis]}) {_at('e', index)}",
        f"{_at('y', index)} = {_at('e', index)} / {_at('z', rest)}",
    )
    return Equation((_param("x", xs[0], index),), tuple(index), body, (0,))


def _normalization(centred: bool) -> Callable[[Sequence[Operand], Attributes, Shape], Equation]:
    def write(xs: Sequence[Operand], attrs: Attributes, out: Shape) -> Equation:
        index = _i(len(out))
        if _axis(attrs, len(out)) != len(out) - 1 or any(len(x.shape) != 1 for x in xs[1:]):
            raise Unwritten("a normalisation over more than the last axis")
        rest, last, x = index[:-1], index[-1], _at("x", index)
        names = ("x", "g", "h")[: len(xs)]
        params = [_param("x", xs[0], index), *(_param(n, o, [last]) for n, o in zip(names[1:], xs[1:], strict=True))]
        body = [f"{_at('u', rest)} = sum({last}) {x} / |{last}|"] if centred else []
        apart = f"({x} - {_at('u', rest)})" if centred else x
        body.append(f"{_at('v', rest)} = sum({last}) {apart} * {apart} / |{last}|")
        scaled = f"{apart} * rsqrt({_at('v', rest)} + {float(attrs.get('epsilon', 1e-5))!r})"
        gain, shift = f" * g[{last}]" if len(xs) > 1 else "", f" + h[{last}]" if len(xs) > 2 else ""
        body.append(f"{_at('y', index)} = {scaled}{gain}{shift}")
        return Equation(tuple(params), tuple(index), tuple(body), tuple(range(len(xs))))

    return write


# ---- layout ------------------------------------------------------------------------------------


def _transpose(xs: Sequence[Operand], attrs: Attributes, out: Shape) -> Equation:
    index = _i(len(out))
    order = [int(p) for p in attrs.get("perm", reversed(range(len(out))))]
    result = [index[p] for p in order]
    return Equation((_param("x", xs[0], index),), tuple(result), (f"{_at('y', result)} = {_at('x', index)}",), (0,))


def _reshape(xs: Sequence[Operand], attrs: Attributes, out: Shape) -> Equation:
    """Runs of dimensions that hold the same elements: one becomes several, or several one."""
    index, subs, result, dims = [], [], [], list[str]()
    for n, (left, right) in enumerate(_runs(xs[0].shape, out)):
        old = [f"x{n}_{d}" for d in range(len(left))]
        new = old if len(left) == len(right) == 1 else [f"y{n}_{d}" for d in range(len(right))]
        index += old
        result += new
        if new is old:
            subs += old
        elif len(left) == 1:
            dims += [f"dim {i} = {size}" for i, size in zip(new, right, strict=True)]
            subs.append(_flat(new))
        elif len(right) <= 1:
            dims += [f"dim {i} = {' * '.join(f'|{o}|' for o in old)}" for i in new]
            subs += list(_apart(new[0], old)) if new else ["0"] * len(old)
        else:
            raise Unwritten(f"a reshape of {xs[0].shape} to {out}, which joins and splits at once")
    if not result:
        raise Unwritten("a reshape to a single number")
    return Equation(
        (_param("x", xs[0], index),), tuple(result), (*dims, f"{_at('y', result)} = {_at('x', subs)}"), (0,)
    )


def _runs(old: Shape, new: Shape) -> Iterator[tuple[Shape, Shape]]:
    """Shortest runs of both shapes with equally many elements, in order; ones join the run before."""
    i = j = 0
    while i < len(old) or j < len(new):
        a, b = i + (i < len(old)), j + (j < len(new))
        while prod(old[i:a]) != prod(new[j:b]):
            if prod(old[i:a]) < prod(new[j:b]):
                a += 1
            else:
                b += 1
        yield old[i:a], new[j:b]
        i, j = a, b


def _flat(index: Sequence[str]) -> str:
    """The place in one dimension of an element of several."""
    if not index:
        return "0"
    text = index[0]
    for i in index[1:]:
        text = f"({text}) * |{i}| + {i}" if " " in text else f"{text} * |{i}| + {i}"
    return text


def _apart(flat: str, index: Sequence[str]) -> Iterator[str]:
    """The places in several dimensions of an element of one."""
    for d in range(len(index)):
        inner = " * ".join(f"|{i}|" for i in index[d + 1 :])
        place = f"{flat} // ({inner})" if " " in inner else f"{flat} // {inner}" if inner else flat
        yield place if d == 0 else f"({place}) % |{index[d]}|" if " " in place else f"{place} % |{index[d]}|"


def _slice(xs: Sequence[Operand], attrs: Attributes, out: Shape) -> Equation:
    """Elements `start` and on of one axis."""
    axis, start = int(attrs["axis"]), int(attrs["start"])
    index, result = _i(len(out)), _i(len(out))
    result[axis] = "s"
    subs = [*result]
    subs[axis] = f"s + {start}" if start else "s"
    body = (f"dim s = {out[axis]}", f"{_at('y', result)} = {_at('x', subs)}")
    return Equation((_param("x", xs[0], index),), tuple(result), body, (0,))


def _concat(xs: Sequence[Operand], attrs: Attributes, out: Shape) -> Equation:
    axis, index = _axis(attrs, len(out), 0), _i(len(out))
    own = [[f"c{n}" if d == axis else i for d, i in enumerate(index)] for n in range(len(xs))]
    params = tuple(_param(f"x{n}", x, own[n]) for n, x in enumerate(xs))
    body = [f"dim {index[axis]} = {' + '.join(f'|c{n}|' for n in range(len(xs)))}"]
    for n in range(len(xs)):
        shift = "".join(f" + |c{m}|" for m in range(n))
        target = [f"c{n}{shift}" if d == axis else i for d, i in enumerate(index)]
        body.append(f"{_at('y', target)} = {_at(f'x{n}', own[n])}")
    return Equation(params, tuple(index), tuple(body), tuple(range(len(xs))))


def _gather(xs: Sequence[Operand], attrs: Attributes, out: Shape) -> Equation:
    """Rows of a table."""
    table, ids = xs
    if _axis(attrs, len(table.shape), 0) != 0 or not ids.shape:
        raise Unwritten("`Gather` along another axis than the first, or of one element")
    rows, rest = [f"t{d}" for d in range(len(ids.shape))], _i(len(table.shape) - 1)
    params = (_param("x", table, ["v", *rest]), f"id: int [{', '.join(rows)}] in v")
    body = f"{_at('y', [*rows, *rest])} = {_at('x', [_at('id', rows), *rest])}"
    return Equation(params, (*rows, *rest), (body,), (0, 1))


WRITTEN: dict[str, Callable[[Sequence[Operand], Attributes, Shape], Equation]] = {
    "Concat": _concat,
    "Flatten": _reshape,
    "Gather": _gather,
    "Gemm": _gemm,
    "LayerNormalization": _normalization(centred=True),
    "MatMul": _matmul,
    "Pow": _power,
    "RMSNormalization": _normalization(centred=False),
    "ReduceMax": _reduced("max"),
    "ReduceMean": _reduced("sum", mean=True),
    "ReduceSum": _reduced("sum"),
    "Reshape": _reshape,
    "Slice": _slice,
    "Softmax": _softmax,
    "Squeeze": _reshape,
    "Transpose": _transpose,
    "Unsqueeze": _reshape,
}
