"""The study's own note in optuna-dashboard: the answer first, then its evidence, doubts, and what to do next."""

from collections import Counter

from optuna.trial import TrialState

from search.analysis.snapshot import Snapshot
from search.common.next_commands import State, next_commands
from search.common.safe_text import plain, sentence, table
from search.show.dashboard.trial_notes import against_baseline, interval
from search.study.results import Confirmed, bpb_text

MOST = 30
"""Configurations that the table names."""


def study_note(facts: Snapshot) -> str:
    """Return the note, in Markdown."""
    parts = [_answer(facts)]
    if facts.confirmed:
        parts += [_leaderboard(facts), sentence(facts.transfer.verdict)]
    parts += [sentence(line) for line in (facts.race_line, facts.pruning) if line]
    if facts.caveats:
        parts.append("**Caveats**\n" + "".join(f"\n- {sentence(c.sentence)}" for c in facts.caveats))
    return "\n\n".join([*parts, _next(facts)])


def _answer(facts: Snapshot) -> str:
    if facts.plan.is_grid and not facts.confirmed:
        return f"### A grid\n\n{_progress(facts)}."
    if not facts.confirmed:
        return f"### Nothing is confirmed yet\n\n{_progress(facts)}."
    from search.show.wording import describe

    best = facts.confirmed[0]
    said = facts.standing.get(best.label, "")
    sure = f"{'' if 'ahead of all' in said else 'not '}ahead of all others by more than noise"
    if facts.noise.deviation is None:
        sure = "how much of its lead is chance isn't known, since no configuration ran with two seeds"
    if len(facts.confirmed) == 1:
        sure = "nothing else is confirmed to compare it with"
    searched = any(not c.baseline for c in facts.confirmed)
    by_hand = "made by hand, and no searched configuration beats it" if best.baseline and searched else ""
    versus = against_baseline(facts, best) or by_hand
    return (
        f"### {plain(best.label)} is the best confirmed: {interval(facts, best)} at {facts.plan.confirm.budget}\n\n"
        f"{plain(describe(best.params))}; {sure}" + (f"; {versus}." if versus else ".")
    )


def _progress(facts: Snapshot) -> str:
    ended = Counter(t.state for t in facts.proxies if t.state.is_finished())
    what = "runs" if facts.plan.is_grid else "proxies"
    parts = [f"{ended[TrialState.COMPLETE]} of {facts.plan.proxy.trials} {what} have trained to the end"]
    parts += [
        f"{ended[s]} {s.name.lower() if s != TrialState.FAIL else 'failed'}"
        for s in (TrialState.PRUNED, TrialState.FAIL)
        if ended[s]
    ]
    if facts.finished:
        best = min(facts.finished, key=lambda t: t.value or 0.0)
        parts.append(f"the best is trial {best.number} with {best.value:.4f} BPB at {facts.plan.proxy.budget}")
    return ", ".join(parts)


def _leaderboard(facts: Snapshot) -> str:
    plan = facts.plan
    head = ("rank", "configuration", f"BPB at {plan.confirm.budget} (± 95%)", "seeds", f"BPB at {plan.proxy.budget}")
    rows = [_row(facts, place, c) for place, c in enumerate(facts.confirmed[:MOST], start=1)]
    more = len(facts.confirmed) - len(rows)
    return table(head, rows) + (f"\n\nand {more} more, behind these." if more else "")


def _row(facts: Snapshot, place: int, c: Confirmed) -> tuple[str, ...]:
    bpb = bpb_text(c.mean_bpb, facts.noise.half_width(c.seeds))
    proxy = f"{c.proxy_bpb:.4f}" if c.proxy_bpb is not None else "–"
    return str(place), plain(c.label), bpb, str(c.seeds), proxy


def _next(facts: Snapshot) -> str:
    commands = next_commands("note", facts.plan.name, State(sweep=facts.plan.is_grid, confirmed=bool(facts.confirmed)))
    return "**Next**\n\n```\n" + "\n".join(commands) + "\n```"
