"""What the table says: noise, the best, the baselines, and how the proxies' order differs from the long runs'."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from tests.benchmarks.table.rows import Row, Table

BASELINES = ("by hand", "of the recipe")
TOP = 5


def summary(table: Table) -> str:
    """Return it as Markdown."""
    rows, ranking = table.rows, table.ranking
    done = [row for row in rows if math.isfinite(row.mean)]
    place = {row.number: i + 1 for i, row in enumerate(ranking)}
    seeds = sorted(len(row.long) for row in rows)
    failed = sum(curve.failed for row in rows for curve in (row.proxy, *row.long))
    by_proxy = sorted(rows, key=lambda row: (row.proxy.final, row.number))
    quarter = len(rows) // 4
    apart = [abs(row.long[0].final - row.long[1].final) for row in done if len(row.long) > 1]
    noise = f"{table.noise:.4f} ({noise_in(table, place, 0, quarter):.4f} in the best quarter)"
    noise += f", two seeds differ by {np.median(apart):.4f} in the median, {max(apart):.4f} at most" if apart else ""
    tau = f"τ {_tau(done):.2f}, in the best quarter by long runs {_tau(ranking[:quarter]):.2f}"
    among_long = ", ".join(str(place[row.number]) for row in by_proxy[:TOP])
    among_proxies = ", ".join(str(by_proxy.index(row) + 1) for row in ranking[:TOP])
    parts = [
        f"{len(rows)} configurations, {sum(seeds)} long runs ({sum(n > 1 for n in seeds)} with two seeds or more), "
        f"{len(rows)} proxies; diverged: {failed} runs.",
        f"BPB of the long runs {ranking[0].mean:.4f} … {table.worst:.4f}, median "
        f"{np.median([row.mean for row in done]):.4f}; deviation from seed to seed {noise}.",
        *(f"Baseline {n}: {row.mean:.4f}, place {place[row.number]}." for n, row in zip(BASELINES, rows, strict=False)),
        f"Proxy and long run: {tau}; the best {TOP} proxies take places {among_long} among the long runs, the best "
        f"{TOP} by long runs take places {among_proxies} among the proxies.",
        _best("Best by long runs", ranking[:TOP], place),
        _best("Best by proxy", by_proxy[:TOP], place),
    ]
    return "\n\n".join(parts)


def noise_in(table: Table, place: Mapping[int, int], above: int, upto: int) -> float:
    """Return the deviation from seed to seed among the rows of these places."""
    rows = tuple(row for row in table.rows if above < place[row.number] <= upto)
    return Table(rows, table.study, table.long_seconds, table.facts).noise


def _tau(rows: Sequence[Row]) -> float:
    return float(stats.kendalltau([row.proxy.final for row in rows], [row.mean for row in rows]).statistic)


def _best(title: str, rows: Sequence[Row], place: Mapping[int, int]) -> str:
    lines = [
        f"{title}:",
        "",
        "| place | long | seeds | proxy | parameters | configuration |",
        "|--:|--:|--:|--:|--:|---|",
    ]
    for row in rows:
        settings = ", ".join(f"{k} {v:.2g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.params.items())
        lines.append(
            f"| {place[row.number]} | {row.mean:.4f} | {len(row.long)} | {row.proxy.final:.4f} | {row.n_params:,} "
            f"| {settings} |"
        )
    return "\n".join(lines)
