"""Tree to text: the printer. `parse_items(show(x))` gives `x` again, for every tree the grammar can say.

What it cannot say: a negative `Num` (that is `Neg`), and names that are no names.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import singledispatch

from dfcompiler.text import tree as t
from dfcompiler.text.show_expressions import braced, comma, quoted, show_clause, show_expr, show_word

WIDTH = 110
INDENT = "  "


def show(node: t.Item) -> str:
    """The text of an item, ending in a newline."""
    return "\n".join(lines(node)) + "\n"


def indented(nodes: Iterable[object]) -> list[str]:
    """The lines of nodes, one level further in."""
    return [INDENT + line for node in nodes for line in lines(node)]


def block(head: str, body: Iterable[object]) -> list[str]:
    """A head and its body in braces."""
    return [f"{head} {{", *indented(body), "}"]


@singledispatch
def lines(node: object) -> list[str]:
    """The lines of a statement or an item, without indentation."""
    raise TypeError(f"{type(node).__name__} has no text")


# ---- operators


@lines.register
def _(op: t.OpDecl) -> list[str]:
    params, results = comma(map(show_param, op.params)), comma(map(show_param, op.results))
    results = f"({results}) same as {op.same}" if op.same else f"({results})"
    whole = f"op {op.name}({params}) -> {results}"
    if len(whole) <= WIDTH:
        return block(whole, op.body)
    return [*wrap(f"op {op.name}(", op.params, ")"), *block(f"    -> {results}", op.body)]


def wrap(head: str, params: Iterable[t.Param], tail: str) -> list[str]:
    """Parameters on as few lines as the width allows, aligned behind the bracket that `head` ends in."""
    rows = [head]
    for text in map(show_param, params):
        if len(rows[-1]) + len(text) > WIDTH and rows[-1].strip() != head.strip():
            rows.append(" " * len(head))
        rows[-1] += text + ", "
    return [*(row.rstrip() for row in rows[:-1]), rows[-1].removesuffix(", ") + tail]


def show_param(p: t.Param) -> str:
    """An operand: `inout cache: kv [b, t, *h]`."""
    return f"{'inout ' if p.inout else ''}{p.name}: {show_type(p.type)}"


def show_type(x: t.TypeExpr) -> str:
    """A type: `int [*t, j] in e distinct j`."""
    role = f"{x.role} " if x.role else ""
    distinct = f" distinct {x.within.distinct}" if x.within and x.within.distinct else ""
    skew = f" skew {x.within.skew}" if x.within and x.within.skew else ""
    within = f" in {x.within.name}{distinct}{skew}" if x.within else ""
    return f"{role}[{comma(map(show_expr, x.dims))}]{within}"


@lines.register
def _(s: t.Attr) -> list[str]:
    dims = f"[{comma(s.dims)}]" if s.dims else ""
    return [f"attr {s.name}{dims}" + (f" = {show_expr(s.default)}" if s.default else "")]


@lines.register
def _(s: t.DimDef) -> list[str]:
    return [f"dim {s.name} = {show_expr(s.expr)}"]


@lines.register
def _(s: t.Where) -> list[str]:
    return ["where " + comma(map(show_clause, s.clauses))]


@lines.register
def _(s: t.Let) -> list[str]:
    reduce = f"{s.reduce.fn}({comma(map(show_expr, s.reduce.indices))}) " if s.reduce else ""
    return [f"{comma(map(show_expr, s.targets))} = {reduce}{show_expr(s.expr)}"]


@lines.register
def _(s: t.Scan) -> list[str]:
    return block(f"scan {s.index}, {s.state} from {s.init}", s.body)


# ---- model families


@lines.register
def _(m: t.ModelDecl) -> list[str]:
    names = f" for {comma(map(show_reader, m.readers))}" if m.readers else ""
    return block(f"model {m.name}{names}", m.body)


def show_reader(r: t.Reader) -> str:
    """An architecture: `"Qwen3VLForConditionalGeneration" in text_config`."""
    return quoted(r.name) + (f" in {r.inside}" if r.inside else "")


@lines.register
def _(b: t.BlockDecl) -> list[str]:
    return block(f"block {b.name}({comma(b.params)}) -> {comma(b.results)}", b.body)


@lines.register
def _(c: t.ConfigDecl) -> list[str]:
    return block(f"config {c.name}", c.body)


@lines.register
def _(s: t.MParam) -> list[str]:
    return [f"param {s.name} = {' else '.join(map(show_expr, s.choices))}"]


@lines.register
def _(s: t.Require) -> list[str]:
    return [f"require {show_clause(s.clause)}, {quoted(s.message)}"]


@lines.register
def _(s: t.Reject) -> list[str]:
    return [f"reject {comma(map(show_expr, s.fields))}"]


@lines.register
def _(s: t.Ignore) -> list[str]:
    return [f"ignore {comma(map(show_expr, s.fields))}"]


@lines.register
def _(s: t.Read) -> list[str]:
    return [f"read {s.name}"]


@lines.register
def _(s: t.TensorDecl) -> list[str]:
    return [f"{s.kind} {s.name}: {show_type(s.type)}" + (f" as {quoted(s.module)}" if s.module is not None else "")]


@lines.register
def _(s: t.NodeStmt) -> list[str]:
    opts = [f"{o.name} = {show_expr(o.value)}" for o in s.opts]
    return [f"{comma(s.outs)} = {s.op}({comma(a.name for a in s.args)}){braced(opts)}"]


@lines.register
def _(s: t.Repeat) -> list[str]:
    return block(f"repeat {show_expr(s.count)}" + (f" as {s.index}" if s.index else ""), s.body)


@lines.register
def _(s: t.Each) -> list[str]:
    return block(f"each {comma(s.names)} -> {comma(s.outs)}", s.body)


@lines.register
def _(s: t.Cond) -> list[str]:
    rows = block(f"if {comma(map(show_clause, s.clauses))}", s.body)
    match s.orelse:
        case ():
            return rows
        case (t.Cond() as other,):
            first, *rest = lines(other)
            return [*rows[:-1], f"}} else {first}", *rest]
        case _:
            return [*rows[:-1], *block("} else", s.orelse)]


@lines.register
def _(s: t.Outputs) -> list[str]:
    return [f"output {comma(s.names)}"]


# ---- graphs


@lines.register
def _(g: t.GraphDecl) -> list[str]:
    return block(f"graph {quoted(g.name)}", g.body)


@lines.register
def _(s: t.GTensor) -> list[str]:
    return [f"{s.kind} {s.name}: {show_gtype(s.type)}"]


@lines.register
def _(s: t.GNode) -> list[str]:
    results = comma(f"{r.name}: {show_gtype(r.type)}" for r in s.results)
    over = " over " + comma(f"{o.index} = {' '.join(o.axes)}" for o in s.over) if s.over else ""
    return [f"{results} = {s.op}({comma(a.name for a in s.args)}){over}{braced(map(show_setting, s.attrs))}"]


@lines.register
def _(s: t.GMesh) -> list[str]:
    return [f"mesh{braced(map(show_setting, s.axes))}"]


@lines.register
def _(s: t.GRepeat) -> list[str]:
    results = f"{comma(s.results)} = " if s.results else ""
    carries = comma(f"{c.name} = {c.init}" for c in s.carries)
    *rows, end = block(f"{results}repeat {comma(map(str, s.runs))} ({carries})", s.body)
    last = block(f"{end} between", s.between) if s.between else [end]
    return [*rows, f"{INDENT}yield {comma(s.yields)}".rstrip(), *last]


@lines.register
def _(s: t.GOffer) -> list[str]:
    return [f"offer {s.by}: {comma(s.names)}"]


@lines.register
def _(s: t.GPlace) -> list[str]:
    return [f"place {comma(s.names)} on {s.unit}{braced(map(show_setting, s.settings))}"]


def show_gtype(x: t.GType) -> str:
    """A concrete type: `int32 [1, 8] in 128 distinct skew 0.5`."""
    distinct = " distinct" if x.distinct else ""
    skew = f" skew {x.skew!r}" if x.skew else ""
    within = "" if x.within is None else f" in {x.within}{distinct}{skew}"
    return f"{x.dtype} [{comma(map(str, x.shape))}]{within}"


def show_setting(s: t.Setting) -> str:
    """A setting of a node or a placement."""
    return f"{s.name} = {show_value(s.value)}"


def show_value(value: t.Value) -> str:
    """A value of a graph; a text that is not a plain word is quoted."""
    match value:
        case tuple():
            return f"[{comma(map(show_value, value))}]"
        case str():
            return show_word(value)
    return repr(value)


# ---- chips


@lines.register
def _(chip: t.ChipDecl) -> list[str]:
    return block(f"chip {chip.name}", [*chip.settings, *chip.parts, *chip.groups, *chip.connects])


@lines.register
def _(s: t.CSetting) -> list[str]:
    return [f"{s.name} = {show_cvalue(s.value)}"]


@lines.register
def _(p: t.CPart) -> list[str]:
    head = f"part {p.name}: {p.template}"
    whole = head + braced(f"{s.name} = {show_cvalue(s.value)}" for s in p.settings)
    return [whole] if len(whole) <= WIDTH else block(head, p.settings)


@lines.register
def _(g: t.CGroup) -> list[str]:
    return block(f"group {g.name} x {g.count}", g.parts)


@lines.register
def _(s: t.CConnect) -> list[str]:
    return ["connect " + " - ".join(n.name for n in s.names)]


def show_cvalue(value: t.CValue) -> str:
    """A value of a chip, as it was written: `1.5 GHz`, `64`, `weight-stationary`."""
    match value:
        case t.Quantity(number, unit):
            return f"{number!r} {unit}".rstrip()
    return show_word(value)


# ---- spaces of designs


@lines.register
def _(s: t.SpaceDecl) -> list[str]:
    return block(f"space {s.name}", s.body)


@lines.register
def _(s: t.SPool) -> list[str]:
    return block(f"pool {comma(s.names)}" + (f" on {show_word(s.chip)}" if s.chip else ""), s.body)


@lines.register
def _(s: t.SAxis) -> list[str]:
    if isinstance(s.values, t.SRange):
        return [f"axis {s.name} = {show_cvalue(s.values.first)} .. {show_cvalue(s.values.last)}"]
    return [f"axis {s.name} = {comma(map(show_cvalue, s.values))}"]


@lines.register
def _(s: t.SSet) -> list[str]:
    return [f"set {s.path} = {show_expr(s.value)}"]


@lines.register
def _(s: t.SDrop) -> list[str]:
    return [f"drop {s.part} where {comma(map(show_clause, s.where))}"]


@lines.register
def _(s: t.SLoad) -> list[str]:
    options = braced(f"{o.name} = {show_expr(o.value)}" for o in s.options)
    return [f"load {s.name}: {show_word(s.model)}{options}"]


@lines.register
def _(s: t.SLet) -> list[str]:
    return [f"let {s.name} = {show_expr(s.value)}"]


@lines.register
def _(s: t.SLimit) -> list[str]:
    return [f"limit {show_clause((s.rel,))}"]


@lines.register
def _(s: t.SGoal) -> list[str]:
    return [f"{s.sense} {s.name} = {show_expr(s.value)}"]
