"""Bad input: every case has its exit code, the code of its message, what the message says, and no traceback."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dfcompiler.cli import main

# A decoder that takes no time, on which each case changes one thing.
CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "vocab_size": 256,
}
CHIP = """chip small {
  node = 7 nm
  clock = 1 GHz
  part hbm: dram { bandwidth = 100 GB/s, capacity = 1 GB }
  part mem: sram { capacity = 256 KiB }
  part sa: systolic-array { rows = 8, cols = 8 }
  part vu: vector-unit { lanes = 8 }
  connect hbm - mem - sa
  connect mem - vu
}
"""
GRAPH = """graph "g" {
  input x: bf16 [4, 8]
  weight w: bf16 [16, 8]
  y: bf16 [4, 16] = linear(x, w)
  output y
}
"""


def config(**changes: Any) -> str:
    """The configuration with fields changed; `None` takes one out."""
    return json.dumps({k: v for k, v in (CONFIG | changes).items() if v is not None}, indent=1)


TEXTS = {
    "good.json": config(),
    "missing.json": config(hidden_size=None),
    "negative.json": config(num_attention_heads=-4),
    "layers.json": config(num_hidden_layers=0),
    "wide.json": config(hidden_size=1e30),
    "string.json": config(hidden_size="64"),
    "null.json": config(vocab_size=[256]),
    "nan.json": config(hidden_size=float("nan")),
    "infinite.json": config(rope_theta=float("inf")),
    "nested.json": config(hidden_size={"value": 64}),
    "heads.json": config(num_key_value_heads=3),
    "odd.json": config(head_dim=15),
    "half.json": config(num_hidden_layers=2.5),
    "bias.json": config(attention_bias=True),
    "quantized.json": config(quantization_config={"bits": 4}),
    "family.json": config(architectures=["LlamaForCausalLN"]),
    "nameless.json": config(architectures=None),
    "truncated.json": config()[:100],
    "empty.json": "",
    "twice.json": '{"hidden_size": 64, "hidden_size": 64}',
    "words.json": "hidden_size = 64",
    "list.json": "[1, 2]",
    "deep.json": "[" * 100_000,
    "long.json": '{"hidden_size": ' + "9" * 10_000 + "}",
    "empty.dfm": "",
    "syntax.dfm": "model m {\n  param L = = 2\n}\n",
    "loose.chip": CHIP.replace("connect mem - vu", ""),
    "apart.chip": CHIP.replace("hbm - mem - sa", "mem - sa"),
    "template.chip": CHIP.replace("systolic-array", "systolic-aray"),
    "negative.chip": CHIP.replace("rows = 8", "rows = -8"),
    "zero.chip": CHIP.replace("rows = 8", "rows = 0"),
    "huge.chip": CHIP.replace("256 KiB", "1e40 KiB"),
    "fraction.chip": CHIP.replace("rows = 8", "rows = 8.5"),
    "unit.chip": CHIP.replace("256 KiB", "256 GHz"),
    "nounit.chip": CHIP.replace("1 GHz", "1 GHy"),
    "clockless.chip": CHIP.replace("clock = 1 GHz\n", ""),
    "nodeless.chip": CHIP.replace("node = 7 nm\n", ""),
    "dry.chip": CHIP.replace("part hbm: dram { bandwidth = 100 GB/s, capacity = 1 GB }", "part hbm: sram"),
    "idle.chip": "chip idle {\n node = 7 nm\n clock = 1 GHz\n part a: dram\n part b: sram\n connect a - b\n}\n",
    "drams.chip": CHIP.replace("  part mem", "  part ddr: dram\n  part mem").replace("hbm - mem", "ddr - hbm - mem"),
    "cycle.chip": CHIP.replace("connect mem - vu", "connect mem - vu - sa"),
    "self.chip": CHIP.replace("connect mem - vu", "connect mem - vu - vu"),
    "ghost.chip": CHIP.replace("connect mem - vu", "connect mem - vu - nobody"),
    "twins.chip": CHIP.replace("part vu", "part sa"),
    "axis.chip": CHIP.replace("rows = 8", "row = 8"),
    "again.chip": CHIP.replace("rows = 8", "rows = 8, rows = 9"),
    "kind.chip": CHIP.replace("{ bandwidth = 100 GB/s", "{ kind = ddr77, bandwidth = 100 GB/s"),
    "syntax.chip": CHIP.replace("rows = 8", "rows 8"),
    "open.chip": CHIP.rstrip()[:-1],
    "two.chip": CHIP + CHIP.replace("chip small", "chip other"),
    "none.chip": "# nothing\n",
    "good.chip": CHIP,
    "good.dfir": GRAPH,
    "op.dfir": GRAPH.replace("linear", "liner"),
    "arity.dfir": GRAPH.replace("(x, w)", "(x)"),
    "rank.dfir": GRAPH.replace("w: bf16 [16, 8]", "w: bf16 []"),
    "size.dfir": GRAPH.replace("[16, 8]", "[16, 9]"),
    "result.dfir": GRAPH.replace("[4, 16]", "[4, 17]"),
    "tensor.dfir": GRAPH.replace("(x, w)", "(x, v)"),
    "twice.dfir": GRAPH.replace("weight w", "weight x"),
    "dtype.dfir": GRAPH.replace("x: bf16", "x: bf17"),
    "zero.dfir": GRAPH.replace("[4, 8]", "[0, 8]"),
    "output.dfir": GRAPH.replace("output y", "output z"),
    "attribute.dfir": GRAPH.replace("(x, w)", "(x, w) {eps = 1}"),
    "syntax.dfir": GRAPH.replace("= linear", "linear"),
    "graphs.dfir": GRAPH + GRAPH,
    "empty.dfir": "",
}
ON = "--on ador"
LLAMA = f"compile llama3-8b {ON}"
TINY = "compile {d}/good.json --on {d}/good.chip --seq 16"


@dataclass(frozen=True)
class Case:
    """A command line; `{d}` is the folder of the files above."""

    line: str
    exit: int
    code: str
    said: tuple[str, ...]

    def argv(self, folder: Path) -> list[str]:
        return [word.replace("{d}", str(folder)) for word in shlex.split(self.line)]


def bad(line: str, code: str, *said: str) -> Case:
    return Case(line, 2, code, said)


def no(line: str, code: str, *said: str) -> Case:
    return Case(line, 1, code, said)


def model(name: str, code: str, *said: str) -> Case:
    return bad(f"compile {{d}}/{name} {ON}", code, *said)


def chip(name: str, code: str, *said: str) -> Case:
    return bad(f"show {{d}}/{name}.chip", code, *said)


def graph(name: str, code: str, *said: str) -> Case:
    return bad(f"opt {{d}}/{name}.dfir -p fuse-elementwise", code, *said)


CASES = [
    # the command line
    bad("compil llama3-8b", "unknown-command", "`compil`", "did you mean `compile`?"),
    bad("--jsn", "unknown-option", "`--jsn`"),
    bad(f"{LLAMA} --contxt 8", "unknown-option", "`--contxt`", "did you mean `--context`?"),
    bad("compile llama3-8b", "usage", "--on"),
    bad(f"compile {ON}", "usage", "MODEL"),
    bad(f"{LLAMA} again", "usage", "`again`"),
    bad(f"{LLAMA} --seq", "usage", "--seq"),
    bad(f"{LLAMA} -z", "unknown-option", "`-z`"),
    bad(f"{LLAMA} --seq many", "bad-number", "--seq: `many`"),
    bad(f"{LLAMA} --seq 1.5", "bad-number", "`1.5`"),
    bad(f"{LLAMA} --time-limit nan", "bad-number", "`nan`"),
    bad(f"{LLAMA} --time-limit 0", "bad-option", "time limit"),
    bad(f"{LLAMA} --seed 1e30", "bad-option", "--seed"),
    bad("list chip", "unknown-kind", "did you mean `chips`?"),
    bad("show adorn", "unknown-thing", "did you mean `ador`?"),
    bad("show attention --set sa.rows=8", "bad-option", "attention"),
    bad("show", "usage", "THING"),
    # names
    bad(f"compile llama3-8c {ON}", "unknown-model", "did you mean `llama3-8b`?"),
    bad("compile llama3-8b --on adorr", "unknown-chip", "did you mean `ador`?"),
    bad(f"{LLAMA} --pipeline tile,map-lip", "unknown-pass", "--pipeline:1:6", "did you mean `map-ilp`?"),
    bad(f"{LLAMA} --pipeline 'tile{{share=2}}'", "unknown-option", "--pipeline:1:6", "`shares`"),
    bad(f"{LLAMA} --pipeline 'tile{{shares=two}}'", "bad-option", "an integer", "`two`"),
    bad(f"{LLAMA} --pipeline 'tile{{shares=0}}'", "bad-option", "from 1"),
    bad(f"{LLAMA} --pipeline 'tile{{shares=1'", "pipeline-syntax", "--pipeline:1:14", "^"),
    bad(f"{LLAMA} --pipeline ''", "pipeline-syntax", "the name of a pass"),
    bad(f"{LLAMA} --pipeline tile,,schedule", "pipeline-syntax", "--pipeline:1:6"),
    bad(f"{LLAMA} --pipeline schedule", "missing-input", "mapp"),
    bad(f"{LLAMA} --pipeline lower-model,tile", "missing-input", "mapping"),
    bad(f"{LLAMA} --print-after mapilp", "unknown-pass", "did you mean `map-ilp`?"),
    bad(f"{LLAMA} --dtype w16a16kv17", "unknown-dtype", "17 bits"),
    bad(f"{LLAMA} --dtype float16", "unknown-dtype", "`float16`", "bf16"),
    bad(f"{LLAMA} --phase refill", "unknown-phase", "did you mean `prefill`?"),
    bad(f"{LLAMA} --objective speed", "unknown-objective", "latency"),
    bad(f"{LLAMA} --plugins {{d}}/nowhere", "no-such-plugin", "nowhere"),
    bad(f"{LLAMA} --plugins {{d}}/folder", "no-such-plugin", "holds no content"),
    bad(f"{LLAMA} --tp 7", "bad-shard", "would divide"),
    bad(f"{LLAMA} --ep 2", "bad-shard", "leave `ep` out"),
    bad(f"{LLAMA} --pp 99", "bad-stages", "at most"),
    bad(f"{LLAMA} --tp 2 --devices 8", "bad-option", "--tp 8"),
    bad(f"{LLAMA} --devices 0", "bad-option", "--devices"),
    # sizes
    bad(f"{LLAMA} --batch 0", "bad-step", "--batch", "at least 1"),
    bad(f"{LLAMA} --seq -1", "bad-step", "at least 1", "-1"),
    bad(f"{LLAMA} --seq 1e12", "bad-step", "1000000000000"),
    bad(f"{LLAMA} --context -5", "bad-step", "at least 0"),
    bad(f"{LLAMA} --phase decode --context 1e15", "bad-step", "at most"),
    bad(f"{LLAMA} --batch 99999999999", "bad-step", "--batch"),
    bad(f"{LLAMA} --batch 1e6 --seq 1e6", "bad-step", "whole step"),
    bad(f"{LLAMA} --phase decode --seq 7", "bad-option", "--seq"),
    no(f"{LLAMA} --phase decode --batch 64 --context 1e6", "does-not-fit", "KV cache", "GB"),
    no(f"compile llama3-70b {ON}", "does-not-fit", "142.40 GB", "80.00 GB", "62.40 GB"),
    # configurations
    model("missing.json", "bad-config", "`hidden_size` is missing", "missing.json:1:1", "common.dfm"),
    model("negative.json", "bad-config", "negative.json:7:2", "at least 1", "^"),
    model("layers.json", "bad-config", "layers.json:8:2", "num_hidden_layers is at least 1"),
    model("wide.json", "bad-config", "absurdly large", "1e+30"),
    model("string.json", "bad-config", "must be a number", '"64"'),
    model("null.json", "bad-config", "must be a number", "[256]"),
    model("nan.json", "bad-config", "must be a number", "NaN"),
    model("infinite.json", "bad-config", "`rope_theta`", "Infinity"),
    model("nested.json", "bad-config", "must be a number", "value"),
    model("heads.json", "bad-config", "multiple of num_key_value_heads"),
    model("odd.json", "bad-config", "head_dim is even"),
    model("half.json", "bad-config", "`L` is 2.5", "repeat L"),
    model("bias.json", "bad-config", "attention_bias"),
    model("quantized.json", "unknown-quantization", "`quant_method`"),
    model("family.json", "unknown-family", "did you mean `LlamaForCausalLM`?", "family.json:2:2"),
    model("nameless.json", "bad-config", "`architectures`", "LlamaForCausalLM"),
    model("truncated.json", "bad-config", "no JSON", "truncated.json:"),
    model("empty.json", "bad-config", "no JSON"),
    model("twice.json", "bad-config", "`hidden_size` is given twice"),
    model("words.json", "bad-config", "no JSON", "words.json:1:1"),
    model("list.json", "bad-config", "a JSON object"),
    model("deep.json", "bad-config", "nested too deeply"),
    model("long.json", "bad-config"),
    model("binary.json", "not-text", "UTF-8"),
    model("nowhere.json", "unknown-model", "there is no file"),
    model("folder", "unknown-model", "holds no config.json"),
    model("empty.dfm", "bad-config", "0 models"),
    model("syntax.dfm", "syntax", "syntax.dfm:2:13", "^"),
    # chips
    chip("loose", "unconnected-part", "`vu` is connected to nothing", "loose.chip:7:8"),
    chip("apart", "unconnected-part", "`hbm`", "apart.chip:4"),
    chip("template", "unknown-template", "did you mean `systolic-array`?", "template.chip:6:12"),
    chip("negative", "illegal-value", "`rows`", "-8", "1 to 4096"),
    chip("zero", "illegal-value", "`rows`", "zero.chip:6"),
    chip("huge", "illegal-value", "`capacity`"),
    chip("fraction", "illegal-value", "8.5", "an integer"),
    chip("unit", "bad-dimension", "bytes", "256 GHz"),
    chip("nounit", "unknown-unit", "GHy"),
    chip("clockless", "missing-clock", "no `clock`", "clock = 1.5 GHz"),
    chip("nodeless", "missing-node", "no `node`"),
    chip("dry", "no-dram", "no DRAM"),
    chip("idle", "no-compute", "no compute unit"),
    chip("drams", "ambiguous-dram", "2 DRAMs", "`hbm` is one"),
    chip("cycle", "cyclic-connection", "closes a cycle", "mem"),
    chip("self", "self-connection", "itself"),
    chip("ghost", "unknown-part", "`nobody`"),
    chip("twins", "duplicate-name", "`sa` is declared twice", "first declared here"),
    chip("axis", "unknown-axis", "did you mean `rows`?"),
    chip("again", "duplicate-name", "`rows`"),
    chip("kind", "unknown-value", "`ddr77`", "hbm2e"),
    chip("syntax", "syntax", "syntax.chip:6:34", "    part sa", "^"),
    chip("open", "syntax", "unexpected end"),
    chip("two", "not-one-chip", "2 chips"),
    chip("none", "not-one-chip", "0 chips"),
    chip("nowhere", "no-such-file", "nowhere.chip"),
    # --set and --without
    bad(f"{LLAMA} --set sb.rows=8", "unknown-part", "`sb`", "known: global, hbm"),
    bad(f"{LLAMA} --set sa.row=8", "unknown-axis", "did you mean `rows`?"),
    bad(f"{LLAMA} --set sa.rows=0", "illegal-value", "--set:1:9", "sa.rows=0", "^"),
    bad(f"{LLAMA} --set sa.dataflow=weight-moving", "unknown-value", "did you mean `weight-stationary`?"),
    bad(f"{LLAMA} --set hbm.kind=hbm9", "unknown-value", "hbm2e"),
    bad(f"{LLAMA} --set clock=fast", "bad-value", "a frequency"),
    bad(f"{LLAMA} --set sa.rows=many", "bad-value", "--set:1:1", "rows is an integer from 1 to 4096 PE"),
    bad(f"{LLAMA} --set hbm.bandwidth=3", "bad-dimension", "--set:1:15", "bandwidth is from", "B/s"),
    bad(f"{LLAMA} --set rows=3", "unknown-axis", "`PART.rows`"),
    bad(f"{LLAMA} --set clok=1GHz", "unknown-axis", "did you mean `clock`?"),
    bad(f"{LLAMA} --set sa.rows", "syntax", "--set:1:8"),
    bad(f"{LLAMA} --set noc.topology=mesh", "unknown-axis", "`topology`"),
    bad(f"{LLAMA} --without sb", "unknown-part", "`sb`"),
    bad(f"{LLAMA} --without hbm", "not-removable", "`hbm`"),
    bad(f"{LLAMA} --without sa --without mt --without vu", "no-compute"),
    # what no unit can run
    no(f"{TINY} --without vu", "no-mapping", "sa: ", "cannot run"),
    no(f"{TINY} --set mem.capacity=1KiB", "no-mapping", "sa: ", "vu: ", " B of `mem`", "has "),
    no(f"price rmsnorm t=4 d=64 {ON} --unit sa", "no-mapping", "`rmsnorm`", "sa"),
    # price
    bad(f"price linea t=1 k=2 n=3 {ON}", "unknown-op", "did you mean `linear`?"),
    bad(f"price linear t=1 k=2 m=3 {ON}", "unknown-dimension", "`m`"),
    bad(f"price linear t=1 k=2 {ON}", "bad-size", "`n`"),
    bad(f"price linear t=0 k=2 n=3 {ON}", "bad-size", "`t`", "2^40"),
    bad(f"price linear t=-1 k=2 n=3 {ON}", "bad-size", "-1"),
    bad(f"price linear t=1.5 k=2 n=3 {ON}", "bad-size", "1.5"),
    bad(f"price linear t=1 k=2,2 n=3 {ON}", "bad-size", "one number"),
    bad(f"price router t=4 e=8 top=9 {ON}", "bad-size", "9 different places out of 8"),
    bad(f"price expert_linear t=4 k=8 n=8 e=2 j=3 {ON}", "bad-size", "3 different places out of 2"),
    bad(f"price all_reduce p=4 n=64 {ON}", "bad-exchange", "`all_reduce`", "--tp"),
    bad(f"price linear t=1 k=x n=3 {ON}", "bad-number", "`k=x`: `x`"),
    bad(f"price linear t=1 k n=3 {ON}", "usage", "`k`", "DIM=SIZE"),
    bad(f"price linear t=1 t=1 k=2 n=3 {ON}", "duplicate-option", "`t`"),
    bad(f"price linear t=1 k=2 n=3 {ON} --unit sb", "unknown-unit", "known: mt, sa, vu"),
    bad(f"price linear t=1 k=1e15 n=3 {ON}", "bad-size", "`k`"),
    # graphs
    graph("op", "unknown-op", "op.dfir:4:", "did you mean `linear`?"),
    graph("arity", "op-arity", "2 operands, got 1"),
    graph("rank", "op-rank", "rank.dfir:4:"),
    graph("size", "op-size", "size.dfir:4:", "9", "8"),
    graph("result", "op-size", "result.dfir:4:", "17"),
    graph("tensor", "unknown-tensor", "`v`", "tensor.dfir:4:"),
    graph("twice", "duplicate-name", "`x` is declared twice", "first declared here"),
    graph("dtype", "unknown-dtype", "did you mean `bf16`?"),
    graph("zero", "bad-type", "at least 1"),
    graph("output", "unknown-tensor", "`z`"),
    graph("attribute", "bad-attribute", "`eps`"),
    graph("syntax", "syntax", "syntax.dfir:4:", "^"),
    graph("graphs", "bad-graph", "2 graphs"),
    graph("empty", "bad-graph", "0 graphs"),
    graph("nowhere", "no-such-file", "nowhere.dfir"),
    bad("opt {d}/good.dfir -p tile", "missing-input", "needs a chip"),
    bad("opt {d}/good.dfir -p lower-model --on ador", "missing-input", "needs a model"),
    bad("opt {d}/folder -p tile", "not-a-file", "directory"),
    # outputs
    bad(f"{LLAMA} -o {{d}}/good.json", "bad-output", "good.json", "not a folder"),
    bad(f"{LLAMA} -o {{d}}/good.json/below", "bad-output", "not a folder"),
    bad(f"rtl {ON} --name npu -o /proc/nowhere", "bad-output", "/proc/nowhere"),
    bad(f"rtl {ON} --name 9npu -o {{d}}/rtl", "rtl-name", "9npu"),
    bad(f"rtl {ON} --name npu -o {{d}}/rtl --style verbose", "unknown-style", "portable"),
    bad("rtl --name npu -o {d}/rtl", "usage", "DIR", "--on"),
    bad("rtl {d}/folder --name npu -o {d}/rtl", "no-such-file", "params.json"),
    bad(f"rtl {ON} -o {{d}}/rtl", "usage", "--name"),
    no(f"rtl {ON} --name npu -o {{d}}/folder --check", "out-of-date", "npu_pkg.sv"),
    bad("show {d}/broken", "bad-mapping", "mapping.json"),
    bad("show {d}/other", "bad-mapping", "`model`"),
]


def write_files(folder: Path) -> None:
    for name, text in TEXTS.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "binary.json").write_bytes(b'{"a": "\xff\xfe\x00"}')
    for name, text in {"folder": None, "broken": "{", "other": '{"a": 1}'}.items():
        (folder / name).mkdir()
        if text:
            (folder / name / "mapping.json").write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("bad")
    write_files(made)
    return made


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.line)
def test_bad_input(case: Case, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(case.argv(folder))
    out, err = capsys.readouterr()
    assert (code, out) == (case.exit, ""), err
    assert f"[{case.code}]" in err
    for piece in case.said:
        assert piece in err
    assert "Traceback" not in err


def test_enough_cases() -> None:
    assert len({c.line for c in CASES}) == len(CASES) >= 60
