"""One claimed trial, from its parameters to its told value."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import optuna
import torch
from optuna.artifacts._protocol import ArtifactStore
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from model.data.corpus import Corpus
from model.data.tokenizer import Tokenizer
from model.errors import CheckpointError
from model.formats import checkpoint
from model.training.micro_batches import MicroBatches
from model.training.result import Report, Result
from model.training.step import compiled_as
from search.common import paths
from search.common.durations import parse_duration
from search.common.signals import StopRequest
from search.machine.hardware import Machine
from search.machine.provenance import hashes, nameless, of_run
from search.machine.shared_text import shared_corpus
from search.show.dashboard.sync import update_dashboard, update_dashboard_if_due
from search.strategy.pruner import PruningDecision, drawn_as_control
from search.strategy.sampler import ensure_parameters
from search.strategy.study_pruner import make_pruner, may_be_pruned, race_pruner
from search.study.space import Params
from search.study.study import LinkedStudy
from search.study.trial_attributes import valid_attributes
from search.study.trials import (
    BASELINE,
    BEST_AS_BAD,
    BUDGET_SCALE,
    BYTES_PER_TOKEN,
    COMPILE_SECONDS,
    CONTROL,
    EVALUATE_SECONDS,
    GRID,
    MFU,
    MICRO_BATCH,
    MODE,
    N_PARAMS,
    PROOF,
    PROVENANCE,
    PRUNER,
    STARTUP_SECONDS,
    STEPS,
    TOKENS,
    TOKENS_PER_PARAM,
    TOKENS_PER_SECOND,
    TOTAL_SECONDS,
    TRAIN_BPB,
    TRAIN_CURVE,
    TRAIN_SECONDS,
    Attributes,
    final_budget,
    run_label,
    trial_params,
)
from search.worker.resume import States
from search.worker.run_record import record
from search.worker.trial_files import keep_confirmed, keep_record
from storage.outbox.outbox import Outbox
from storage.queue.heartbeat import Heartbeat
from storage.queue.trial_queue import Claim, TrialQueue

UNREACHABLE, UNJUDGED = PruningDecision(False, "unreachable"), PruningDecision(False, "unjudged")


T = TypeVar("T")


class Retrying(Protocol):
    """Calls the database, through its absences."""

    def __call__(self, call: Callable[[], T]) -> T: ...  # noqa: D102


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """What the runs of one worker have in common: its study, its device, and how it reaches database and people."""

    study: LinkedStudy
    device: torch.device
    machine: Machine | None
    """What the device is, and how fast; recorded with each result."""
    budget_scale: float
    """Factor on every budget, by which this machine does the work of the study's first."""
    trainer: Callable[..., Result]
    store: ArtifactStore | None
    outbox: Outbox
    stop: StopRequest
    say: Callable[[str], None]
    last_lines: Callable[[], list[str]]
    retrying: Retrying
    delivered: Callable[[], bool]
    """Waits until the database has what was written; False if stopping is asked for before."""
    patience_seconds: float
    """How long a run waits, off the clock, for the database at a report."""


