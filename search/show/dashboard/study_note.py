"""The study's note in optuna-dashboard: the result first, then its evidence, caveats, and the next commands."""

from collections import Counter

from optuna.trial import TrialState

from search.analysis.forecast import proxies_to_come
from search.analysis.snapshot import Snapshot
from search.common.next_commands import State, next_commands
from search.common.safe_text import plain, sentence, table
from search.show.dashboard.trial_notes import against_baseline, bpb_with_interval
from search.study.results import Confirmed

MOST_ROWS = 30
"""Most configurations in the table."""


def study_note(snapshot: Snapshot) -> str:
    """Return a study's note, in Markdown."""
    parts = [_answer(snapshot)]
    if snapshot.confirmed:
        parts += [_leaderboard(snapshot), sentence(snapshot.transfer.verdict)]
    lines = (snapshot.predictions_line, snapshot.race_line, snapshot.pruning)
    parts += [sentence(line) for line in lines if line]
    if snapshot.caveats:
        parts.append("**Caveats**\n" + "".join(f"\n- {sentence(c.sentence)}" for c in snapshot.caveats))
    return "\n\n".join([*parts, _next(snapshot)])


def _answer(snapshot: Snapshot) -> str:
    if snapshot.plan.is_grid and not snapshot.confirmed:
        return f"### A grid\n\n{_progress(snapshot)}."
    if not snapshot.confirmed:
        return f"### Nothing is confirmed yet\n\n{_progress(snapshot)}."
    from search.show.wording import describe

    best = snapshot.confirmed[0]
    standing = snapshot.standing.get(best.label, "")
    lead_text = f"{'' if 'ahead of all' in standing else 'not '}ahead of all others by more than noise"
    if snapshot.noise.deviation is None:
        lead_text = "how much of its lead is chance isn't known, since no configuration ran with two seeds"
    if len(snapshot.confirmed) == 1:
        lead_text = "nothing else is confirmed to compare it with"
    searched = any(not c.baseline for c in snapshot.confirmed)
    best_by_hand = "made by hand, and no searched configuration beats it" if best.baseline and searched else ""
    comparison = against_baseline(snapshot, best) or best_by_hand
    budget = snapshot.plan.confirm.budget
    return (
        f"### {plain(best.label)} is the best confirmed: {bpb_with_interval(snapshot, best)} at {budget}\n\n"
        f"{plain(describe(best.params))}; {lead_text}" + (f"; {comparison}." if comparison else ".")
    )


def _progress(snapshot: Snapshot) -> str:
    counts = Counter(t.state for t in snapshot.proxies if t.state.is_finished())
    noun = "runs" if snapshot.plan.is_grid else "proxies"
    about = "about " if snapshot.plan.proxy.limited and not snapshot.proxies_over else ""
    asked = f"{about}{snapshot.slots + proxies_to_come(snapshot)}"
    parts = [f"{counts[TrialState.COMPLETE]} of {asked} {noun} have trained to the end"]
    parts += [
        f"{counts[s]} {s.name.lower() if s != TrialState.FAIL else 'failed'}"
        for s in (TrialState.PRUNED, TrialState.FAIL)
        if counts[s]
    ]
    if snapshot.finished:
        best = min(snapshot.finished, key=lambda t: t.value or 0.0)
        parts.append(f"the best is trial {best.number} with {best.value:.4f} BPB at {snapshot.plan.proxy.budget}")
    return ", ".join(parts)


def _leaderboard(snapshot: Snapshot) -> str:
    plan = snapshot.plan
    head: tuple[str, ...] = (
        "rank",
        "configuration",
        f"BPB at {plan.confirm.budget} (± 95%)",
        "mean",
        "seeds",
        f"BPB at {plan.proxy.budget}",
    )
    head += ("predicted (90%)",) * bool(snapshot.predicted)
    rows = [_row(snapshot, place, c) for place, c in enumerate(snapshot.confirmed[:MOST_ROWS], start=1)]
    more = len(snapshot.confirmed) - len(rows)
    return table(head, rows) + (f"\n\nand {more} more, behind these." if more else "")


def _row(snapshot: Snapshot, place: int, c: Confirmed) -> tuple[str, ...]:
    proxy = f"{c.proxy_bpb:.4f}" if c.proxy_bpb is not None else "–"
    predicted = snapshot.predicted.get(c.label)
    predictions = (predicted.text if predicted else "–",) * bool(snapshot.predicted)
    estimate = snapshot.estimates[c.key].text
    return str(place), plain(c.label), estimate, f"{c.mean_bpb:.4f}", str(c.seeds), proxy, *predictions


def _next(snapshot: Snapshot) -> str:
    commands = next_commands(
        "note", snapshot.plan.name, State(sweep=snapshot.plan.is_grid, confirmed=bool(snapshot.confirmed))
    )
    return "**Next**\n\n```\n" + "\n".join(commands) + "\n```"
