"""Model families and configurations: from a name or a `config.json` to bound parameters.

A family is declared in `ir/models/*.dfm` and says by `architectures` which configurations it reads. A
configuration is only data: no network, no code. Fields that a family does not know are left alone
unless it rejects them; fields that it needs are checked where they are used.
"""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

from dfcompiler import content
from dfcompiler.diagnostics import Diag, Note, Source, Span, unknown
from dfcompiler.masks import FUNCTIONS, applied
from dfcompiler.text import tree as t
from dfcompiler.text.parse import parse_items, read_source

LARGEST = 1 << 40  # no field of a real configuration is larger; products of a few stay within int64 ranges

Number: TypeAlias = int | float
Resolve: TypeAlias = Callable[[t.Expr], Number]  # the value of an expression's part


@dataclass(frozen=True)
class Library:
    """Every declaration in reach: operators, families, blocks."""

    ops: Mapping[str, t.OpDecl]
    models: Mapping[str, t.ModelDecl]
    blocks: Mapping[str, t.BlockDecl]


@dataclass(frozen=True)
class Model:
    """A family with its parameters bound."""

    name: str
    family: t.ModelDecl
    params: Mapping[str, Number]
    library: Library = field(compare=False, repr=False)


def library() -> Library:
    """The declarations of `ir/ops` and `ir/models`, ours and the plug-ins'."""
    return _library(tuple(content.files("ir", ".dfir", "ops")), tuple(content.files("ir", ".dfm", "models")))


@cache
def _library(ops: tuple[Path, ...], models: tuple[Path, ...]) -> Library:
    return extend(Library({}, {}, {}), (i for path in (*ops, *models) for i in parse_items(content_source(path))))


def content_source(path: Path) -> Source:
    """A file of a content folder, named as in the project (`ir/ops/dense.dfir`), wherever that is installed."""
    return Source("/".join(path.parts[-3:]), read_source(path).text)


def extend(base: Library, items: Iterator[t.Item]) -> Library:
    """The library with further declarations; raises Diag `duplicate-name` naming both places."""
    found: dict[str, dict[str, Any]] = {"op": dict(base.ops), "model": dict(base.models), "block": dict(base.blocks)}
    for item in items:
        kind = {t.OpDecl: "op", t.ModelDecl: "model", t.BlockDecl: "block"}.get(type(item))
        if kind is None:
            continue
        names = found[kind]
        if item.name in names and names[item.name] != item:
            notes = [Note("first declared here", names[item.name].span)]
            raise Diag("duplicate-name", f"{kind} `{item.name}` is declared twice", item.span, notes=notes)
        names[item.name] = item
    return Library(found["op"], found["model"], found["block"])


def model_names() -> list[str]:
    """The configurations that ship by name, and the plug-ins'."""
    return sorted({p.stem for p in content.files("ir", ".json", "configs")})


def load_model(spec: str) -> Model:
    """A model from a name, a `config.json`, a folder that holds one, or a `.dfm` file with its sizes inside.

    Raises Diag `unknown-model`, `bad-config`, `unknown-family` and what the family itself requires.
    """
    path = Path(spec)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise Diag("unknown-model", f"the folder `{spec}` holds no config.json")
        path = path / "config.json"
    if path.is_file():
        return _from_dfm(path) if path.suffix == ".dfm" else _from_config(_title(path), read_source(path))
    shipped = content.find("ir/configs", f"{spec}.json")
    if shipped is None or "/" in spec:
        if "/" in spec or path.suffix in (".json", ".dfm"):
            raise Diag("unknown-model", f"there is no file `{spec}`")
        raise unknown("model", spec, model_names())
    return _from_config(spec, content_source(shipped))


def _from_dfm(path: Path) -> Model:
    items = parse_items(read_source(path))
    whole = extend(library(), iter(items))
    models = [i for i in items if isinstance(i, t.ModelDecl)]
    if len(models) != 1:
        raise Diag("bad-config", f"`{path}` declares {len(models)} models, wants one")
    return Model(path.stem, models[0], _Reader(Source(str(path), ""), {}, models[0]).params(), whole)


def _title(path: Path) -> str:
    """A name for a configuration file: its folder's where it is called config.json, else its own."""
    return path.resolve().parent.name if path.stem == "config" else path.stem


def _from_config(name: str, source: Source) -> Model:
    config = read_config(source)
    lib = library()
    family = _family(config, source, lib)
    return Model(name, family, _Reader(source, config, family).params(), lib)


