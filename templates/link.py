"""Links from chip to chip: a plain one, and kinds whose bandwidth, latency, energy and area are known."""

from __future__ import annotations

from dfcompiler.algorithms import TOPOLOGIES
from dfcompiler.fabrics import Fabric
from dfcompiler.hardware.axes import Array, Names, axis, ints, one_of, reals
from dfcompiler.hardware.tech import Tech
from dfcompiler.hardware.template import Interconnect, Switch, ceil_div
from dfcompiler.libraries import library_names, load_library


def _each_way(gbps: float) -> float:
    return axis(gbps * 1e9, reals(1e6, 1e14), unit="B/s", doc="of one link, each way")


def _step(seconds: float) -> float:
    return axis(seconds, reals(0, 1), unit="s", doc="first byte in to first byte out")


def _serdes(pj_per_bit: float) -> float:
    return axis(pj_per_bit, reals(0, 1000), unit="pJ", doc="a bit over the link, both ends")


def _phy(mm2: float) -> float:
    return axis(mm2, reals(0, 1000), unit="mm2", doc="on the die for one phy-bandwidth; does not shrink with the node")


def _controller(transistors: float) -> float:
    return axis(transistors, reals(0, 1e11), unit="transistor", doc="on the die for one phy-bandwidth")


def _per_phy(gbps: float) -> float:
    return axis(gbps * 1e9, reals(1e6, 1e14), unit="B/s", doc="each way, of one PHY and controller")


def _between(topology: str) -> str:
    return axis(topology, one_of(*TOPOLOGIES), doc="what lies between devices")


class _Libraries(Names):
    """Those that there are when it is asked, which plug-ins may have added to."""

    def __init__(self) -> None: ...

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(library_names())


def _switch(mm2: float) -> float:
    return axis(mm2, reals(0, 1000), unit="mm2", doc="die of a switch between devices; 0: not known")


def _switch_node(nm: float) -> float:
    return axis(nm, reals(3, 45), unit="nm", doc="of that die")


def _ports(count: int) -> int:
    return axis(count, ints(1, 4096), unit="port", doc="of a switch, for one link each")


def _by(library: str) -> str:
    return axis(library, _Libraries(), doc="what runs exchanges; plain: hardware alone")


class Link(Interconnect, name="link"):
    """`count` equal links; a byte takes one of them."""

    bandwidth: float = _each_way(64)
    latency: float = _step(1e-6)  # our estimate
    count: int = axis(1, ints(1, 1024), unit="link", doc="links of one chip")
    duplex: str = axis("full", one_of("full", "half"), doc="half: both directions share the bandwidth")
    topology: str = _between("switch")
    library: str = _by("plain")
    pj_per_bit: float = _serdes(8.0)  # our estimate
    phy_mm2: float = _phy(1.888)  # LLMCompass (ISCA 2024), cost_model.py, one NVLink 3
    controller_transistors: float = _controller(74.632e6)  # LLMCompass (ISCA 2024), cost_model.py, one NVLink 3
    phy_bandwidth: float = _per_phy(25)  # one NVLink 3
    switch_mm2: float = _switch(0)
    switch_node: float = _switch_node(7)  # of no switch that is known
    switch_ports: int = _ports(64)  # of no switch that is known

    def bytes_per_cycle(self, clock_hz: Array) -> Array:
        return self.count * self.bandwidth / clock_hz

    def multicasts(self) -> bool:
        return False

    def latency_s(self, clock_hz: Array) -> Array:
        return self.latency

    def area_mm2(self, tech: Tech) -> Array:
        one = self.phy_mm2 + tech.logic_mm2(self.controller_transistors)
        return self.count * ceil_div(self.bandwidth, self.phy_bandwidth) * one

    def pj_per_byte(self, tech: Tech) -> Array:
        return 8 * self.pj_per_bit

    def between_chips(self) -> bool:
        return True

    def switched(self) -> bool:
        return self.topology.startswith("switch")

    def switch(self) -> Switch | None:
        if not self.switch_mm2:
            return None
        return Switch(float(self.switch_mm2), float(self.switch_node), int(self.switch_ports), int(self.count))

    def fabric(self, clock_hz: float) -> Fabric:
        rate, half, library = float(self.count * self.bandwidth), self.duplex == "half", load_library(self.library)
        return Fabric(rate, float(self.latency), self.topology, half, library)


