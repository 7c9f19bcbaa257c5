"""Four tools and a C compiler take what is rendered, read the same values, and notice a wrong one."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyslang import DiagnosticEngine, SourceManager, ast, syntax
from rtlrig import absent

from dfcompiler.diagnostics import Diag
from dfcompiler.rtl import (
    Axis,
    Column,
    Enum,
    OpRow,
    Package,
    Parameter,
    PartSpec,
    Relation,
    Table,
    package,
    render,
    validate,
    write,
)
from dfcompiler.rtl.params import clog2, number

NASTY = 'ends /* here */ and // there ??/ "quoted" `tick` $x %d µs \\'


def ador() -> Package:
    flows = ("weight-stationary", "output-stationary")
    parts = [
        PartSpec("sa", "systolic-array", 32, (("rows", 64, "PE", NASTY), ("cols", 48, "PE", "columns"),
                 Axis("dataflow", "output-stationary", "", "what stays", flows))),
        PartSpec("local", "sram", 32, (("capacity", 2 << 20, "B", "of each"), ("banks", 16, "", ""),
                 ("width", 1024, "bit", "of a word"))),
        PartSpec("dram", "hbm", 1, (("capacity", 80e9, "B", "all stacks"), ("rate", 2.1e12, "B/s", "peak"),
                 ("latency", 1e-7, "s", "first byte"), ("queue", float("inf"), "B", "pending"))),
    ]  # fmt: skip
    ops = [
        OpRow("layer.q_proj", "matmul", "sa", 32, 0, 40960, {"m": 128, "n": 64, "k": 64}, ("n", "m", "k")),
        OpRow(NASTY, "attention", "sa", 32, 40960, 99_999_999_999, {"q": 64, "kv": 128}, ("q", "kv")),
    ]
    return package("ador", parts, ops, 1_500_000_000)


def bare() -> Package:
    return validate(Package("p", (), (), (), "0" * 64))


def one_row() -> Package:
    table = Table("t", "one bit", (Column("a", 1, "", ""),), ((1,),))
    return validate(Package("p", (Parameter("b", 1, "", "", "axis", 1),), (Enum("e", ("x",), ""),), (table,), "f" * 64))


def wide() -> Package:
    columns = tuple(Column(f"c{i}", bits, "", "") for i, bits in enumerate((64, 1, 33, 8, 22)))
    table = Table("t", "as wide as allowed", columns, tuple((2**64 - 1 - i, i % 2, i, i % 256, i) for i in range(512)))
    return validate(Package("p", (Parameter("b", 2**64 - 1, "", "", "axis", 64),), (), (table,), "f" * 64))


def small_tables() -> Package:
    """One to four rows of every width from one bit up, where tools treat an index specially."""
    shapes = [(rows, bits) for rows in (1, 2, 3, 4) for bits in (1, 2, 3, 4, 32, 64)]
    tables = tuple(
        Table(f"t{rows}x{bits}", "", (Column("a", bits, "", ""),), tuple((2**bits - 1 - i % 2,) for i in range(rows)))
        for rows, bits in shapes
    )
    return validate(Package("p", (), (), tables, "f" * 64))


SAMPLES = {"ador": ador, "bare": bare, "one_row": one_row, "wide": wide, "small_tables": small_tables}


@pytest.fixture(params=SAMPLES)
def sample(request: pytest.FixtureRequest) -> Package:
    return SAMPLES[request.param]()


def tool(name: str) -> str:
    if shutil.which(name) is None:
        absent(name)
    return name


def run(command: Sequence[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


def command(name: str, top: str) -> list[str]:
    """The command that elaborates the file list `NAME.f` with the check on top."""
    pkg = top.removesuffix("_check")
    read = f"read_verilog -sv {pkg}_pkg.sv {top}.sv; hierarchy -check -top {top}; proc"
    return {
        "verilator": [tool(name), "--lint-only", "-Wall", "--top-module", top, "-f", f"{pkg}.f"],
        "iverilog": [tool(name), "-g2012", "-Wall", "-tnull", "-s", top, "-c", f"{pkg}.f"],
        "yosys": [tool(name), "-q", "-p", read],
    }[name]  # fmt: skip


def elaborate(files: dict[str, str]) -> tuple[ast.Compilation, str]:
    """slang's compilation of all .sv files, and what it says about them."""
    compilation, manager = ast.Compilation(), SourceManager()
    for name, text in files.items():
        if name.endswith(".sv"):
            compilation.addSyntaxTree(syntax.SyntaxTree.fromText(text, manager, name, name))
    compilation.getRoot()
    found = list(compilation.getAllDiagnostics())
    return compilation, DiagnosticEngine.reportAll(manager, found) if found else ""


