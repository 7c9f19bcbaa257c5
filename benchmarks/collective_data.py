"""Measured exchanges, read where they lie: NCCL tables of aiconfigurator-core, and the all-reduce of LLMCompass."""

from __future__ import annotations

import csv
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfcompiler.fabrics import Fabric
from dfcompiler.hardware.template import Interconnect
from dfcompiler.registry import lookup

DATA = Path(os.environ.get("DFC_DATA", Path(__file__).resolve().parents[1] / "../shared/data"))
OPS = ("all_reduce", "all_gather", "reduce_scatter")
NAMES = {"alltoall": "all_to_all"}  # the tables' name -> ours
LINKS = {"a100_sxm": ("nvlink3", 12), "h100_sxm": ("nvlink4", 18), "h200_sxm": ("nvlink4", 18)}  # data sheets
VERSIONS = {"a100_sxm": "2.27.3", "h100_sxm": "2.29.2", "h200_sxm": "2.29.2"}  # of NCCL, as measured


@dataclass(frozen=True)
class Rows:
    """Exchanges with their measured seconds; arrays of one length."""

    op: NDArray[Any]
    devices: NDArray[Any]
    bytes: NDArray[Any]
    seconds: NDArray[Any]

    def __getitem__(self, rows: NDArray[Any]) -> Rows:
        return Rows(self.op[rows], self.devices[rows], self.bytes[rows], self.seconds[rows])

    def of(self, *ops: str) -> Rows:
        """Those of some exchanges."""
        return self[np.isin(self.op, ops)]


def links(device: str) -> Fabric:
    """The links of a device by its data sheet."""
    kind, count = LINKS[device]
    template = lookup("template", kind)(count=count)
    assert isinstance(template, Interconnect)
    return template.fabric(1e9)


def folds(rows: Rows) -> NDArray[np.bool_]:
    """A chequerboard over message sizes, numbers of devices and exchanges: True for the rows that constants are fitted
    on, False for those that they are tested on."""
    number = np.array([sorted(set(rows.op)).index(o) for o in rows.op])
    board = np.rint(np.log2(rows.bytes)) + np.rint(np.log2(rows.devices)) + number
    found: NDArray[np.bool_] = board % 2 == 0
    return found


def nccl(device: str) -> Rows | None:
    """Exchanges of fp16 that NVIDIA measured with NCCL; None where neither the tables nor the wheel are there."""
    path = DATA / "silicon" / f"silicon_{device.removesuffix('_sxm')}_nccl_half.csv"
    if path.is_file():
        with path.open(encoding="utf-8") as file:
            read = list(csv.DictReader(file))
        return _rows([(r["op_name"], r["num_gpus"], r["message_bytes"], r["latency_ms"]) for r in read])
    spec = importlib.util.find_spec("aiconfigurator_core")
    if spec is None or not spec.submodule_search_locations or importlib.util.find_spec("pyarrow") is None:
        return None
    import pyarrow.parquet

    inside = f"systems/data/{device}/comm/nccl/{VERSIONS[device]}/nccl_perf.parquet"
    table = pyarrow.parquet.read_table(Path(spec.submodule_search_locations[0], inside)).to_pylist()
    half = [r for r in table if r["nccl_dtype"] == "half"]  # sizes are in elements, of two bytes
    return _rows([(r["op_name"], r["num_gpus"], 2 * r["message_size"], r["latency"]) for r in half])


def llmcompass() -> Rows | None:
    """All-reduce on four A100 as the authors of LLMCompass (ISCA 2024) measured it from the host; None if absent."""
    path = DATA / "llmcompass_a100" / "allreduce_4xa100.csv"
    if not path.is_file():
        return None
    with path.open(encoding="utf-8") as file:
        return _rows([("all_reduce", 4, r["bytes"], r["latency_ms"]) for r in csv.DictReader(file)])


def _rows(read: list[tuple[Any, Any, Any, Any]]) -> Rows:
    op, devices, size, milliseconds = zip(*read, strict=True)
    return Rows(
        np.array([NAMES.get(o, o) for o in op]),
        np.array(devices, dtype=float),
        np.array(size, dtype=float),
        np.array(milliseconds, dtype=float) * 1e-3,
    )
