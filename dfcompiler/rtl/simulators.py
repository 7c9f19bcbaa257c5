"""Benches built by Verilator, each once per content, or by Icarus, and run."""

from __future__ import annotations

import atexit
import functools
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from dfcompiler import cache, content
from dfcompiler.diagnostics import Infeasible

CLOCK = "clock.cpp"
TICKS = "clock.sv"
LIBRARY = ("verilated.cpp", "verilated_threads.cpp")
PROGRAMS = 64  # how many are kept
LIMIT_S = 600  # of a build or a run
# Long loops stay loops: unrolled, they take the C++ compiler three times as long. Generated ones may have 16 times as
# many turns: an array has at most 256 rows and columns here.
VERILATE = ("verilator", "--cc", "-Wno-fatal", "-Wno-lint", "-Wno-style", "-O3", "--unroll-count", "16",
            "--x-initial", "fast", "--prefix", "Vbench")  # fmt: skip
FLAGS = ("-O1", "-std=c++17", "-w", "-DVL_TIME_CONTEXT", "-DVM_COVERAGE=0", "-DVM_SC=0", "-DVM_TRACE=0")


def available(tool: str) -> bool:
    """Whether a simulator is installed."""
    needed = {"verilator": ("verilator", "g++"), "iverilog": ("iverilog", "vvp")}[tool]
    return all(shutil.which(name) for name in needed)


def build(files: Mapping[str, str], top: str, tool: str = "verilator") -> Path:
    """The program that runs the module `top` of these files (name -> text); kept by what it is made of.

    Raises Infeasible `no-simulator` where the tool is missing and `rtl-build` with what it says of the files.
    """
    if not available(tool):
        raise Infeasible("no-simulator", f"`{tool}` is not installed", hint="install Verilator and a C++ compiler")
    clocks = {name: _source(name) for name in (CLOCK, TICKS)}
    parts = [tool, _run([tool, "--version" if tool == "verilator" else "-V"]), top, repr((FLAGS, VERILATE))]
    parts += [f"{n}\0{t}" for n, t in sorted({**files, **clocks}.items())]
    name = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]
    kept = (_home() if tool == "verilator" else _passing()) / name  # Icarus takes no time that is worth keeping
    program = kept / "bench"
    if program.is_file():
        return program
    kept.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as where:
        folder = Path(where)
        for file, text in {**files, **clocks}.items():
            (folder / file).write_text(text, encoding="utf-8")
        sources = [n for n in files if n.endswith("_pkg.sv")] + [
            n for n in sorted(files) if n.endswith(".sv") and not n.endswith("_pkg.sv")
        ]
        made = _verilated(folder, sources, top) if tool == "verilator" else _compiled(folder, sources, top)
        partial = kept / f"bench.{os.getpid()}"
        shutil.copy2(made, partial)
        os.replace(partial, program)
    _forget(kept.parent)
    return program


def run(program: Path, arguments: Sequence[str]) -> dict[str, int]:
    """The numbers that a bench prints, by name; raises Infeasible `rtl-run` where it complains."""
    command = [str(program)] if os.access(program, os.X_OK) and not _is_vvp(program) else ["vvp", "-n", str(program)]
    said = _run([*command, *arguments])
    wrong = [line for line in said.splitlines() if "error" in line.lower()]
    found = {name: int(value) for name, value in re.findall(r"^(\w+) (-?\d+)$", said, re.MULTILINE)}
    if wrong or not found:
        raise Infeasible("rtl-run", f"the simulation fails: {(wrong or [said.strip() or 'it says nothing'])[0]}")
    return found


def _is_vvp(program: Path) -> bool:
    with program.open("rb") as file:
        return file.read(4) != b"\x7fELF"


def _verilated(folder: Path, sources: Sequence[str], top: str) -> Path:
    _run([*VERILATE, "--top-module", top, "--Mdir", "made", *sources], folder)
    parts = sorted((folder / "made").glob("Vbench*.cpp"))
    (folder / "all.cpp").write_text("".join(f'#include "made/{p.name}"\n' for p in parts))
    root = Path(_run(["verilator", "--getenv", "VERILATOR_ROOT"]).strip())
    include = [f"-I{root / 'include'}", f"-I{root / 'include' / 'vltstd'}", "-Imade", "-I."]
    library = _library(root, include)
    _run(["g++", *FLAGS, *include, "all.cpp", CLOCK, str(library), "-o", "bench", "-pthread"], folder)
    return folder / "bench"


def _library(root: Path, include: Sequence[str]) -> Path:
    """Verilator's own part of a program, compiled once."""
    name = hashlib.sha256((str(root) + _run(["verilator", "--version"]) + repr((FLAGS, LIBRARY))).encode()).hexdigest()[
        :24
    ]
    kept = _home() / f"verilated-{name}.o"
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial, whole = kept.with_suffix(f".{os.getpid()}.o"), kept.with_suffix(".cpp")
        whole.write_text("".join(f'#include "{name}"\n' for name in LIBRARY))
        _run(["g++", *FLAGS, *include[:2], "-c", str(whole), "-o", str(partial)])
        os.replace(partial, kept)
    return kept


def _compiled(folder: Path, sources: Sequence[str], top: str) -> Path:
    _run(["iverilog", "-g2012", "-o", "bench", f"-DBENCH={top}", "-s", "clock", *sources, TICKS], folder)
    return folder / "bench"


def _home() -> Path:
    """The folder of programs: beside other values that are kept, where there is such a folder."""
    kept = cache.folder()
    return kept / "rtl" if kept else _passing()


@functools.cache
def _passing() -> Path:
    """A folder of this process that goes with it."""
    made = Path(tempfile.mkdtemp(prefix="dfc-rtl-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


def _forget(home: Path) -> None:
    """Remove all but the latest programs."""
    programs = sorted(home.glob("*/bench"), key=lambda p: -p.stat().st_mtime)
    for old in programs[PROGRAMS:]:
        shutil.rmtree(old.parent, ignore_errors=True)


def _source(name: str) -> str:
    path = next(d / name for d in reversed(content.folders("templates", "rtl/cores")) if (d / name).is_file())
    return path.read_text(encoding="utf-8")


def _run(command: Sequence[str], cwd: Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    if done.returncode:
        said = (done.stderr + done.stdout).strip().splitlines()
        raise Infeasible("rtl-build", "\n  ".join([f"`{command[0]}` fails", *said[:12]]))
    return done.stdout
