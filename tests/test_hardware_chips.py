"""Chips: both of ours, shares, overrides, fingerprints, and every way to write one wrongly."""

import pickle
import subprocess
import sys
from dataclasses import replace

import pytest

from dfcompiler import registry
from dfcompiler.diagnostics import Diag, Source
from dfcompiler.hardware import chip_names, elaborate, load_chip
from dfcompiler.hardware.axes import Names
from dfcompiler.hardware.settings import build as build_template
from dfcompiler.hardware.tech import load_tech, techs
from dfcompiler.hardware.template import Ports
from dfcompiler.text.parse import parse_items, parse_setting
from dfcompiler.text.tree import Quantity

INF = float("inf")

GOOD = """chip small {
  node = 7 nm
  clock = 1 GHz
  part hbm: dram { bandwidth = 100 GB/s, capacity = 1 GB }
  part noc: noc { bandwidth = 32 B/cycle, multicast = yes, latency = 7 cycle }
  group core x 4 {
    part mem: sram { capacity = 64 KiB, dma_write = 16 B/cycle }
    part sa: systolic-array { rows = 8, cols = 8 }
    part vu: vector-unit { lanes = 8 }
  }
  connect hbm - noc - mem - sa
  connect mem - vu
}
"""


def build(text, overrides=None, without=()):
    (decl,) = parse_items(Source("small.chip", text))
    given = {k: parse_setting(Source("--set", f"x = {v}")).value for k, v in (overrides or {}).items()}
    return elaborate(decl, given, without)


def test_levels_of_a_small_chip():
    chip = build(GOOD)
    unit = chip.units["sa"]
    dram, mem = unit.levels
    assert (unit.instances, unit.vector, chip.units["vu"].vector) == (4, "vu", None)
    assert (dram.part, dram.instances, dram.capacity_bytes, dram.fill_bytes_per_cycle) == ("hbm", 1, 10**9, INF)
    assert dram.half_duplex and not mem.half_duplex
    assert (mem.part, mem.instances, mem.capacity_bytes) == ("mem", 4, 32 * 1024)
    assert (mem.fill_bytes_per_cycle, mem.drain_bytes_per_cycle) == (16, 32)
    assert (mem.source_bytes_per_cycle, mem.sink_bytes_per_cycle) == (100, 100)
    assert mem.multicast and mem.latency_cycles == pytest.approx(7)
    assert chip.dram_bytes_per_s == 100e9 and chip.dram_capacity_bytes == 10**9 and chip.link_bytes_per_s == 0


def test_shares_and_units_left_out():
    fixed = GOOD.replace("{ rows = 8, cols = 8 }", "{ rows = 8, cols = 8, share = 75 % }")
    chip = build(fixed)
    assert [u.levels[-1].capacity_bytes for u in chip.units.values()] == [48 * 1024, 16 * 1024]
    assert build(fixed, without=["sa"]).units["vu"].levels[-1].capacity_bytes == 64 * 1024
    alone = build(fixed, without=["vu"])
    assert alone.units["sa"].levels[-1].capacity_bytes == 48 * 1024 and alone.units["sa"].vector is None
    assert "vu" not in alone.parts and "vu" not in alone.area_mm2()


def test_an_inner_memory_passes_its_share_on():
    text = GOOD.replace("part noc", "part big: sram { capacity = 1 MiB }\n  part noc").replace(
        "connect hbm - noc - mem - sa", "connect hbm - big - noc - mem - sa"
    )
    text = text.replace("connect mem - vu", "connect mem - vu\n  connect big - extra").replace(
        "  group core", "  part extra: vector-unit\n  group core"
    )
    units = build(text).units
    assert units["extra"].levels[-1].capacity_bytes == 512 * 1024  # beside the cores, half
    assert [level.capacity_bytes for level in units["sa"].levels[1:]] == [256 * 1024, 32 * 1024]


def test_overrides_and_their_origin():
    chip = build(GOOD, {"sa.rows": "16", "clock": "2 GHz", "hbm.bandwidth": "300 B/cycle"})
    assert chip.units["sa"].template.rows == 16
    assert chip.dram_bytes_per_s == 600e9
    assert (chip.settings["sa.rows"].by, chip.settings["sa.cols"].by, chip.settings["sa.reload"].by) == (
        "override",
        "chip",
        "default",
    )
    assert build(GOOD, {"sa.operand-bits": "8"}).units["sa"].template.operand_bits == 8


