"""Notes in optuna-dashboard on trials: what became of each that is worth a word. Markdown, from a study's facts."""

from collections.abc import Mapping

from optuna.trial import FrozenTrial, TrialState

from search.analysis.snapshot import Snapshot
from search.common.durations import format_duration
from search.common.safe_text import plain
from search.strategy.promotion import entrant_of
from search.study.cost import budget_seconds
from search.study.results import Confirmed, Significance, bpb_text, lead
from search.study.trials import SEED, attributes_of, budget_of

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
"""What is said of each cause of failure, and what to do."""


def trial_notes(facts: Snapshot) -> dict[int, str]:
    """Return the note of each finished proxy that is worth one, by its trial's id."""
    found = {c.proxy_number: c for c in facts.confirmed if c.lr_scale == 1}
    successors = {attributes_of(t).retries: t.number for t in facts.proxies}
    places = {t.number: i for i, t in enumerate(sorted(facts.finished, key=lambda t: t.value or 0.0), start=1)}
    notes = {}
    for trial in facts.proxies:
        if trial.state.is_finished():
            parts = [*_kind(trial), *_end(facts, trial, successors.get(trial.number))]
            if trial.number in found:
                parts.append(_confirmed(facts, found[trial.number], places))
            if parts:
                notes[trial._trial_id] = "\n\n".join(parts)
    return notes


def _kind(trial: FrozenTrial) -> list[str]:
    attrs = attributes_of(trial)
    if attrs.baseline is not None:
        return [f"**Baseline {plain(attrs.baseline)}**, made by hand: never pruned, always confirmed."]
    if attrs.control:
        return ["**Control**, drawn before it started and never pruned: it tells what pruning costs."]
    return []


def _end(facts: Snapshot, trial: FrozenTrial, successor: int | None) -> list[str]:
    if trial.state == TrialState.PRUNED:
        return [_pruned(facts, trial)]
    if trial.state == TrialState.FAIL:
        return [_failed(trial, successor)]
    return []


def _pruned(facts: Snapshot, trial: FrozenTrial) -> str:
    """Return where it was stopped, why, and what that saved, on one line."""
    step, attrs = trial.last_step or 0, attributes_of(trial)
    saved = format_duration((1 - step / 100) * budget_seconds(trial, facts.plan.proxy))
    said = f"**Pruned at {step}%** of {facts.plan.proxy.budget}"
    if attrs.pruner == "diverged":
        return f"{said}: its loss was no number. Saved {saved} of training."
    if attrs.best_as_bad is not None:
        chance, risk = attrs.best_as_bad, facts.plan.pruner.risk
        said += f": {_percent(chance)} of the best runs are expected to look as bad here; {risk:.0%} would spare it"
    return f"{said}. Saved {saved} of training."


def _percent(share: float) -> str:
    return f"{share:.1%}" if share >= 0.001 else "under 0.1%"


def _failed(trial: FrozenTrial, successor: int | None) -> str:
    attrs = attributes_of(trial)
    cause = attrs.failure or ""
    said = FAILURES.get(cause, f"**Failed**: {plain(cause or 'for a cause that nobody recorded')}.")
    detail = (attrs.failure_detail or "").strip().splitlines()
    if cause == "error" and detail:
        said += f" It said: {plain(detail[-1][:300])}"
    return said + (f" Trial {successor} took its place." if successor is not None else "")


def _confirmed(facts: Snapshot, entry: Confirmed, places: Mapping[int, int]) -> str:
    confirm, proxy = facts.plan.confirm.budget, facts.plan.proxy.budget
    place = f"place {facts.confirmed.index(entry) + 1} of {len(facts.confirmed)}"
    lines = [f"**Confirmed at {confirm}: {interval(facts, entry)}**, {place} ({plain(entry.label)})."]
    short = places.get(entry.proxy_number) if entry.proxy_number is not None else None
    if entry.proxy_bpb is not None and short:
        lines.append(f"- As a proxy: {entry.proxy_bpb:.4f} BPB at {proxy}, place {short} of {len(places)} finished")
    lines += [f"- {line}" for line in (against_baseline(facts, entry), _decided(facts, entry)) if line]
    runs = ", ".join(
        f"{r.value:.4f} (seed {r.user_attrs[SEED]}, run {r.number})" for r in sorted(entry.runs, key=lambda r: r.number)
    )
    return "\n".join([lines[0], "", *lines[1:], f"- Runs in `{facts.plan.name}-confirm`: {runs}"])


def interval(facts: Snapshot, entry: Confirmed) -> str:
    """Return a mean with its interval, and how many seeds it is of."""
    n = entry.seeds
    half, seeds = facts.noise.half_width(n), "1 seed" if n == 1 else f"{n} seeds"
    return f"{bpb_text(entry.mean_bpb, half)} BPB ({'' if half is None else '95%, '}{seeds})"


def against_baseline(facts: Snapshot, entry: Confirmed) -> str:
    """Return how it compares with the best baseline, and whether noise explains it; empty without one."""
    baseline = next((c for c in facts.confirmed if c.baseline), None)
    if baseline is None or baseline is entry:
        return ""
    ahead = lead(entry, baseline, facts.noise)
    if ahead.by_failure:
        worse = entry if entry.failed else baseline
        return f"{plain(worse.label)} ranks behind since it failed in some of its long runs"
    said = f"{abs(ahead.gap):.4f} {'better' if ahead.gap > 0 else 'worse'} than baseline {plain(baseline.baseline)}"
    return (
        said
        + {
            Significance.NOT_KNOWN: " (noise is not known yet)",
            Significance.MAY_BE_CHANCE: ", which may be chance (95%)",
            Significance.MORE_THAN_NOISE: ", more than noise (95%)",
        }[ahead.significance]
    )


def _decided(facts: Snapshot, entry: Confirmed) -> str:
    said = facts.standing.get(entry.label)
    return f"The race: {plain(said)}" if said else ""


def run_notes(facts: Snapshot) -> dict[int, str]:
    """Return the note of each finished confirmation run, by its trial's id: whose it is, why it ran, what came out."""
    return {r._trial_id: _run_note(facts, r) for r in facts.runs if r.state.is_finished()}


def _run_note(facts: Snapshot, run: FrozenTrial) -> str:
    attrs, budget = attributes_of(run), budget_of(run, facts.plan)
    ended = {
        TrialState.COMPLETE: f"{run.value:.4f} BPB" if run.state == TrialState.COMPLETE else "",
        TrialState.PRUNED: f"pruned at {run.last_step}%: long runs prove it hopeless",
        TrialState.FAIL: _failed(run, None),
    }[run.state]
    return (
        f"**{plain(entrant_of(run).key)}**, seed {attrs.seed}, {budget}: {ended}\n\n"
        f"Why it ran: {plain(attrs.why)}. All of it: the note of the study `{facts.plan.name}`."
    )
