"""The systolic array and its peers: SCALE-Sim's table, a simulation, hand-made ports, batch == loop of scalars."""

import csv
import itertools
import os
from pathlib import Path

import numpy as np
import pytest

from dfcompiler import registry
from dfcompiler.hardware.tech import load_tech
from dfcompiler.hardware.template import Compute, Contraction, Interconnect, Memory, Ports, Tile

DATA = Path(os.environ.get("DFC_DATA", Path(__file__).resolve().parents[1] / "../shared/data"))
TABLE = DATA / "scalesim/scalesim_gemm.csv"
DATAFLOWS = {"ws": "weight-stationary", "os": "output-stationary"}
CLOCK_HZ = 1e9


def make(name, **axes):
    return registry.lookup("template", name)(**axes)


def tile(m, n, k, batch=1, bits=(8, 8, 32), **vector):
    return Tile((Contraction(batch, m, n, k),), vector, *bits)


def op_cycles(unit, work, ports=None):
    return unit.cycles(work, ports or Ports()) + unit.fill_cycles()


@pytest.mark.skipif(not TABLE.is_file(), reason=f"no {TABLE}: set DFC_DATA")
def test_serial_is_scale_sim_exactly():
    rows = list(csv.DictReader(TABLE.read_text().splitlines()))
    assert len(rows) == 56
    for row in rows:
        r, c, m, k, n = (int(row[x]) for x in ("rows", "cols", "M", "K", "N"))
        array = make("systolic-array", rows=r, cols=c, dataflow=DATAFLOWS[row["dataflow"]], reload="serial")
        assert op_cycles(array, tile(m, n, k)) == int(row["compute cycles"]), row


def test_serial_closed_form_without_the_table():
    array = make("systolic-array", rows=32, cols=32, reload="serial")
    assert op_cycles(array, tile(1, 512, 512)) == 24319


def simulate(reload, rows, cols, m, folds):
    """Weight-stationary folds, register by register: (first input, end, when a further fold could start).

    Element (i, j) does row x of fold f in cycle start[f] + x + i + j. Weights for column j are pushed from
    the top, one a cycle, and move down one element a cycle; row i shifts from push i on, so its register is
    overwritten from push i and holds its weight after push rows - 1.
    """
    element = list(itertools.product(range(rows), range(cols)))
    last_use = dict.fromkeys(element, -1)  # of the register that the shift overwrites
    last_mac = dict.fromkeys(element, -1)
    end, starts = 0, []
    for _ in range(folds + 1):
        if reload == "serial":
            push = dict.fromkeys(range(cols), end)
        else:
            push = {j: max(0, *(last_use[i, j] + 1 - i for i in range(rows))) for j in range(cols)}
        ready = {(i, j): push[j] + rows for i, j in element}
        start = max(*(ready[0, j] - j for j in range(cols)), *(last_mac[e] + 1 - sum(e) for e in element))
        if reload == "serial":
            start = max(start, max(push.values()) + rows)
        assert all(start + i + j >= ready[i, j] for i, j in element)
        starts.append(start)
        if len(starts) > folds:
            break
        for x, (i, j) in itertools.product(range(m), element):
            cycle = start + x + i + j
            assert cycle > last_mac[i, j], "two rows in one element"
            last_mac[i, j] = cycle
            end = max(end, cycle + 1)
        for i, j in element:
            # one register is read until the last row has passed; a shadow register is free after the swap
            last_use[i, j] = start + i + j - 1 if reload == "double-buffered" else last_mac[i, j]
    return starts[0], end, starts[-1]


@pytest.mark.parametrize("reload", ["serial", "exposed", "double-buffered"])
def test_closed_form_equals_simulation(reload):
    rng = np.random.default_rng(7)
    for _ in range(60):
        r, c, m = (int(x) for x in rng.integers(1, 9, 3))
        deep, wide = (int(x) for x in rng.integers(1, 4, 2))
        array = make("systolic-array", rows=r, cols=c, reload=reload)
        cycles = array.cycles(tile(m, c * wide, r * deep), Ports())
        first, end, following = simulate(reload, r, c, m, deep * wide)
        assert following - first == cycles  # the steady pace: the next tile starts so much later
        # a load that nothing follows is hidden in the steady pace of the last fold
        unused = max(0, r - m) if reload == "double-buffered" else 0
        late = 1 if reload == "serial" else 0  # SCALE-Sim reports the index of the last cycle
        assert end == cycles + array.fill_cycles() - unused + late


def test_ragged_folds_and_ports():
    array = make("systolic-array", rows=4, cols=4, reload="exposed")
    # K = 6 is folds of 4 and 2 rows; 8-bit operands over an input port of one byte: 4 and 2 cycles per row of M
    assert array.cycles(tile(10, 4, 6), Ports(input=1)) == (4 + 40) + (4 + 20)
    assert array.cycles(tile(10, 4, 6), Ports(weight=2)) == (8 + 10) + (4 + 10)
    # sums of 4 bytes, 4 and 1 columns; read back only where K takes several folds
    assert array.cycles(tile(10, 5, 4), Ports(psum_write=8)) == (4 + 20) + (4 + 10)
    assert array.cycles(tile(10, 4, 4), Ports(psum_read=1)) == 14
    assert array.cycles(tile(10, 4, 8), Ports(psum_read=1)) == 2 * (4 + 160)
    flipped = make("systolic-array", rows=4, cols=4, reload="double-buffered", dataflow="output-stationary")
    assert flipped.cycles(tile(4, 4, 10), Ports()) == 10
    assert flipped.cycles(tile(4, 4, 10), Ports(weight=1)) == 40
    assert flipped.cycles(tile(4, 4, 2), Ports(psum_write=8)) == 8


