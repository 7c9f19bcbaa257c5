"""Hardware of other tools: chips that load, cycles of chips written by hand, and every value accounted for.

The files below are written for these tests in the structure of the formats.
"""

from __future__ import annotations

import contextlib
import json
import re
import tempfile
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfcompiler.diagnostics import Diag, Infeasible, Source
from dfcompiler.hardware.chip import Chip
from dfcompiler.hardware.elaboration import load_chip
from dfcompiler.interchange import read_foreign
from dfcompiler.interchange.documents import read_document
from dfcompiler.interchange.formats import HARDWARE
from dfcompiler.interchange.machine import identifier, quantity
from dfcompiler.pricing import price_op

COMPASS: dict[str, Any] = {
    "name": "Two arrays (16 GB)",
    "device_count": 2,
    "interconnect": {
        "link": {"name": "L", "bandwidth_per_direction_byte": 25e9, "latency_second": 1e-6, "flit_size_byte": 16},
        "link_count_per_device": 4,
        "topology": "FC",
    },
    "device": {
        "frequency_Hz": 1410e6,
        "compute_chiplet_count": 1,
        "compute_chiplet": {
            "physical_core_count": 20,
            "core_count": 16,
            "process_node": "7nm",
            "core": {
                "sublane_count": 2,
                "systolic_array": {"array_width": 32, "array_height": 16, "data_type": "fp16", "mac_per_cycle": 1},
                "vector_unit": {
                    "vector_width": 32,
                    "flop_per_cycle": 4,
                    "data_type": "fp16",
                    "int32_count": 16,
                    "fp64_count": 8,
                },
                "register_file": {"num_reg_files": 1, "num_registers": 1024},
                "SRAM_KB": 192,
            },
        },
        "memory_protocol": "HBM2e",
        "io": {
            "process_node": "7nm",
            "global_buffer_MB": 8,
            "global_buffer_bandwidth_per_cycle_byte": 1024,
            "memory_channel_active_count": 2,
            "pin_count_per_channel": 1024,
            "bandwidth_per_pin_bit": 3.2e9,
        },
        "memory": {"total_capacity_GB": 16},
    },
}

ZIGZAG = """\
name: square
memories:
  weights:
    size: 8
    r_bw: 8
    w_bw: 8
    r_cost: 0.01
    operands: [I2]
    ports: [{fh: w_port_1, tl: r_port_1}]
    served_dimensions: []
  sums:
    size: 16
    r_bw: 16
    w_bw: 16
    operands: [O]
    served_dimensions: [D2]
  buffer:
    size: 134217728
    r_bw: 1024
    w_bw: 1024
    latency: 1
    operands: [I1, I2, O]
    served_dimensions: [D1, D2]
  dram:
    size: 640000000000
    r_bw: 1024
    w_bw: 1024
    r_port: 1
    w_port: 1
    operands: [I1, I2, O]
    served_dimensions: [D1, D2]
operational_array:
  input_precision: [8, 8]
  dimensions: [D1, D2]
  sizes: [64, 128]
"""

TIMELOOP = """\
architecture:
  version: 0.4
  nodes:
  - !Container
    name: system
    attributes: {technology: "32nm", global_cycle_seconds: 1e-9}
  - !Component
    name: DRAM
    class: DRAM
    attributes: {type: "LPDDR4", width: 64, datawidth: 8, shared_bandwidth: 32}
  - !Component
    name: glb
    class: smartbuffer_SRAM
    attributes: {depth: 16384, width: 64, n_banks: 32, datawidth: 8, read_bandwidth: 128, write_bandwidth: 128}
    constraints:
      dataspace: {keep: [Inputs, Outputs], bypass: [Weights]}
  - !Container
    name: PE
    spatial: {meshX: 4}
  - !Component
    name: spad
    class: smartbuffer_RF
    attributes: {depth: 16384, width: 16, datawidth: 16, read_bandwidth: 64, write_bandwidth: 64}
  - !Container
    name: lane
    spatial: {meshX: 16, meshY: 8}
  - !Component
    name: register
    class: reg_storage
    attributes: {depth: 1, width: 16, datawidth: 16}
  - !Component
    name: mac
    class: intmac
    attributes: {multiplier_width: 8, adder_width: 16}
"""

