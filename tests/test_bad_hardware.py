"""Hardware that cannot be: every case has its exit code, its code, what is said, and where."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dfcompiler import registry
from dfcompiler.cli import main
from dfcompiler.diagnostics import Diag
from dfcompiler.economics import Ownership, usd_per_million_tokens

CHIP = """chip small {
  node = 7 nm
  clock = 1 GHz
  part hbm: dram { kind = hbm3, bandwidth = 100 GB/s, capacity = 1 GB }
  part noc: noc { bandwidth = 64 B/cycle }
  part mem: sram { capacity = 256 KiB }
  part sa: systolic-array { rows = 8, cols = 8 }
  part vu: vector-unit { lanes = 8 }
  part cim: cim-crossbar { rows = 64, cols = 64 }
  connect hbm - noc - mem - sa
  connect mem - vu
  connect mem - cim
}
"""
# What is changed in the chip, the code, and what the message says; the place is the line of the change.
CHANGES = [
    ("node = 7 nm", "node = 2 nm", "unknown-node", "from 3 to 45 nm; known: 3, 4, 5, 6, 7, 10, 12, 16, 28, 45"),
    ("node = 7 nm", "node = 130 nm", "unknown-node", "from 3 to 45 nm"),
    ("node = 7 nm", "node = -7 nm", "illegal-value", "cannot be -7 nm\n"),
    ("node = 7 nm", "node = 7 GHz", "bad-dimension", "a length"),
    ("kind = hbm3", "kind = hbm9", "unknown-value", "lpddr5x"),
    ("kind = hbm3", "kind = ddr3", "unknown-value", "did you mean `ddr5`?"),
    ("100 GB/s", "0 GB/s", "illegal-value", "cannot be 0 GB/s\n"),
    ("100 GB/s", "-100 GB/s", "illegal-value", "from 1e+06"),
    ("100 GB/s", "nan GB/s", "syntax", "nan GB/s"),
    ("100 GB/s", "1e40 GB/s", "illegal-value", "1e+16"),
    ("1 GB }", "0 GB }", "illegal-value", "`capacity` of dram"),
    ("1 GB }", "1 GB, efficiency = 0 }", "illegal-value", "from 0.01 to 1"),
    ("1 GB }", "1 GB, efficiency = 120 % }", "illegal-value", "from 0.01 to 1"),
    ("1 GB }", "1 GB, refresh = never }", "unknown-value", "all-bank, per-bank"),
    ("1 GB }", "1 GB, run = 0 B }", "illegal-value", "`run`"),
    ("64 B/cycle", "0 B/cycle", "illegal-value", "`bandwidth` of noc"),
    ("64 B/cycle", "64 B/cycle, trunk = -1 B/cycle", "illegal-value", "`trunk` of noc"),
    ("256 KiB", "0 KiB", "illegal-value", "`capacity` of sram"),
    ("256 KiB", "256 KiB, banks = 0", "illegal-value", "`banks`"),
    ("256 KiB", "256 KiB, cell_ports = 0", "illegal-value", "`cell-ports`"),
    ("256 KiB", "256 KiB, cache = perhaps", "unknown-value", "known: no, yes"),
    ("lanes = 8", "lanes = 0", "illegal-value", "an integer from 1 to 65536 lane"),
    ("rows = 8", "rows = 0", "illegal-value", "`rows`"),
    ("cols = 8", "cols = 8, operand_bits = 7", "illegal-value", "one of 4, 8, 16, 32"),
    ("cols = 64", "cols = 0", "illegal-value", "`cols` of cim-crossbar"),
    ("cols = 64", "cols = 64, arrays = 0", "illegal-value", "`arrays`"),
    ("cols = 64", "cols = 64, adc_bits = 3", "illegal-value", "from 6 to 12"),
    ("cols = 64", "cols = 64, cell_bits = 9", "illegal-value", "from 1 to 4"),
    ("cols = 64", "cols = 64, resident = maybe", "unknown-value", "known: no, yes"),
    ("cim-crossbar {", "cim-crosbar {", "unknown-template", "did you mean `cim-crossbar`?"),
]


@pytest.mark.parametrize(("old", "new", "code", "said"), CHANGES, ids=lambda x: str(x)[:40])
def test_a_chip_that_cannot_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, code: str, said: str
) -> None:
    assert CHIP.count(old) == 1
    path = tmp_path / "small.chip"
    path.write_text(CHIP.replace(old, new))
    assert main(["show", str(path)]) == 2
    out, err = capsys.readouterr()
    line = CHIP[: CHIP.index(old)].count("\n") + 1
    assert not out and f"small.chip:{line}:" in err and f"error[{code}]" in err
    assert said in err and "Traceback" not in err


def test_the_chip_that_is_changed_can_be(tmp_path: Path) -> None:
    path = tmp_path / "small.chip"
    path.write_text(CHIP)
    assert main(["show", str(path)]) == 0


def test_a_unit_and_its_memory_stand_on_one_die(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "small.chip"
    for old, new in (("cim: cim-crossbar { rows = 64, cols = 64 }", "cim: pim-bank"), ("sram {", "row-buffer {")):
        path.write_text(CHIP.replace(old, new))
        assert main(["show", str(path)]) == 2
        err = capsys.readouterr().err
        assert "error[bad-connection]" in err and "in the DRAM" in err and "on the chip's die" in err


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("compile llama3-8b --on pim_edge --dtype w=int3", "unknown-dtype", "int4"),
        ("compile llama3-8b --on pim_edge --set pim.lanes=0", "illegal-value", "`lanes` of pim-bank"),
        ("compile llama3-8b --on pim_edge --set pim.refresh=95%", "illegal-value", "from 0 to 0.9"),
        ("compile llama3-8b --on pim_edge --set open.capacity='0 B'", "illegal-value", "row-buffer"),
        ("compile llama3-8b --on cim_edge --set cim.input_bits=4", "illegal-value", "from 1 to 2"),
        ("compile llama3-8b --on ador --set node='2 nm'", "unknown-node", "--set:1:6"),
        ("compile llama3-8b --on ador --set hbm.bandwidth='-2 TB/s'", "illegal-value", "cannot be -2 TB/s\n"),
    ],
)
def test_settings_that_cannot_be(capsys: pytest.CaptureFixture[str], line: str, code: str, said: str) -> None:
    assert main(shlex.split(line)) == 2
    out, err = capsys.readouterr()
    assert not out and f"error[{code}]" in err and said in err and "Traceback" not in err


@pytest.mark.parametrize(
    "value",
    ids=lambda v: str(v)[:8],
    argvalues=[float("nan"), float("inf"), -1.0, 0.0, 10**400, -(2**63), None, "fast", True],
)
@pytest.mark.parametrize(
    ("name", "axis"), [("dram", "bandwidth"), ("dram", "capacity"), ("noc", "bandwidth"), ("sram", "dma_read")]
)
def test_from_python_too(name: str, axis: str, value: Any) -> None:
    with pytest.raises(Diag) as caught:
        registry.lookup("template", name)(**{axis: value})
    assert caught.value.code == "illegal-value"


def test_one_bad_design_among_many() -> None:
    with pytest.raises(Diag, match="bandwidth"):
        registry.lookup("template", "dram")(bandwidth=np.array([1e12, float("nan")]))


GOOD = {"years": 4, "utilisation": 0.5, "usd_per_kwh": 0.1, "pue": 1.2, "busy_w": 400, "idle_w": 50, "share": 0.0}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("years", 0), ("years", float("nan")), ("utilisation", 0), ("utilisation", 1.1), ("usd_per_kwh", -1),
        ("pue", 0.9), ("busy_w", -1), ("idle_w", float("inf")), ("share", -0.1),
    ],
)  # fmt: skip
def test_ownership_that_cannot_be(name: str, value: float) -> None:
    with pytest.raises(Diag, match=f"`{name}` cannot be"):
        Ownership(**(GOOD | {name: value}))


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan")])
def test_tokens_that_never_come(rate: float) -> None:
    with pytest.raises(Diag, match="tokens_per_s"):
        usd_per_million_tokens(1e4, rate, Ownership(**GOOD))


def test_a_die_beyond_one_exposure_has_no_price(capsys: pytest.CaptureFixture[str]) -> None:
    """An answer, not an error: the chip is priced in every other way."""
    assert main(["show", "ador", "--set", "uncore=700 mm2"]) == 0
    assert "one exposure has 858" in capsys.readouterr().out
