"""A study at one moment, read once from the database, so that all figures and sentences about it agree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from optuna.trial import FrozenTrial

from search.analysis.caveats import Caveat, caveats
from search.analysis.importance import Importance, importance
from search.analysis.predicted_runs import PredictedRun, predicted_runs, predictions_line
from search.analysis.pruning_summary import pruning_lines
from search.machine.admission import hardware_line, pinned_hardware
from search.machine.hardware import Hardware
from search.strategy.current_race import Race, race_line
from search.strategy.pruner import CorrelationPruner, Relation
from search.strategy.study_pruner import make_pruner
from search.study.cost import Allowance, Bill, affordable_runs, allowances, bill, registry_of, stored_cap
from search.study.estimate import Estimate, estimates
from search.study.plan import Plan
from search.study.results import Confirmed, Noise, Transfer, confirmed, noise, transfer
from search.study.study import LinkedStudy, ReadStudy
from search.study.trials import finished
from storage.queue.liveness_sql import last_signs
from storage.registry.workers import RegisteredWorker


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A study at one moment. Figures, tables and pages are pure functions of it.

    Each derived property is computed once, when it is first read.
    """

    study: ReadStudy
    """The study with its trials and attributes as they were read."""
    workers: Sequence[RegisteredWorker]
    """All workers of the study, past ones included, in the order of their starts."""

    @property
    def plan(self) -> Plan:
        """The study's plan."""
        return self.study.plan

    @property
    def proxies(self) -> Sequence[FrozenTrial]:
        """All proxy trials, in the order of creation."""
        return self.study.proxy_trials()

    @property
    def runs(self) -> Sequence[FrozenTrial]:
        """All confirmation runs, in the order of creation."""
        return self.study.confirm_trials()

    @cached_property
    def finished(self) -> Sequence[FrozenTrial]:
        """The proxies that trained to the end."""
        return finished(list(self.proxies))

    @cached_property
    def slots(self) -> int:
        """Number of proxy trials that count towards `[proxy] trials`; a lost one and its retry count once."""
        return self.study.proxy_queue.counted(self.proxies)

    @cached_property
    def confirmed(self) -> Sequence[Confirmed]:
        """Confirmed configurations, the best first."""
        return confirmed(self.study)

    @cached_property
    def noise(self) -> Noise:
        """Noise of BPB from seed to seed, pooled over confirmed configurations."""
        return noise(self.confirmed)

    @cached_property
    def estimates(self) -> Mapping[str, Estimate]:
        """What to expect of each confirmed configuration, by its key: the one figure that is stated of it."""
        stated = estimates([list(c.bpb_by_seed.values()) for c in self.confirmed])
        return {c.key: estimate for c, estimate in zip(self.confirmed, stated, strict=True)}

    @cached_property
    def transfer(self) -> Transfer:
        """Check whether proxy BPB predicts confirmed BPB."""
        return transfer(self.confirmed)

    @cached_property
    def bill(self) -> Bill:
        """The study's cost so far, and its cost once the runs under way have ended."""
        return bill(self.study, self.workers, stored_cap(self.study))

    @cached_property
    def affordable(self) -> int | None:
        """Further confirmation runs that [confirm]'s own hours and dollars allow; None if neither is limited."""
        return affordable_runs(self.study, self.plan.confirm, self.runs, self.workers)

    @cached_property
    def proxy_allowances(self) -> Sequence[Allowance]:
        """What hours and dollars of [proxy] leave for further proxies; empty if neither is limited."""
        return allowances(self.study, self.plan.proxy, self.proxies, self.workers)

    @cached_property
    def proxies_over(self) -> bool:
        """Whether every proxy has ended and no further one may begin: by their number, hours or dollars."""
        ended = all(t.state.is_finished() for t in self.proxies)
        return ended and (self.slots >= self.plan.proxy.trials or any(not a.runs for a in self.proxy_allowances))

    @cached_property
    def pruner(self) -> CorrelationPruner:
        """The pruner that the study asks for."""
        return make_pruner(self.study)

    @cached_property
    def relations(self) -> Sequence[Relation]:
        """Correlation of the loss with the final one, at each report point but the last."""
        return [self.pruner.relation(self.proxies, point) for point in self.plan.report_points()[:-1]]

    @cached_property
    def pruning(self) -> str:
        """Effect of pruning, in sentences; empty before a proxy has finished, and for a grid."""
        searched = bool(self.finished) and not self.plan.is_grid
        return pruning_lines(self.plan, self.proxies, self.pruner, self.relations) if searched else ""

    @cached_property
    def caveats(self) -> Sequence[Caveat]:
        """Early warnings about the results."""
        return caveats(self.plan, self.proxies, self.confirmed, self.noise)

    @cached_property
    def importance(self) -> Importance | None:
        """Importance of each setting for the best proxies; None if there are too few trials, and for a grid."""
        return None if self.plan.is_grid else importance(self.proxies)

    @cached_property
    def race(self) -> Race:
        """The race of confirmation runs: its candidates, and the runs that are due."""
        return Race(self.study, self.transfer, self.affordable)

    @cached_property
    def race_line(self) -> str:
        """State of the race in a sentence; empty before it began."""
        return race_line(self.study)

    @cached_property
    def predicted(self) -> Mapping[str, PredictedRun]:
        """First long runs that were predicted, by the candidate's key, the best prediction first."""
        return predicted_runs(self.study)

    @cached_property
    def predictions_line(self) -> str:
        """What is predicted of long runs, and how predictions came out, in sentences; empty where there is nothing."""
        return predictions_line(self.study, self.predicted, race_over=self.race_over)

    @cached_property
    def standing(self) -> Mapping[str, str]:
        """Standing of each candidate, by its key: such as "leads" or "behind by more than noise"."""
        return {candidate.key: text for candidate, text in self.race.standing}

    @cached_property
    def race_over(self) -> bool:
        """Whether every proxy has ended and the race starts no further run."""
        if not self.proxies_over:
            return False
        return not self.plan.confirmations or self.race.due_runs.decision.over

    @cached_property
    def pinned(self) -> Hardware | None:
        """The machine that the study is pinned to; None before its first worker."""
        return pinned_hardware(self.study)

    @cached_property
    def hardware(self) -> str:
        """Hardware that the study is pinned to, in a sentence; empty before its first worker."""
        return hardware_line(self.study)

    @cached_property
    def last_signs(self) -> Mapping[int, datetime]:
        """Time of each confirmation run's last sign of life, by trial id; read from the database at first use."""
        return last_signs(self.study.database.engine, self.study.confirmations._study_id)


def read(study: LinkedStudy) -> Snapshot:
    """Return a snapshot of a study as it is now."""
    return Snapshot(study=study.at_one_moment(), workers=registry_of(study).workers())
