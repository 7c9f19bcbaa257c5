"""The folder of an exploration: the front, the space as it was asked, and the chips of the front as files.

A chip file goes wherever a chip does: `dfc compile MODEL --on DIR/chips/001.chip`, `dfc rtl --on ...`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from dfcompiler.diagnostics import Diag
from dfcompiler.explore.designs import chip_at
from dfcompiler.explore.exploration import Exploration, Member
from dfcompiler.explore.space import Pool, Space, Value
from dfcompiler.text.show import show

MOST_CHIPS = 64  # of a front that are written, spread evenly over it
FRONT, SPACE, CHIPS = "front.json", "space.space", "chips"


def write(space: Space, found: Exploration, out: Path) -> list[Path]:
    """Write the folder and return what can be opened. Raises Diag `bad-output`."""
    chips = {f"{name}.chip": text for name, text in _chips(space, found.front)}
    front = found.to_json()
    for number, name in _named(found.front).items():
        front["front"][number]["chips"] = [f"{CHIPS}/{f}" for f in chips if f.startswith(name)]
    files = {
        FRONT: json.dumps(front, indent=1, allow_nan=False) + "\n",
        SPACE: space.source.text,
        **{f"{CHIPS}/{name}": text for name, text in chips.items()},
    }
    try:
        (out / CHIPS).mkdir(parents=True, exist_ok=True)
        for path, text in files.items():
            (out / path).write_text(text, encoding="utf-8")
    except OSError as error:
        message = f"`{error.filename or out}` cannot be written: {error.strerror or error}"
        raise Diag("bad-output", message, hint="choose another folder with -o") from None
    return [out / FRONT, out / CHIPS]


def _named(front: Sequence[Member]) -> dict[int, str]:
    """Positions in the front whose chips are written, and the names of these."""
    few = min(len(front), MOST_CHIPS)
    at = sorted({round(i * (len(front) - 1) / max(1, few - 1)) for i in range(few)})
    return {position: f"{position + 1:03}" for position in at}


def _chips(space: Space, front: Sequence[Member]) -> list[tuple[str, str]]:
    many = len(space.pools) > 1
    return [
        (f"{name}-{pool.name}" if many else name, show(chip_at(pool, _own(space, pool, front[position])).decl))
        for position, name in _named(front).items()
        for pool in space.pools.values()
    ]


def _own(space: Space, pool: Pool, member: Member) -> dict[str, Value]:
    """A pool's axes of a point, by the names that the pool has for them."""
    return {a.name: member.axes.get(f"{pool.name}.{a.name}", member.axes.get(a.name, "")) for a in pool.axes}
