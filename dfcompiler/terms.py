"""On what terms devices are owned: years, electricity, the building around them. Every default has its source."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any

from dfcompiler.diagnostics import Diag


def _term(value: float, what: str, source: str) -> float:
    found: float = field(default=value, metadata={"what": what, "source": source})
    return found


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a device costs beside its price; raises Diag `illegal-value` for what cannot be."""

    years: float = _term(4.0, "that a device serves", "our estimate")
    utilisation: float = _term(0.6, "part of the years in which it works", "our estimate")
    usd_per_kwh: float = _term(0.0806, "of electricity", "EIA: industry of the United States, 2023")
    pue: float = _term(1.58, "watts of the building per watt", "Uptime Institute: mean of their survey, 2023")
    share: float = _term(0.5, "host, network and rack, over the price of the devices", "our estimate")

    def __post_init__(self) -> None:
        self._check(
            years=self.years > 0,
            utilisation=0 < self.utilisation <= 1,
            usd_per_kwh=self.usd_per_kwh >= 0,
            pue=self.pue >= 1,
            share=self.share >= 0,
        )

    def _check(self, **legal: bool) -> None:
        for name, fine in legal.items():
            if not fine or not math.isfinite(getattr(self, name)):
                raise Diag("illegal-value", f"`{name}` cannot be {getattr(self, name)}", hint=_legal(name))


def _legal(name: str) -> str:
    known = {"years": "above 0", "utilisation": "above 0, at most 1", "pue": "at least 1"}
    return known.get(name, "a number that is not negative")


def terms() -> dict[str, tuple[float, str, str]]:
    """Name -> default, what it is, where the default is from."""
    known: dict[str, Any] = {f.name: f for f in fields(Terms)}
    return {name: (f.default, f.metadata["what"], f.metadata["source"]) for name, f in known.items()}
