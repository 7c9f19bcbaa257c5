"""The rules of the grammar that make spaces of designs."""

from __future__ import annotations

from lark import Token

from dfcompiler.text import tree as t
from dfcompiler.text.build import Builder, strings


class WholeBuilder(Builder):
    """Builds the tree of a source that may hold anything that the language has."""

    def space(self, name: Token, *body: t.SStmt) -> t.SpaceDecl:
        self.foreign.clear()
        self.unique("goal", [s for s in body if isinstance(s, t.SGoal)])
        self.unique("setting", [s for s in body if isinstance(s, t.CSetting)])
        return t.SpaceDecl(str(name), body, span=self.span(name))

    def spool(self, names: tuple[Token, ...], chip: Token | None, *body: t.PStmt) -> t.SPool:
        self.unique("pool", [self.ref(n) for n in names])
        on, where = (None, None) if chip is None else (self.word(chip), self.span(chip))
        return t.SPool(strings(names), on, body, span=self.span(names[0]), chip_span=where)

    def saxis(self, name: Token, values: tuple[t.CValue, ...] | t.SRange) -> t.SAxis:
        return t.SAxis(str(name), values, span=self.span(name))

    def range(self, first: t.Quantity, last: t.Quantity) -> t.SRange:
        return t.SRange(first, last)

    def shipped(self, name: Token) -> Token:
        return name

    def sset(self, path: Token, value: t.Expr) -> t.SSet:
        return t.SSet(str(path), value, span=self.span(path))

    def sdrop(self, part: Token, where: Token, clauses: tuple[tuple[t.Rel, ...], ...]) -> t.SDrop:
        return t.SDrop(str(part), clauses, span=self.span(part))

    def sload(self, name: Token, model: Token, options: tuple[t.Opt, ...] | None) -> t.SLoad:
        self.unique("option", options or ())
        return t.SLoad(str(name), self.word(model), options or (), span=self.span(name), model_span=self.span(model))

    def sdef(self, name: Token, value: t.Expr) -> t.SLet:
        return t.SLet(str(name), value, span=self.span(name))

    def slimit(self, rel: t.Rel) -> t.SLimit:
        return t.SLimit(rel, span=rel.span)

    def sgoal(self, sense: Token, name: Token, value: t.Expr) -> t.SGoal:
        return t.SGoal(str(sense), str(name), value, span=self.span(name))  # type: ignore[arg-type]
