"""A unit alone in a package, with the bench of its core: what the tests of the reference cores run."""

from __future__ import annotations

import functools
import os
from typing import Any, NoReturn

import pytest

from dfcompiler import registry
from dfcompiler.hardware.axes import Names
from dfcompiler.hardware.template import Compute, Ports
from dfcompiler.rtl import Axis, Package, PartSpec, package
from dfcompiler.rtl.benches import Bench, bench
from dfcompiler.rtl.simulators import available


def unit(family: str, **axes: Any) -> Compute:
    made = registry.lookup("template", family)(**axes)
    assert isinstance(made, Compute)
    return made


def alone(made: Compute) -> Package:
    axes = tuple(
        Axis(a.name, getattr(made, a.name), a.unit, a.doc, a.legal.names if isinstance(a.legal, Names) else ())
        for a in made.axes()
    )
    return package("rig", [PartSpec("u", made.template_name, 1, axes)], [], 10**9)


@functools.cache
def rig(made: Compute, ports: Ports = Ports()) -> Bench:
    return bench(alone(made), "u", made, depth=1 << 12, ports=ports)


def needs(tool: str) -> None:
    if not available(tool):
        absent(tool)


def absent(tool: str) -> NoReturn:
    """End a test that needs a tool which is not there: a failure where DFC_REQUIRE_RTL is 1, as on a CI machine."""
    if os.environ.get("DFC_REQUIRE_RTL") == "1":
        pytest.fail(f"{tool} is required (DFC_REQUIRE_RTL=1) and not installed, or what it needs is not")
    pytest.skip(f"{tool} is not installed")
