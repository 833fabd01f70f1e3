"""The report's tables: heading, confirmed configurations, searched settings, provenance, commands, words."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from optuna.trial import TrialState

from search.analysis.snapshot import Snapshot
from search.common.network_size import dropped_text, parameters_text
from search.common.next_commands import State, next_commands
from search.show.figures.space import meaning
from search.show.wording import counted, describe
from search.study.results import Confirmed
from search.study.scores import scores_of
from search.study.study_file import source_name
from search.study.trials import attributes_of

MOST_ROWS = 100
HIDDEN = ("host", "hardware")
"""Keys of a run's provenance that say something about its machine or owner."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table; all its cells are text."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    left_out: int = 0


def heading(snapshot: Snapshot, now: datetime) -> list[tuple[str, str]]:
    """Return the study's data as pairs of term and text."""
    plan = snapshot.plan
    short, long = plan.proxy.budget, plan.confirm.budget
    runs = [r for r in snapshot.runs if r.state == TrialState.COMPLETE]
    counts = counted(len(snapshot.finished), "proxy trial", "proxy trials") + f" of {short} finished"
    if plan.is_grid:
        counts = f"{counted(len(snapshot.finished), 'run')} of {short}, of a grid of {plan.proxy.trials}"
    elif runs:
        counts += f", {counted(len(runs), 'confirmation run')} of {long}"
    rows = [
        ("As of", now.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")),
        ("Text", source_name(plan.data.source)),
        ("Budgets", counts),
        ("Hardware", snapshot.hardware.removeprefix("Hardware: ")),
    ]
    return [(term, text) for term, text in rows if text]


def confirmed_table(snapshot: Snapshot) -> Table | None:
    """Return the confirmed configurations, the best first, with every seed's BPB and their settings."""
    configurations = snapshot.confirmed[:MOST_ROWS]
    if not configurations:
        return None
    pairs = ["minimal pairs"] * any(scores_of(c.runs) for c in configurations)
    proxy, predicted = f"BPB at {snapshot.plan.proxy.budget}", ["predicted ± 90%"] * bool(snapshot.predicted)
    return Table(
        columns=[
            "rank",
            "configuration",
            "BPB ± 95%",
            "mean",
            *pairs,
            "seed: BPB",
            proxy,
            *predicted,
            "parameters",
            "settings",
        ],
        rows=[
            [str(place), c.label, *_measured(snapshot, c, bool(pairs)), describe(c.params)]
            for place, c in enumerate(configurations, 1)
        ],
        left_out=len(snapshot.confirmed) - len(configurations),
    )


def _measured(snapshot: Snapshot, c: Confirmed, scored: bool) -> list[str]:
    seeds = ", ".join(f"{seed}:\u00a0{bpb:.4f}" for seed, bpb in sorted(c.bpb_by_seed.items()))
    proxy = f"{c.proxy_bpb:.4f}" if c.proxy_bpb is not None else "–"
    run = attributes_of(c.runs[0])
    size = parameters_text(run.n_params, run.n_active_params) if run.n_params else "–"
    dropped = f"; {dropped_text(run.dropped_share)}" if run.dropped_share is not None else ""
    predicted = snapshot.predicted.get(c.label)
    predictions = [predicted.text if predicted else "–"] * bool(snapshot.predicted)
    estimate = snapshot.estimates[c.key].text
    scores = scores_of(c.runs) if scored else None
    pairs = [scores.text if scores else "–"] * scored
    return [estimate, f"{c.mean_bpb:.4f}", *pairs, seeds, proxy, *predictions, size + dropped]


def cell(value: Any) -> str:
    """Return a setting's value as the text of a cell."""
    return "–" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def settings_table(snapshot: Snapshot) -> Table:
    """Return the searched settings, each with its description and its range."""
    rows = [[name, meaning(name), str(p)] for name, p in snapshot.plan.space.parameters.items()]
    return Table(columns=["setting", "what it is", "searched"], rows=rows)


def provenance(snapshot: Snapshot) -> list[tuple[str, str]]:
    """Return the provenance of the winner's first run: versions, device and hashes that its BPB may depend on."""
    runs = snapshot.confirmed[0].runs if snapshot.confirmed else sorted(snapshot.finished, key=lambda t: t.value or 0.0)
    values = attributes_of(runs[0]).provenance if runs else {}
    return [(key.replace("_", " "), cell(value)) for key, value in values.items() if key not in HIDDEN]


def commands(snapshot: Snapshot) -> list[str]:
    """Return the commands that download the result and reproduce it."""
    return next_commands("report", snapshot.plan.name, State(confirmed=bool(snapshot.confirmed)))


def glossary(snapshot: Snapshot) -> list[tuple[str, str]]:
    """Return the report's words with their explanations."""
    short, long = snapshot.plan.proxy.budget, snapshot.plan.confirm.budget
    return [
        (
            "BPB",
            "bits per byte: how many bits the model needs on average for each byte of text that it hasn't seen. "
            "Lower is better; it doesn't depend on the tokenizer.",
        ),
        ("proxy", f"a configuration trained for the short budget ({short}) to see whether it promises something."),
        ("confirmation run", f"a configuration trained for the long budget ({long}); only these decide."),
        (
            "seed",
            "the number that initial weights and the order of the data come from. Runs that differ in nothing "
            "else show how much is luck.",
        ),
        ("baseline", "a configuration made by hand, to be beaten."),
        (
            "predicted ± 90%",
            "the BPB of a long run as it was predicted before it ended, from proxies and other long runs, and a range "
            "that should hold it in 90 of 100 cases.",
        ),
        (
            "95% interval (±)",
            "a range that holds a configuration's BPB over all seeds in 95 of 100 such studies. The best of many looks "
            "better than it is: its BPB is its runs' mean, shrunk towards the other configurations by as much as noise "
            "may have favoured it. Ranks go by the mean.",
        ),
        (
            "τ (Kendall)",
            "1 where two orders are the same, −1 where one is the other reversed, 0 where they have "
            "nothing to do with each other. Here: of proxies and of confirmed BPB.",
        ),
        (
            "ρ (Spearman)",
            "the same question answered by the correlation of ranks. Here: of the loss so far and the final one.",
        ),
        (
            "minimal pairs",
            "pairs of sentences that differ in little, of which one is acceptable: how often the model finds that one "
            "more probable, with a 95% interval (Wilson's). 50% is chance. Nothing is chosen by it.",
        ),
        ("pruned", "stopped early, because runs that ended among the best hardly ever looked as bad."),
        ("control", "a proxy that, by lot, is never pruned, so that it is known what pruning costs."),
        (
            "importance",
            "how differently the best quarter of the proxies and all of them are spread over a setting alone.",
        ),
        ("tokens per parameter", "how much text a model was trained on for its size."),
    ]
