"""Fits what no data sheet tells about NCCL and writes templates/libraries/nccl-*.toml: `python -m fit_collectives`.

Only the rows of `collective_data.folds` enter, of fp16 exchanges measured on A100 SXM (NCCL 2.27.3) and H100 SXM (NCCL
2.29.2). How NCCL chooses its protocol is not fitted: its own estimates are public. The minimiser comes with
aiconfigurator-core, as the tables do. About a minute of CPU.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
from collective_data import OPS, VERSIONS, Rows, folds, links, nccl

from dfcompiler.fabrics import Guess, Library, Protocol, collective_latency_s

FOLDER = Path(__file__).resolve().parents[1] / "templates" / "libraries"
RING = {"ops": "all_reduce all_gather reduce_scatter broadcast", "algorithms": "ring"}
TUNING = "NCCL tuning.cc"
SEED = 1


def ring(base_us: float, step_us: float, bytes_per_s: str, share: float) -> dict[str, tuple[float, str]]:
    """How NCCL estimates a ring over NVLink."""
    return {
        "guess_base_s": (base_us * 1e-6, f"{TUNING}, baseLatencies, ring"),
        "guess_step_s": (step_us * 1e-6, f"{TUNING}, hwLatencies, NVLink, ring"),
        "guess_efficiency": (share, f"{TUNING}: {bytes_per_s}"),
    }


# File -> (device, protocol -> public constants).
GIVEN = {
    "nccl-sm80": (
        "a100_sxm",
        {
            "ll": ring(6.6, 0.6, "llMaxBws of Ampere, 87.7 of 300 GB/s", 87.7 / 300),
            "ll128": ring(14.0, 1.9, "120 of 128 bytes of 12 links of 20 of 25 GB/s", 0.8 * 120 / 128),
            "simple": ring(8.4, 3.4, "12 links of SM80_NVLINK_BW, 20 of 25 GB/s", 0.8),
        },
    ),
    "nccl-sm90": (
        "h100_sxm",
        {
            "ll": ring(6.6, 0.6, "llMaxBws of Hopper, 141 of 450 GB/s", 141 / 450),
            "ll128": ring(14.0, 1.9, "120 of 128 bytes of 12 channels of 30 GB/s, of 450 GB/s", 0.8 * 120 / 128),
            "simple": ring(8.4, 3.4, "12 channels of 30 GB/s (NCCL issue 1197), of 450 GB/s", 0.8),
            "nvls": {
                "guess_base_s": (25e-6, f"{TUNING}, hwLatencies, NVLS"),
                "guess_efficiency": (
                    2 * 0.85 * 18 * 20.6 / 450 * 15 / 16 * 9 / 8,
                    f"{TUNING}: nvlsEfficiency 0.85, twice, of 18 links of SM90_NVLINK_BW, 15 of 16 channels "
                    "(16: our estimate); per byte "
                    "of the message, of which 9/8 cross a port of 8 devices",
                ),
                "least_devices": (3, "the rows of two devices go by a ring: our reading of them"),
            },
        },
    ),
}
USED = {
    "ll": RING,
    "ll128": RING,
    "simple": RING,
    "nvls": {"ops": "all_reduce", "algorithms": "switch-reduced"},
    "p2p": {"ops": "all_to_all send", "algorithms": "direct"},
}

# Where the search begins; the same for both devices. The figures are orders of magnitude, and none of them remains.
BEGIN = {
    "start": {"base_s": 6e-6},
    "ll": {"step_s": 1e-6, "efficiency": 0.4, "fill_s": 1.5e-6, "fill_bytes": 4e3, "tail_chunks": 0.4},
    "ll128": {"step_s": 2e-6, "efficiency": 0.7},
    "simple": {"step_s": 3e-6, "efficiency": 0.8, "fill_s": 2e-5, "fill_bytes": 1e6, "tail_chunks": 0.4},
    "nvls": {"device_s": 1e-6, "efficiency": 0.65, "fill_device_s": 6e-6, "fill_bytes": 1e6},
    "p2p": {"step_s": 1e-6, "efficiency": 0.8, "fill_s": 1e-5, "fill_bytes": 1e5, "tail_chunks": 0.4},
}
Values = Mapping[str, Mapping[str, float]]


def library(name: str, values: Values) -> Library:
    """The library that has these fitted values and NCCL's public ones."""
    given = GIVEN[name][1]
    protocols = []
    for protocol, fitted in values.items():
        if protocol == "start":
            continue
        public = {key: value for key, (value, _) in given.get(protocol, {}).items()}
        guess = {k.removeprefix("guess_"): public.pop(k, 0.0) for k in (f"guess_{f.name}" for f in fields(Guess))}
        used = {key: tuple(text.split()) for key, text in USED[protocol].items()}
        protocols.append(
            Protocol(protocol, **used, **public, **fitted, guess=Guess(**guess) if guess["efficiency"] else None)  # type: ignore[arg-type]
        )
    return Library(name, base_s=values["start"]["base_s"], protocols=tuple(protocols))


