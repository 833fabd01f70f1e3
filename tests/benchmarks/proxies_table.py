"""The tables of the proxies' measurement, from its finished runs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from search.study.results import pooled_noise
from tests.benchmarks.ranking import bootstrap, recall, regret, tau

Run = Mapping[str, Any]
PROXIES = (("whole", 20), ("prefix", 20), ("whole", 10), ("prefix", 10))
DIFFERENCES = (
    ("whole - prefix, 20%", "whole 20%", "prefix 20%"),
    ("whole - prefix, 10%", "whole 10%", "prefix 10%"),
    ("20% - 10%, whole", "whole 20%", "whole 10%"),
    ("20% - 10%, prefix", "prefix 20%", "prefix 10%"),
)
TOP = 5


@dataclass(frozen=True)
class Measured:
    """One configuration: the BPB of its proxies, and of its long runs by percent of their budget."""

    proxies: Mapping[str, float]
    long: Sequence[Mapping[int, float]]

    @property
    def confirmed(self) -> float:
        """Mean of its long runs."""
        return float(np.mean([run[100] for run in self.long]))


def bpb(run: Run, percent: int) -> float:
    """Return a run's BPB at a percent of the long budget; infinite where it failed."""
    return math.inf if "failed" in run else {round(float(k)): v for k, v in run["bpb"].items()}[percent]


def _curve(run: Run) -> dict[int, float]:
    return {100: math.inf} if "failed" in run else {round(float(k)): v for k, v in run["bpb"].items()}


def collect(runs: Sequence[Run]) -> list[Measured]:
    """Return the configurations that have all proxies and a long run."""
    found = []
    for number in sorted({run["number"] for run in runs}):
        mine = sorted((r for r in runs if r["number"] == number), key=lambda r: int(r["seed"]))
        proxies = {
            f"{kind} {percent}%": bpb(run, percent)
            for kind, percent in PROXIES
            for run in mine
            if run["kind"] == kind and (run["percent"] == percent or kind == "prefix")
        }
        long = [_curve(run) for run in mine if run["kind"] == "long"]
        if len(proxies) == len(PROXIES) and long:
            found.append(Measured(proxies, long))
    return found


def table(runs: Sequence[Run]) -> str:
    """Return everything as Markdown."""
    found = collect(runs)
    if len(found) < 2 * TOP:
        return f"{len(found)} configurations have all their runs: too few for a table, which needs {2 * TOP}"
    half = sorted(found, key=lambda m: m.confirmed)[: len(found) // 2]
    parts = (_summary(runs, found, half), _proxies(found, half), _differences(found, half), _lengths(found))
    return "\n\n".join(parts)


def _summary(runs: Sequence[Run], found: Sequence[Measured], half: Sequence[Measured]) -> str:
    repeated = [[run[100] for run in m.long] for m in found if math.isfinite(m.confirmed)]
    noise, bpbs = pooled_noise(repeated), sorted(m.confirmed for m in found)
    failed = [f"{r['kind']} {r['percent']}%" for r in runs if "failed" in r]
    lost = ", ".join(f"{failed.count(k)} × {k}" for k in sorted(set(failed))) or "none"
    deviation = "unknown" if noise.deviation is None else f"{noise.deviation:.4f}, {noise.degrees} degrees of freedom"
    return (
        f"{len(found)} configurations, {sum(len(m.long) for m in found)} long runs; confirmed BPB {bpbs[0]:.4f} … "
        f"{bpbs[-1]:.4f}, median {np.median(bpbs):.4f}; the best half up to {half[-1].confirmed:.4f}; deviation from "
        f"seed to seed {deviation}; diverged: {lost}"
    )


def _columns(found: Sequence[Measured]) -> tuple[dict[str, list[float]], list[float]]:
    proxies = {name: [m.proxies[name] for m in found] for name in (f"{k} {p}%" for k, p in PROXIES)}
    return proxies, [m.confirmed for m in found]


def _proxies(found: Sequence[Measured], half: Sequence[Measured]) -> str:
    lines = [
        f"| proxy | τ-b | τ-b, best half | top {TOP} found | best of its top {TOP}, above the best | its first |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    (proxies, confirmed), better = _columns(found), _columns(half)
    for name in proxies:

        def its(taus: Mapping[str, float], name: str = name) -> float:
            return taus[name]

        whole, part = bootstrap(proxies, confirmed, its), bootstrap(*better, its)
        lost = (f"{regret(proxies[name], confirmed, n):.4f}" for n in (TOP, 1))
        share = f"{recall(proxies[name], confirmed, TOP):.0%}"
        lines.append(" | ".join(("| " + name, str(whole), str(part), share, *lost)) + " |")
    return "\n".join(lines)


def _differences(found: Sequence[Measured], half: Sequence[Measured]) -> str:
    lines = ["| difference of τ-b | all | best half |", "|---|---:|---:|"]
    for name, a, b in DIFFERENCES:

        def difference(taus: Mapping[str, float], a: str = a, b: str = b) -> float:
            return taus[a] - taus[b]

        lines.append(
            f"| {name} | {bootstrap(*_columns(found), difference)} | {bootstrap(*_columns(half), difference)} |"
        )
    return "\n".join(lines)


def _lengths(found: Sequence[Measured]) -> str:
    """Tell what a prefix of any length foretells of another seed's long run, both ways of two seeds averaged."""
    pairs = [m.long[:2] for m in found if len(m.long) > 1 and math.isfinite(m.confirmed)]
    if len(pairs) < 2 * TOP:
        return "Too few second long runs to compare a prefix with another seed's end."
    lines = ["| prefix of one seed, against another seed's end | τ-b | τ-b, best half |", "|---|---:|---:|"]
    half = sorted(pairs, key=lambda p: p[0][100] + p[1][100])[: len(pairs) // 2]
    for percent in sorted(pairs[0][0]):
        both = (
            np.mean([tau([p[i][percent] for p in some], [p[1 - i][100] for p in some]) for i in (0, 1)])
            for some in (pairs, half)
        )
        lines.append(f"| {percent}% | " + " | ".join(f"{t:.2f}" for t in both) + " |")
    return "\n".join(lines)
