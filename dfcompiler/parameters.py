"""What a model's text computes from a configuration: numbers, texts, lists, and fields of these.

A name is a parameter that the text has bound, or else a field of the configuration. Truth values are 0 and 1,
and a field that is null is not there.
"""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np

from dfcompiler.diagnostics import Diag, Note, Source, Span, nearest
from dfcompiler.scalars import FUNCTIONS, applied
from dfcompiler.text import tree as t
from dfcompiler.text.show_expressions import show_expr

LARGEST = 1 << 40  # no number of a real configuration that matters is larger; products of a few stay within int64

Number: TypeAlias = int | float
Value: TypeAlias = int | float | str | Sequence[Any] | Mapping[str, Any]


@dataclass(frozen=True)
class Config:
    """The fields of a `config.json`. Those inside the field `inside` come first, then the outer ones."""

    source: Source
    fields: Mapping[str, Any] = field(default_factory=dict)
    inside: str | None = None

    def inner(self) -> Mapping[str, Any]:
        """The fields that come first."""
        inner = self.fields.get(self.inside) if self.inside else None
        return inner if isinstance(inner, Mapping) else self.fields

    def get(self, name: str) -> Value | None:
        """The value of a field, None where it is missing or null."""
        found = self.inner().get(name)
        found = self.fields.get(name) if found is None else found
        return None if found is None else _plain(found)

    def place(self, name: str) -> Span:
        """Where a field stands in the text; the first line where it is missing."""
        after = False
        for number, line in enumerate(self.source.text.splitlines(), 1):
            after = after or not self.inside or f'"{self.inside}"' in line
            match = re.search(rf'"{re.escape(name)}"\s*:', line)
            if match and (after or name not in self.inner()):
                return Span(self.source, number, match.start() + 1, match.start() + len(name) + 3)
        return Span(self.source, 1, 1, 2)