def assert_slang_reads(made: Package) -> None:
    compilation, said = elaborate(render(made))
    assert said == ""
    found = [m for m in compilation.getPackage(f"{made.name}_pkg") or () if isinstance(m, ast.ParameterSymbol)]
    read = {m.name: int(cast(Any, m.value.value)) for m in found}
    width = {m.name: m.type.bitWidth for m in found}
    for p in made.parameters:
        assert read[f"{made.name}_{p.name}".upper()] == number(made, p)
        assert width[f"{made.name}_{p.name}".upper()] == p.bits
    for e in made.enums:
        assert [read[f"{made.name}_{e.name}_{m}".upper()] for m in e.members] == [*range(len(e.members))]
    for t in made.tables:
        assert read[f"{made.name}_{t.name}".upper()] == packed(t)


def packed(t: Table) -> int:
    whole = at = 0
    for row in t.rows:
        for column, value in zip(t.columns, row, strict=True):
            whole |= value << at
            at += column.bits
    return whole


def test_slang_reads_every_value_back(sample: Package) -> None:
    assert_slang_reads(sample)


@pytest.mark.parametrize("name", ["verilator", "iverilog", "yosys"])
def test_tools_take_it_without_a_word(name: str, sample: Package, tmp_path: Path) -> None:
    write(render(sample), tmp_path)
    done = run(command(name, f"{sample.name}_check"), tmp_path)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


WRONG = {
    "an axis": (r"(ADOR_SA_ROWS +=) 32'd64", r"\1 32'd65"),
    "a width": (r"(ADOR_LOCAL_ADDR_W +=) 32'd10", r"\1 32'd11"),
    "a depth": (r"(ADOR_LOCAL_DEPTH +=) 32'd1024", r"\1 32'd512"),
    "a rate": (r"(ADOR_DRAM_RATE_PER_CYCLE +=) 32'd1400", r"\1 32'd1401"),
    "a row": (r"64'd99999999999", "64'd99999999998"),
    "a code": (r"(ADOR_DATAFLOW_COUNT +=) 32'd2", r"\1 32'd1"),
    "the source": (r"SOURCE_ID = 64'h\w+", "SOURCE_ID = 64'h0"),
}


def tampered(what: str) -> dict[str, str]:
    files = render(ador())
    pattern, new = WRONG[what]
    changed = re.sub(pattern, new, files["ador_pkg.sv"], count=1)
    assert changed != files["ador_pkg.sv"]
    return files | {"ador_pkg.sv": changed}


@pytest.mark.parametrize("what", WRONG)
def test_slang_notices_a_wrong_value(what: str) -> None:
    assert "$error encountered" in elaborate(tampered(what))[1]


@pytest.mark.parametrize("what", ["a width", "a row"])
@pytest.mark.parametrize("name", ["verilator", "iverilog", "yosys"])
def test_tools_notice_a_wrong_value(name: str, what: str, tmp_path: Path) -> None:
    write(tampered(what), tmp_path)
    done = run(command(name, "ador_check"), tmp_path)
    assert done.returncode != 0


def test_a_relation_that_does_not_hold_is_refused_before_any_tool() -> None:
    made = ador()
    broken = Relation("index_width", ("sa_rows",), ("sa_cols",))
    with pytest.raises(Diag):
        render(Package(**(vars(made) | {"relations": (broken,)})))


def test_the_verilog_header_has_the_same_values(tmp_path: Path) -> None:
    made = ador()
    write(render(made), tmp_path)
    shown = "\n".join(f'$display("%0d", `ADOR_{p.name.upper()});' for p in made.parameters)
    stop = "T[1*`ADOR_OPS_ROW_W + `ADOR_OPS_STOP_LSB +: `ADOR_OPS_STOP_W]"
    text = f"""`include "ador_params.vh"
module top;
  localparam [`ADOR_OPS_ROWS*`ADOR_OPS_ROW_W-1:0] T = `ADOR_OPS;
  initial begin {shown} $display("%0d", {stop}); end
endmodule
"""
    (tmp_path / "top.v").write_text(text)
    built = run([tool("iverilog"), "-g2005", "-Wall", "-Wno-timescale", "-o", "top", "top.v"], tmp_path)
    assert (built.returncode, built.stdout + built.stderr) == (0, "")
    done = run([tool("vvp"), "-n", "top"], tmp_path)
    assert [int(line) for line in done.stdout.split()] == [*(number(made, p) for p in made.parameters), 99_999_999_999]