def test_tpu128_numbers_of_other_mappers():
    """3584 folds of 128 rows and columns: load 128 + M cycles each, near what ZigZag's best mapping takes."""
    array = make("systolic-array", rows=128, cols=128, reload="exposed", operand_bits=8)
    ports = Ports(128, 128, 256, 256)
    for m, zigzag in ((2048, 7844480), (16, 543616), (1, 491888)):
        cycles = array.cycles(tile(m, 14336, 4096, bits=(8, 8, 16)), ports)
        assert cycles == 3584 * (128 + m)
        assert 0.9 * zigzag < cycles < zigzag


def test_wide_operands_take_passes():
    array = make("systolic-array", rows=8, cols=8, operand_bits=8)
    narrow = array.cycles(tile(100, 8, 8), Ports())
    assert array.cycles(tile(100, 8, 8, bits=(16, 16, 32)), Ports()) == 4 * narrow
    assert array.cycles(tile(100, 8, 8, bits=(4, 4, 32)), Ports()) == narrow


def test_mac_tree_by_hand():
    tree = make("mac-tree", width=16, trees=16)
    assert tree.cycles(tile(1, 64, 64, bits=(16, 16, 32)), Ports()) == 16
    assert tree.cycles(tile(1, 64, 64, bits=(16, 16, 32)), Ports(weight=256)) == 32
    assert tree.cycles(tile(3, 64, 64, bits=(16, 16, 32)), Ports(weight=256)) == 96
    held = make("mac-tree", width=16, trees=16, hold=2)
    # two rows at 2 cycles, one row at 2 cycles for each of 16 chunks
    assert held.cycles(tile(3, 64, 64, bits=(16, 16, 32)), Ports(weight=256)) == 64
    assert tree.fill_cycles() == 4 + 2
    assert tree.cycles(tile(1, 16, 16, bits=(16, 16, 32)), Ports(psum_write=8)) == 8


def test_vector_unit_by_hand():
    unit = make("vector-unit", lanes=8)
    work = tile(2, 3, 4, bits=(16, 16, 32), exp=10, add=17)
    assert unit.cycles(work, Ports()) == 3 + 5 + 3
    assert unit.cycles(work, Ports(weight=4)) == 12 + 5 + 3
    assert unit.runs("exp") and unit.runs("mac") and not unit.runs("flux")
    with pytest.raises(ValueError, match="does not run `flux`"):
        unit.cycles(tile(1, 1, 1, flux=1), Ports())


def templates():
    return [registry.lookup("template", name) for name in registry.names("template")]


def random_axes(cls, rng, count):
    """`count` legal designs as arrays of axis values."""
    drawn = {}
    for one in cls.axes():
        values = [v for v in one.legal.values() if isinstance(v, str) or v <= 2**40] or one.legal.values()
        drawn[one.name] = np.array([values[i] for i in rng.integers(0, len(values), count)])
    return drawn


def answers(design, work, ports, tech):
    """Every formula of a template, by name."""
    match design:
        case Compute():
            found = {"cycles": design.cycles(work, ports), "fill": design.fill_cycles()}
            found |= {"macs": design.peak_macs_per_cycle(), "ops": design.peak_ops_per_cycle("mac")}
            return found | {"area": design.area_mm2(tech), "pj": design.pj_per_mac(tech, 16)}
        case Memory():
            ports = design.ports(CLOCK_HZ)
            found = {"capacity": design.capacity_bytes(), "read": design.read_bytes_per_cycle(CLOCK_HZ)}
            found |= {"write": design.write_bytes_per_cycle(CLOCK_HZ), "input": ports.input, "psum": ports.psum_read}
            return found | {"area": design.area_mm2(tech), "pj": design.pj_per_byte(tech)}
        case Interconnect():
            found = {"bandwidth": design.bytes_per_cycle(CLOCK_HZ), "latency": design.latency_s(CLOCK_HZ)}
            return found | {"area": design.area_mm2(tech), "pj": design.pj_per_byte(tech)}
    raise AssertionError(design)


@pytest.mark.parametrize("cls", templates(), ids=lambda cls: cls.template_name)
def test_batch_is_a_loop_of_scalars(cls):
    rng, tech, count = np.random.default_rng(3), load_tech(7), 40
    axes = random_axes(cls, rng, count)
    m, n, k, batch = rng.integers(1, 500, (4, count))
    port = rng.integers(1, 600, (4, count)).astype(float)
    kinds = [kind for kind in ("mac", "exp", "add") if issubclass(cls, Compute) and cls().runs(kind)]
    ops = {kind: rng.integers(1, 10**6, count) for kind in kinds}
    together = answers(cls(**axes), tile(m, n, k, batch, (16, 8, 32), **ops), Ports(*port), tech)
    for i in range(count):
        alone = cls(**{name: values[i].item() for name, values in axes.items()})
        shape = (x[i].item() for x in (m, n, k, batch))
        work = tile(*shape, (16, 8, 32), **{kind: v[i].item() for kind, v in ops.items()})
        for name, value in answers(alone, work, Ports(*(p[i].item() for p in port)), tech).items():
            assert np.broadcast_to(together[name], (count,))[i] == pytest.approx(value, rel=1e-12), name


@pytest.mark.parametrize("cls", templates(), ids=lambda cls: cls.template_name)
def test_templates_document_every_axis(cls):
    assert cls.__doc__
    for one in cls.axes():
        assert one.doc and one.legal.check(one.default), one.name
        assert one.legal.describe()
        assert all(one.legal.check(v) for v in one.legal.values()), one.name
