"""Notes on trials in optuna-dashboard, in Markdown: why one was pruned or failed, or how it was confirmed."""

from collections.abc import Mapping

from optuna.trial import FrozenTrial, TrialState

from search.analysis.snapshot import Snapshot
from search.common.durations import format_duration
from search.common.safe_text import plain
from search.show.wording import describe, ordinal
from search.strategy.entrants import entrant_of
from search.study.cost import budget_seconds
from search.study.results import Confirmed, Significance, lead
from search.study.trials import SEED, attributes_of, budget_of, trial_params

FAILURES: Mapping[str, str] = {
    "diverged": "**Diverged**: its loss was no number, or above that of guessing. Where many do, lower the top of "
    "max_lr's range.",
    "out_of_memory": "**Out of memory**: not even one sequence at a time fitted. Where many do, lower the top of the "
    "sizes' ranges (n_layer, d_model, context, vocab_size).",
    "error": "**Ended in an error**, whose trace is among the trial's files.",
    "exhausted": "**Not trained**: every configuration of the space has been run. Widen [space], or ask for fewer.",
    "interrupted": "**Handed back** by a worker that was stopped.",
    "lost": "**Lost**: its worker fell silent, or its GPU had to be begun with afresh.",
}
"""Text for each cause of failure, with a remedy."""


def trial_notes(snapshot: Snapshot) -> dict[int, str]:
    """Return the notes of finished proxies by trial id; a proxy of which there is nothing to say has none."""
    confirmed = {c.proxy_number: c for c in snapshot.confirmed if c.lr_scale == 1}
    successors = {attributes_of(t).retries: t.number for t in snapshot.proxies}
    places = {t.number: i for i, t in enumerate(sorted(snapshot.finished, key=lambda t: t.value or 0.0), start=1)}
    notes = {}
    for trial in snapshot.proxies:
        if trial.state.is_finished():
            parts = [*_kind(trial), *_end(snapshot, trial, successors.get(trial.number))]
            if trial.number in confirmed:
                parts.append(_confirmed(snapshot, confirmed[trial.number], places))
            if parts:
                notes[trial._trial_id] = "\n\n".join(parts)
    return notes


def _kind(trial: FrozenTrial) -> list[str]:
    attrs = attributes_of(trial)
    if attrs.baseline is not None:
        own = {name: value for name, value in trial_params(trial).items() if name not in trial.params}
        apart = f" Set beside what is searched: {plain(describe(own))}." if own else ""
        return [f"**Baseline {plain(attrs.baseline)}**, made by hand: never pruned, always confirmed.{apart}"]
    if attrs.control:
        return ["**Control**, drawn at random before it started and never pruned: controls show what pruning costs."]
    return []


def _end(snapshot: Snapshot, trial: FrozenTrial, successor: int | None) -> list[str]:
    if trial.state == TrialState.PRUNED:
        return [_pruned(snapshot, trial)]
    if trial.state == TrialState.FAIL:
        return [_failed(trial, successor)]
    return []


def _pruned(snapshot: Snapshot, trial: FrozenTrial) -> str:
    """Return where a proxy was pruned, why, and what that saved, on one line."""
    step, attrs = trial.last_step or 0, attributes_of(trial)
    saved_time = format_duration((1 - step / 100) * budget_seconds(trial, snapshot.plan.proxy))
    text = f"**Pruned at {step}%** of {snapshot.plan.proxy.budget}"
    if attrs.pruner == "diverged":
        return f"{text}: its loss was no number. Saved {saved_time} of training."
    best, new = attrs.place_chance, attrs.new_trials_places
    if best is not None and new is not None:
        text += (
            f": its chance of a place among the best {snapshot.plan.confirm.top} was {_percent(best)}; "
            f"new trials for the rest of its cost take {new:.2f} on average"
        )
    elif attrs.place is not None and attrs.came_as_far is not None:
        came = f"the {attrs.came_as_far} proxies that came as far"
        text += f": it was {ordinal(attrs.place)} of {came}, whose best quarter goes on"
    elif attrs.best_as_bad is not None:
        best_as_bad, risk = attrs.best_as_bad, snapshot.plan.pruner.risk
        text += (
            f": {_percent(best_as_bad)} of the best runs are expected to look as bad here; {risk:.0%} would spare it"
        )
    return f"{text}. Saved {saved_time} of training."


def _percent(share: float) -> str:
    return f"{share:.1%}" if share >= 0.001 else "under 0.1%"


