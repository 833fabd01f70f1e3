"""Whether a study came through: each check looks at what the database holds, and says what is wrong with it."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from optuna.trial import FrozenTrial, TrialState

from model.errors import DeviceMemoryError, DivergedError
from search.common.durations import parse_duration
from search.strategy.current_race import due_runs
from search.strategy.entrants import entrant_of
from search.strategy.promotion import promote
from search.study.plan import Plan
from search.study.results import confirmed
from search.study.study import LinkedStudy, load_study
from search.study.trials import trial_params
from search.worker.worker import CAUSES
from storage.queue.trial_queue import REQUEUED
from storage.server.database import connect
from tests.chaos.events import KINDS, Sizes
from tests.chaos.run import Outcome
from tests.chaos.simulated import DIVERGES_AT, fate, loss
from tests.chaos.study import NAME

SHOWN = 5
OWN_FAULTS = {CAUSES[DivergedError], CAUSES[DeviceMemoryError]}
ENDED = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A study after chaos, with what was done to it."""

    study: LinkedStudy
    sizes: Sizes
    outcome: Outcome

    @property
    def plan(self) -> Plan:
        """The study's plan."""
        return self.study.plan

    def both(self) -> Iterator[tuple[str, list[FrozenTrial]]]:
        """Yield the proxies and the confirmation runs, with what people call one."""
        yield "trial", self.study.proxy_trials()
        yield "confirmation", self.study.confirm_trials()

    def slots(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Return the trials that count: every one but those that were lost and have a successor."""
        return [t for t in trials if not self.study.proxy_queue.requeues(t)]


@dataclass(frozen=True, kw_only=True)
class Found:
    """What was done and what was checked."""

    rows: list[tuple[str, str]]
    wrong: dict[str, list[str]]

    @property
    def failed(self) -> bool:
        """Whether any check failed."""
        return any(self.wrong.values())

    def table(self) -> str:
        """Return both as lines for a person."""
        lines = [f"{what:<58} {figure}" for what, figure in self.rows] + [""]
        for what, wrong in self.wrong.items():
            lines.append(f"{what:<58} {'FAILED' if wrong else 'ok'}")
            lines += [f"    {w}" for w in wrong[:SHOWN]]
            lines += [f"    and {len(wrong) - SHOWN} more"] if len(wrong) > SHOWN else []
        return "\n".join(lines)


def check(url: str, sizes: Sizes, outcome: Outcome) -> Found:
    """Look at everything that the study holds."""
    database = connect(url)
    try:
        case = Case(study=load_study(database, NAME), sizes=sizes, outcome=outcome)
        wrong = {(said.__doc__ or "").rstrip("."): list(said(case)) for said in CHECKS}
        return Found(rows=_rows(case), wrong=wrong)
    finally:
        database.close()


def _rows(case: Case) -> list[tuple[str, str]]:
    done, ended = case.outcome.done, case.outcome.ended
    rows = [("seconds", f"{case.outcome.seconds:.0f}"), ("workers at a time", str(case.sizes.workers))]
    rows += [(f"{kind}s", f"{done[kind]} of {case.sizes.count(kind)}") for kind in KINDS]
    rows += [("workers by end", ", ".join(f"{n} {how}" for how, n in sorted(ended.items())))]
    for name, trials in case.both():
        states = Counter(t.state.name.lower() for t in case.slots(trials))
        causes = Counter(t.user_attrs.get("failure") for t in trials if t.state == TrialState.FAIL)
        rows += [(f"{name}s that count", ", ".join(f"{n} {s}" for s, n in sorted(states.items())))]
        rows += [(f"{name}s that failed, by cause", ", ".join(f"{n} {c}" for c, n in causes.items()) or "none")]
    return rows


def everything_was_done(case: Case) -> Iterator[str]:
    """Everything that was to go wrong did."""
    for kind in KINDS:
        if case.outcome.done[kind] != case.sizes.count(kind):
            yield f"{case.outcome.done[kind]} {kind}s, but {case.sizes.count(kind)} were planned"


def workers_end_well(case: Case) -> Iterator[str]:
    """No worker gave up by itself."""
    if case.outcome.stuck:
        yield "the study was not done in time"
    if case.outcome.ended["failed"]:
        yield f"{case.outcome.ended['failed']} workers ended by an error of their own"


def count_is_exact(case: Case) -> Iterator[str]:
    """Exactly the proxies asked for have ended, each once."""
    slots = case.slots(case.study.proxy_trials())
    if len(slots) != case.sizes.trials:
        yield f"{len(slots)} trials count, but {case.sizes.trials} were asked for"
    seen = Counter(repr(sorted(trial_params(t).items())) for t in slots)
    yield from (f"{n} trials count that trained {params}" for params, n in seen.items() if n > 1)


def nothing_is_left(case: Case) -> Iterator[str]:
    """Nothing waits and nothing runs; nothing failed but by its own fault."""
    for name, trials in case.both():
        for trial in case.slots(trials):
            cause = trial.user_attrs.get("failure")
            if not trial.state.is_finished():
                yield f"{name} {trial.number} is {trial.state.name}"
            elif trial.state == TrialState.FAIL and cause not in OWN_FAULTS:
                yield f"{name} {trial.number} failed: {cause}: {trial.user_attrs.get('failure_detail', '')[-300:]}"


def one_successor_each(case: Case) -> Iterator[str]:
    """Each lost trial has one successor, with its parameters; no other has any."""
    for name, trials in case.both():
        successors: dict[int, list[FrozenTrial]] = {}
        for trial in trials:
            if "retries" in trial.user_attrs:
                successors.setdefault(trial.user_attrs["retries"], []).append(trial)
        for trial in trials:
            mine, wanted = successors.get(trial.number, []), int(case.study.proxy_queue.requeues(trial))
            if len(mine) != wanted:
                yield f"{name} {trial.number} ({trial.state.name}) has {len(mine)} successors, but must have {wanted}"
            for successor in mine:
                if not trial_params(trial).items() <= trial_params(successor).items():
                    yield f"{name} {successor.number} is to retry {trial.number}, but has other parameters"


def nothing_is_inherited(case: Case) -> Iterator[str]:
    """No failure is told of a trial that did not fail."""
    for name, trials in case.both():
        for trial in trials:
            if trial.state in ENDED and "failure" in trial.user_attrs:
                yield f"{name} {trial.number} is {trial.state.name}, with the failure {trial.user_attrs['failure']}"
            if trial.state == TrialState.FAIL and trial.user_attrs.get("failure") not in {*OWN_FAULTS, *REQUEUED}:
                yield f"{name} {trial.number} failed, cause {trial.user_attrs.get('failure')}"


def reports_are_right(case: Case) -> Iterator[str]:
    """Every report is there, with the value that training gave."""
    for name, trials in case.both():
        for trial in trials:
            wanted = _reports(case, name, trial)
            if trial.state in ENDED and "provenance" not in trial.user_attrs:
                yield f"{name} {trial.number} ended without its attributes"
            steps = sorted(trial.intermediate_values)
            if steps != list(wanted)[: len(steps)]:
                yield f"{name} {trial.number} ({trial.state.name}) has reports at {steps}"
            for step, value in trial.intermediate_values.items():
                if value != wanted.get(step):
                    yield f"{name} {trial.number} reported {value} at {step}%, but training gave {wanted.get(step)}"
            yield from (f"{name} {trial.number}: {w}" for w in _wrong_end(case, trial, wanted))


def _reports(case: Case, name: str, trial: FrozenTrial) -> dict[int, float]:
    """Return what training gave for a trial, at each report point until its fate."""
    attrs = trial.user_attrs
    given = trial_params(trial)
    if case.plan.space.names({**case.plan.fixed(), **given}) != given.keys():
        return {}  # lost before it had its parameters
    fidelity = case.plan.proxy if name == "trial" else case.plan.confirm
    configuration = case.plan.configuration(case.plan.scaled(given, attrs.get("lr_scale", 1.0)))
    seconds = parse_duration(attrs.get("budget", fidelity.budget))
    seed = attrs.get("seed", case.plan.proxy.seed)
    failing = fate(configuration.model, configuration.train)
    last = 100 if failing is None else DIVERGES_AT - 1 if failing is DivergedError else 0
    points = [p for p in case.plan.report_points() if p <= last]
    return {p: loss(configuration.model, configuration.train, seed, seconds, p) for p in points}


def _wrong_end(case: Case, trial: FrozenTrial, wanted: dict[int, float]) -> Iterator[str]:
    steps, points = sorted(trial.intermediate_values), case.plan.report_points()
    if trial.state == TrialState.COMPLETE and (len(steps) != len(points) or trial.value != wanted.get(100)):
        yield f"complete with {len(steps)} reports and {trial.value}, but training gave {wanted.get(100)}"
    if trial.state == TrialState.PRUNED and (not steps or trial.value != wanted.get(steps[-1])):
        yield f"pruned with {trial.value} after {len(steps)} reports"
    fault = trial.user_attrs.get("failure") in OWN_FAULTS
    if fault and (100 in wanted or len(steps) != len(wanted)):
        yield f"failed by its own fault after {len(steps)} reports, but training gave {len(wanted)}"


ORDER = sa.text(
    """
    SELECT trial_id, array_agg(step ORDER BY trial_intermediate_value_id) FROM trial_intermediate_values
    GROUP BY trial_id
    """
)


def reports_arrived_in_order(case: Case) -> Iterator[str]:
    """Reports arrived in order, each once."""
    with case.study.database.engine.connect() as connection:
        for trial_id, steps in connection.execute(ORDER):
            if list(steps) != sorted(set(steps)):
                yield f"the trial with id {trial_id} reported in the order {steps}"


def every_confirmation_is_there(case: Case) -> Iterator[str]:
    """Every confirmation that is due has run, once for each seed, and the race is over."""
    runs = case.slots(case.study.confirm_trials())
    keys = Counter(
        (entrant_of(r).key, r.user_attrs.get("seed"), r.user_attrs.get("budget", case.plan.confirm.budget))
        for r in runs
    )
    yield from (f"{n} runs of {key} count" for key, n in keys.items() if n > 1)
    raced = {key for key, _, _ in keys}
    yield from (
        f"the baseline {name} was not confirmed" for name in case.plan.baselines if f"baseline {name}" not in raced
    )
    best = sorted(
        (t for t in case.study.proxy_trials() if t.state == TrialState.COMPLETE), key=lambda t: t.value or 0.0
    )
    top = [t for t in best if "baseline" not in t.user_attrs][: case.plan.confirm.top]
    yield from (
        f"trial {t.number} is among the best, but was not confirmed" for t in top if f"trial {t.number}" not in raced
    )
    if added := promote(case.study):
        yield f"{added} confirmation runs were still due"
    elif not (decision := due_runs(case.study).decision).over:
        yield f"the race is not over: {decision.state}"


def confirmations_are_logged(case: Case) -> Iterator[str]:
    """What was confirmed stands in the proxy study."""
    told = case.study.proxies.user_attrs
    for entry in confirmed(case.study):
        record = told.get(f"confirmed:{entry.key}", {})
        if record.get("bpb") != entry.mean_bpb:
            yield f"{entry.label} was confirmed with {entry.mean_bpb}, but told is {record.get('bpb')}"


CHECKS: tuple[Callable[[Case], Iterator[str]], ...] = (
    everything_was_done,
    workers_end_well,
    count_is_exact,
    nothing_is_left,
    one_successor_each,
    nothing_is_inherited,
    reports_are_right,
    reports_arrived_in_order,
    every_confirmation_is_there,
    confirmations_are_logged,
)
