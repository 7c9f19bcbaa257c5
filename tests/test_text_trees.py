"""Round trip of random trees: what the printer writes, the parser reads as the same tree."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfcompiler.diagnostics import Source
from dfcompiler.text import tree as t
from dfcompiler.text.parse import parse_items
from dfcompiler.text.show import show
from dfcompiler.text.show_expressions import show_expr

EXAMPLES = int(os.environ.get("DFC_FUZZ", "100"))

name = st.sampled_from("a b x1 q_k T state weight dim op where yield x on repeat if scan offer".split())
free = st.from_regex(r"[a-zA-Z_][a-zA-Z_0-9]{0,5}", fullmatch=True).filter(lambda s: s not in BUILT_IN) | name
word = st.from_regex(r"[a-zA-Z_][a-zA-Z_0-9]{0,3}(-[a-zA-Z_0-9]{1,3}){0,2}", fullmatch=True).filter(
    lambda s: s != "inf"
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
BUILT_IN = ("inf", "sum", "max", "min", "topk")
count = st.integers(0, 2**63 - 1)
real = st.floats(min_value=0, allow_nan=False)
number = count | real


def tuples(s: st.SearchStrategy, least: int = 0, most: int = 3) -> st.SearchStrategy:
    return st.lists(s, min_size=least, max_size=most).map(tuple)


def named(s: st.SearchStrategy, most: int = 3) -> st.SearchStrategy:
    return st.lists(s, max_size=most, unique_by=lambda n: n.name).map(tuple)


pack = st.builds(t.Pack, free)
leaf = st.builds(t.Num, number) | st.builds(t.Ref, free) | st.builds(t.Ext, free)


def deeper(e: st.SearchStrategy) -> st.SearchStrategy:
    ops = st.sampled_from(["+", "-", "*", "/", "//", "%"])
    return st.one_of(
        st.builds(t.Bin, ops, e, e),
        st.builds(t.Neg, e),
        st.builds(t.Call, free, tuples(e, 1)),
        st.builds(t.Access, free, tuples(e | pack)),
    )


expr = st.recursive(leaf, deeper, max_leaves=8)
rel = st.builds(t.Rel, st.sampled_from(["<=", ">=", "==", "<", ">"]), expr, expr)
within = st.none() | st.builds(t.Within, free, st.none() | free)
dim = expr | pack | st.builds(t.DeviceDim, free)
typ = st.builds(t.TypeExpr, st.sampled_from([None, "w", "kv", "int", "f32", "act"]), tuples(dim), within)
access = st.builds(t.Access, free, tuples(expr | pack))
reduce = st.builds(t.Reduce, st.sampled_from(["sum", "max", "min", "topk"]), tuples(st.builds(t.Ref, free) | pack, 1))
let = st.builds(t.Let, tuples(access, 1), st.none() | reduce, expr)
stmt = st.one_of(
    st.builds(t.Where, tuples(tuples(rel, 1), 1)),
    let,
    st.builds(t.Scan, free, free, free, tuples(let)),
)


@st.composite
def op(draw: st.DrawFn) -> t.OpDecl:
    names = draw(st.lists(free, min_size=6, max_size=6, unique=True))
    a, b, c, d, e, f = names
    params = tuple(t.Param(n, draw(typ), draw(st.booleans())) for n in draw(st.sampled_from([(), (a,), (a, b)])))
    results = tuple(t.Param(n, draw(typ)) for n in draw(st.sampled_from([(), (c,), (c, d)])))
    attr = t.Attr(e, draw(tuples(free)), draw(st.none() | expr))
    body = (attr, t.DimDef(f, draw(expr)), *draw(tuples(stmt)))
    return t.OpDecl(draw(free), params, results, body, draw(st.none() | free))


ref = st.builds(t.Ref, free)
opts = named(st.builds(t.Opt, free, expr))
outs = st.lists(free, min_size=1, max_size=3, unique=True).map(tuple)
little = st.builds(t.Ref, free) | st.builds(t.Num, st.integers(0, 9))
field = st.builds(t.Field, st.builds(t.Ref, free) | st.builds(t.Access, free, st.tuples(little)), free)
entry = st.builds(t.Entry, field, little)
field = field | st.builds(t.Field, field | entry, free)
mexpr = little | field | entry | st.builds(t.Text, texts) | st.builds(t.Bin, st.sampled_from("+-*/"), field, little)
mrel = st.builds(t.Rel, st.sampled_from(["<=", "==", "!=", "in"]), mexpr, mexpr)
fields = tuples(st.builds(t.Ref, free) | field, 1)
readstmt = st.one_of(
    st.builds(t.Require, tuples(mrel, 1), texts),
    st.builds(t.Reject, fields),
    st.builds(t.Ignore, fields),
    st.builds(t.Read, free),
    st.builds(t.MParam, free, tuples(mexpr, 1)),
)
mleaf = st.one_of(
    readstmt,
    st.builds(t.TensorDecl, st.sampled_from(["weight", "state", "input"]), free, typ, st.none() | texts),
    st.builds(t.NodeStmt, outs, free, tuples(ref), opts),
    st.builds(t.Outputs, tuples(free, 1)),
)
mstmt = st.recursive(
    mleaf,
    lambda s: st.one_of(
        st.builds(t.Repeat, expr, st.none() | free, tuples(s)),
        st.builds(t.Each, tuples(free, 1), tuples(free, 1), tuples(s)),
        st.builds(t.Cond, tuples(tuples(mrel, 1), 1), tuples(s), tuples(s)),
    ),
    max_leaves=5,
)
readers = tuples(st.builds(t.Reader, texts, st.none() | free))
model = st.builds(t.ModelDecl, free, readers, tuples(mstmt)).filter(
    lambda m: len({s.name for s in m.body if isinstance(s, t.MParam)}) == sum(isinstance(s, t.MParam) for s in m.body)
)
block = st.builds(t.BlockDecl, free, outs, outs, tuples(mstmt))
shared = st.builds(t.ConfigDecl, free, tuples(readstmt))

signed = number | number.map(lambda x: -x if isinstance(x, int) and x else x)
value = st.recursive(signed | texts | word, tuples, max_leaves=5)
config = named(st.builds(t.Setting, free, value))
gtype = st.builds(t.GType, word, tuples(count)) | st.builds(t.GType, word, tuples(count), count, st.booleans())
results = st.lists(st.builds(t.GResult, free, gtype), min_size=1, max_size=3, unique_by=lambda r: r.name).map(tuple)
gnode = st.builds(t.GNode, results, free, tuples(ref), config)
gleaf = st.one_of(
    st.builds(t.GTensor, st.sampled_from(["weight", "state", "input"]), free, gtype),
    gnode,
    st.builds(t.GOffer, word, tuples(free, 1)),
    st.builds(t.GPlace, tuples(free, 1), free, config),
    st.builds(t.Outputs, tuples(free, 1)),
)
carries = named(st.builds(t.GCarry, free, free))
gstmt = st.recursive(
    gleaf,
    lambda s: st.builds(t.GRepeat, tuples(free), tuples(count), carries, tuples(s), tuples(free), tuples(gnode)),
    max_leaves=5,
)
graph = st.builds(t.GraphDecl, texts, tuples(gstmt))

unit = st.sampled_from(["", "GiB", "GB/s", "bit/cycle", "mm2", "%", "e5", "B"])
cvalue = st.builds(t.Quantity, signed, unit) | word | texts
csettings = named(st.builds(t.CSetting, free, cvalue))


@st.composite
def chip(draw: st.DrawFn) -> t.ChipDecl:
    names = draw(st.lists(free, min_size=4, max_size=4, unique=True))
    parts = [t.CPart(n, draw(word), draw(csettings)) for n in names]
    groups = (t.CGroup(names[0], draw(count), tuple(parts[:2])), t.CGroup(names[1], 1, ()))
    connects = draw(tuples(st.builds(t.CConnect, tuples(ref, 2, 4))))
    return t.ChipDecl(draw(word), draw(csettings), tuple(parts[2:]), groups, connects)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.one_of(op(), model, block, shared, graph, chip()))
def test_property_round_trip(item: t.Item) -> None:
    text = show(item)
    assert parse_items(Source("t", text)) == (item,)


PARENTHESES = ["a + b + c", "a - (b - c)", "a * (b + c)", "-(a + b) * c", "a // (b // c)", "-a * -b", "-(a * b)", "--a"]


@pytest.mark.parametrize("text", PARENTHESES)
def test_minimal_parentheses(text: str) -> None:
    (item,) = parse_items(Source("t", f"op f() -> () {{\n  y[] = {text}\n}}"))
    assert isinstance(item, t.OpDecl) and isinstance(item.body[0], t.Let)
    assert show_expr(item.body[0].expr) == text
