"""How soon the runs of a segment can follow each other: rows that hold from run to run, and what multipliers prove.

The time from run to run is the period. In so long a time every resource does what one run asks of it. And a chain that
goes through values handed on, back to where it began so many runs later, takes no more than as many periods. So what
bounds the makespan of one run bounds the period of many, with circuits in place of chains.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import networkx as nx

from dfcompiler.columns import Column
from dfcompiler.cuts import Section
from dfcompiler.moments import Apart
from dfcompiler.relaxation import NOISE, Edge, Relaxation, Row, lasting, loads_of

Link: TypeAlias = tuple[str, str, bool]  # from, to, and whether to the next run


class Steady(Relaxation):
    """The relaxation of runs that follow each other every period, in place of the makespan; `carried` are pairs of who
    makes a value and who reads it in the next run. Its period is a mean: it holds also for runs that are unlike."""

    earliest = float("-inf")

    def __init__(self, flow: nx.DiGraph[str], columns: Sequence[Column], carried: Sequence[Edge], target: int) -> None:
        self.carried = tuple(dict.fromkeys(carried))
        super().__init__(flow, columns, target)

    def _sections(self) -> list[Section]:
        return [Section(None, None, frozenset(self.flow))]

    def _apart(self) -> Apart:
        return apart_in_runs(self.flow, self.carried)

    def _rows(self) -> Iterator[Row]:
        """The rows of the program: order of data within a run and to the next one, loads of every resource."""
        yield from (self._link((u, v, False)) for u, v in self.flow.edges)
        yield from (self._link((u, v, True)) for u, v in self.carried)
        yield from loads_of(self.columns, self.sections)

    def _link(self, link: Link) -> Row:
        u, v, following = link
        starts = {u: -1, v: 1} if u != v else {}
        return Row({"link": link}, int(following), starts, self._takes(link))

    def _takes(self, link: Link) -> dict[int, int]:
        """Cycles of the columns that run the first node of a link, and not the second one with it."""
        u, v, following = link
        return {i: n for i, n in lasting(self.columns, u).items() if following or v not in self.columns[i].nodes}

    def _joined(self, weighted: list[tuple[Row, float]]) -> list[tuple[Row, float]]:
        links: dict[Link, float] = {r.what["link"]: w for r, w in weighted if "link" in r.what}
        found = [(r, w) for r, w in weighted if "link" not in r.what]
        while circuit := _circuit(links):
            least = min(links[x] for x in circuit)
            found.append((self._row(circuit), least))
            links = {x: w - least if x in circuit else w for x, w in links.items()}
            links = {x: w for x, w in links.items() if w > NOISE}
        return found

    def _row(self, circuit: Sequence[Link]) -> Row:
        takes: dict[int, int] = {}
        for link in circuit:
            for i, n in self._takes(link).items():
                takes[i] = takes.get(i, 0) + n
        said = [{"from": u, "to": v, "next": following} for u, v, following in circuit]
        return Row({"kind": "circuit", "links": said}, sum(x[2] for x in circuit), {}, takes)


def apart_in_runs(flow: nx.DiGraph[str], carried: Sequence[Edge]) -> Apart:
    """Nodes that never run at one moment, of whichever runs they are: those on a circuit to the next run."""
    after = {v: {v} | nx.descendants(flow, v) for v in flow}
    loops = [{x for x in after[v] if u in after[x]} for u, v in carried]
    return {a: {b for loop in loops if a in loop for b in loop & after[a]} for a in flow}


def _circuit(links: dict[Link, float]) -> list[Link]:
    """Some links that lead back to where they began, heavy ones first; none where there are none."""
    after: dict[str, list[Link]] = {}
    for x in sorted(links, key=lambda x: -links[x]):
        after.setdefault(x[0], []).append(x)
    done: set[str] = set()
    for first in after:
        walk, nodes = list[Link](), [first]
        while nodes:
            way = next((x for x in after.get(nodes[-1], []) if x[1] not in done), None)
            if way is None:
                done.add(nodes.pop())
                walk = walk[:-1]
            elif way[1] in nodes:
                return [*walk[nodes.index(way[1]) :], way]
            else:
                walk, nodes = [*walk, way], [*nodes, way[1]]
    return []