BY_HAND = """\
chip by_hand {
  node = 7 nm
  clock = 1 GHz
  part mem: dram { capacity = 80 GB, bandwidth = 128 B/cycle, duplex = full }
  part buffer: sram {
    capacity = 16 MiB, input = 128 B/cycle, weight = 128 B/cycle, psum_read = 128 B/cycle, psum_write = 128 B/cycle
    dma_read = 128 B/cycle, dma_write = 128 B/cycle
  }
  part sa: systolic-array { rows = 128, cols = 64, reload = exposed, operand_bits = 8, acc_bits = 16, share = 90 % }
  part vu: vector-unit { lanes = 128, share = 10 % }
  connect mem - buffer - sa
  connect buffer - vu
}
"""


def imported(folder: Path, name: str, text: str) -> tuple[Chip, str, dict[str, str]]:
    """The chip of a file, its text, and what was left out by path."""
    (folder / name).write_text(text, encoding="utf-8")
    found = read_foreign(folder / name)
    assert found.suffix == ".chip"
    chip = folder / "out.chip"
    chip.write_text(found.text, encoding="utf-8")
    return load_chip(str(chip)), found.text, {d.path: d.why for d in found.dropped}


def test_llmcompass(tmp_path: Path) -> None:
    chip, _, left = imported(tmp_path, "a.json", json.dumps(COMPASS, indent="\t"))
    assert (chip.name, chip.clock_hz, chip.node_nm) == ("two_arrays_16_gb", 1410e6, 7)
    assert chip.dram_bytes_per_s == 2 * 1024 * 3.2e9 / 8 and chip.dram_capacity_bytes == 16e9
    array, lanes = chip.units["sa"], chip.units["vu"]
    assert array.instances == lanes.instances == 16
    assert array.template.peak_macs_per_cycle() == 2 * 16 * 32
    assert lanes.template.peak_macs_per_cycle() == 2 * 32 * 4 / 2  # a multiply-add is two operations
    local, shared = chip.parts["local"], chip.parts["global"]
    assert (local.instances, local.template.capacity_bytes()) == (16, 192 * 1024)  # type: ignore[attr-defined]
    assert shared.template.read_bytes_per_cycle(chip.clock_hz) == 1024  # type: ignore[attr-defined]
    assert [p.name for p in chip.links] == ["link"]
    assert set(left) == {
        "device_count",
        "interconnect.link.name",
        "interconnect.link",
        "interconnect.topology",
        "device.compute_chiplet.physical_core_count",
        "device.compute_chiplet.core.register_file",
        "device.io.process_node",
    }


def test_zigzag_takes_the_cycles_of_the_same_chip_by_hand(tmp_path: Path) -> None:
    chip, _, left = imported(tmp_path, "z.yaml", ZIGZAG)
    (tmp_path / "by_hand.chip").write_text(BY_HAND, encoding="utf-8")
    by_hand = load_chip(str(tmp_path / "by_hand.chip"))
    for t, k, n in ((2048, 4096, 1024), (16, 4096, 1000), (1, 300, 77)):
        sizes = {"t": (t,), "k": (k,), "n": (n,)}
        mine, theirs = (price_op("linear", sizes, c, dtype="w8a8kv8", unit="sa") for c in (chip, by_hand))
        assert (mine.cycles, mine.tile, mine.order) == (theirs.cycles, theirs.tile, theirs.order)
    assert left["memories.weights.r_cost"].startswith("energies") and "memories.buffer.latency" in left
    assert "memories.weights.size" not in left  # it says that there is one register, not two