@pytest.mark.parametrize("name", ["verilator", "yosys"])
def test_tools_take_the_verilog_header(name: str, tmp_path: Path) -> None:
    write(render(ador()), tmp_path)
    body = "output wire [31:0] rows, output wire y); assign rows = `ADOR_SA_ROWS; assign y = `ADOR_SA_DATAFLOW"
    (tmp_path / "top.v").write_text(f'`include "ador_params.vh"\nmodule top({body};\nendmodule\n')
    verilator = ["--lint-only", "-Wall", "--language", "1364-2005", "-I.", "top.v"]
    arguments = {"verilator": verilator, "yosys": ["-q", "-p", "read_verilog top.v; hierarchy -check -top top; proc"]}
    done = run([tool(name), *arguments[name]], tmp_path)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_c_header_has_the_same_values(sample: Package, tmp_path: Path) -> None:
    write(render(sample), tmp_path)
    pre = sample.name.upper()
    wanted = [number(sample, p) for p in sample.parameters]
    shown = [f"{pre}_{p.name.upper()}" for p in sample.parameters]
    for t in sample.tables:
        for i, row in enumerate(t.rows):
            wanted += row
            shown += [f"{pre}_{t.name.upper()}[{i}].{c.name}" for c in t.columns]
    lines = "\n".join(f'printf("%" PRIu64 "\\n", (uint64_t){s});' for s in [f"{pre}_SOURCE_ID", *shown])
    header = f'#include "{sample.name}_params.h"\n'
    main = f"#include <inttypes.h>\n#include <stdio.h>\n{header}int main(void) {{\n{lines}\nreturn 0;\n}}\n"
    (tmp_path / "main.c").write_text(main)
    strict = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic"]
    built = run([tool("gcc"), *strict, "main.c", "-o", "main"], tmp_path)
    assert (built.returncode, built.stderr) == (0, "")
    done = run([str(tmp_path / "main")], tmp_path)
    assert [int(line) for line in done.stdout.split()] == [int(sample.source_hash[:16], 16), *wanted]
    (tmp_path / "only.c").write_text(header)
    alone = run([tool("gcc"), "-std=c11", "-Wall", "-Wextra", "-Werror", "-c", "only.c"], tmp_path)
    assert (alone.returncode, alone.stderr) == (0, "")


names = st.from_regex(r"[a-z][a-z0-9]{0,8}(_[a-z0-9]{1,8}){0,2}", fullmatch=True)
texts = st.text(max_size=30)


@st.composite
def packages(draw: st.DrawFn) -> Package:
    """Any package; one that is refused is drawn again."""
    sized = [(n, draw(st.integers(1, 64))) for n in draw(st.lists(names, max_size=6, unique=True))]
    parameters = [Parameter(n, draw(st.integers(0, 2**b - 1)), draw(texts), draw(texts), "axis", b) for n, b in sized]
    relations = []
    for i, p in enumerate(tuple(parameters)):
        assert isinstance(p.value, int)
        if p.value >> 62 == 0:
            parameters.append(Parameter(f"w{i}", max(1, clog2(p.value)), "bit", draw(texts), "derived", 32))
            relations.append(Relation("index_width", (f"w{i}",), (p.name,)))
            parameters.append(Parameter(f"n{i}", clog2(p.value + 1), "bit", draw(texts), "derived", 7))
            relations.append(Relation("count_width", (f"n{i}",), (p.name,)))
    enums = tuple(
        Enum(f"e{i}", tuple(draw(st.lists(names, min_size=1, max_size=5, unique=True))), draw(texts))
        for i in range(draw(st.integers(0, 2)))
    )
    for e in enums:
        member = draw(st.sampled_from(e.members))
        parameters.append(Parameter(f"of_{e.name}", f"{e.name}.{member}", "", draw(texts), "axis", 8))
    tables = tuple(draw(table(f"t{i}")) for i in range(draw(st.integers(0, 2))))
    return Package("pkg", tuple(parameters), enums, tables, draw(st.from_regex(r"[0-9a-f]{64}", fullmatch=True)), (),
                   tuple(relations))  # fmt: skip


@st.composite
def table(draw: st.DrawFn, name: str) -> Table:
    columns = tuple(Column(f"c{i}", b, draw(texts), draw(texts))
                    for i, b in enumerate(draw(st.lists(st.integers(1, 64), min_size=1, max_size=5))))  # fmt: skip
    row = st.tuples(*(st.integers(0, 2**c.bits - 1) for c in columns))
    rows = tuple(draw(st.lists(row, min_size=1, max_size=5)))
    return Table(name, draw(texts), columns, rows, tuple(draw(texts) for _ in rows))


def accepted(made: Package) -> bool:
    try:
        validate(made)
    except Diag:
        return False
    return True


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(packages().filter(accepted))
def test_any_valid_package_is_read_back(made: Package) -> None:
    assert_slang_reads(made)


@pytest.mark.parametrize("name", ["verilator", "iverilog", "yosys"])
@settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(made=packages().filter(accepted))
def test_tools_take_any_valid_package(name: str, made: Package, tmp_path_factory: pytest.TempPathFactory) -> None:
    out = tmp_path_factory.mktemp("any")
    write(render(made), out)
    done = run(command(name, "pkg_check"), out)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    header = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only", "-x", "c", "pkg_params.h"]
    if shutil.which("gcc"):
        assert run(["gcc", *header], out).stderr == ""