def test_fingerprint():
    base = build(GOOD).fingerprint()
    assert build(GOOD).fingerprint() == base == build(GOOD.replace("64 KiB", "65536 B")).fingerprint()
    assert build(GOOD.replace("chip small", "chip other")) == build(GOOD)
    assert hash(build(GOOD)) == hash(build(GOOD))
    changes = {"sa.rows": "9", "clock": "2 GHz", "node": "5 nm", "vu.share": "10 %", "noc.multicast": "no"}
    for key, value in changes.items():
        assert build(GOOD, {key: value}).fingerprint() != base, key
    assert build(GOOD, without=["vu"]).fingerprint() != base
    again = pickle.loads(pickle.dumps(build(GOOD)))
    assert again == build(GOOD)


def test_fingerprint_is_equal_in_another_process():
    code = "from dfcompiler.hardware import load_chip; print(load_chip('ador').fingerprint())"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == load_chip("ador").fingerprint()


@pytest.mark.parametrize("name", chip_names())
def test_every_chip_elaborates(name):
    chip = load_chip(name)
    area = chip.area_mm2()
    assert chip.units and area["total"] == pytest.approx(sum(v for k, v in area.items() if k != "total"))
    for unit in chip.units.values():
        assert unit.levels[0].part == chip.dram.name
        assert all(level.capacity_bytes > 0 for level in unit.levels)


def test_ador():
    chip = load_chip("ador")
    macs = sum(float(chip.units[u].template.peak_macs_per_cycle()) * chip.units[u].instances for u in ("sa", "mt"))
    assert 2 * macs * chip.clock_hz == pytest.approx(417.8e12, rel=1e-3)
    assert chip.dram_bytes_per_s == 2e12 and chip.link_bytes_per_s == 64e9
    assert [level.part for level in chip.units["mt"].levels] == ["hbm", "global", "local"]
    total = chip.area_mm2()["total"]
    print(f"ador: {total:.1f} mm2 modelled; published: 516 mm2")
    assert 150 < total < 516  # a sum of parts without a floorplan: more than the units, less than the die


def test_tpu128():
    chip = load_chip("tpu128")
    array = chip.units["sa"]
    assert array.ports == Ports(input=128, weight=128, psum_read=256, psum_write=256)
    assert array.levels[1].fill_bytes_per_cycle == 128 and array.levels[1].capacity_bytes > 0.99 * 2**24
    assert array.vector == "vu"


def replaced(old, new):
    assert old in GOOD
    return GOOD.replace(old, new)


BAD = {
    "unknown-template": replaced("systolic-array", "systolic-arry"),
    "unknown-axis": replaced("rows = 8", "rwos = 8"),
    "unknown-axis ": replaced("lanes = 8", "lanes = 8 }\n    part x: sram { share = 5 %"),
    "unknown-axis  ": replaced("node = 7 nm", "node = 7 nm\n  colour = 3"),
    "unknown-part": replaced("connect mem - vu", "connect mem - vv"),
    "unknown-node": replaced("7 nm", "2 nm"),
    "unknown-value": replaced("capacity = 1 GB", "capacity = 1 GB, kind = hbm9"),
    "unknown-value ": replaced("rows = 8", "rows = 8, dataflow = row-stationary"),
    "unknown-unit": replaced("64 KiB", "64 KB2"),
    "bad-dimension": replaced("64 KiB", "2 GHz"),
    "bad-dimension ": replaced("64 KiB", "65536"),
    "bad-dimension  ": replaced("rows = 8", "rows = 8 B"),
    "bad-value": replaced("rows = 8", "rows = many"),
    "bad-value ": replaced("multicast = yes", "multicast = 1"),
    "illegal-value": replaced("rows = 8", "rows = 0"),
    "illegal-value ": replaced("rows = 8", "rows = -8"),
    "illegal-value  ": replaced("rows = 8", "rows = 8.5"),
    "illegal-value   ": replaced("rows = 8", "rows = 1e30"),
    "illegal-value    ": replaced("100 GB/s", "inf GB/s"),
    "illegal-value     ": replaced("1 GHz", "0 GHz"),
    "illegal-value      ": replaced("64 KiB", "-64 KiB"),
    "illegal-value       ": replaced("rows = 8", "rows = 8, share = 0 %"),
    "duplicate-name": replaced("part vu: vector-unit", "part sa: vector-unit"),
    "duplicate-name ": replaced("rows = 8", "rows = 8, rows = 9"),
    "unconnected-part": replaced("connect mem - vu\n", ""),
    "self-connection": replaced("connect mem - vu", "connect mem - vu\n  connect mem - mem"),
    "unreachable-dram": replaced("connect mem - vu", "connect vu - extra").replace(
        "part noc", "part extra: sram\n  part noc"
    ),
    "unconnected-part ": replaced("connect mem - vu", "connect mem - vu\n  connect a - b").replace(
        "part noc", "part a: sram\n  part b: sram\n  part noc"
    ),
    "ambiguous-dram": replaced("part noc", "part two: dram\n  part noc").replace(
        "hbm - noc", "hbm - noc - two\n  connect noc"
    ),
    "cyclic-connection": replaced("connect mem - vu", "connect mem - vu\n  connect hbm - mem"),
    "missing-clock": replaced("  clock = 1 GHz\n", ""),
    "missing-node": replaced("  node = 7 nm\n", ""),
    "no-compute": "chip c {\n  node = 7 nm\n  clock = 1 GHz\n  part d: dram\n  part s: sram\n  connect d - s\n}\n",
    "no-dram": replaced("part hbm: dram { bandwidth = 100 GB/s, capacity = 1 GB }", "part hbm: sram"),
    "bad-connection": replaced("connect mem - vu", "connect sa - vu"),
    "bad-connection ": replaced("connect mem - vu", "connect noc - vu"),
    "bad-fan-out": replaced("part noc", "part one: vector-unit\n  part noc").replace(
        "mem - vu", "mem - vu\n  connect mem - one"
    ),
    "bad-share": replaced("rows = 8", "rows = 8, share = 80 %").replace("lanes = 8", "lanes = 8, share = 30 %"),
    "bad-share ": replaced("rows = 8", "rows = 8, share = 100 %"),
    "bad-count": replaced("core x 4", "core x 0"),
}