def test_zigzag_registers_for_two_weights_hide_their_load(tmp_path: Path) -> None:
    one, _, _ = imported(tmp_path, "z.yaml", ZIGZAG)
    two, text, _ = imported(tmp_path, "z.yaml", ZIGZAG.replace("size: 8\n", "size: 16\n", 1))
    assert "reload = double-buffered" in text
    sizes = {"t": (64,), "k": (4096,), "n": (1024,)}
    assert price_op("linear", sizes, two, unit="sa").cycles < price_op("linear", sizes, one, unit="sa").cycles


def test_zigzag_sums_that_stay_in_elements_are_output_stationary(tmp_path: Path) -> None:
    text = ZIGZAG.replace("operands: [O]\n    served_dimensions: [D2]", "operands: [O]\n    served_dimensions: []")
    _, found, _ = imported(tmp_path, "z.yaml", text)
    assert "dataflow = output-stationary" in found


def test_zigzag_buffers_of_one_level_become_one(tmp_path: Path) -> None:
    apart = """\
  buffer:
    size: 1048576
    r_bw: 512
    w_bw: 256
    operands: [I2]
    served_dimensions: [D1, D2]
  other:
    size: 2097152
    r_bw: 1024
    w_bw: 128
    operands: [I1, O]
    served_dimensions: [D1, D2]
"""
    before, _, after = ZIGZAG.partition("  buffer:")
    chip, _, _ = imported(tmp_path, "z.yaml", before + apart + "  dram:" + after.partition("  dram:")[2])
    memory = chip.parts["local"].template
    ports = memory.ports(chip.clock_hz)  # type: ignore[attr-defined]
    assert (ports.input, ports.weight, ports.psum_read, ports.psum_write) == (128, 64, 128, 16)
    assert memory.capacity_bytes() == (1048576 + 2097152) / 8  # type: ignore[attr-defined]


def test_timeloop(tmp_path: Path) -> None:
    chip, _, left = imported(tmp_path, "t.yaml", TIMELOOP)
    assert (chip.name, chip.clock_hz, chip.node_nm, chip.dram.template.half_duplex()) == ("t", 1e9, 32, True)  # type: ignore[attr-defined]
    assert chip.dram_bytes_per_s == 32e9
    assert chip.units["sa"].instances == 4 and chip.units["sa"].template.peak_macs_per_cycle() == 16 * 8
    assert [x.part for x in chip.units["sa"].levels] == ["mem", "global", "local"]
    assert chip.parts["global"].template.capacity_bytes() == 16384 * 8  # type: ignore[attr-defined]
    assert chip.parts["local"].template.capacity_bytes() == 16384 * 2  # type: ignore[attr-defined]
    assert chip.units["sa"].ports.input == 64 * 2  # words of 16 bits
    assert any("constraints" in path for path in left)
    found = price_op("linear", {"t": (64,), "k": (256,), "n": (256,)}, chip, dtype="w8a8kv8")
    assert found.cycles >= 64 * 256 * 256 / (4 * 128)


@pytest.mark.parametrize(
    ("name", "text"), [("a.json", json.dumps(COMPASS)), ("z.yaml", ZIGZAG), ("t.yaml", TIMELOOP)], ids=lambda x: x[:6]
)
def test_every_value_is_taken_or_told(tmp_path: Path, name: str, text: str) -> None:
    root = read_document(Source(name, text))
    format_ = next(h for h in HARDWARE if root.has(h.mark))
    format_.read(root, "x")
    dropped = root.dropped(format_.reasons)
    unread = {leaf.path for leaf in root.leaves()} - root.read
    assert unread and all(any(p == d.path or p.startswith(f"{d.path}.") for d in dropped) for p in unread)
    assert all(d.why and d.span.line > 0 for d in dropped)
    assert not any(d.why == "this reader does not know it" for d in dropped)


