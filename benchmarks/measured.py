"""From the tables of VALIDATION.md and SERVING.md to dfcompiler/pages/measured.json: the errors `dfc report` shows.

    python benchmarks/measured.py

`make validate` runs it last. Of a device that constants were fitted on, rows count that were held back; of another, its
whole table. What was fitted elsewhere for comparison's sake only, or with measured rows of the device, is left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dfcompiler.content import root

SOURCE, SERVED = (Path(__file__).with_name(name) for name in ("VALIDATION.md", "SERVING.md"))
TARGET = root() / "dfcompiler" / "pages" / "measured.json"
CHIPS = {"a100": "a100_sxm", "h100": "h100_sxm", "h200_sxm": "h200"}  # names of the tables that are not the chip's
KERNELS = {
    "Fitted and tested on one device": "kernels, 16 bits",
    "From the data sheet alone": "kernels, 16 bits",
    "Eight bits": "products, 8 bits",
}
EXCHANGES = "Collective exchanges"


def sections(text: str) -> dict[str, list[list[str]]]:
    """Heading -> rows of the first table below it, without its titles."""
    found: dict[str, list[list[str]]] = {}
    for part in re.split(r"^#+ ", text, flags=re.MULTILINE)[1:]:
        heading, _, body = part.partition("\n")
        rows = [[c.strip() for c in line.strip("|").split("|")] for line in body.splitlines() if line.startswith("|")]
        found[heading.strip()] = rows[2:]
    return found


def named(chip: str) -> str:
    """A chip as `dfc list chips` names it."""
    return CHIPS.get(chip, chip)


def rows(text: str) -> Iterator[dict[str, Any]]:
    """All rows, in the order of the tables."""
    found = sections(text)
    fitted = {row[1].partition(",")[0] for row in found["Fitted and tested on one device"]}
    for heading, what in KERNELS.items():
        for operator, test, count, model, _, median, p90, bias, *_ in found[heading]:
            name, _, folder = test.partition(", ")
            source, arrow, chip = name.partition(" -> ")
            source, chip = named(source), named(chip or source)
            if arrow and chip in fitted:
                continue
            apart = f"{what}, further rows" if folder else what
            yield row(chip, apart, operator, source, count, model, median, p90, bias)
    for operator, source, test, count, model, _, median, p90, bias, *_ in found[EXCHANGES]:
        chip = named(test.partition(",")[0])
        if "other rows" in test or chip not in fitted:
            yield row(chip, "exchanges", operator, source, count, model, median, p90, bias)


def row(
    chip: str, what: str, operator: str, source: str, count: str, model: str, median: str, p90: str, bias: str
) -> dict[str, Any]:
    """One row; errors in %."""
    mape, late = map(float, model.split("/"))
    return {
        "chip": chip,
        "what": what,
        "operator": operator,
        "fitted_on": source,
        "rows": int(count.replace(",", "")),
        "mape": mape,
        "mape_from_50us": late,
        "median": float(median),
        "p90": float(p90),
        "bias": float(bias),
    }


def served(text: str) -> Iterator[dict[str, Any]]:
    """Runs of a real server: how far its mean times are from those modelled with the chip as it is, in %."""
    for heading, found in sections(text).items():
        run = re.fullmatch(r"(\S+) on (\w+), (.+)", heading)
        for memory, host_us, *rest in found if run else []:
            off = [float(x) for cell in rest for x in re.findall(r"\(([-+][\d.]+) %\)", cell)]
            if run and "as shipped" in memory:
                names = dict(zip(("tpot", "ttft", "latency"), off, strict=True))
                yield {"chip": run[2], "what": f"{run[1]}, {run[3]}", "host_us": int(host_us), **names}


def measured() -> str:
    """The text of the file; what was measured of other chips than ours has no page."""
    parts = {
        "rows": rows(SOURCE.read_text(encoding="utf-8")),
        "served": served(SERVED.read_text(encoding="utf-8")),
    }
    said = {name: ",\n".join(f"  {json.dumps(x)}" for x in each if known(x["chip"])) for name, each in parts.items()}
    return "{" + ",\n".join(f'"{name}": [\n{lines}\n]' for name, lines in said.items()) + "}\n"


def known(chip: str) -> bool:
    """Whether there is such a chip."""
    return (root() / "templates" / "chips" / f"{chip}.chip").exists()


if __name__ == "__main__":
    TARGET.write_text(measured(), encoding="utf-8")
    print(f"written: {TARGET.relative_to(root())}")