def read_config(source: Source) -> Config:
    """The JSON object of a source; raises Diag `bad-config` at the place where it breaks."""
    empty = Config(source)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen = dict(pairs)
        if len(seen) != len(pairs):
            twice = next(k for i, (k, _) in enumerate(pairs) if k in [q for q, _ in pairs[:i]])
            raise Diag("bad-config", f"the field `{twice}` is given twice", empty.place(twice))
        return seen

    try:
        fields = json.loads(source.text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        at = Span(source, error.lineno, error.colno, error.colno + 1)
        said = error.msg if source.text.strip() else "the file is empty"
        raise Diag("bad-config", f"this is no JSON: {said}", at) from None
    except (RecursionError, ValueError):
        message = "this JSON is nested too deeply or has a number that is too long"
        raise Diag("bad-config", message, Span(source, 1, 1, 2)) from None
    if not isinstance(fields, dict):
        raise Diag("bad-config", "a configuration is a JSON object", Span(source, 1, 1, 2))
    return replace(empty, fields=fields)


class _MissingError(Exception):
    """A name that is neither bound nor a field."""

    def __init__(self, name: str, span: Span | None) -> None:
        self.name, self.span = name, span


@dataclass(frozen=True)
class Names:
    """What names mean: `bound` parameters before fields. `origin` tells from which field a parameter was read."""

    config: Config
    bound: dict[str, Value] = field(default_factory=dict)
    origin: dict[str, str] = field(default_factory=dict)

    def inner(self, **more: Value) -> Names:
        """A scope inside: what is bound there is not seen outside."""
        return Names(self.config, {**self.bound, **more}, self.origin)

    # ---- statements

    def bind(self, s: t.MParam) -> None:
        """Bind a parameter to its first choice whose fields are all there."""
        missing: list[_MissingError] = []
        for choice in s.choices:
            try:
                self.bound[s.name] = self._value(choice)
            except _MissingError as error:
                missing.append(error)
                continue
            read = [n for n in refs(choice) if self.config.get(n) is not None]
            if read:
                self.origin[s.name] = read[0]
            return
        raise self._missing(missing[0].name, s.span)

    def require(self, s: t.Require) -> None:
        """Raise Diag `bad-config` with the text's message where its clause does not hold."""
        try:
            if any(self._holds(rel) for rel in s.clause):
                return
        except _MissingError as error:
            raise self._missing(error.name, s.span) from None
        names = [n for rel in s.clause for side in (rel.a, rel.b) for n in refs(side)]
        origins = [self.origin.get(n, n) for n in names]
        at = next((self.config.place(f) for f in origins if self.config.get(f) is not None), s.span)
        given = ", ".join(f"{n} = {shown(self.bound[n])}" for n in dict.fromkeys(names) if n in self.bound)
        raise Diag(
            "bad-config", f"{s.message} ({given})" if given else s.message, at, notes=[Note("required here", s.span)]
        )

    def reject(self, s: t.Reject, family: str) -> None:
        """Raise Diag `bad-config` where one of the fields is there and says something."""
        for e in s.fields:
            try:
                value = self._value(e)
            except _MissingError:
                continue
            if value or isinstance(value, Mapping):
                name = show_expr(e)
                message = f"the family `{family}` cannot express `{name}`"
                at = self.config.place(name.rpartition(".")[2])
                raise Diag("bad-config", message, at, notes=[Note("rejected here", s.span)])

    # ---- values

    def value(self, e: t.Expr) -> Value:
        """The value of an expression; raises Diag `unknown-name`, `bad-config`, `bad-expression`."""
        try:
            return self._value(e)
        except _MissingError as error:
            known = [*self.bound, *self.config.inner(), *self.config.fields]
            raise Diag(
                "unknown-name", f"unknown name `{error.name}`", error.span, hint=nearest(error.name, known)
            ) from None

    def holds(self, clauses: Iterable[Iterable[t.Rel]]) -> bool:
        """Whether every clause has a relation that is true."""
        try:
            return all(any(self._holds(rel) for rel in clause) for clause in clauses)
        except _MissingError as error:
            raise self._missing(error.name, error.span) from None

    def number(self, e: t.Expr) -> Number:
        """The value of an expression that must be a number."""
        return self._number(e, self.value(e))

    def _value(self, e: t.Expr) -> Value:
        match e:
            case t.Num(value) | t.Text(value):
                return value
            case t.Ref(name):
                return self._name(name, e.span)
            case t.Access(name, (index,)):
                return self._element(name, self._name(name, e.span), index)
            case t.Entry(inside, index):
                return self._element(show_expr(inside), self._value(inside), index)
            case t.Field(base, name):
                whole = self._value(base)
                found = whole.get(name) if isinstance(whole, Mapping) else None
                if found is None:
                    raise _MissingError(show_expr(e), e.span)
                return _plain(found)
            case t.Neg(a):
                return -self._operand(a)
            case t.Bin(op, a, b):
                x, y = self._operand(a), self._operand(b)
                if op in ("/", "//", "%") and y == 0:
                    raise Diag("bad-config", "division by zero", e.span)
                return self._finite(_ARITHMETIC[op](x, y), e)
            case t.Call("len", (a,)):
                return len(self._list(a))
            case t.Call("count", (a, b)):
                wanted = self._value(b)
                return len([x for x in self._list(a) if x == wanted])
            case t.Call(fn, args) if fn in FUNCTIONS:
                with np.errstate(all="ignore"):
                    return self._finite(float(applied(fn, *(self._operand(a) for a in args))), e)
            case _:
                raise Diag("bad-expression", "this is no arithmetic on parameters", getattr(e, "span", None))

    def _name(self, name: str, span: Span | None) -> Value:
        found = self.bound.get(name)
        found = self.config.get(name) if found is None else found
        if found is None:
            raise _MissingError(name, span)
        return found

    def _operand(self, e: t.Expr) -> Number:
        return self._number(e, self._value(e))

    def _number(self, e: t.Expr, value: Value) -> Number:
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST:
            return int(value) if isinstance(value, float) and value.is_integer() and value > 1 else value
        named = next((self.origin.get(n, n) for n in refs(e)), None)
        field_ = named if named is not None and self.config.get(named) is not None else None
        at = self.config.place(field_) if field_ else getattr(e, "span", None)
        notes = [Note("read here", getattr(e, "span", None))] if field_ else []
        what = f"the field `{field_}`" if field_ else f"`{show_expr(e)}`"
        if isinstance(value, bool | str) or not isinstance(value, int | float) or value != value:
            raise Diag("bad-config", f"{what} must be a number, not {shown(value)}", at, notes=notes)
        literal = self.config.get(field_) if field_ else None
        if abs(value) > LARGEST and (abs(value) != math.inf or value == literal):
            raise Diag("bad-config", f"{what} is absurdly large: {_digits(value)}", at, notes=notes)
        return value

    def _finite(self, value: Number, e: t.Expr) -> Number:
        if value != value:
            raise Diag("bad-config", f"`{show_expr(e)}` is no number", getattr(e, "span", None))
        return value

    def _list(self, e: t.Expr) -> Sequence[Any]:
        value = self._value(e)
        if not isinstance(value, Sequence):
            message = f"`{show_expr(e)}` must be a list or a text, not {shown(value)}"
            raise Diag("bad-config", message, getattr(e, "span", None))
        return value

    def _element(self, name: str, whole: Value, index: t.Expr) -> Value:
        field_ = self.origin.get(name, name.rpartition(".")[2])
        if not isinstance(whole, Sequence):
            message = f"`{name}` must be a list or a text, not {shown(whole)}"
            raise Diag("bad-config", message, self.config.place(field_))
        i = self._operand(index)
        if not isinstance(i, int) or not 0 <= i < len(whole):
            notes = [Note("asked for here", getattr(index, "span", None))]
            message = f"`{name}` has {len(whole)} entries, no entry {i}"
            raise Diag("bad-config", message, self.config.place(field_), notes=notes)
        found = whole[i]
        if found is None:
            raise _MissingError(f"{name}[{i}]", getattr(index, "span", None))
        return _plain(found)

    def _holds(self, rel: t.Rel) -> bool:
        a, b = self._value(rel.a), self._value(rel.b)
        match rel.op:
            case "==":
                return bool(a == b)
            case "!=":
                return bool(a != b)
            case "in":
                return a in self._list(rel.b) if not isinstance(b, Mapping) else a in b
            case _:
                return bool(_ORDER[rel.op](self._number(rel.a, a), self._number(rel.b, b)))

    def _missing(self, name: str, span: Span | None) -> Diag:
        at = Span(self.config.source, 1, 1, 2)
        return Diag("bad-config", f"the field `{name}` is missing", at, notes=[Note("needed here", span)])


_ARITHMETIC: Mapping[str, Callable[[Number, Number], Number]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
}
_ORDER: Mapping[str, Callable[[Number, Number], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def refs(e: t.Expr) -> list[str]:
    """The names that an expression starts from, in order."""
    match e:
        case t.Ref(name):
            return [name]
        case t.Access(name, subs):
            return [name, *(n for s in subs for n in refs(s))]
        case t.Field(base, _):
            return refs(base)
        case t.Entry(base, index):
            return [*refs(base), *refs(index)]
        case t.Bin(_, a, b):
            return [*refs(a), *refs(b)]
        case t.Neg(a):
            return refs(a)
        case t.Call(_, args):
            return [n for a in args for n in refs(a)]
        case _:
            return []


def _plain(found: Any) -> Value:
    """A value of JSON: truth values are 0 and 1."""
    value: Value = int(found) if isinstance(found, bool) else found
    return value


def shown(value: Value) -> str:
    """A value as JSON, cut short."""
    if isinstance(value, float):
        return f"{value:g}"
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _digits(value: Number) -> str:
    return f"{value:.3g}" if isinstance(value, float) or value.bit_length() < 1000 else f"2^{value.bit_length()}"