class Pcie3(Link, name="pcie3"):
    """PCIe 3 x16."""

    bandwidth: float = _each_way(15.75)  # PCIe 3.0: 16 lanes of 8 GT/s, 128 of 130 bits
    pj_per_bit: float = _serdes(10.0)  # our estimate
    phy_mm2: float = _phy(16 * 0.64)  # LLMCompass (ISCA 2024), cost_model.py, per lane of PCIe 5: as much, our estimate
    controller_transistors: float = _controller(16 * 5.37e6)  # LLMCompass (ISCA 2024), cost_model.py, as above
    phy_bandwidth: float = _per_phy(15.75)  # 16 lanes


class Pcie4(Pcie3, name="pcie4"):
    """PCIe 4 x16; area as PCIe 3."""

    bandwidth: float = _each_way(31.5)  # PCIe 4.0: 16 lanes of 16 GT/s, 128 of 130 bits
    pj_per_bit: float = _serdes(8.0)  # our estimate
    phy_bandwidth: float = _per_phy(31.5)  # 16 lanes


class Pcie5(Pcie3, name="pcie5"):
    """PCIe 5 x16."""

    bandwidth: float = _each_way(63)  # PCIe 5.0: 16 lanes of 32 GT/s, 128 of 130 bits
    pj_per_bit: float = _serdes(7.0)  # our estimate
    phy_bandwidth: float = _per_phy(63)  # 16 lanes; area: LLMCompass (ISCA 2024), as PCIe 3 above


class Pcie6(Pcie3, name="pcie6"):
    """PCIe 6 x16; area as PCIe 5, our estimate."""

    bandwidth: float = _each_way(118)  # PCIe 6.0: 16 lanes of 64 GT/s, 236 of 256 bytes of a flit
    pj_per_bit: float = _serdes(6.0)  # our estimate
    phy_bandwidth: float = _per_phy(118)  # 16 lanes


class Cxl2(Pcie5, name="cxl2"):
    """CXL 2 over 16 lanes of PCIe 5."""

    bandwidth: float = _each_way(59)  # PCIe 5 x16, 64 of 68 bytes of a flit
    latency: float = _step(0.25e-6)  # our estimate: a load through one switch


class Cxl3(Pcie6, name="cxl3"):
    """CXL 3 over 16 lanes of PCIe 6."""

    latency: float = _step(0.25e-6)  # our estimate: a load through one switch


class Ucie(Link, name="ucie"):
    """UCIe, one advanced-package module of 64 lanes; from die to die."""

    bandwidth: float = _each_way(256)  # UCIe 1.0: 64 lanes of 32 GT/s
    latency: float = _step(2e-9)  # UCIe 1.0 white paper: below 2 ns, sender and receiver
    topology: str = _between("ring")  # dies side by side
    pj_per_bit: float = _serdes(0.25)  # UCIe 1.0 white paper, advanced package
    phy_mm2: float = _phy(0.38)  # UCIe 1.0 white paper: 1350 GB/s per mm2 at 45 um, both ways: our reading
    controller_transistors: float = _controller(10e6)  # our estimate
    phy_bandwidth: float = _per_phy(256)  # one module


class UcieStandard(Ucie, name="ucie-standard"):
    """UCIe, one standard-package module of 16 lanes; latency, topology and controller as the other."""

    bandwidth: float = _each_way(64)  # UCIe 1.0: 16 lanes of 32 GT/s
    pj_per_bit: float = _serdes(0.5)  # UCIe 1.0 white paper, standard package
    phy_mm2: float = _phy(1.02)  # UCIe 1.0 white paper: 125 GB/s per mm2 at 100 um, both ways: our reading
    phy_bandwidth: float = _per_phy(64)  # one module


class Ici(Link, name="ici"):
    """A link of a TPU's torus; one dimension of it is a ring. PHY, controller and energy as plain."""

    bandwidth: float = _each_way(50)  # TPU v4 (ISCA 2023): 6 links of 50 GB/s
    topology: str = _between("ring")  # TPU v4 (ISCA 2023): a torus; more than one dimension at once is not modelled
