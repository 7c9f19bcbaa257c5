"""GEMMs on `tpu128` by ZigZag: `PYTHON benchmarks/gemm_zigzag.py MxKxN ...`, a line of `M K N cycles CPU-seconds` each.

PYTHON is one that has `zigzag-dse==3.9.1` and `six`, and need have nothing of ours. The machine is that of
templates/chips/tpu128.chip: 128 x 128 weight-stationary multipliers, a weight in each; 16 MiB with a port each for
inputs, weights, sums that are read, sums that are written, and one to and one from the DRAM; bits per cycle. Energies
do not matter where latency is asked for.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

REGISTER_BITS, BUFFER_BITS, DRAM_BITS = 8, 16 * 2**20 * 8, 80 * 10**9 * 8


def port(kind: str, number: int, bits: int, *ways: str) -> dict[str, Any]:
    """A port as wide as `bits`; ways are `I1, tl`: an operand, and from where or to where it goes."""
    name = f"{kind[0]}_port_{number}"
    return {"name": name, "type": kind, "bandwidth_min": 8, "bandwidth_max": bits, "allocation": list(ways)}


def memory(bits: int, operands: str, served: list[str], *ports: dict[str, Any]) -> dict[str, Any]:
    """A memory of a size in bits."""
    costs = {"r_cost": 1.0, "w_cost": 1.0, "area": 0, "latency": 1}
    return {"size": bits, **costs, "operands": operands.split(), "ports": list(ports), "served_dimensions": served}


ARRAY = ["D1", "D2"]
HARDWARE = {
    "name": "tpu128",
    "memories": {
        "weights": memory(REGISTER_BITS, "I2", [], port("read", 1, 8, "I2, tl"), port("write", 1, 8, "I2, fh")),
        "buffer": memory(
            BUFFER_BITS, "I1 I2 O", ARRAY,
            port("read", 1, 1024, "I1, tl"), port("read", 2, 1024, "I2, tl"), port("read", 3, 2048, "O, tl"),
            port("read", 4, 1024, "O, th"), port("write", 1, 2048, "O, fl"),
            port("write", 2, 1024, "I1, fh", "I2, fh", "O, fh"),
        ),
        "dram": memory(
            DRAM_BITS, "I1 I2 O", ARRAY,
            port("read", 1, 1024, "I1, tl", "I2, tl", "O, tl"), port("write", 1, 1024, "I1, fh", "I2, fh", "O, fl"),
        ),
    },
    "operational_array": {"unit_energy": 1.0, "unit_area": 1, "dimensions": ARRAY, "sizes": [128, 128]},
}  # fmt: skip
MAPPING = [
    {
        "name": "default",
        "spatial_mapping": {"D1": ["K, 128"], "D2": ["C, 128"]},
        "memory_operand_links": {"O": "O", "W": "I2", "I": "I1"},
    }
]


def layer(m: int, k: int, n: int) -> list[dict[str, Any]]:
    """8-bit operands and results, 16-bit sums."""
    return [
        {
            "id": 0,
            "name": "gemm",
            "operator_type": "Gemm",
            "equation": "O[b][k]+=I[b][c]*W[c][k]",
            "dimension_relations": [],
            "loop_dims": ["B", "C", "K"],
            "loop_sizes": [m, k, n],
            "operand_precision": {"O": 16, "O_final": 8, "W": 8, "I": 8},
            "operand_source": {"I": 0, "W": 0},
        }
    ]


def main() -> None:
    import yaml
    from zigzag.api import get_hardware_performance_zigzag

    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        for shape in sys.argv[1:]:
            m, k, n = map(int, shape.split("x"))
            paths = [str(Path(folder, f"{name}.yaml")) for name in ("workload", "hardware", "mapping")]
            for path, content in zip(paths, (layer(m, k, n), HARDWARE, MAPPING), strict=True):
                Path(path).write_text(
                    yaml.safe_dump(content, sort_keys=False), encoding="utf-8"
                )  # memories: inner first
            start = time.process_time()
            _, cycles, *_ = get_hardware_performance_zigzag(
                *paths, opt="latency", dump_folder=f"{folder}/out", loma_show_progress_bar=False
            )
            print(m, k, n, round(cycles), f"{time.process_time() - start:.2f}", flush=True)


if __name__ == "__main__":
    main()