def test_what_is_unknown_is_told(tmp_path: Path) -> None:
    _, text, left = imported(tmp_path, "z.yaml", ZIGZAG.replace("latency: 1", "colour: red"))
    assert left["memories.buffer.colour"]
    assert "# left out: memories.buffer.colour" in text


def test_zigzag_operands_that_pass_no_buffer_come_at_the_rate_of_the_dram(tmp_path: Path) -> None:
    chip, text, _ = imported(
        tmp_path, "z.yaml", ZIGZAG.replace("latency: 1\n    operands: [I1, I2, O]", "operands: [I1, O]")
    )
    assert chip.units["sa"].ports.weight == 128 and "I2 passes no buffer there" in text


# ---- what is wrong -----------------------------------------------------------------------------


def fault(folder: Path, name: str, text: str) -> Diag:
    (folder / name).write_text(text, encoding="utf-8")
    with pytest.raises(Diag) as caught:
        read_foreign(folder / name)
    assert type(caught.value) in (Diag, Infeasible)
    return caught.value


@pytest.mark.parametrize(
    ("old", "new", "code", "at", "said"),
    [
        (
            "size: 134217728",
            "size: many",
            "bad-document",
            "size: many",
            "`memories.buffer.size` must be a number, not `many`",
        ),
        ("sizes: [64, 128]", "sizes: [64]", "bad-document", "sizes:", "a list of 2 sizes"),
        ("sizes: [64, 128]", "sizes: [0, 128]", "bad-document", "sizes:", "a whole number of at least 1"),
        ("sizes: [64, 128]", "sizes: [64.5, 128]", "bad-document", "sizes:", "a whole number"),
        (
            "    r_bw: 1024\n    w_bw: 1024\n    latency",
            "    latency",
            "missing-value",
            "size: 134217728",
            "has no `r_bw`",
        ),
        ("operands: [O]", "operands: [X]", "unknown-operand", "[X]", "unknown operand `X`"),
        ("operands: [O]", "operands: O", "bad-document", "operands: O", "must be a list"),
        ("  sums:", "  weights:", "duplicate-name", "weights:", "`weights` is given twice"),
        ("sizes: [64, 128]", "sizes: [64, 128", "syntax", "", "expected"),
        ("input_precision", "is_imc: true\n  input_precision", "not-expressible", "is_imc", "arrays of memory cells"),
        ("    w_bw: 1024\n    r_port", "    w_bw: 512\n    r_port", "not-expressible", "size: 640", "reads faster"),
    ],
)
def test_a_wrong_file_has_its_place(tmp_path: Path, old: str, new: str, code: str, at: str, said: str) -> None:
    assert old in ZIGZAG
    text = ZIGZAG.replace(old, new, 1)
    error = fault(tmp_path, "z.yaml", text)
    assert error.code == code and said in error.message
    assert error.span is not None
    assert at in error.span.source.line(error.span.line)


def test_a_third_buffer_is_refused(tmp_path: Path) -> None:
    piece = ZIGZAG[ZIGZAG.index("  buffer:") : ZIGZAG.index("  dram:")]
    more = "".join(piece.replace("buffer", f"buffer{i}") for i in range(3))
    error = fault(tmp_path, "z.yaml", ZIGZAG.replace(piece, more))
    assert error.code == "not-expressible" and "third buffer" in error.message


@pytest.mark.parametrize(
    ("old", "new", "code", "said"),
    [
        ("version: 0.4", "version: 0.3", "unknown-format", "0.4 is read"),
        ("class: intmac", "class: network", "not-expressible", "neither a storage nor a multiplier"),
        ("!Container\n    name: PE", "!Pipe\n    name: PE", "bad-document", "is no !Component"),
        ("meshX: 4", "meshX: -4", "bad-document", "a number of at least 0"),
        ('technology: "32nm"', 'technology: "new"', "bad-document", "a process node"),
        ('technology: "32nm"', 'technology: "65nm"', "unknown-node", ""),
    ],
)
def test_a_wrong_architecture(tmp_path: Path, old: str, new: str, code: str, said: str) -> None:
    assert old in TIMELOOP
    error = fault(tmp_path, "t.yaml", TIMELOOP.replace(old, new, 1))
    assert (error.code, said in error.message, error.span is not None) == (code, True, True)


