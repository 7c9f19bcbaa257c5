"""Which fields of a configuration a family knows: what it does not know is an error, not a guess.

A field that is null, false, zero or empty switches nothing on and may be unknown.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from dfcompiler.diagnostics import Diag, Note
from dfcompiler.parameters import Config
from dfcompiler.text import tree as t

Path: TypeAlias = tuple[str, ...]

# What the reader of configurations itself understands.
READ = ("architectures", "quantization_config")


def unknown_fields(
    family: t.ModelDecl, blocks: Mapping[str, t.BlockDecl], configs: Mapping[str, t.ConfigDecl], config: Config
) -> None:
    """Raise Diag `unknown-field` for fields that say something and that the family neither reads nor ignores."""
    known = _Known(blocks, configs)
    known.body(family.body)
    inner = config.inner()
    outer = {k: v for k, v in config.fields.items() if k != config.inside} if inner is not config.fields else {}
    strange = list(dict.fromkeys(p for part in (inner, outer) for p in known.unknown((), part)))
    if not strange:
        return
    first, rest = strange[0], strange[1:]
    others = f" nor {', '.join('`' + '.'.join(p) + '`' for p in rest)}" if rest else ""
    raise Diag(
        "unknown-field",
        f"the family `{family.name}` does not know the field `{'.'.join(first)}`{others}",
        config.place(first[-1]),
        notes=[Note("the family is declared here", family.span)],
        hint=f"{meant(first[-1], known.names())}where it changes nothing in a step, let the family `ignore` it",
    )


def meant(name: str, known: Iterable[str]) -> str:
    """`did you mean ...? ` where a known name is close."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean `{close[0]}`? " if close else ""


class _Known:
    """The fields that a family's text names, also through blocks, shared configs and parameters."""

    def __init__(self, blocks: Mapping[str, t.BlockDecl], configs: Mapping[str, t.ConfigDecl]) -> None:
        self.blocks, self.configs = blocks, configs
        self.read: set[Path] = {(name,) for name in READ}
        self.ignored: set[Path] = set()
        self.alias: dict[str, set[Path]] = {}  # parameters that stand for a field
        self.seen: set[str] = set()

    def names(self) -> list[str]:
        return sorted({p[-1] for p in self.read | self.ignored} - set(self.alias))

    # ---- what the text names

    def body(self, stmts: Iterable[t.MStmt]) -> None:
        for s in stmts:
            self.statement(s)

    def statement(self, s: t.MStmt) -> None:
        match s:
            case t.MParam(name, choices):
                self.expressions(choices)
                self.alias.setdefault(name, set()).update(p for c in choices for p in self.paths(c))
            case t.Require(clause):
                self.expressions(side for rel in clause for side in (rel.a, rel.b))
            case t.Reject(fields):
                self.ignored |= {p for e in fields for p in self.paths(e)}  # where it is on, `reject` has spoken
            case t.Ignore(fields):
                self.ignored |= {p for e in fields for p in self.paths(e)}
            case t.Read(name) if name in self.configs:
                self.body(self.configs[name].body)
            case t.TensorDecl():
                self.expressions(d for d in s.type.dims if not isinstance(d, t.Pack | t.DeviceDim))
            case t.NodeStmt():
                self.expressions(o.value for o in s.opts)
                for o in s.opts:
                    self.alias.setdefault(o.name, set()).update(self.paths(o.value))
                if s.op in self.blocks and s.op not in self.seen:
                    self.seen.add(s.op)
                    self.body(self.blocks[s.op].body)
            case t.Repeat(count, _, inner):
                self.expressions([count])
                self.body(inner)
            case t.Each(_, _, inner):
                self.body(inner)
            case t.Cond(clauses, inner, orelse):
                self.expressions(side for clause in clauses for rel in clause for side in (rel.a, rel.b))
                self.body((*inner, *orelse))

    def expressions(self, found: Iterable[t.Expr]) -> None:
        for e in found:
            self.read |= set(self.paths(e))
            for part in _parts(e):
                self.expressions([part])

    def paths(self, e: t.Expr) -> Iterator[Path]:
        """The fields that an expression may stand for; none where it computes."""
        match e:
            case t.Ref(name) | t.Access(name, _):
                yield (name,)
                yield from self.alias.get(name, ())
            case t.Field(base, name):
                for p in self.paths(base):
                    yield (*p, name)
            case t.Entry(base, _):
                yield from self.paths(base)

    # ---- what the configuration has

    def unknown(self, above: Path, fields: Mapping[str, Any]) -> Iterator[Path]:
        for name, value in fields.items():
            path = (*above, name)
            if not _says(value) or path in self.ignored:
                continue
            inner = [x for x in value if isinstance(x, dict)] if isinstance(value, list) else [value]
            deeper = any(p[: len(path)] == path and len(p) > len(path) for p in self.read | self.ignored)
            if deeper and inner and all(isinstance(x, dict) for x in inner):
                for x in inner:
                    yield from self.unknown(path, x)
            elif path not in self.read:
                yield path


def _parts(e: t.Expr) -> Sequence[t.Expr]:
    match e:
        case t.Access(_, subs):
            return subs
        case t.Bin(_, a, b):
            return (a, b)
        case t.Neg(a):
            return (a,)
        case t.Call(_, args):
            return args
        case t.Field(base, _):
            return _parts(base)
        case t.Entry(base, index):
            return (index, *_parts(base))
        case _:
            return ()


def _says(value: Any) -> bool:
    """Whether a field switches anything on, at any depth."""
    if isinstance(value, dict):
        return any(_says(v) for v in value.values())
    if isinstance(value, list):
        return any(_says(v) for v in value)
    return bool(value)
