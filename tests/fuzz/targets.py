"""What is tried: one function for each kind of text, which may raise Diag and nothing else."""

from __future__ import annotations

import contextlib
import io
import itertools
import shlex
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import texts

from dfcompiler.cli.main import _run
from dfcompiler.diagnostics import Diag, Source
from dfcompiler.dtypes import parse_dtypes
from dfcompiler.facts import facts
from dfcompiler.opshape import bind, extents
from dfcompiler.pipeline import PIPELINES, parse_pipeline, show_pipeline
from dfcompiler.text import tree as t
from dfcompiler.text.parse import parse_items, parse_setting
from dfcompiler.text.show import show

CHIP = """chip small {
  node = 7 nm
  clock = 1 GHz
  part hbm: dram { bandwidth = 100 GB/s, capacity = 1 GB }
  part mem: sram { capacity = 256 KiB }
  part sa: systolic-array { rows = 8, cols = 8, share = 50 % }
  part vu: vector-unit { lanes = 8, share = 50 % }
  connect hbm - mem - sa
  connect mem - vu
}
"""
GRAPHS = (
    """op twice(x: [*t]) -> (y: [*t]) {
  y[*t] = 2 * x[*t]
}
graph "layers" {
  input ids: int32 [1, 8] in 32
  weight table: bf16 [32, 16]
  x: bf16 [1, 8, 16] = gather(table, ids)
  x_3 = repeat 2 (x_1 = x) {
    weight g: bf16 [16]
    weight w1: bf16 [24, 16]
    weight w2: bf16 [16, 24]
    h: bf16 [1, 8, 16] = rmsnorm(x_1, g) {eps = 1e-05}
    u: bf16 [1, 8, 24] = linear(h, w1)
    v: bf16 [1, 8, 24] = twice(u)
    y: bf16 [1, 8, 16] = linear(v, w2)
    x_2: bf16 [1, 8, 16] = add(x_1, y)
    yield x_2
  }
  output x_3
  offer fuse-elementwise: u, v
  place u, v on sa {m = 4, order = [m, n], start = 0.0}
}
""",
    """graph "attention" {
  input q: bf16 [2, 3, 2, 2, 8]
  input n: bf16 [2, 3, 2, 8]
  state k: bf16 [2, 9, 2, 8]
  state v: bf16 [2, 9, 2, 8]
  k_1: bf16 [2, 9, 2, 8] = append(k, n) {past = [6, 2]}
  o: bf16 [2, 3, 2, 2, 8] = attention(q, k_1, v) {past = [6, 2], fresh = [3, 1], window = 5, sink = 1}
  weight w: bf16 [16, 2, 2, 8]
  x: bf16 [2, 3, 16] = merge(o, w)
  p: bf16 [2, 3, 2], id: int32 [2, 3, 2] in 16 distinct = router(x) {top = 2}
  output p, id
}
""",
)
SETTINGS = ("sa.rows = 64", "clock = 1.5 GHz", "mem.capacity=2 MiB", "hbm.kind = hbm3", "sa.dataflow=weight-stationary")
DTYPES = ("w16a16kv16", "w4a8kv4", "bf16", "w8a8kv8acc16")
STEP = "--seq 16 --pipeline lower-model,fuse-elementwise,batch-parts"


def command(files: dict[str, str], line: str) -> None:
    """Run `dfc LINE` in the current folder, with files in it; what it prints is dropped."""
    for name, text in files.items():
        Path(name).write_text(text, encoding="utf-8", errors="surrogatepass")
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        contextlib.suppress(SystemExit),
    ):
        _run(shlex.split(line))


def parsed(text: str) -> None:
    """What parses is printed, and reads again as the same."""
    items = parse_items(Source("t", text))
    printed = "\n".join(map(show, items))
    if parse_items(Source("printed", printed)) != items:
        raise AssertionError(f"printed and read again it is another tree:\n{printed}")


def op(text: str) -> None:
    """Ops: ranks, sizes, and all that follows from them."""
    parsed(text)
    for item in parse_items(Source("t", text)):
        if isinstance(item, t.OpDecl):
            for pack in (0, 1, 2):
                with contextlib.suppress(Diag):
                    bound(item, pack)


def bound(op: t.OpDecl, pack: int) -> None:
    """Derive everything of an op whose packs stand for `pack` dimensions."""
    shape = bind(op, tuple(sum(pack if isinstance(d, t.Pack) else 1 for d in p.type.dims) for p in op.params))
    numbers = itertools.count(2)
    sizes: dict[str, int] = {}
    with contextlib.suppress(Diag):
        axes = [tuple(sizes.setdefault(show_dim(d), next(numbers)) for d in p.dims) for p in shape.params]
        extents(shape, axes, {})
    f = facts(shape)
    _ = f.work, f.loops, f.reduced, f.whole, f.elementwise


def show_dim(dim: Any) -> str:
    """Equal texts for equal dimensions."""
    return str(dim)


def graph(text: str) -> None:
    """A graph and passes on it."""
    parsed(text)
    command({"g.dfir": text, "small.chip": CHIP}, "opt g.dfir -p fuse-elementwise,batch-parts")


def model(text: str) -> None:
    """A family with its sizes inside, lowered."""
    parsed(text)
    command({"m.dfm": text, "small.chip": CHIP}, f"compile m.dfm --on small.chip {STEP}")


def config(text: str) -> None:
    """A configuration, lowered."""
    command({"c.json": text, "small.chip": CHIP}, f"compile c.json --on small.chip {STEP}")


def chip(text: str) -> None:
    """A chip."""
    parsed(text)
    command({"c.chip": text}, "show c.chip")


def pipeline(text: str) -> None:
    """A pipeline, printed and read again."""
    passes = parse_pipeline(Source("--pipeline", text))
    assert parse_pipeline(Source("printed", show_pipeline(passes))) == passes


def setting(text: str) -> None:
    """A setting of `--set`."""
    parse_setting(Source("--set", text))
    command({"small.chip": CHIP}, f"show small.chip --set {shlex.quote(text)}")


def dtypes(text: str) -> None:
    """Number types."""
    parse_dtypes(text)


TARGETS: dict[str, Callable[[str], None]] = {
    f.__name__: f for f in (op, graph, model, config, chip, pipeline, setting, dtypes)
}
WEIGHTS = {"op": 4, "graph": 4, "model": 3, "config": 3, "chip": 3, "pipeline": 1, "setting": 1, "dtypes": 1}


def drawn(kind: str, rng: Random) -> str:
    """A text of a kind."""
    grown = {"op": "op", "graph": "graph", "model": "model", "chip": "chip", "setting": "one_setting"}
    if kind in grown and rng.random() < 0.25:
        return texts.grown(grown[kind], rng)
    match kind:
        case "config":
            return texts.config(rng)
        case "op" | "model" | "chip":
            shipped = texts.shipped(kind)
            return texts.damaged(rng.choice(shipped), rng, (*shipped, *GRAPHS))
        case "graph":
            return texts.damaged(rng.choice(GRAPHS), rng, (*GRAPHS, *texts.shipped("op")))
        case "pipeline":
            return texts.damaged(f"{rng.choice([*PIPELINES.values()])},tile{{shares=2}}", rng)
        case "setting":
            return texts.damaged(rng.choice(SETTINGS), rng)
        case _:
            return texts.damaged(rng.choice(DTYPES), rng)