class Run:
    """One claimed trial, from its parameters to its told value."""

    def __init__(
        self,
        context: RunContext,
        study: optuna.Study,
        queue: TrialQueue,
        claim: Claim,
        proxy: bool,
        heart: Heartbeat,
    ) -> None:
        claim = replace(claim, user_attrs=valid_attributes(claim.user_attrs, claim.number))
        self.context, self.queue, self.claim, self.proxy, self.heart = context, queue, claim, proxy, heart
        self.plan = context.study.plan
        self.retrying, self.outbox = context.retrying, context.outbox
        self.attributes, self.reports = dict(claim.user_attrs), dict[int, float]()
        if proxy:
            self.retrying(lambda: ensure_parameters(context.study, claim.trial_id))
        self.trial = self.retrying(lambda: Trial(study, claim.trial_id))  # which reads what was settled
        self.pruner = self.retrying(lambda: make_pruner(context.study))
        self.label = run_label(proxy, claim.number)
        self.verdict: PruningDecision | None = None
        self.late: Future[PruningDecision] | None = None
        self.told = False
        self.states = None if proxy else self.retrying(self._find_states)

    def train(self) -> None:
        """Settle what the trial trains, train it and tell its value."""
        attrs = Attributes(self.claim.user_attrs)
        params = self.plan.scaled(self.retrying(self._params), attrs.lr_scale)
        configuration = self.plan.configuration(params)
        self._note_identity()
        corpus = shared_corpus(self.context.study, configuration.tokenizer, self._should_stop)
        fidelity = self.plan.proxy if self.proxy else self.plan.confirm
        scale = self.context.budget_scale
        self.budget_seconds = scale * parse_duration(attrs.budget or fidelity.budget)
        self.seed = self.plan.proxy.seed if attrs.seed is None else attrs.seed
        self.context.say(f"{self.label}: {_brief(params)}")
        result = self.context.trainer(
            configuration.model,
            compiled_as(configuration.train, self.context.device, self.plan.confirm.budget_seconds),
            corpus,
            budget_seconds=self.budget_seconds,
            horizon_seconds=scale * self.plan.confirm.budget_seconds if self._is_prefix else None,
            seed=self.seed,
            report_points=self.plan.report_points(),
            report_bytes=self.plan.proxy.report_bytes,
            device=self.context.device,
            micro_batches=MicroBatches(paths.cache() / "micro-batches"),
            on_report=self._report,
            should_stop=self._should_stop,
            keeper=self.states,
        )
        if self.lost:
            return self.say_lost()
        self._note_result(result, corpus)
        return self._tell(result, corpus.tokenizer)

    def _params(self) -> Params:
        """Return what the run was given; a long run draws nothing beside, or it would be another configuration."""
        if self.proxy:
            return self.plan.space.suggest(self.trial, self.plan.fixed())
        given = trial_params(self.context.study.database.storage.get_trial(self.claim.trial_id))
        searched = self.plan.space.parameters.items()
        return {name: parameter.suggest(self.trial, name) for name, parameter in searched if name in given}

    def _find_states(self) -> States:
        """Return where the run's states are kept, and those of its earlier tries are found."""
        context = self.context

        def say(line: str) -> None:
            context.say(f"{self.label}: {line}")

        return States(
            context.study, self.claim.number, context.store, stopping=context.stop, go_on=self._go_on, say=say
        )

    def _go_on(self, reports: Sequence[Report], attributes: dict[str, Any]) -> None:
        """Report again what the lost try had reported, so that the curve is whole; it has been judged."""
        for report in reports:
            self.reports[report.percent] = report.val_bpb
            self.outbox.report(self.queue, self.claim.trial_id, report.percent, report.val_bpb)
        self._note(attributes)

    @property
    def lost(self) -> bool:
        """Whether another worker has the trial now."""
        return self.heart.lost or self.outbox.lost(self.claim.trial_id)

    def say_lost(self) -> None:
        """Tell people that this worker's part is over."""
        self.context.say(f"{self.label}: taken over by another worker; its result is left out")

    @property
    def _is_prefix(self) -> bool:
        return self.proxy and self.plan.proxy.schedule == "prefix"

    def _should_stop(self) -> bool:
        return self.context.stop() or self.lost or self.outbox.refused is not None

    def _note_identity(self) -> None:
        mine = self.claim.user_attrs.keys() & {CONTROL, BASELINE, GRID}
        if self.proxy and not mine:
            control = drawn_as_control(self.plan.name, self.claim.number, self.plan.pruner.controls)
            self._note({CONTROL: control})

    def _note(self, attributes: dict[str, Any]) -> None:
        self.attributes |= attributes
        self.outbox.attributes(self.queue, self.claim.trial_id, attributes)

    def _report(self, report: Report) -> bool:
        """Report a loss, off the clock; returns whether to go on.

        What the database doesn't take, or answer, in a moment is left to the outbox: training goes on unjudged. A
        verdict that comes late counts at the next report that gets none in time.
        """
        self.reports[report.percent] = report.val_bpb
        self.outbox.report(self.queue, self.claim.trial_id, report.percent, report.val_bpb)
        judge = None if report.percent == 100 or self.plan.is_grid else self._judge_for()
        asked = None if judge is None else self.outbox.ask(partial(judge, self._so_far(), report.percent))
        self.outbox.wait_patiently(self.context.patience_seconds)
        if asked is not None:
            in_time, late = self._answer(asked), self._answer(self.late) if self.late else None
            self.verdict = in_time or late or UNREACHABLE
            self.late = None if in_time else asked
        return self.verdict is None or not self.verdict.prune

    def _answer(self, asked: Future[PruningDecision]) -> PruningDecision | None:
        """Return the verdict that is here; what goes wrong with the judge is no reason to end a run."""
        try:
            return asked.result() if asked.done() else None
        except Exception as error:
            self.context.say(f"{self.label}: not judged: {type(error).__name__}: {error}")
            return UNJUDGED

    def _judge_for(self) -> Callable[[FrozenTrial, int], PruningDecision] | None:
        """Return who judges this run, if anybody does."""
        if Attributes(self.claim.user_attrs).baseline is not None:
            self.verdict = PruningDecision(False, "baseline")
        elif self.proxy:
            return self._judge
        elif self.plan.confirm.prune and may_be_pruned(self.plan, self.claim.user_attrs):
            return self._judge_among_long_runs
        return None

    def _so_far(self) -> FrozenTrial:
        """Return the trial as this worker knows it, which spares the database a question."""
        so_far = create_trial(
            state=TrialState.RUNNING, user_attrs=dict(self.attributes), intermediate_values=dict(self.reports)
        )
        so_far.number = self.claim.number
        return so_far

    def _judge(self, so_far: FrozenTrial, step: int) -> PruningDecision:
        return self.pruner.judge(self.trial.study, so_far, self.queue.standings.reported)

    def _judge_among_long_runs(self, so_far: FrozenTrial, step: int) -> PruningDecision:
        """Judge by the runs of the long budget: rungs' and proxies' curves have other horizons."""
        alike = [t for t in self.context.study.confirm_trials() if final_budget(self.plan, t)]
        return race_pruner(self.plan).judge_among(alike, so_far, step)

    def _note_result(self, result: Result, corpus: Corpus) -> None:
        context = self.context
        ran = of_run(context.device, result, context.machine, seed=self.seed, budget_seconds=self.budget_seconds)
        attrs: dict[str, Any] = {
            N_PARAMS: result.n_params,
            STEPS: result.steps,
            TOKENS: result.tokens,
            TOKENS_PER_PARAM: round(result.tokens / result.n_params, 3),
            TOKENS_PER_SECOND: round(result.tokens_per_second),
            BYTES_PER_TOKEN: round(corpus.train.bytes_per_token, 4),
            TRAIN_BPB: result.train_bpb,
            TRAIN_CURVE: {str(r.percent): r.train_bpb for r in result.reports},
            TRAIN_SECONDS: round(result.train_seconds, 3),
            MFU: round(result.mfu, 5),
            MODE: result.mode,
            STARTUP_SECONDS: round(result.startup_seconds, 3),
            COMPILE_SECONDS: round(result.compile_seconds, 3),
            EVALUATE_SECONDS: round(result.evaluate_seconds, 3),
            TOTAL_SECONDS: round(result.total_seconds, 3),
            MICRO_BATCH: result.micro_batch,
            PROVENANCE: ran | hashes(corpus),
        }
        if context.budget_scale != 1:
            attrs[BUDGET_SCALE] = context.budget_scale
        if self.verdict is not None:
            attrs[PRUNER] = self.verdict.reason
            if self.verdict.chance is not None:
                attrs[BEST_AS_BAD] = self.verdict.chance
                attrs[PROOF] = self.verdict.proof
        self._note(attrs)

    def _finish(self, state: TrialState, value: float) -> str:
        """Record the run's end, which is safe on this machine at once; returns what to add where it isn't counted."""
        self.outbox.finish(self.queue, self.claim.trial_id, state, value)
        if not self.context.delivered():
            return " (kept here until the database answers)"
        if self.outbox.lost(self.claim.trial_id):
            return " (not counted)"
        self.told = True
        if self.states is not None:
            self.states.done()
        return ""

    def _tell(self, result: Result, tokenizer: Tokenizer) -> None:
        if result.val_bpb is None:
            last = result.reports[-1]
            but = self._finish(TrialState.PRUNED, last.val_bpb)
            self.context.say(f"{self.label}: pruned at {last.percent}% with {last.val_bpb:.4f} BPB{but}")
            return None if but else self._show(f"pruned at {last.percent}% with {last.val_bpb:.6f} BPB")
        weights = None if self.proxy else self._save(result, tokenizer)
        but = self._finish(TrialState.COMPLETE, result.val_bpb)
        self.context.say(f"{self.label}: {result.val_bpb:.4f} BPB after {result.tokens:,} tokens{but}")
        if not but:
            self._show(f"{result.val_bpb:.6f} BPB")
        if weights and not but:
            keep_confirmed(self.context.study, self.claim.trial_id, weights, self.context.device, self.context.say)
        return None

    def _show(self, outcome: str) -> None:
        """Bring what optuna-dashboard shows up to date: after every long run, and now and then after proxies."""
        study, say = self.context.study, self.context.say
        if self.proxy:
            return update_dashboard_if_due(study, say)
        update_dashboard(study, say, self.retrying)
        lines = self.context.last_lines()
        text = record(self.plan, self.label, outcome, self.trial.params, self.attributes, self.reports, lines)
        return keep_record(study, self.claim.trial_id, self.claim.number, text, say)

    def _save(self, result: Result, tokenizer: Tokenizer) -> Path | None:
        """Save the weights; a disk that doesn't take them is no reason to lose the result."""
        weights = paths.checkpoints(self.context.study.runs_folder) / f"confirm-{self.claim.number}.pt"
        info = {"study": self.plan.name, "confirmation": self.claim.number, "val_bpb": result.val_bpb}
        ran = {"seed": self.seed, "budget_seconds": self.budget_seconds, "tokens": result.tokens}
        info |= {**ran, "data": self.plan.data.table(), "provenance": nameless(self.attributes[PROVENANCE])}
        try:
            weights.parent.mkdir(parents=True, exist_ok=True)
            checkpoint.save(weights, result.network, tokenizer, info)
        except (CheckpointError, OSError) as error:
            self.context.say(f"note: {self.label} has no weights: {error}")
            return None
        return weights


def _brief(params: dict[str, Any]) -> str:
    return ", ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in params.items())
