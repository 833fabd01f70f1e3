"""Caveats if the best configurations lie at an end of the space: a wider space may hold better ones."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from search.common.stats import chance_of_as_many, chance_of_lower
from search.study.space import RECORDS, SECTION_OF, Parameter, Space

OUTER = 0.1
"""Share of a range that counts as its end."""
MIN_SHARE = 2 / 3
"""Least share of the best configurations that must lie at an end."""
LEVEL = 0.05
"""Chance of any false alarm in a space whose settings don't matter, shared among all ends that are tested."""
BETTER = 0.03
"""Largest p of the test that configurations at an end are better than the rest."""
SIDES = ("lowest", "highest")


@dataclass(frozen=True)
class RankedGroup:
    """Configurations that were run, the best first."""

    name: str
    """Name of the group, such as "proxies"."""
    params: Sequence[Mapping[str, Any]]
    order: Sequence[int]
    """Position of each in the order of time; all 0 if time doesn't matter."""
    best: int
    """Number of configurations that count as the best."""


def edge_caveats(space: Space, groups: Sequence[RankedGroup]) -> list[str]:
    """Return a sentence for each setting whose best values crowd at an end that can be moved.

    Two tests must agree: more of the best lie there than random draws would; and configurations there are better than
    those run elsewhere at the same time. The second is needed because a sampler that found a good value early stays
    near it, whether the setting matters or not.
    """
    ranges = {name: p for name, p in space.parameters.items() if _ordered(p)}
    level = LEVEL / max(1, len(SIDES) * len(ranges) * len(groups))
    sentences = []
    for name, parameter in ranges.items():
        for side in SIDES:
            advice = _advice(name, parameter, side)
            crowded = {g.name: text for g in groups if (text := _crowd(name, parameter, side, g, level))}
            if crowded and advice is not None:
                led_by = [g.name for g in groups if any(_inside(name, parameter, side, g)[:1])]
                subject = " and ".join(({n: f"the best of the {n}" for n in led_by} | crowded).values())
                sentences.append(f"{name}: {subject} {_place(parameter, side)}; {advice}.")
    return sentences


def _ordered(parameter: Parameter) -> bool:
    return all(type(v) in (int, float) for v in parameter.choices or (parameter.low,))


def _crowd(name: str, parameter: Parameter, side: str, group: RankedGroup, level: float) -> str | None:
    """Return, as text, how many of the best of a group lie at this end; None unless both tests agree."""
    outer, inside = _outer(parameter, side), _inside(name, parameter, side, group)
    order = [t for p, t in zip(group.params, group.order, strict=True) if name in p]
    best = sum(name in p for p in group.params[: group.best])
    hits = sum(inside[:best])
    if not hits or hits < MIN_SHARE * best or chance_of_as_many(hits, best, outer) > level:
        return None
    if chance_of_lower(range(len(order)), order, inside) > BETTER:
        return None
    return f"{hits} of the {best} best {group.name}"


def _inside(name: str, parameter: Parameter, side: str, group: RankedGroup) -> list[bool]:
    """Return whether each configuration that has the setting lies at this end, the best first."""
    outer = _outer(parameter, side)
    return [depth(parameter, p[name], side) <= outer for p in group.params if name in p]


def depth(parameter: Parameter, value: float, side: str) -> float:
    """Return the share of random draws that lie at least as near to this end as the value does.

    0 at the end of a continuous range; never below the share of the end value itself if values are discrete.
    """
    if parameter.choices is not None:
        values = sorted(float(v) for v in parameter.choices)
        return sum(v <= value if side == "lowest" else v >= value for v in values) / len(values)
    low, high = float(parameter.low or 0), float(parameter.high or 0)
    cell = 0.0 if parameter.size is None else (parameter.step or 1) / 2
    low, high, inner = low - cell, high + cell, value + (cell if side == "lowest" else -cell)
    if parameter.log:
        low, high, inner = math.log(low), math.log(high), math.log(inner)
    share = (inner - low) / (high - low)
    return share if side == "lowest" else 1 - share


def _end(parameter: Parameter, side: str) -> float:
    values = sorted(float(v) for v in parameter.choices or (parameter.low or 0, parameter.high or 0))
    return values[0] if side == "lowest" else values[-1]


def _outer(parameter: Parameter, side: str) -> float:
    return max(OUTER, depth(parameter, _end(parameter, side), side))


def _place(parameter: Parameter, side: str) -> str:
    ends = " … ".join(short_number(_end(parameter, s)) for s in SIDES)
    if _outer(parameter, side) > OUTER:
        return f"have {short_number(_end(parameter, side))}, the {side} of {ends}"
    return f"lie in the {side} {OUTER:.0%} of {ends}"


def short_number(value: float) -> str:
    """Return a setting's value as text with few digits."""
    return f"{value:.0f}" if value == int(value) or abs(value) >= 100 else f"{value:.2g}"


def _advice(name: str, parameter: Parameter, side: str) -> str | None:
    """Return, as text, how far to widen the space; None if the setting itself allows nothing beyond this end.

    By a third of the range, on a log scale if the range has one, and not past the setting's own limit.
    """
    down, end = side == "lowest", _end(parameter, side)
    limits = next(f.metadata for f in fields(RECORDS[SECTION_OF[name]]) if f.name == name)
    closed, opened = (limits.get(key) for key in (("at_least", "above") if down else ("at_most", "below")))
    if closed is not None and (end <= closed if down else end >= closed):
        return None
    if parameter.choices is not None:
        return f"add {'smaller' if down else 'larger'} ones"
    value = _widened(parameter, down)
    if closed is not None:
        value = max(value, closed) if down else min(value, closed)
    if opened is not None and (value <= opened if down else value >= opened):
        value = (end + opened) / 2
    return f"widen to {short_number(value)}"


def _widened(parameter: Parameter, down: bool) -> float:
    low, high = float(parameter.low or 0), float(parameter.high or 0)
    if parameter.log:
        factor = math.exp(math.log(high / low) / 3)
        value = low / factor if down else high * factor
    else:
        value = low - (high - low) / 3 if down else high + (high - low) / 3
    if parameter.size is None:
        return value
    step = parameter.step or 1
    steps = max(1, round(abs(value - (low if down else high)) / step))
    return low - steps * step if down else high + steps * step