@pytest.mark.parametrize(
    ("where", "value", "code"),
    [
        (("device", "memory_protocol"), "DDR4", "unknown-memory"),
        (("device", "frequency_Hz"), -1, "bad-document"),
        (("device", "io", "bandwidth_per_pin_bit"), 0, "bad-document"),
        (("device", "compute_chiplet", "process_node"), "new", "bad-document"),
        (("device", "compute_chiplet", "core", "systolic_array", "mac_per_cycle"), 2, "bad-document"),
        (("device", "compute_chiplet", "core", "systolic_array", "data_type"), "fp17", "unknown-data-type"),
    ],
)
def test_what_others_take_in_silence_is_an_error(
    tmp_path: Path, where: tuple[str, ...], value: object, code: str
) -> None:
    made = json.loads(json.dumps(COMPASS))
    at = made
    for name in where[:-1]:
        at = at[name]
    at[where[-1]] = value
    error = fault(tmp_path, "a.json", json.dumps(made, indent=1))
    assert error.code == code and error.span is not None


@pytest.mark.parametrize(
    ("name", "text", "code"),
    [
        ("a.json", "{", "syntax"),
        ("a.json", "[1, 2]", "unknown-format"),
        ("a.yaml", "", "bad-document"),
        ("a.yaml", "a: *b", "syntax"),
        ("a.yaml", "[" * 150 + "]" * 150, "too-deep"),
        ("a.txt", "x", "unknown-format"),
        ("a.json", "[" * 200000, "too-deep"),
    ],
)
def test_no_document(tmp_path: Path, name: str, text: str, code: str) -> None:
    assert fault(tmp_path, name, text).code in (code, "syntax")


WORDS = ("-1", "0", "many", "[]", "{}", "1e400", "1e12", "null", "~", "0.5", "[D1]", "nan", "!Component", "- x")
WHOLE = {"a.json": json.dumps(COMPASS, indent=1), "z.yaml": ZIGZAG, "t.yaml": TIMELOOP}


@given(st.sampled_from(sorted(WHOLE)), st.randoms(use_true_random=False))
def test_a_damaged_file_is_read_or_refused(name: str, rng: Random) -> None:
    lines = WHOLE[name].splitlines()
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(lines))
        match rng.randrange(4):
            case 0:
                del lines[at]
            case 1:
                lines.insert(at, rng.choice(lines))
            case 2:
                lines[at] = lines[at][: rng.randrange(len(lines[at]) + 1)]
            case _:
                lines[at] = re.sub(r"(?<=[:,\s])[\w.\[\]-]+(?=,|$|\s)", lambda _: rng.choice(WORDS), lines[at])
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(Diag):
        assert imported(Path(folder), name, "\n".join(lines))[0].units


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (2.048e12, "B/s", "2.048 TB/s"),
        (2**20, "B", "1 MiB"),
        (16e9, "B", "16 GB"),
        (440, "B", "440 B"),
        (0.5, "B/cycle", "0.5 B/cycle"),
        (1410e6, "Hz", "1.41 GHz"),
        (1e-6, "s", "0.000001 s"),
        (128, "", "128"),
    ],
)
def test_quantities_lose_nothing(value: float, unit: str, text: str) -> None:
    assert quantity(value, unit) == text


def test_names_are_ones_of_our_grammar() -> None:
    assert [identifier(x) for x in ("NVIDIA A100(80GB)x4", "3d", "", "or")] == [
        "nvidia_a100_80gb_x4",
        "chip_3d",
        "chip",
        "or_",
    ]
