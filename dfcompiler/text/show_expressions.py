"""Expressions, relations and words as text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from dfcompiler.text import tree as t

WORD = re.compile(r"[a-zA-Z_][a-zA-Z_0-9]*(-[a-zA-Z_0-9]+)*")
# How tightly an expression binds: a part that binds less than its place asks for gets parentheses.
SUM, PRODUCT, SIGNED = 1, 2, 3
BINDING = {"+": SUM, "-": SUM, "*": PRODUCT, "/": PRODUCT, "//": PRODUCT, "%": PRODUCT}


def show_expr(e: t.Expr | t.DeviceDim, place: int = SUM) -> str:
    """An expression, in parentheses where it binds less tightly than `place`."""
    match e:
        case t.Num(value):
            return repr(value)
        case t.Ref(name):
            return name
        case t.Ext(name):
            return f"|{name}|"
        case t.Pack(name):
            return f"*{name}"
        case t.DeviceDim(name):
            return f"@{name}"
        case t.Access(name, subs):
            return f"{name}[{comma(map(show_expr, subs))}]"
        case t.Call(fn, args):
            return f"{fn}({comma(map(show_expr, args))})"
        case t.Text(value):
            return quoted(value)
        case t.Field(base, name):
            return f"{show_expr(base)}.{name}"
        case t.Entry(base, index):
            return f"{show_expr(base)}[{show_expr(index)}]"
        case t.Neg(a):
            text, own = f"-{show_expr(a, SIGNED)}", SIGNED
        case t.Bin(op, a, b):
            own = BINDING[op]
            text = f"{show_expr(a, own)} {op} {show_expr(b, own + 1)}"
    return text if own >= place else f"({text})"


def comma(parts: Iterable[str]) -> str:
    """The parts, separated by commas."""
    return ", ".join(parts)


def quoted(text: str) -> str:
    """A quoted text, with the escapes of JSON."""
    return json.dumps(text, ensure_ascii=False)


def show_rel(rel: t.Rel) -> str:
    """A relation: `t <= s + past[b]`."""
    return f"{show_expr(rel.a)} {rel.op} {show_expr(rel.b)}"


def show_clause(clause: Iterable[t.Rel]) -> str:
    """Relations of which one must hold."""
    return " or ".join(map(show_rel, clause))


def show_word(text: str) -> str:
    """A word, quoted where it would read as something else."""
    return text if WORD.fullmatch(text) and text != "inf" else quoted(text)


def braced(parts: Iterable[str]) -> str:
    """Settings behind a call or a part; nothing where there are none."""
    inside = comma(parts)
    return f" {{{inside}}}" if inside else ""
