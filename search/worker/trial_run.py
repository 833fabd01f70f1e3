"""One claimed trial: what it trains, its training, its reports and its end."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import Trial, TrialState

from model.data.corpus import Corpus
from model.data.tokenizer import Tokenizer
from model.minimal_pairs import read_pairs
from model.network.transformer import Transformer
from model.training.compiling import compiled_as
from model.training.micro_batches import MicroBatches
from model.training.result import Report, Result
from search.common import paths
from search.common.durations import parse_duration
from search.common.network_size import dropped_text
from search.machine.provenance import without_host
from search.machine.shared_text import shared_corpus
from search.retrain.score import run_scores
from search.show.dashboard.sync import update_dashboard, update_dashboard_if_due
from search.strategy.pruner import drawn_as_control
from search.strategy.sampler import ensure_parameters
from search.study.artifacts import AT_PERCENT
from search.study.plan import PLAIN, Configuration
from search.study.space import Params
from search.study.trial_attributes import valid_attributes
from search.study.trials import BASELINE, BUDGET, CONTROL, GRID, PROVENANCE, SCORES, Attributes, run_label, trial_params
from search.worker.result_attributes import result_attributes
from search.worker.resume import SavedStates
from search.worker.run_context import RunContext
from search.worker.run_pruner import RunPruner
from search.worker.run_record import record
from search.worker.trial_files import keep_confirmed, keep_record, save_weights, saved_states
from storage.errors import first_line
from storage.queue.heartbeat import Heartbeat
from storage.queue.trial_queue import Claim, TrialQueue


class TrialRun:
    """One claimed trial.

    Args:
        context: what the worker's runs share.
        study: the Optuna study of which it is a trial.
        queue: the queue of that study.
        claim: the trial.
        proxy: whether it is a proxy trial, not a confirmation run.
        heartbeat: notices when another worker has taken the trial over.

    """

    def __init__(
        self,
        context: RunContext,
        study: optuna.Study,
        queue: TrialQueue,
        claim: Claim,
        proxy: bool,
        heartbeat: Heartbeat,
    ) -> None:
        claim = replace(claim, user_attrs=valid_attributes(claim.user_attrs, claim.number))
        self.context, self.queue, self.claim, self.proxy, self.heartbeat = context, queue, claim, proxy, heartbeat
        self.plan = context.study.plan
        self.retrying, self.outbox = context.retrying, context.outbox
        self.attributes, self.reports = dict(claim.user_attrs), dict[int, float]()
        self.params: Params = {}
        if proxy:
            self.retrying(lambda: ensure_parameters(context.study, claim.trial_id))
        self.trial = self.retrying(lambda: Trial(study, claim.trial_id))  # reads the parameters just settled
        self.label = run_label(proxy, claim.number)
        self.pruner = RunPruner(context, study, queue, claim, proxy, self.label)
        self.counted = False
        """Whether the database has the run's end."""
        self.states = None if proxy else self.retrying(self._saved_states)

    def train(self) -> None:
        """Settle what the trial trains, train it and record its result.

        Raises what the trainer raises, and `StoppedError` if stopping is asked for while the database is away.
        """
        attrs = Attributes(self.claim.user_attrs)
        self.params = self.retrying(self._params)
        params = self.plan.scaled(self.params, attrs.lr_scale)
        configuration = self.plan.configuration(params)
        self._draw_control()
        corpus = shared_corpus(self.context.study, configuration.tokenizer, self._should_stop)
        fidelity = self.plan.proxy if self.proxy else self.plan.confirm
        self.budget_seconds = self.context.budget_scale * parse_duration(attrs.budget or fidelity.budget)
        self.seed = self.plan.proxy.seed if attrs.seed is None else attrs.seed
        self.context.say(f"{self.label}: {_brief(params) or PLAIN}")
        result = self._train(configuration, corpus)
        if self.lost:
            self.context.say(f"{self.label}: taken over by another worker; its result is left out")
            return
        decision = self.pruner.decision
        self._set_attributes(
            result_attributes(
                self.context, result, corpus, decision, seed=self.seed, budget_seconds=self.budget_seconds
            )
        )
        self._record(result, corpus.tokenizer)

    def _train(self, configuration: Configuration, corpus: Corpus) -> Result:
        confirm_seconds = self.plan.confirm.budget_seconds
        return self.context.trainer(
            configuration.model,
            compiled_as(configuration.train, self.context.device, confirm_seconds),
            corpus,
            budget_seconds=self.budget_seconds,
            horizon_seconds=self.context.budget_scale * confirm_seconds if self._is_prefix else None,
            seed=self.seed,
            report_points=self.plan.report_points(),
            report_bytes=self.context.report_bytes,
            device=self.context.device,
            micro_batches=MicroBatches(paths.cache() / "micro-batches"),
            on_report=self._report,
            should_stop=self._should_stop,
            keeper=self.states,
            **({"on_weights": self._state_keeper(corpus.tokenizer)} if self._keeps_states else {}),
        )

    @property
    def _keeps_states(self) -> bool:
        """Whether the run's last states are stored with it: of confirmation runs alone, and not of their rungs."""
        whole = self.attributes.get(BUDGET) in (None, self.plan.confirm.budget)
        return not self.proxy and whole and self.plan.confirm.last_states > 0

    def _state_keeper(self, tokenizer: Tokenizer) -> Callable[[int, Transformer], None]:
        points = self.plan.report_points()[:-1][-self.plan.confirm.last_states :]

        def keep(percent: int, network: Transformer) -> None:
            if points and percent >= points[0]:
                info = self._weights_info() | {AT_PERCENT: percent}
                save_weights(self.context.study, self.claim.number, network, tokenizer, info, self.context.say)

        return keep

    def _params(self) -> Params:
        """Return the settings that the run was given; only a baseline or an idea may have others than searched ones."""
        given = trial_params(self.context.study.database.storage.get_trial(self.claim.trial_id))
        if Attributes(self.claim.user_attrs).baseline is None:
            names = self.plan.searched(given) | self.plan.own_settings()
            given = {name: value for name, value in given.items() if name in names}
        return self.plan.suggest(self.trial, given)

    def _saved_states(self) -> SavedStates:
        context = self.context

        def say(line: str) -> None:
            context.say(f"{self.label}: {line}")

        return SavedStates(
            context.study, self.claim.number, context.store, stopping=context.stop, go_on=self._go_on, say=say
        )

    def _go_on(self, reports: Sequence[Report], attributes: dict[str, Any]) -> None:
        """Repeat the reports of the lost try, so that the curve is whole; the pruner has judged them already."""
        for report in reports:
            self._store_loss(report)
        self._set_attributes(attributes)

    @property
    def lost(self) -> bool:
        """Whether another worker has the trial now."""
        return self.heartbeat.lost or self.outbox.lost(self.claim.trial_id)

    @property
    def _is_prefix(self) -> bool:
        return self.proxy and self.plan.proxy.schedule == "prefix"

    def _should_stop(self) -> bool:
        return self.context.stop() or self.lost or self.outbox.refused is not None

    def _draw_control(self) -> None:
        """Draw whether a sampled proxy is a control trial, before it starts."""
        if self.proxy and not self.claim.user_attrs.keys() & {CONTROL, BASELINE, GRID}:
            control = drawn_as_control(self.plan.name, self.claim.number, self.plan.pruner.controls)
            self._set_attributes({CONTROL: control})

    def _set_attributes(self, attributes: dict[str, Any]) -> None:
        self.attributes |= attributes
        self.outbox.attributes(self.queue, self.claim.trial_id, attributes)

    def _store_loss(self, report: Report) -> None:
        self.reports[report.percent] = report.val_bpb
        self.outbox.report(self.queue, self.claim.trial_id, report.percent, report.val_bpb)

    def _report(self, report: Report) -> bool:
        """Report a loss, off the clock; return whether the run goes on.

        The outbox delivers the loss later if the database doesn't take it at once.
        """
        self._store_loss(report)
        return self.pruner.goes_on(report.percent, self.attributes, self.reports)

    def _record(self, result: Result, tokenizer: Tokenizer) -> None:
        if result.val_bpb is None:
            self._record_pruned(result.reports[-1])
        else:
            self._record_complete(result, result.val_bpb, tokenizer)

    def _record_pruned(self, last: Report) -> None:
        not_counted = self._finish(TrialState.PRUNED, last.val_bpb)
        if self._keeps_states:
            for path in saved_states(self.context.study, self.claim.number):
                path.unlink(missing_ok=True)
        self.context.say(f"{self.label}: pruned at {last.percent}% with {last.val_bpb:.4f} BPB{not_counted}")
        if not not_counted:
            self._update_dashboard(f"pruned at {last.percent}% with {last.val_bpb:.6f} BPB")

    def _record_complete(self, result: Result, val_bpb: float, tokenizer: Tokenizer) -> None:
        weights = None if self.proxy else self._save_weights(result, tokenizer)
        self._score(result, tokenizer)
        not_counted = self._finish(TrialState.COMPLETE, val_bpb)
        dropped = f", {dropped_text(result.dropped_share)}" if result.dropped_share is not None else ""
        self.context.say(f"{self.label}: {val_bpb:.4f} BPB after {result.tokens:,} tokens{dropped}{not_counted}")
        if not_counted:
            return
        self._update_dashboard(f"{val_bpb:.6f} BPB")
        if weights:
            study, states = self.context.study, saved_states(self.context.study, self.claim.number)
            keep_confirmed(study, self.claim.trial_id, weights, self.context.device, self.context.say, states)

    def _score(self, result: Result, tokenizer: Tokenizer) -> None:
        """Score a confirmation run on the study's minimal pairs; what hinders that is no reason to lose its result."""
        if self.proxy or not self.plan.confirm.scores:
            return
        try:
            pairs = read_pairs(self.plan.confirm.scores)
            scores = run_scores(result.network, tokenizer, pairs, self._should_stop)
        except Exception as error:
            self.context.say(f"note: {self.label} is not scored on minimal pairs: {first_line(error)}")
            return
        self._set_attributes({SCORES: scores.table()})
        self.context.say(f"{self.label}: {scores.text} of {scores.total:,} minimal pairs right")

    def _save_weights(self, result: Result, tokenizer: Tokenizer) -> Path | None:
        info = self._weights_info() | {
            "val_bpb": result.val_bpb,
            "tokens": result.tokens,
            "provenance": without_host(self.attributes[PROVENANCE]),
        }
        return save_weights(self.context.study, self.claim.number, result.network, tokenizer, info, self.context.say)

    def _weights_info(self) -> dict[str, Any]:
        """Return what is known of the run's weights before its end."""
        return {
            "study": self.plan.name,
            "confirmation": self.claim.number,
            "seed": self.seed,
            "budget_seconds": self.budget_seconds,
            "data": self.plan.data.table(),
        }

    def _finish(self, state: TrialState, value: float) -> str:
        """Record the run's end, which is safe on this machine at once; return a remark if it isn't counted (yet)."""
        self.outbox.finish(self.queue, self.claim.trial_id, state, value)
        if not self.context.delivered():
            return " (kept here until the database answers)"
        if self.outbox.lost(self.claim.trial_id):
            return " (not counted)"
        self.counted = True
        if self.states is not None:
            self.states.done()
        return ""

    def _update_dashboard(self, end: str) -> None:
        """Update what optuna-dashboard shows: after every confirmation run, and now and then after proxies."""
        study, say = self.context.study, self.context.say
        if self.proxy:
            update_dashboard_if_due(study, say)
            return
        update_dashboard(study, say, self.retrying)
        lines = self.context.last_lines()
        text = record(self.plan, self.label, end, self.params, self.attributes, self.reports, lines)
        keep_record(study, self.claim.trial_id, self.claim.number, text, say)


def _brief(params: dict[str, Any]) -> str:
    return ", ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in params.items())
