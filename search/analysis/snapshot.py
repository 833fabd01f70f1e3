"""A study at one moment: read once from the database, so that all that is shown of it agrees with itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from optuna.trial import FrozenTrial

from search.analysis.caveats import Caveat, caveats
from search.analysis.importance import Importance, importance
from search.analysis.pruning_summary import pruning_lines
from search.machine.admission import hardware_line
from search.strategy.promotion import next_turn, race_field, race_line
from search.strategy.pruner import CorrelationPruner, Relation
from search.strategy.race import standing
from search.strategy.study_pruner import make_pruner
from search.study.cost import Bill, affordable_runs, bill, registry_of, stored_cap
from search.study.plan import Plan
from search.study.results import Confirmed, Noise, Transfer, confirmed_among, noise, transfer
from search.study.study import LinkedStudy
from search.study.trials import finished
from storage.registry.workers import Entry


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Everything known of a study at one moment. Figures, tables and pages are pure functions of it."""

    plan: Plan
    proxies: Sequence[FrozenTrial]
    """Every proxy trial, in the order of creation."""
    runs: Sequence[FrozenTrial]
    """Every confirmation run, in the order of creation."""
    found: Sequence[Confirmed]
    """Confirmed configurations, the best first."""
    workers: Sequence[Entry]
    bill: Bill
    pruner: CorrelationPruner
    relations: Sequence[Relation]
    """The loss so far with the final one, at each report point but the last."""
    caveats: Sequence[Caveat]
    pruning: str
    """What pruning did, in sentences; empty before a proxy has finished, and for a grid."""
    race: str
    """Where the race is, in a sentence; empty before it began."""
    hardware: str
    """What the study is pinned to, in a sentence; empty before its first worker."""
    slots: int
    """Proxy trials that count towards those asked for."""
    race_over: bool
    """Whether every proxy has ended and the race asks for no further run."""
    affordable: int | None
    """Further long runs that [confirm]'s own hours and dollars allow; None where neither is limited."""
    standing: Mapping[str, str] = field(default_factory=dict)
    """What the race says of each candidate, by what people call it: "leads", "behind by more than noise"."""

    @property
    def noise(self) -> Noise:
        """From seed to seed, pooled over confirmed configurations."""
        return noise(self.found)

    @property
    def transfer(self) -> Transfer:
        """Whether the proxy foretold what was confirmed."""
        return transfer(self.found)

    @property
    def finished(self) -> list[FrozenTrial]:
        """The proxies that trained to the end."""
        return finished(list(self.proxies))

    @cached_property
    def importance(self) -> Importance | None:
        """Which settings set the best proxies apart; None where too few trials tell, and for a grid."""
        return None if self.plan.is_grid else importance(self.proxies)


def read(study: LinkedStudy) -> Facts:
    """Return the facts of a study as they are now."""
    study = study.at_one_moment()
    plan, proxies, runs = study.plan, study.proxy_trials(), study.confirm_trials()
    found = confirmed_among(plan, proxies, runs)
    workers = registry_of(study).entries()
    pruner = make_pruner(study)
    searched = bool(finished(proxies)) and not plan.is_grid
    slots = study.proxy_queue.slots(proxies)
    return Facts(
        plan=plan,
        proxies=proxies,
        runs=runs,
        found=found,
        workers=workers,
        bill=bill(study, workers, stored_cap(study)),
        pruner=pruner,
        relations=[pruner.relation(proxies, point) for point in plan.report_points()[:-1]],
        caveats=caveats(plan, proxies, found),
        pruning=pruning_lines(study) if searched else "",
        race=race_line(study),
        standing={c.key: said for c, said in standing(race_field(study))},
        hardware=hardware_line(study),
        slots=slots,
        race_over=slots >= plan.proxy.trials and _race_over(study, proxies),
        affordable=affordable_runs(study),
    )


def _race_over(study: LinkedStudy, proxies: Sequence[FrozenTrial]) -> bool:
    return all(t.state.is_finished() for t in proxies) and (not study.plan.confirmations or next_turn(study)[2].over)