def read_config(source: Source) -> Mapping[str, Any]:
    """The JSON object of a source; raises Diag `bad-config` at the place where it breaks."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen = dict(pairs)
        if len(seen) != len(pairs):
            twice = next(k for i, (k, _) in enumerate(pairs) if k in [q for q, _ in pairs[:i]])
            raise Diag("bad-config", f"the field `{twice}` is given twice", _place(source, twice))
        return seen

    try:
        config = json.loads(source.text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise Diag(
            "bad-config", f"this is no JSON: {error.msg}", Span(source, error.lineno, error.colno, error.colno + 1)
        ) from None
    except (RecursionError, ValueError):
        raise Diag(
            "bad-config", "this JSON is nested too deeply or has a number that is too long", Span(source, 1, 1, 2)
        ) from None
    if not isinstance(config, dict):
        raise Diag("bad-config", "a configuration is a JSON object", Span(source, 1, 1, 2))
    return config


def _family(config: Mapping[str, Any], source: Source, lib: Library) -> t.ModelDecl:
    known = {a: m for m in lib.models.values() for a in m.architectures}
    named = config.get("architectures")
    if not isinstance(named, list) or not named or not all(isinstance(a, str) for a in named):
        raise Diag(
            "bad-config",
            "`architectures` must list at least one name",
            _place(source, "architectures"),
            hint=f"known: {', '.join(sorted(known))}",
        )
    for name in named:
        if name in known:
            return known[name]
    raise unknown("family", named[0], known, _place(source, "architectures"))


def _place(source: Source, key: str) -> Span:
    """Where a field stands in the text of a configuration; its first line if it is missing."""
    for number, line in enumerate(source.text.splitlines(), 1):
        match = re.search(rf'"{re.escape(key)}"\s*:', line)
        if match:
            return Span(source, number, match.start() + 1, match.start() + len(key) + 3)
    return Span(source, 1, 1, 2)


class _Reader:
    """Binds the parameters of a family from a configuration, in the order of the text."""

    def __init__(self, source: Source, config: Mapping[str, Any], family: t.ModelDecl) -> None:
        self.source, self.config, self.family = source, config, family
        self.bound: dict[str, Number] = {}

    def params(self) -> Mapping[str, Number]:
        for s in self.family.body:
            match s:
                case t.MParam():
                    self.bound[s.name] = self._param(s)
                case t.Require():
                    self._require(s)
                case t.Reject(names):
                    for name in names:
                        if self.config.get(name) is not None:
                            message = f"the family `{self.family.name}` cannot express `{name}`"
                            raise Diag(
                                "bad-config", message, _place(self.source, name), notes=[Note("rejected here", s.span)]
                            )
        return self.bound

    def _param(self, s: t.MParam) -> Number:
        missing = [r for r in _refs(s.expr) if r not in self.bound and self.config.get(r) is None]
        if not missing:
            return self.value(s.expr)
        if s.default is None:
            raise Diag(
                "bad-config",
                f"the field `{missing[0]}` is missing",
                Span(self.source, 1, 1, 2),
                notes=[Note("needed here", s.span)],
            )
        return self.value(s.default)

    def _require(self, s: t.Require) -> None:
        if holds(s.rel, self.value):
            return
        fields = [f for side in (s.rel.a, s.rel.b) for p in _refs(side) for f in self._fields(p)]
        at = next((_place(self.source, f) for f in fields if f in self.config), s.span)
        given = ", ".join(
            f"{p} = {self.bound[p]:g}" for side in (s.rel.a, s.rel.b) for p in _refs(side) if p in self.bound
        )
        raise Diag("bad-config", f"{s.message} ({given})", at, notes=[Note("required here", s.span)])

    def _fields(self, name: str) -> list[str]:
        param = next((s for s in self.family.body if isinstance(s, t.MParam) and s.name == name), None)
        return _refs(param.expr) if param else []

    def value(self, e: t.Expr) -> Number:
        match e:
            case t.Ref(name) if name in self.bound:
                return self.bound[name]
            case t.Ref(name):
                return self._field(name, e.span)
            case _:
                return number(e, self.value)

    def _field(self, name: str, span: Span | None) -> Number:
        value = self.config.get(name)
        if isinstance(value, bool):
            return int(value)
        if not isinstance(value, int | float) or (isinstance(value, float) and not math.isfinite(value)):
            raise Diag(
                "bad-config",
                f"the field `{name}` must be a number, not {json.dumps(value)[:40]}",
                _place(self.source, name),
                notes=[Note("read here", span)],
            )
        if abs(value) > LARGEST:
            raise Diag("bad-config", f"the field `{name}` is absurdly large: {value:.3g}", _place(self.source, name))
        return int(value) if isinstance(value, float) and value.is_integer() and value > 1 else value


def _refs(e: t.Expr) -> list[str]:
    match e:
        case t.Ref(name):
            return [name]
        case t.Bin(_, a, b):
            return [*_refs(a), *_refs(b)]
        case t.Neg(a):
            return _refs(a)
        case t.Call(_, args):
            return [n for a in args for n in _refs(a)]
        case _:
            return []


_ARITHMETIC: Mapping[str, Callable[[Number, Number], Number]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
}


def number(e: t.Expr, value: Resolve) -> Number:
    """Evaluate arithmetic of a model's text; `value(expr)` resolves what is below."""
    match e:
        case t.Num(v):
            return v
        case t.Neg(a):
            return -value(a)
        case t.Bin(op, a, b):
            x, y = value(a), value(b)
            if op in ("/", "//", "%") and y == 0:
                raise Diag("bad-config", "division by zero", e.span)
            return _ARITHMETIC[op](x, y)
        case t.Call(fn, args) if fn in FUNCTIONS:
            return float(applied(fn, *(value(a) for a in args)))
        case _:
            raise Diag("bad-expression", "this is no arithmetic on parameters", getattr(e, "span", None))


def holds(rel: t.Rel, value: Resolve) -> bool:
    """Whether a relation between parameters is true."""
    a, b = value(rel.a), value(rel.b)
    return bool({"<=": a <= b, ">=": a >= b, "==": a == b, "<": a < b, ">": a > b}[rel.op])
