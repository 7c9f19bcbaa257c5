"""NVLink and the switches between: links of NVIDIA's GPUs, with the rest as a plain link has it."""

from __future__ import annotations

from .link import Link, _between, _by, _each_way, _ports, _serdes, _step, _switch, _switch_node


class NvLink2(Link, name="nvlink2"):
    """NVLink 2 (V100); PHY, controller and energy as plain."""

    bandwidth: float = _each_way(25)  # V100 whitepaper: 6 links, 300 GB/s both ways
    latency: float = _step(0.7e-6)  # our estimate
    topology: str = _between("mesh")  # DGX-1 has no switch; its cube is no full mesh: our simplification


class NvLink3(Link, name="nvlink3"):
    """NVLink 3 (A100); PHY, controller and energy as plain."""

    bandwidth: float = _each_way(25)  # A100 whitepaper: 12 links, 600 GB/s both ways
    latency: float = _step(0.7e-6)  # our estimate
    library: str = _by("nccl-sm80")
    switch_mm2: float = _switch(165)  # NVSwitch 2: 36 ports of as many mm2 as NVSwitch 3's: our estimate
    switch_node: float = _switch_node(7)  # as the A100: our estimate
    switch_ports: int = _ports(36)  # NVSwitch 2: DGX A100 has 6 of them for 8 x 12 links, and ports beyond


class NvLink4(Link, name="nvlink4"):
    """NVLink 4 (H100, H200) with NVSwitch 3; PHY, controller and energy as plain."""

    bandwidth: float = _each_way(25)  # H100 whitepaper: 18 links, 900 GB/s both ways
    latency: float = _step(0.7e-6)  # our estimate
    topology: str = _between("switch-reduce")  # H100 whitepaper: NVSwitch 3 with SHARP
    library: str = _by("nccl-sm90")
    switch_mm2: float = _switch(294)  # NVSwitch 3: NVIDIA at Hot Chips 34 (2022), as we recall it
    switch_node: float = _switch_node(4)  # NVSwitch 3: TSMC 4N, Hot Chips 34
    switch_ports: int = _ports(64)  # NVSwitch 3: 64 ports of NVLink 4, Hot Chips 34


class NvLink5(Link, name="nvlink5"):
    """NVLink 5 (B200) with NVSwitch 4; PHY and controller as two of NVLink 3."""

    bandwidth: float = _each_way(50)  # Blackwell architecture brief: 18 links, 1.8 TB/s both ways
    latency: float = _step(0.7e-6)  # our estimate
    topology: str = _between("switch-reduce")  # Blackwell architecture brief: SHARP in the switch
    library: str = _by("nccl-sm90")  # our estimate: as the generation before
    switch_mm2: float = _switch(661)  # NVSwitch 4: a port as two of NVSwitch 3, our estimate
    switch_node: float = _switch_node(4)  # TSMC 4NP, Blackwell architecture brief: as a 4 nm node
    switch_ports: int = _ports(72)  # NVSwitch 4: 72 ports of NVLink 5, Blackwell architecture brief
    pj_per_bit: float = _serdes(6.0)  # our estimate