def named_axes():
    for name in registry.names("template"):
        cls = registry.lookup("template", name)
        yield from ((cls, name, one) for one in cls.axes() if isinstance(one.legal, Names))


def test_the_code_of_a_wrong_name_does_not_hang_on_the_axis():
    """Codes are a fixed set, which `dfc explain` and scripts can rely on."""
    codes = set()
    for cls, name, one in named_axes():
        with pytest.raises(Diag, match=f"`{one.text_name}` of .* cannot be `nonsense`") as caught:
            build_template(cls, name, {one.name: ("nonsense", None, "a test")}, 1e9)
        codes.add(caught.value.code)
    assert codes == {"unknown-value"}


@pytest.mark.parametrize("code", BAD)
def test_every_error_has_a_place(code):
    with pytest.raises(Diag) as caught:
        build(BAD[code])
    assert caught.value.code == code.strip(), str(caught.value)
    assert caught.value.span is not None and str(caught.value.span).startswith("small.chip:")


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        ("sax.rows", "8", "unknown-part"),
        ("sa.rws", "8", "unknown-axis"),
        ("sa.rows", "2 GHz", "bad-dimension"),
        ("sa.rows", "99999", "illegal-value"),
        ("clok", "1 GHz", "unknown-axis"),
        ("sa.share", "150 %", "illegal-value"),
        ("mem.share", "50 %", "unknown-axis"),
    ],
)
def test_errors_of_overrides_point_at_the_option(key, value, code):
    with pytest.raises(Diag) as caught:
        build(GOOD, {key: value})
    assert caught.value.code == code and str(caught.value.span).startswith("--set:1:")


def test_messages_say_what_is_right():
    with pytest.raises(Diag, match="`capacity` wants bytes, got 2 GHz"):
        build(BAD["bad-dimension"])
    with pytest.raises(Diag) as caught:
        build(BAD["illegal-value"])
    assert "an integer from 1 to 4096" in caught.value.hint
    with pytest.raises(Diag) as caught:
        build(BAD["unknown-axis"])
    assert "did you mean `rows`?" in caught.value.hint


def test_duplicates_in_a_tree_from_python():
    (decl,) = parse_items(Source("small.chip", GOOD))
    for code, twice in (
        ("duplicate-part", replace(decl, parts=(*decl.parts, decl.parts[0]))),
        ("duplicate-setting", replace(decl, settings=(*decl.settings, decl.settings[0]))),
    ):
        with pytest.raises(Diag) as caught:
            elaborate(twice)
        assert caught.value.code == code and caught.value.notes


def test_nan_from_python_is_refused():
    (decl,) = parse_items(Source("small.chip", GOOD))
    for value in (float("nan"), INF, 10**400):
        with pytest.raises(Diag):
            elaborate(decl, {"sa.rows": Quantity(value, "")})


