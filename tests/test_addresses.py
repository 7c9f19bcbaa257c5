"""Addresses of tensors in a memory, against all addresses that there are."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from dfcompiler.addresses import Life, packed

LIVES = st.lists(st.tuples(st.integers(0, 6), st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=5)


def lives(drawn: list[tuple[int, int, int]]) -> list[Life]:
    return [Life(f"t{i}", start, start + long, size) for i, (start, long, size) in enumerate(drawn)]


def apart(every: list[Life], at: dict[str, int], room: int) -> bool:
    inside = all(at[x.name] >= 0 and at[x.name] + x.bytes <= room for x in every)
    pairs = (p for p in itertools.combinations(every, 2) if p[0].beside(p[1]))
    return inside and all(at[x.name] + x.bytes <= at[y.name] or at[y.name] + y.bytes <= at[x.name] for x, y in pairs)


@given(LIVES, st.integers(3, 9))
def test_all_that_can_be_packed_is(drawn: list[tuple[int, int, int]], room: int) -> None:
    every, names = lives(drawn), [f"t{i}" for i in range(len(drawn))]
    found = packed(every, room)
    if isinstance(found, dict):
        assert apart(every, found, room)
        return
    some = [x for x in every if x.name in found]
    places = itertools.product(*(range(room) for _ in some))
    assert not any(apart(some, dict(zip((x.name for x in some), at, strict=True)), room) for at in places)
    assert set(found) <= set(names)
