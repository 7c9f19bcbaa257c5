"""The mapping of one segment as an integer program: which groups, which columns, when.

Set partition over groups, one integer duration per group, one optional interval per (group, unit), the
way to memory and each vector unit as cumulative resources in sixteenths. Times are whole cycles of the chip's
clock, so an optimum of the program is an optimum of the model and its bound needs no rounding.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, inf, isclose
from operator import mul

import networkx as nx
from ortools.sat.python import cp_model

from dfcompiler.columns import Column
from dfcompiler.cuts import Section, cliques, sections
from dfcompiler.goals import LARGE, Goal, whole
from dfcompiler.pins import Pin
from dfcompiler.solution import Solution, Task
from dfcompiler.tiling import RESOLUTION


@dataclass(frozen=True)
class Again:
    """A schedule that starts again every period, at least `least`, before it has ended: its next run reads what
    `carried` says, from who makes it to who reads it. What counts are `ends` makespans and `times` periods."""

    carried: Sequence[tuple[str, str]]
    least: int
    ends: int
    times: int


class Program:
    """CP-SAT variables and constraints of a segment; no schedule takes less than `least` cycles. Of one that starts
    `again` no more than two runs overlap."""

    def __init__(
        self,
        flow: nx.DiGraph[str],
        columns: Sequence[Column],
        horizon: int,
        least: int,
        goal: Goal,
        again: Again | None = None,
    ) -> None:
        self.model = cp_model.CpModel()
        self.columns = columns
        self.horizon = horizon
        self.groups: dict[tuple[str, ...], list[int]] = {}
        for i, c in enumerate(columns):
            self.groups.setdefault(c.nodes, []).append(i)
        m = self.model
        self.chosen = [m.new_bool_var(f"column{i}") for i in range(len(columns))]
        self.used = {g: self._used(g, ids) for g, ids in self.groups.items()}
        self.start = {v: m.new_int_var(0, horizon, f"start {v}") for v in flow}
        self.end = {v: m.new_int_var(0, horizon, f"end {v}") for v in flow}
        self.makespan = m.new_int_var(0, horizon, "makespan")
        self.size = {g: self._size(g, ids) for g, ids in self.groups.items()}
        self.period = m.new_int_var(again.least, horizon, "period") if again else None
        self.next: dict[tuple[str, ...], tuple[cp_model.IntVar, cp_model.IntVar]] = {}  # start and end in the next run
        self._cover(flow)
        self._order(flow)
        self._resources()
        self._cuts(flow)
        self.kept = {
            pin: m.new_bool_var(f"pinned {pin.tensor}") for pin in sorted({p for c in columns for p in c.pins})
        }
        self.lives = {pin: self._life(pin) for pin in self.kept}
        self._pin()
        m.add(self.makespan >= least)
        self.scale = goal.scale(horizon, columns)  # of the objective to costs
        if again and self.period is not None:
            self._repeat(self.period, again)
        else:
            self._aim(goal)

    def _repeat(self, period: cp_model.IntVar, again: Again) -> None:
        """The next run starts a period later, when what it reads is there, and the one after it when this one is
        done; all of one run is asked for in every period."""
        m = self.model
        m.add(self.makespan <= 2 * period)
        for u, v in again.carried:
            m.add(self.start[v] + period >= self.end[u])
        for terms in self._loads(frozenset(self.start)).values():
            m.add(sum(terms) <= RESOLUTION * period)
        m.minimize(again.ends * self.makespan + again.times * period)

    def _aim(self, goal: Goal) -> None:
        """The objective in whole numbers, and the limits."""
        m = self.model
        costs = [round(goal.per_pj * c.pj * self.scale) for c in self.columns]
        m.minimize(round(goal.of_cycle * self.scale) * self.makespan + sum(map(mul, costs, self.chosen)))
        if goal.most_cycles < inf:
            m.add(self.makespan <= floor(goal.most_cycles))
        if goal.most_pj < inf:
            self._limit(goal.most_pj, -goal.static_pj)
        if goal.pj_per_cycle < inf:
            self._limit(0.0, goal.pj_per_cycle)

    def _limit(self, pj: float, per_cycle: float) -> None:
        """Columns take so much energy at most, and so much more for every cycle of the schedule."""
        unit = whole(per_cycle, LARGE / (sum(c.pj for c in self.columns) + pj + abs(per_cycle) * self.horizon))
        taken, cycle = [ceil(c.pj * unit) for c in self.columns], round(per_cycle * unit)
        cycle = cycle if isclose(cycle, per_cycle * unit) else floor(per_cycle * unit)
        self.model.add(sum(map(mul, taken, self.chosen)) <= floor(pj * unit) + cycle * self.makespan)

    def _used(self, group: tuple[str, ...], ids: list[int]) -> cp_model.IntVar:
        used = self.model.new_bool_var(f"use {group}")
        self.model.add(sum(self.chosen[i] for i in ids) == used)
        return used

    def _size(self, group: tuple[str, ...], ids: list[int]) -> cp_model.IntVar:
        """Duration of a group: that of its chosen column, 0 while it is not used."""
        size = self.model.new_int_var(0, max(self.columns[i].cycles for i in ids), f"cycles {group}")
        self.model.add(size == sum(self.columns[i].cycles * self.chosen[i] for i in ids))
        return size

    def _cover(self, flow: nx.DiGraph[str]) -> None:
        """Every node in exactly one group; it lasts as long as that group, and its group starts as one."""
        m = self.model
        for v in flow:
            around = [g for g in self.groups if v in g]
            m.add_exactly_one(self.used[g] for g in around)
            m.add(self.end[v] == self.start[v] + sum(self.size[g] for g in around))
            m.add(self.end[v] <= self.makespan)
        for g in self.groups:
            for u, v in itertools.pairwise(g):
                m.add(self.start[u] == self.start[v]).only_enforce_if(self.used[g])

    def _order(self, flow: nx.DiGraph[str]) -> None:
        """A node starts when its operand is done, or with it in one group: linear, since unused groups last 0."""
        for u, v in flow.edges:
            inside = [self.size[g] for g in self.groups if u in g and v in g]
            self.model.add(self.start[v] >= self.end[u] - sum(inside))

    def _resources(self) -> None:
        m = self.model
        exclusive: dict[str, list[cp_model.IntervalVar]] = {}
        shared: dict[str, list[tuple[cp_model.IntervalVar, cp_model.LinearExprT]]] = {}
        helpers = {c.helper for c in self.columns if c.helper}
        for g, ids in self.groups.items():
            spans, dram = self._whole(g, "dram"), self._demand(ids, "dram")
            shared.setdefault("", []).extend((span, dram) for span in spans)
            for unit in sorted({self.columns[i].unit for i in ids}):
                on = [i for i in ids if self.columns[i].unit == unit]
                here = self._present(on, ids, g)
                spans = self._spans(g, here, f"{unit} {g}")
                if unit in helpers:
                    shared.setdefault(unit, []).extend((span, RESOLUTION) for span in spans)
                else:
                    exclusive.setdefault(unit, []).extend(spans)
            for unit in sorted({c for i in ids if (c := self.columns[i].helper)}):
                on = [i for i in ids if self.columns[i].helper == unit]
                spans = self._spans(g, self._present(on, ids, g), f"{unit} beside {g}")
                beside = self._demand(on, "beside")
                shared.setdefault(unit, []).extend((span, beside) for span in spans)
        for spans in exclusive.values():
            m.add_no_overlap(spans)
        for pairs in shared.values():
            m.add_cumulative([s for s, _ in pairs], [d for _, d in pairs], RESOLUTION)

    def _whole(self, g: tuple[str, ...], what: str) -> list[cp_model.IntervalVar]:
        """The time in which a group runs, if it does, wherever that is."""
        return self._spans(g, self.used[g], f"{what} {g}")

    def _spans(self, g: tuple[str, ...], here: cp_model.IntVar, name: str) -> list[cp_model.IntervalVar]:
        """The time in which a group runs, and where runs overlap that in which it does in the next run."""
        m, size, times = self.model, self.size[g], [(self.start[g[0]], self.end[g[0]])]
        if self.period is not None:
            if g not in self.next:
                self.next[g] = m.new_int_var(0, 2 * self.horizon, ""), m.new_int_var(0, 2 * self.horizon, "")
                for later, time in zip(self.next[g], times[0], strict=True):
                    m.add(later == time + self.period)
            times.append(self.next[g])
        return [m.new_optional_interval_var(start, size, end, here, name) for start, end in times]

    def _present(self, on: list[int], ids: list[int], g: tuple[str, ...]) -> cp_model.IntVar:
        if on == ids:
            return self.used[g]
        here = self.model.new_bool_var("")
        self.model.add(sum(self.chosen[i] for i in on) == here)
        return here

    def _demand(self, ids: list[int], what: str) -> cp_model.LinearExprT:
        amounts = [getattr(self.columns[i], what) for i in ids]
        if len(set(amounts)) == 1:
            return int(amounts[0])
        demand = self.model.new_int_var(0, RESOLUTION, "")
        self.model.add(demand == sum(a * self.chosen[i] for a, i in zip(amounts, ids, strict=True)))
        return demand

    def _cuts(self, flow: nx.DiGraph[str]) -> None:
        """Cuts that propagation does not see: loads of sections, and cliques of groups one after another."""
        m = self.model
        parts = [(s.inside, self._room(s)) for s in sections(flow)]
        for inside, room in parts:
            for terms in self._loads(inside).values():
                m.add(sum(terms) <= RESOLUTION * room)
        for clique in cliques(self.columns):
            m.add_no_overlap([span for g in clique for span in self._whole(g, "apart")])
            for inside, room in parts:
                m.add(sum(self.size[g] for g in clique if inside.issuperset(g)) <= room)

    def _life(self, pin: Pin) -> cp_model.IntervalVar:
        """From the start of who makes a tensor to the end of who reads it last, where it is pinned."""
        m = self.model
        long, end = (m.new_int_var(0, self.horizon, f"{what} of {pin.tensor}") for what in ("life", "end"))
        m.add_max_equality(end, [self.end[v] for v in (pin.maker, *pin.readers)])
        return m.new_optional_interval_var(self.start[pin.maker], long, end, self.kept[pin], f"life of {pin.tensor}")

    def _pin(self) -> None:
        """Who touches a tensor that others touch too finds it where all do; there is room for it at every moment."""
        for pin, kept in self.kept.items():
            for c, x in zip(self.columns, self.chosen, strict=True):
                if pin.crosses(c.nodes):
                    self.model.add_implication(x, kept if pin in c.pins else ~kept)
        for memory, room in {(pin.memory, pin.room_bytes) for pin in self.kept}:
            mine = [pin for pin in self.kept if pin.memory == memory]
            self.model.add_cumulative([self.lives[pin] for pin in mine], [pin.bytes for pin in mine], room)

    def apart(self, pins: Sequence[Pin]) -> None:
        """These tensors have addresses at which no two that live at one moment overlap."""
        m, spans = self.model, []
        for pin in pins:
            at = m.new_int_var(0, pin.room_bytes - pin.bytes, f"address of {pin.tensor}")
            spans.append(
                m.new_optional_fixed_size_interval_var(at, pin.bytes, self.kept[pin], f"place of {pin.tensor}")
            )
        m.add_no_overlap_2d([self.lives[pin] for pin in pins], spans)

    def _room(self, section: Section) -> cp_model.LinearExprT:
        """Cycles in which the inside of a section runs; where one group holds both its ends, none but the group's."""
        if section.after is None or section.before is None:
            return self.makespan
        over = [self.size[g] for g in self.groups if section.after in g and section.before in g]
        return self.start[section.before] - self.end[section.after] + sum(over)

    def _loads(self, inside: frozenset[str]) -> dict[str, list[cp_model.LinearExprT]]:
        """What the groups among these nodes ask of every resource, in sixteenths of cycles."""
        loads: dict[str, list[cp_model.LinearExprT]] = {}
        for i, c in enumerate(self.columns):
            if inside.issuperset(c.nodes):
                loads.setdefault("", []).append(c.cycles * c.dram * self.chosen[i])
                loads.setdefault(c.unit, []).append(c.cycles * RESOLUTION * self.chosen[i])
                if c.helper:
                    loads.setdefault(c.helper, []).append(c.cycles * c.beside * self.chosen[i])
        return loads

    def start_from(self, hint: Solution, period: int = 0) -> None:
        """Give the solver a legal schedule to begin with, which starts again after a period."""
        chosen = {t.column for t in hint.tasks}
        for pin, kept in self.kept.items():
            self.model.add_hint(kept, any(pin in c.pins for c in chosen))
        for i, c in enumerate(self.columns):
            self.model.add_hint(self.chosen[i], c in chosen)
        for task in hint.tasks:
            for v in task.column.nodes:
                self.model.add_hint(self.start[v], task.start)
                self.model.add_hint(self.end[v], task.end)
        self.model.add_hint(self.makespan, hint.cycles)
        if self.period is not None:
            self.model.add_hint(self.period, period)

    def tasks(self, solver: cp_model.CpSolver) -> tuple[Task, ...]:
        """The chosen columns in the order of their starts."""
        picked = [c for i, c in enumerate(self.columns) if solver.boolean_value(self.chosen[i])]
        return tuple(
            sorted(
                (Task(c, solver.value(self.start[c.nodes[0]])) for c in picked), key=lambda t: (t.start, t.column.nodes)
            )
        )
