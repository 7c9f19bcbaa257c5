"""Values of a JSON file with their places in it; a value of the wrong kind is an error that names its place."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from dfcompiler.diagnostics import Diag

HINT = "`dfc compile -o DIR` writes a mapping.json that can be checked"
SHOWN = 40  # characters of a wrong value in its message


@dataclass(frozen=True)
class At:
    """A value and where it is: `mapping.segments[1].tasks[3].end`; the whole file is at ``."""

    value: Any
    path: str = ""

    def wrong(self, what: str) -> Diag:
        """The error `bad-mapping` at this place."""
        return Diag("bad-mapping", f"`{self.path or 'the file'}` {what}", hint=HINT)

    def _not(self, what: str) -> Diag:
        text = json.dumps(self.value, default=str)
        return self.wrong(f"must be {what}, got {text if len(text) <= SHOWN else f'{text[:SHOWN]}...'}")

    def __getitem__(self, key: str) -> At:
        """A member of an object."""
        path = f"{self.path}.{key}" if self.path else key
        if not isinstance(self.value, dict):
            raise self._not("an object")
        if key not in self.value:
            raise At(None, path).wrong("is missing")
        return At(self.value[key], path)

    def __contains__(self, key: str) -> bool:
        """Whether it is an object with this member."""
        return isinstance(self.value, dict) and key in self.value

    def each(self) -> list[At]:
        """The values of a list."""
        if not isinstance(self.value, list):
            raise self._not("a list")
        return [At(x, f"{self.path}[{i}]") for i, x in enumerate(self.value)]

    def members(self) -> dict[str, At]:
        """The members of an object."""
        if not isinstance(self.value, dict):
            raise self._not("an object")
        return {k: self[k] for k in self.value}

    def whole(self, least: int = 0) -> int:
        """A whole number of at least `least`."""
        if not isinstance(self.value, int) or isinstance(self.value, bool) or self.value < least:
            raise self._not(f"a whole number of at least {least}")
        return self.value

    def real(self) -> float:
        """A finite number, of any sign."""
        wrong = isinstance(self.value, bool) or not isinstance(self.value, int | float)
        if wrong or abs(self.value) > 1e300 or math.isnan(self.value):
            raise self._not("a finite number")
        return float(self.value)

    def amount(self) -> float:
        """A finite number that is not negative."""
        if self.real() < 0:
            raise self._not("a number that is not negative")
        return float(self.value)

    def text(self) -> str:
        """A string."""
        if not isinstance(self.value, str):
            raise self._not("a string")
        return self.value

    def texts(self) -> tuple[str, ...]:
        """The strings of a list."""
        return tuple(x.text() for x in self.each())

    def maybe_text(self) -> str | None:
        """A string, or null."""
        return None if self.value is None else self.text()

    def truth(self) -> bool:
        """True or false."""
        if not isinstance(self.value, bool):
            raise self._not("true or false")
        return self.value

    def limit(self) -> float:
        """A number that is not negative; null stands for no limit."""
        return math.inf if self.value is None else self.amount()

    def number_of(self, many: int) -> int:
        """The number of one of so many things."""
        if self.whole() >= many:
            raise self._not(f"a number below {many}")
        return int(self.value)

    def one_of(self, names: dict[str, Any] | frozenset[str] | set[str] | tuple[str, ...]) -> str:
        """One of the names."""
        if self.text() not in names:
            raise self._not(f"one of {', '.join(sorted(names)[:12])}")
        return self.text()
