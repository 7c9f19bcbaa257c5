"""The command line as its users see it: answers, JSON, tables, streams and exit codes."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest

from dfcompiler import __version__, pricing, registry
from dfcompiler.cli import arguments, main, options
from dfcompiler.cli.catalog import names
from dfcompiler.cli.display import capacity, digits, percent, quantity, seconds
from dfcompiler.cli.progress import clock, left
from dfcompiler.diagnostics import Source
from dfcompiler.graphtext import parse_graph, show_graph
from dfcompiler.hardware import load_chip
from dfcompiler.models import library
from dfcompiler.pipeline import PIPELINES, parse_pipeline
from dfcompiler.steps import phase
from dfcompiler.text.parse import read_source

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_hidden_layers": 3,
    "num_key_value_heads": 2,
    "vocab_size": 256,
}
HEAVY = ("ortools", "networkx", "lark", "numpy", "rich")
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    return str(folder)


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR", "DFC_DEBUG", "DFCOMPILER_PLUGINS"):
        monkeypatch.delenv(name, raising=False)


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """stdout of a command that succeeds."""
    code = main(argv)
    out, err = capsys.readouterr()
    assert code == 0, err
    return out


def decode(folder: str, *more: str) -> tuple[str, ...]:
    return ("compile", folder, "--on", "ador", "--phase", "decode", "--batch", "4", "--context", "100", *more)


# ---- compile -----------------------------------------------------------------------------------

CONTRACT = """model chip devices step dtype latency_s layer_latency_s bound_s gap status roofline_s candidates seconds
traffic_bytes capacity energy_j area_mm2 cost_usd ops""".split()
OP = "name op repeat unit start_s end_s compute_s memory_s flops bytes tile utilization bound loc".split()


@pytest.fixture(scope="module")
def answer(tiny: str) -> dict[str, Any]:
    """`compile --json` of a tiny decode step."""
    done = subprocess.run(
        [sys.executable, "-m", "dfcompiler", *decode(tiny, "--json")], capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_json_has_the_keys_of_the_contract(answer: dict[str, Any]) -> None:
    assert set(CONTRACT) <= answer.keys()
    assert {"weights_bytes", "kv_bytes", "activation_bytes", "available_bytes"} <= answer["capacity"].keys()
    for op in answer["ops"]:
        assert set(OP) <= op.keys()


def test_json_means_what_the_contract_says(answer: dict[str, Any]) -> None:
    r = answer
    assert (r["chip"], r["devices"], r["dtype"], r["tokens"]) == ("ador", 1, "w16a16kv16", 4)
    assert r["status"] in ("OPTIMAL", "FEASIBLE")
    assert r["roofline_s"] <= r["bound_s"] * (1 + 1e-9) <= r["latency_s"] * (1 + 2e-9)
    assert r["gap"] == pytest.approx(1 - r["bound_s"] / r["latency_s"], abs=1e-9)
    per_layer = 64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 128 + 2 * 64
    assert r["capacity"]["weights_bytes"] == 2 * (3 * per_layer + 2 * 256 * 64 + 64)
    assert r["capacity"]["kv_bytes"] == 2 * 3 * 2 * 4 * 101 * 32
    assert r["capacity"]["available_bytes"] == 80e9
    assert r["area_mm2"]["total"] == pytest.approx(sum(v for k, v in r["area_mm2"].items() if k != "total"))
    assert sum(op["flops"] * op["repeat"] for op in r["ops"]) >= 2 * r["macs"]
    for level, moved in r["traffic_bytes"].items():
        assert moved == pytest.approx(sum(op["bytes"].get(level, 0) * op["repeat"] for op in r["ops"]))
    assert r["energy_j"] == pytest.approx(r["static_j"] + sum(op["energy_j"] * op["repeat"] for op in r["ops"]))
    assert {op["repeat"] for op in r["ops"]} == {1, 3}
    assert all(0 <= op["start_s"] < op["end_s"] <= r["latency_s"] * (1 + 1e-9) for op in r["ops"])
    assert all(re.fullmatch(r"ir/models/\w+\.dfm:\d+:\d+", op["loc"]) for op in r["ops"])
    assert list(r["seconds"]) == [p.name for p in parse_pipeline(Source("default", PIPELINES["default"]))]


def test_the_table_tells_the_same(tiny: str, answer: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, *decode(tiny))
    assert f"latency   {seconds(answer['latency_s'])}" in out and answer["status"] in out
    assert seconds(answer["roofline_s"]) in out and seconds(answer["bound_s"]) in out
    for op in answer["ops"]:
        row = next(line for line in out.splitlines() if line.split()[:1] == [op["name"]])
        unit = op["unit"] + (f"+{op['helper']}" if op["helper"] else "")
        assert row.split()[1:4] == [op["op"], f"x{op['repeat']}", unit]


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_tables_fit_the_terminal(
    width: int, tiny: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    texts = [run(capsys, *argv) for argv in (decode(tiny), ("list", "chips"), ("show", "ador"), ("show", "sram"))]
    for text in texts:
        assert max(map(len, text.splitlines())) <= width
        assert "…" not in text
    titles = next(line for line in texts[0].splitlines() if line.startswith("name"))
    assert ("tile" in titles.split()) == (width >= 120)


def test_print_after_goes_to_stderr(tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(decode(tiny, "--json", "--print-after", "lower-model", "--pipeline", "greedy")) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["mapper"] == "map-greedy"
    assert err.count("# after ") == 1 and "# after lower-model (" in err and "repeat 3 (" in err
    assert main(decode(tiny, "--print-after-all", "--verify")) == 0
    assert capsys.readouterr().err.count("# after ") == len(parse_pipeline(Source("default", PIPELINES["default"])))


def test_a_pass_that_lies_is_found(
    tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "passes").mkdir()
    (tmp_path / "passes" / "lie.py").write_text(
        '"""A wrong pass."""\nfrom dataclasses import replace\nfrom dfcompiler.pipeline import Pass\n\n\n'
        'class Lie(Pass, name="test-lie"):\n    """Twice the eps."""\n\n    def run(self, graph, ctx):\n'
        "        def wrong(n):\n"
        '            return replace(n, attrs=(("eps", 0.5),)) if n.op.name == "rmsnorm" else n\n\n'
        "        return graph.map_nodes(wrong)\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("DFCOMPILER_PLUGINS", "")
    registry.load()
    monkeypatch.setattr(registry, "_classes", dict(registry._classes))
    argv = decode(tiny, "--verify", "--plugins", str(tmp_path), "--pipeline", "lower-model,test-lie,greedy")
    assert main(argv) == 2
    assert "[wrong-pass]: the pass `test-lie` changed what the graph computes" in capsys.readouterr().err


def test_defaults_of_the_phases() -> None:
    def described(*argv: str) -> str:
        args = arguments.parse(["compile", "m", "--on", "c", *argv])
        assert args is not None
        return phase(args.phase, args.batch, args.seq, args.context).describe()

    assert described() == "prefill 1 x 2048 new, 0 past"
    assert described("--phase", "decode") == "decode 1 x 1 new, 2048 past"
    assert described("--phase", "mixed") == "prefill 1 x 2048 new, 0 past; decode 16 x 1 new, 2048 past"
    assert described("--batch", "2", "--seq", "1e3", "--context", "7") == "prefill 2 x 1000 new, 7 past"


# ---- the other commands ------------------------------------------------------------------------


def test_list_and_show_know_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    listed = json.loads(run(capsys, "list", "--json"))
    assert list(listed) == list(options.KINDS)
    whole = run(capsys, "list")
    for kind, known in names().items():
        assert [entry["name"] for entry in listed[kind]] == known and known
        out = run(capsys, "list", kind)
        for name in known:
            assert name in out and name in whole
            assert name in run(capsys, "show", name, "--kind", kind)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize(("to", "code", "said"), [("> /dev/full", 2, "the answer cannot be written"), (">&-", 0, "")])
def test_stdout_that_takes_nothing(to: str, code: int, said: str) -> None:
    command = f"{sys.executable} -m dfcompiler list spaces {to}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == code and said in done.stderr and "internal error" not in done.stderr
    assert bool(said) == bool(done.stderr)


def test_a_name_of_two_kinds_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    kinds = [kind for kind, known in names().items() if "ador" in known]
    assert kinds == ["chips", "spaces"]
    assert run(capsys, "show", "ador").rstrip().endswith("`dfc show ador --kind spaces`")
    assert run(capsys, "show", "ador", "--kind", "spaces").startswith("space ador")
    assert main(["show", "ador", "--kind", "ops"]) == 2 and "unknown thing `ador`" in capsys.readouterr().err
    assert main(["show", "ador", "--kind", "op"]) == 2 and "did you mean `ops`?" in capsys.readouterr().err


def test_a_folder_without_a_result_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(tmp_path)]) == 2 and "neither a mapping.json nor a config.json" in capsys.readouterr().err
    assert main(["cost", str(tmp_path)]) == 2 and "holds no mapping" in capsys.readouterr().err


def test_show_says_what_matters(tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "8,030,261,248" in run(capsys, "show", "llama3-8b")
    assert "128 KiB per token" in run(capsys, "show", "llama3-8b")
    assert "num_hidden_layers" in run(capsys, "show", tiny)
    chip = run(capsys, "show", "ador", "--set", "sa.rows=128")
    assert "rows! 128" in chip and "cols* 64" in chip and "mm2" in chip and "2 TB/s" in chip
    attention = run(capsys, "show", "attention")
    assert "p streams, v stays: batch = b g, m = s r, n = f, k = t" in attention
    assert "would redo another contraction" in attention
    rows = next(line for line in run(capsys, "show", "systolic-array").splitlines() if line.startswith("rows"))
    assert "128" in rows and "from 1 to 4096" in rows and "unrolled" in rows
    assert "time-limit-s" in run(capsys, "show", "map-ilp")


def test_price_is_the_price_of_the_api(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(run(capsys, "price", "linear", "--on", "ador", "t=1,256", "k=512", "n=1024", "--json"))
    priced = pricing.price_op("linear", {"t": (1, 256), "k": (512,), "n": (1024,)}, load_chip("ador"))
    assert found["cycles"] == priced.cycles and found["tile"] == dict(priced.tile) and found["unit"] == priced.unit
    keys = "latency_s compute_s memory_s cycles bytes tile utilization bound candidates seconds".split()
    assert set(keys) <= found.keys()
    table = run(capsys, "price", "linear", "t=1,256", "k=512", "n=1024", "--on", "ador")
    assert seconds(priced.latency_s) in table and priced.unit in table
    alone = json.loads(
        run(capsys, "price", "linear", "t=1,256", "k=512", "n=1024", "--on", "ador", "--unit", "vu", "--json")
    )
    assert alone["unit"] == "vu" and alone["cycles"] >= found["cycles"]


def test_opt_round_trip(tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(decode(tiny, "--json", "--pipeline", "greedy", "--print-after", "lower-model")) == 0
    printed = capsys.readouterr().err.partition("# after lower-model")[2].partition("\n")[2]
    text = "".join(x for x in printed.splitlines(keepends=True) if not x.startswith("dfc: "))  # of a slow machine
    file = tmp_path / "graph.dfir"
    file.write_text(text, encoding="utf-8")
    once = run(capsys, "opt", str(file), "-p", "fuse-elementwise", "--verify")
    file.write_text(once, encoding="utf-8")
    graph = parse_graph(read_source(file), library())
    assert graph.offers and show_graph(graph) == once
    assert run(capsys, "opt", str(file), "-p", "fuse-elementwise") == once
    mapped = run(capsys, "opt", str(file), "-p", "tile,map-greedy", "--on", "ador", "--verify")
    assert mapped.count("  place ") == len(graph.nodes)


def test_outputs_and_rtl(tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    table = run(capsys, *decode(tiny, "-o", str(out)))
    assert str(out / "mapping.json") in table and (out / "mapping.json").is_file()
    shown = run(capsys, "show", str(out))
    assert shown.strip() in table
    argv = ("rtl", str(out), "--name", "npu", "-o", str(tmp_path / "rtl"))
    assert "npu_pkg.sv" in run(capsys, *argv)
    assert "up to date" in run(capsys, *argv, "--check")
    assert "op" in (tmp_path / "rtl" / "npu_pkg.sv").read_text(encoding="utf-8")
    run(capsys, "rtl", "--on", "tpu128", "--name", "tpu", "-o", str(tmp_path / "tpu"))
    assert main(["rtl", "--on", "ador", "--name", "tpu", "-o", str(tmp_path / "tpu"), "--check"]) == 1


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    for argv in ((), ("--help",), ("help",)):
        out = run(capsys, *argv)
        assert all(f"  {name} " in out for name in arguments.COMMANDS)
    for name, command in arguments.COMMANDS.items():
        out = run(capsys, name, "--help")
        assert f"usage: dfc {name}" in out and command.example in out
    assert run(capsys, "--version") == f"dfc {__version__}\n"


# ---- streams and exits -------------------------------------------------------------------------


def test_help_is_light() -> None:
    code = (
        "import sys; from dfcompiler.cli import main; "
        "assert main(['--help']) == main(['compile', '--help']) == 0; "
        f"found = sorted(set({HEAVY}) & set(sys.modules)); "
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_a_bug_of_ours(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("lost\nin detail")

    monkeypatch.setattr("dfcompiler.cli.catalog.run", broken)
    assert main(["list"]) == 3
    out, err = capsys.readouterr()
    assert not out and err.count("\n") == 1 and "RuntimeError: lost" in err and "DFC_DEBUG=1" in err
    monkeypatch.setenv("DFC_DEBUG", "1")
    assert main(["list"]) == 3
    assert "Traceback" in capsys.readouterr().err


def test_interrupted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dfcompiler.cli.catalog.run", stopped)
    assert main(["list"]) == 130
    assert capsys.readouterr() == ("", "dfc: interrupted\n")


def test_broken_pipe_is_quiet() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-m", "dfcompiler", "list", "ops"], stdout=write, stderr=-1, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


def on_terminal(argv: list[str], width: int, **env: str) -> tuple[int, str]:
    """Exit code and all that a terminal of this width receives."""
    mine, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    clean = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "NO_COLOR")}
    command = [sys.executable, "-m", "dfcompiler", *argv]
    with subprocess.Popen(
        command, stdout=theirs, stderr=theirs, env=clean | {"TERM": "xterm-256color"} | env
    ) as process:
        os.close(theirs)
        seen = b""
        while True:
            try:
                piece = os.read(mine, 65536)
            except OSError:  # Linux: the other end is closed
                break
            if not piece:
                break
            seen += piece
    os.close(mine)
    return process.returncode, seen.decode()


def test_colours_on_a_terminal_only() -> None:
    code, seen = on_terminal(["list", "chips"], 70)
    assert code == 0 and "\x1b[36m" in seen
    assert max(len(ESCAPE.sub("", line)) for line in seen.splitlines()) <= 70
    assert "\x1b[3" not in on_terminal(["list", "chips"], 70, NO_COLOR="1")[1]
    code, seen = on_terminal(["show", "nothing"], 70)
    assert code == 2 and "\x1b[1;31merror[unknown-thing]\x1b[0m" in seen
    assert "\x1b" not in on_terminal(["show", "nothing"], 70, NO_COLOR="1")[1]


def test_progress_of_what_takes_long(tmp_path: Path) -> None:
    (tmp_path / "passes").mkdir()
    (tmp_path / "passes" / "nap.py").write_text(
        '"""Slow."""\nimport time\nfrom dfcompiler.pipeline import Pass\n\n\nclass Nap(Pass, name="test-nap"):\n'
        '    """Sleep."""\n\n    s: float = 0.0\n\n    def run(self, graph, ctx):\n'
        "        time.sleep(self.s)\n        return graph\n",
        encoding="utf-8",
    )
    (tmp_path / "g.dfir").write_text('graph "g" {\n  input x: bf16 [4]\n  output x\n}\n', encoding="utf-8")
    base = ["opt", str(tmp_path / "g.dfir"), "--plugins", str(tmp_path), "-p"]
    piped = [sys.executable, "-m", "dfcompiler", *base, "test-nap{s=1.3},test-nap"]
    done = subprocess.run(piped, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    code, seen = on_terminal([*base, "test-nap,test-nap{s=1.5}"], 80)
    assert code == 0 and "test-nap#2" in seen and "0:01" in seen and "output x" in seen
    assert "0:0" not in on_terminal([*base, "test-nap"], 80)[1]


def test_a_file_that_is_called_nearly_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "small.chip").write_text("", encoding="utf-8")
    assert main(["show", str(tmp_path / "smal.chip")]) == 2
    assert f"hint: did you mean `{tmp_path / 'small.chip'}`?" in capsys.readouterr().err
    assert main(["show", str(tmp_path / "nowhere" / "smal.chip")]) == 2
    assert "hint" not in capsys.readouterr().err


def test_the_overview_fits_the_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for width in (60, 80, 200):
        monkeypatch.setenv("COLUMNS", str(width))
        assert main([]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines)) <= width and all(f"  {name} " in "\n".join(lines) for name in arguments.COMMANDS)


def test_colours_can_be_asked_for_and_refused() -> None:
    def shown(**env: str) -> bytes:
        clean = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")}
        command = [sys.executable, "-m", "dfcompiler", "show", "nothing"]
        return subprocess.run(command, env=clean | env, capture_output=True, check=False).stderr

    assert b"\x1b" not in shown() + shown(NO_COLOR="1", FORCE_COLOR="1")
    assert b"\x1b[1;31merror" in shown(FORCE_COLOR="1")


def test_progress_in_words() -> None:
    assert left(3.4, 0, None, None) == "0:03" and left(3.4, 0, None, 60.0) == "0:03 of at most 1:00"
    assert left(4.0, 12, 40, None) == "12 of 40, 3/s, 0:09 left" and left(0.0, 0, 40, None) == "0 of 40"
    assert clock(3725) == "1:02:05"


def test_numbers() -> None:
    assert [seconds(x) for x in (0, 1.5e-9, 9.7757e-3, 0.99999, 12.0)] == [
        "0 s",
        "1.5 ns",
        "9.776 ms",
        "1.000 s",
        "12 s",
    ]
    assert [digits(x) for x in (0, 0.00123, 1637.4, 123456, 9.99999)] == ["0", "0.001230", "1,637", "123,456", "10.00"]
    assert [percent(x) for x in (0.0, 0.0001, 0.9999, 1.0)] == ["0 %", "<0.1 %", ">99.9 %", "100 %"]
    assert [capacity(x) for x in (1000, 2048, 1 << 31, 80e9)] == ["1 kB", "2 KiB", "2 GiB", "80 GB"]
    assert quantity(64, "PE") == "64" and quantity(1.5e9, "Hz") == "1.5 GHz" and quantity("hbm", "") == "hbm"


def test_every_pass_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    for entry in json.loads(run(capsys, "list", "passes", "--json"))["passes"]:
        assert entry["about"] or entry["name"].startswith("test-")
