"""A study at one moment: read once from the database, so that all that is shown of it agrees with itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from optuna.trial import FrozenTrial

from search.analysis.caveats import Caveat, caveats
from search.analysis.importance import Importance, importance
from search.analysis.pruning_summary import pruning_lines
from search.machine.admission import hardware_line, pinned_machine
from search.machine.hardware import Machine
from search.strategy.promotion import Race, race_line
from search.strategy.pruner import CorrelationPruner, Relation
from search.strategy.study_pruner import make_pruner
from search.study.cost import Bill, affordable_runs, bill, registry_of, stored_cap
from search.study.plan import Plan
from search.study.results import Confirmed, Noise, Transfer, confirmed, noise, transfer
from search.study.study import LinkedStudy, ReadStudy
from search.study.trials import finished
from storage.queue.liveness_sql import last_signs
from storage.registry.workers import Entry


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Everything known of a study at one moment. Figures, tables and pages are pure functions of it.

    What follows from what was read is computed when it is first asked for, and once.
    """

    study: ReadStudy
    """Its trials and attributes as they were read."""
    workers: Sequence[Entry]
    """Every worker there ever was, in the order of their starts."""

    @property
    def plan(self) -> Plan:
        """The study's plan."""
        return self.study.plan

    @property
    def proxies(self) -> Sequence[FrozenTrial]:
        """Every proxy trial, in the order of creation."""
        return self.study.proxy_trials()

    @property
    def runs(self) -> Sequence[FrozenTrial]:
        """Every confirmation run, in the order of creation."""
        return self.study.confirm_trials()

    @cached_property
    def finished(self) -> Sequence[FrozenTrial]:
        """The proxies that trained to the end."""
        return finished(list(self.proxies))

    @cached_property
    def slots(self) -> int:
        """Proxy trials that count towards those asked for."""
        return self.study.proxy_queue.slots(self.proxies)

    @cached_property
    def found(self) -> Sequence[Confirmed]:
        """Confirmed configurations, the best first."""
        return confirmed(self.study)

    @cached_property
    def noise(self) -> Noise:
        """From seed to seed, pooled over confirmed configurations."""
        return noise(self.found)

    @cached_property
    def transfer(self) -> Transfer:
        """Whether the proxy foretold what was confirmed."""
        return transfer(self.found)

    @cached_property
    def bill(self) -> Bill:
        """What the study has cost, and what it will when the runs under way end."""
        return bill(self.study, self.workers, stored_cap(self.study))

    @cached_property
    def affordable(self) -> int | None:
        """Further long runs that [confirm]'s own hours and dollars allow; None where neither is limited."""
        return affordable_runs(self.study, self.workers)

    @cached_property
    def pruner(self) -> CorrelationPruner:
        """The pruner that the study asks for."""
        return make_pruner(self.study)

    @cached_property
    def relations(self) -> Sequence[Relation]:
        """The loss so far with the final one, at each report point but the last."""
        return [self.pruner.relation(self.proxies, point) for point in self.plan.report_points()[:-1]]

    @cached_property
    def pruning(self) -> str:
        """What pruning did, in sentences; empty before a proxy has finished, and for a grid."""
        searched = bool(self.finished) and not self.plan.is_grid
        return pruning_lines(self.plan, self.proxies, self.pruner, self.relations) if searched else ""

    @cached_property
    def caveats(self) -> Sequence[Caveat]:
        """What should not be trusted blindly."""
        return caveats(self.plan, self.proxies, self.found, self.noise)

    @cached_property
    def importance(self) -> Importance | None:
        """Which settings set the best proxies apart; None where too few trials tell, and for a grid."""
        return None if self.plan.is_grid else importance(self.proxies)

    @cached_property
    def decisions(self) -> Race:
        """The race of confirmation runs: who takes part, and what is due."""
        return Race(self.study, self.transfer, self.affordable)

    @cached_property
    def race(self) -> str:
        """Where the race is, in a sentence; empty before it began."""
        return race_line(self.study)

    @cached_property
    def standing(self) -> Mapping[str, str]:
        """What the race says of each candidate, by what people call it: "leads", "behind by more than noise"."""
        return {c.key: said for c, said in self.decisions.standing}

    @cached_property
    def race_over(self) -> bool:
        """Whether every proxy has ended and the race asks for no further run."""
        if self.slots < self.plan.proxy.trials or not all(t.state.is_finished() for t in self.proxies):
            return False
        return not self.plan.confirmations or self.decisions.next_turn[2].over

    @cached_property
    def pinned(self) -> Machine | None:
        """The machine that the study is pinned to; None before its first worker."""
        return pinned_machine(self.study)

    @cached_property
    def hardware(self) -> str:
        """What the study is pinned to, in a sentence; empty before its first worker."""
        return hardware_line(self.study)

    @cached_property
    def last_signs(self) -> Mapping[int, datetime]:
        """Last signs of life of confirmation runs, by their trials' ids; read when first asked for."""
        return last_signs(self.study.database.engine, self.study.confirmations._study_id)


def read(study: LinkedStudy) -> Snapshot:
    """Return the facts of a study as they are now."""
    return Snapshot(study=study.at_one_moment(), workers=registry_of(study).entries())