def error_of(name: str, values: Values, rows: Rows) -> float:
    """The mean of |log(predicted / measured)|."""
    fabric = replace(links(GIVEN[name][0]), library=library(name, values))
    seconds, _ = collective_latency_s(rows.op, rows.devices, rows.bytes, fabric)
    return float(np.mean(np.abs(np.log(seconds / rows.seconds))))


def fitted(name: str, rows: Rows, names: tuple[str, ...], known: Values) -> dict[str, dict[str, float]]:
    """The values of some protocols that make the mean of |log(predicted / measured)| over the rows least."""
    from scipy.optimize import minimize

    keys = [(p, k) for p in names for k in BEGIN[p]]
    begin = np.log([BEGIN[p][k] for p, k in keys])

    def values(x: np.ndarray) -> dict[str, dict[str, float]]:
        found: dict[str, dict[str, float]] = {p: dict(v) for p, v in known.items()}
        for (p, k), value in zip(keys, np.exp(np.clip(x, -60, 60)), strict=True):
            found.setdefault(p, {})[k] = float(value)
        return found

    def error(x: np.ndarray) -> float:
        return error_of(name, values(x), rows) + 1e-3 * float(np.mean(np.abs(x - begin)))

    options = {"maxfev": 5000, "maxiter": 5000, "adaptive": True, "xatol": 1e-4, "fatol": 1e-7}
    best, least = begin, error(begin)
    random = np.random.default_rng(SEED)
    for start in (begin, *(begin + 0.3 * random.standard_normal((2, len(begin))))):
        for _ in range(2):
            found = minimize(error, start, method="Nelder-Mead", options=options)
            start = found.x
        if found.fun < least:
            best, least = found.x, found.fun
    return values(best)


def fit(name: str, rows: Rows) -> dict[str, dict[str, float]]:
    """All values: rings and what the switch adds together, then exchanges of each with each with the same start."""
    rings = tuple(p for p in BEGIN if p == "start" or p in GIVEN[name][1])
    values = fitted(name, rows.of(*OPS), rings, {})
    return fitted(name, rows.of("all_to_all"), ("p2p",), values)


def text(name: str, values: Values, rows: int) -> str:
    """The file, every figure with its source."""
    device, public = GIVEN[name]
    where = f"fitted, {device} NCCL {VERSIONS[device]}"
    lines = [
        f"# NCCL over {links(device).bytes_per_s / 1e9:g} GB/s each way. `fitted`: by benchmarks/fit_collectives.py",
        f"# on {rows} of the rows that NVIDIA measured (fp16, aiconfigurator-core 0.12.0, Apache-2.0). Others test it.",
    ]
    for protocol, entries in values.items():
        lines += ["", f"[{protocol}]"]
        if protocol in USED:
            lines += [
                f'{k} = {{ value = "{v}", source = "NCCL\'s, within a node" }}' for k, v in USED[protocol].items()
            ]
        lines += [f'{k} = {{ value = {v:.4g}, source = "{where}" }}' for k, v in entries.items()]
        lines += [f'{k} = {{ value = {v:.5g}, source = "{s}" }}' for k, (v, s) in public.get(protocol, {}).items()]
    return "\n".join([*lines, ""])


def main() -> int:
    """Fits and writes every file; 1 with a reason where the data are absent."""
    for name, (device, _) in GIVEN.items():
        rows = nccl(device)
        if rows is None:
            print(f"no measurements of {device}: set DFC_DATA, or install aiconfigurator-core and pyarrow")
            return 1
        part = rows[folds(rows)]
        values = fit(name, part)
        (FOLDER / f"{name}.toml").write_text(text(name, values, len(part.op)), encoding="utf-8")
        print(f"{name}: {len(part.op)} rows")
    return 0


if __name__ == "__main__":
    sys.exit(main())