def test_units_left_out_must_exist_and_compute():
    for name, code in (("vv", "unknown-part"), ("mem", "not-removable")):
        with pytest.raises(Diag) as caught:
            build(GOOD, without=[name])
        assert caught.value.code == code
    with pytest.raises(Diag) as caught:
        build(GOOD, without=["sa", "vu"])
    assert caught.value.code == "no-compute"


def test_load_chip_names_and_files(tmp_path):
    path = tmp_path / "mine.chip"
    path.write_text(GOOD)
    assert load_chip(str(path)).name == "small"
    with pytest.raises(Diag) as caught:
        load_chip("adro")
    assert caught.value.code == "unknown-chip" and "did you mean `ador`?" in caught.value.hint
    for content, code in (("", "not-one-chip"), (GOOD + GOOD.replace("chip small", "chip other"), "not-one-chip")):
        path.write_text(content)
        with pytest.raises(Diag) as caught:
            load_chip(str(path))
        assert caught.value.code == code
    with pytest.raises(Diag) as caught:
        load_chip(str(tmp_path / "none.chip"))
    assert caught.value.code == "no-such-file"


def test_tech_has_a_source_for_every_figure():
    assert {5, 7, 16, 28, 45} <= set(techs())
    for tech in techs().values():
        assert all(f.value > 0 and f.source for entries in tech.tables.values() for f in entries.values())
    assert load_tech(7).at_bits("pj_per_mac", 8) == 0.10
    assert load_tech(7).sram_pj_per_byte(2**20) == pytest.approx(14 / 8)
    with pytest.raises(Diag) as caught:
        load_tech(7).at_bits("pj_per_mac", 64)
    assert caught.value.code == "unknown-tech-value"


# Dense TFLOPS of 16 and of 8 bits, GB/s and GB, as vendors print them (rounded to three digits or so).
SHEETS = {
    "a100_sxm": (312, 624, 2039, 80), "a100_pcie": (312, 624, 1935, 80), "h100_sxm": (989.4, 1978.9, 3350, 80),
    "h100_pcie": (756, 1513, 2000, 80), "h200": (989.4, 1978.9, 4800, 141), "b200": (2250, 4500, 8000, 180),
    "l40s": (362, 733, 864, 48), "l4": (121, 242.5, 300, 24), "rtx4090": (165.2, 330.3, 1008, 24),
    "rtx_pro_6000": (503.8, 1007.6, 1792, 96), "v100": (125, 125, 900, 32), "mi210": (181, 181, 1638, 64),
    "mi300x": (1307.4, 2614.9, 5300, 192), "tpu_v4": (275, 275, 1228, 32), "tpu_v5e": (197, None, 819, 16),
    "tpu_v6e": (918, None, 1640, 32), "gaudi3": (1835, 1835, 3670, 128),
}  # fmt: skip


@pytest.mark.parametrize("name", SHEETS)
def test_peaks_and_memories_are_those_of_data_sheets(name: str) -> None:
    chip, (half, byte, gbps, gb) = load_chip(name), SHEETS[name]
    peaks = [
        [2e-12 * float(u.template.peak_macs_at(bits)) * u.instances * chip.clock_hz for u in chip.units.values()]
        for bits in (16, 8)
    ]
    assert max(peaks[0]) == pytest.approx(half, rel=0.007)
    assert byte is None or max(peaks[1]) == pytest.approx(byte, rel=0.013)
    assert chip.dram_bytes_per_s / 1e9 == pytest.approx(gbps) and chip.dram_capacity_bytes / 1e9 == pytest.approx(gb)


def test_gaudi3_has_the_peaks_of_its_data_sheet() -> None:
    """Figures of Intel's table (Hot Chips 2024) and of its network documentation, to their last digit."""
    chip = load_chip("gaudi3")
    flops = {name: 2 * u.template.peak_macs_per_cycle() * u.instances * chip.clock_hz for name, u in chip.units.items()}
    assert flops["mme"] == pytest.approx(1835e12, rel=5e-4) and flops["tpc"] == pytest.approx(28.7e12, rel=5e-3)
    assert chip.dram_bytes_per_s == pytest.approx(3.67e12) and chip.dram_capacity_bytes == 128e9
    assert chip.link_bytes_per_s == pytest.approx(525e9)
    cache = chip.units["mme"].levels[-1]
    assert chip.parts["cache"].template.settings()["dma_read"] * chip.clock_hz == pytest.approx(12.8e12, rel=1e-4)
    assert 0 < cache.capacity_bytes < 96 * 2**20