def _failed(trial: FrozenTrial, successor: int | None) -> str:
    attrs = attributes_of(trial)
    cause = attrs.failure or ""
    text = FAILURES.get(cause, f"**Failed**: {plain(cause or 'for a cause that was not recorded')}.")
    detail = (attrs.failure_detail or "").strip().splitlines()
    if cause == "error" and detail:
        text += f" It said: {plain(detail[-1][:300])}"
    return text + (f" Trial {successor} took its place." if successor is not None else "")


def _confirmed(snapshot: Snapshot, entry: Confirmed, places: Mapping[int, int]) -> str:
    confirm, proxy = snapshot.plan.confirm.budget, snapshot.plan.proxy.budget
    place = f"place {snapshot.confirmed.index(entry) + 1} of {len(snapshot.confirmed)}"
    lines = [f"**Confirmed at {confirm}: {bpb_with_interval(snapshot, entry)}**, {place} ({plain(entry.label)})."]
    proxy_place = places.get(entry.proxy_number) if entry.proxy_number is not None else None
    if entry.proxy_bpb is not None and proxy_place:
        lines.append(
            f"- As a proxy: {entry.proxy_bpb:.4f} BPB at {proxy}, place {proxy_place} of {len(places)} finished"
        )
    lines += [f"- {line}" for line in (against_baseline(snapshot, entry), _race_standing(snapshot, entry)) if line]
    runs = ", ".join(
        f"{r.value:.4f} (seed {r.user_attrs[SEED]}, run {r.number})" for r in sorted(entry.runs, key=lambda r: r.number)
    )
    return "\n".join([lines[0], "", *lines[1:], f"- Runs in `{snapshot.plan.name}-confirm`: {runs}"])


def bpb_with_interval(snapshot: Snapshot, entry: Confirmed) -> str:
    """Return what to expect of a configuration with its interval, the number of seeds and their mean."""
    n, estimate = entry.seeds, snapshot.estimates[entry.key]
    seeds = "1 seed" if n == 1 else f"{n} seeds"
    mean = f", mean {entry.mean_bpb:.4f}" if estimate.bpb != entry.mean_bpb else ""
    return f"{estimate.text} BPB ({'' if estimate.half_width is None else '95%, '}{seeds}{mean})"


def against_baseline(snapshot: Snapshot, entry: Confirmed) -> str:
    """Return how a configuration compares with the best baseline, and how surely; empty if there is none."""
    baseline = next((c for c in snapshot.confirmed if c.baseline), None)
    if baseline is None or baseline is entry:
        return ""
    comparison = lead(entry, baseline, snapshot.noise)
    if comparison.by_failure:
        worse = entry if entry.failed else baseline
        return f"{plain(worse.label)} ranks behind since it failed in some of its long runs"
    direction = "better" if comparison.gap > 0 else "worse"
    text = f"{abs(comparison.gap):.4f} {direction} than baseline {plain(baseline.baseline)}"
    return (
        text
        + {
            Significance.NOT_KNOWN: " (noise is not known yet)",
            Significance.MAY_BE_CHANCE: ", which may be chance (95%)",
            Significance.MORE_THAN_NOISE: ", more than noise (95%)",
        }[comparison.significance]
    )


def _race_standing(snapshot: Snapshot, entry: Confirmed) -> str:
    standing = snapshot.standing.get(entry.label)
    return f"The race: {plain(standing)}" if standing else ""


def run_notes(snapshot: Snapshot) -> dict[int, str]:
    """Return the notes of finished confirmation runs by trial id: the configuration, why it ran, and its result."""
    return {r._trial_id: _run_note(snapshot, r) for r in snapshot.runs if r.state.is_finished()}


def _run_note(snapshot: Snapshot, run: FrozenTrial) -> str:
    attrs, budget = attributes_of(run), budget_of(run, snapshot.plan)
    ended = {
        TrialState.COMPLETE: f"{run.value:.4f} BPB" if run.state == TrialState.COMPLETE else "",
        TrialState.PRUNED: f"pruned at {run.last_step}%: by the long runs it can't be among the best",
        TrialState.FAIL: _failed(run, None),
    }[run.state]
    return (
        f"**{plain(entrant_of(run).key)}**, seed {attrs.seed}, {budget}: {ended}\n\n"
        f"Why it ran: {plain(attrs.why)}. All of it: the note of the study `{snapshot.plan.name}`."
    )
