"""Which reader reads a file: the first whose mark it bears."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dfcompiler.diagnostics import Diag
from dfcompiler.dtypes import DtypeMap
from dfcompiler.interchange import gemms, llmcompass, timeloop, zigzag
from dfcompiler.interchange.documents import Dropped, Value, read_document
from dfcompiler.interchange.machine import Machine, chip_text
from dfcompiler.text.parse import read_source


@dataclass(frozen=True)
class Imported:
    """Text of ours for a foreign file: a chip (`.chip`) or a graph (`.dfir`), and what it does not hold."""

    text: str
    suffix: str
    what: str
    dropped: tuple[Dropped, ...]


@dataclass(frozen=True)
class Hardware:
    """A format of hardware: the member that marks it, its reader, and why it leaves out what it does."""

    name: str
    mark: str
    read: Callable[[Value, str], Machine]
    reasons: Mapping[str, str]


HARDWARE = (
    Hardware("LLMCompass", llmcompass.FAMILY, llmcompass.read_machine, llmcompass.REASONS),
    Hardware("ZigZag", zigzag.FAMILY, zigzag.read_machine, zigzag.REASONS),
    Hardware("Timeloop v4", timeloop.FAMILY, timeloop.read_machine, timeloop.REASONS),
)
DOCUMENTS = (".json", ".yaml", ".yml")


def read_foreign(path: Path, dtypes: DtypeMap = DtypeMap()) -> Imported:
    """The text of ours for a file; values of a graph have the types `dtypes`.

    Raises Diag `unknown-format` and what the readers raise, each at its place, and Infeasible `not-expressible`.
    """
    if path.suffix == ".onnx":
        from dfcompiler.interchange import networks  # the package onnx is an extra

        return Imported(*networks.read_graph(path, dtypes))
    if path.suffix == ".csv":
        text, dropped = gemms.read_graph(read_source(path), path.stem, dtypes)
        return Imported(text, ".dfir", "GEMM list", dropped)
    if path.suffix not in DOCUMENTS:
        known = ", ".join((*DOCUMENTS, ".csv", ".onnx"))
        raise Diag("unknown-format", f"`{path}` has none of the endings {known}", hint=_hint())
    root = read_document(read_source(path))
    for format_ in HARDWARE:
        if root.has(format_.mark):
            machine = format_.read(root, path.stem)
            dropped = root.dropped(format_.reasons)
            return Imported(chip_text(machine, dropped), ".chip", f"hardware of {format_.name}", dropped)
    raise Diag("unknown-format", f"`{path}` is none of the formats that are read", root.span, hint=_hint())


def _hint() -> str:
    marks = ", ".join(f"{h.name} (a member `{h.mark}`)" for h in HARDWARE)
    return f"hardware of {marks}; a list of GEMMs in .csv; a graph in .onnx"
