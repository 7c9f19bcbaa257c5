"""`dfc cost`: what devices cost to make and to own, and a million tokens of a compiled step."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dfcompiler.cli.show import mapping_in, read_mapping
from dfcompiler.diagnostics import Diag
from dfcompiler.economics import Ownership, Running, million_tokens, owned, price, switches_usd
from dfcompiler.hardware.elaboration import load_chip
from dfcompiler.hardware.settings import overrides
from dfcompiler.power import peak_w, static_w
from dfcompiler.terms import Terms, terms

MOST_DEVICES = 1 << 20


def run(args: argparse.Namespace) -> None:
    """Count and print; raises Diag, and Infeasible where a device cannot be made."""
    given = {name: value for name in terms() if (value := getattr(args, name)) is not None}
    agreed = Terms(**given)
    for name in ("device_usd", "tokens_per_s"):
        value = getattr(args, name)
        if value is not None and not value > 0:
            raise Diag("bad-option", f"--{name.replace('_', '-')} must be positive, got {value:g}")
    mapping = mapping_in(Path(args.thing))
    if mapping is None and Path(args.thing).is_dir():
        raise Diag("bad-mapping", f"`{args.thing}` holds no mapping", hint="`dfc compile -o DIR` writes one")
    found = _of_step(mapping, args, agreed) if mapping else _of_chip(args, agreed)
    if args.json:
        print(json.dumps({**found, "terms": dataclasses.asdict(agreed)}, allow_nan=False))
    else:
        _print(found, agreed)


def _of_step(path: Path, args: argparse.Namespace, agreed: Terms) -> dict[str, Any]:
    """A step that was compiled, with its own devices, watts and tokens."""
    for name in ("devices", "tokens_per_s"):
        if getattr(args, name) is not None:
            raise Diag("bad-option", f"--{name.replace('_', '-')} is for a chip: a compiled step has its own")
    if args.set:
        raise Diag("bad-option", "--set changes a chip, and a compiled step has its own")
    r = read_mapping(path)
    count = int(_figure(r, "devices", path))
    if args.device_usd is None and r.get("cost_usd") is None:
        raise Diag("missing-input", f"`{path}` has no price: its device cannot be made", hint="give --device-usd")
    usd = _figure(r, "cost_usd", path) if args.device_usd is None else count * args.device_usd
    names = [f.name for f in dataclasses.fields(Running) if f.name != "tokens"]
    of_graph = r.get("tokens") == r.get("layer_count") == 0  # no step of a model
    tokens = 0.0 if of_graph else _figure(r, "tokens", path)
    step = Running(tokens=tokens, **{name: _figure(r, name, path) for name in names})
    o = step.ownership(agreed)
    title = f"{r['model']} on {count} x {r['chip']}: {r['step']}, {r['dtype']}"
    return _answer(title, count, usd, o, step.tokens / step.interval_s or None)


def _figure(report: Mapping[str, Any], name: str, path: Path) -> float:
    value = report.get(name)
    if not isinstance(value, int | float) or not (math.isfinite(value) and value > 0):
        raise Diag("bad-mapping", f"`{path}` has no `{name}` that can be", hint="`dfc compile -o DIR` writes one")
    return value


def _of_chip(args: argparse.Namespace, agreed: Terms) -> dict[str, Any]:
    """Devices of a kind, at their peaks while they work."""
    chip = load_chip(args.thing, overrides(args.set))
    count = 1 if args.devices is None else args.devices
    if not 1 <= count <= MOST_DEVICES:
        raise Diag("bad-option", f"--devices must be from 1 to {MOST_DEVICES}, got {count}")
    between = switches_usd(chip, count)
    usd = count * (price(chip).usd if args.device_usd is None else args.device_usd) + (between or 0.0)
    o = Ownership(**dataclasses.asdict(agreed), busy_w=count * peak_w(chip), idle_w=count * static_w(chip))
    return _answer(f"{count} x {chip.name}", count, usd, o, args.tokens_per_s) | {"switches_usd": between}


def _answer(title: str, count: int, usd: float, o: Ownership, tokens_per_s: float | None) -> dict[str, Any]:
    whole = {name: float(part) for name, part in dataclasses.asdict(owned(usd, o)).items()}
    found: dict[str, Any] = {"title": title, "devices": count, "cost_usd": usd, "busy_w": o.busy_w, "idle_w": o.idle_w}
    found["owned_usd"] = whole
    if tokens_per_s is None:
        return found
    millions = float(million_tokens(tokens_per_s, o))
    return found | {
        "tokens_per_s": tokens_per_s,
        "usd_per_million_tokens": {name: usd / millions for name, usd in whole.items()},
    }


def _print(found: dict[str, Any], agreed: Terms) -> None:
    from dfcompiler.cli import display
    from dfcompiler.cli.display import digits
    from dfcompiler.cli.mapping_table import per_million_tokens

    def usd(parts: dict[str, float]) -> str:
        return f"{digits(sum(parts.values()))} USD: " + ", ".join(f"{n} {digits(v, 3)}" for n, v in parts.items())

    display.heading(found["title"])
    between = found.get("switches_usd", 0.0)
    switches = f", of it switches {digits(between, 3)}" if between else ""
    if between is None:
        switches = ", without the switches between them: the chip's link has no `switch-mm2`"
    lines = [
        ("devices", f"{digits(found['cost_usd'])} USD{switches}"),
        ("power", f"{digits(found['busy_w'], 3)} W at work, {digits(found['idle_w'], 3)} W at rest"),
        ("owned", f"{usd(found['owned_usd'])}"),
    ]
    if "tokens_per_s" in found:
        lines.append(("rate", f"{digits(found['tokens_per_s'])} tokens/s at work"))
        lines.append(("tokens", per_million_tokens(found["usd_per_million_tokens"], dataclasses.asdict(agreed))))
    display.facts(lines)
    display.plain()
    display.facts(
        (name, f"{getattr(agreed, name):g}  {what}" + ("" if getattr(agreed, name) != value else f" ({source})"))
        for name, (value, what, source) in terms().items()
    )
