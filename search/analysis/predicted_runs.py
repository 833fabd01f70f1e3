"""What was predicted of candidates' long runs, beside what came out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optuna.trial import FrozenTrial, TrialState

from search.strategy.entrants import entrant_of
from search.study.predictions import MIN_LONG_RUNS, MIN_PROXIES, Prediction, Predictions, stored_predictions
from search.study.results import bpb_text
from search.study.study import ReadStudy
from search.study.trials import attributes_of, final_budget, label

MOST_NAMED = 3
"""Candidates named in the sentence about those that haven't had a long run."""


@dataclass(frozen=True, kw_only=True)
class PredictedRun:
    """A candidate's first long run, as it was predicted."""

    candidate: str
    """The candidate's key, such as trial 7."""
    prediction: Prediction
    bpb: float | None
    """BPB of the candidate's first long run; None before that has ended."""
    racing: bool
    """Whether the candidate has, or waits for, a long run."""

    @property
    def text(self) -> str:
        """The predicted BPB with its interval."""
        return bpb_text(self.prediction.bpb, self.prediction.half_width)


def predicted_runs(study: ReadStudy) -> dict[str, PredictedRun]:
    """Return the predicted first long runs by candidate, the best prediction first."""
    runs = [r for r in study.confirm_trials() if final_budget(study.plan, r)]
    predictions = {entrant_of(r).key: p for r in reversed(runs) if (p := _when_queued(r))}
    predictions |= stored_predictions(study.confirm_attributes()).by_candidate
    results = {
        entrant_of(r).key: r.value for r in reversed(runs) if r.state == TrialState.COMPLETE and r.value is not None
    }
    racing = {entrant_of(r).key for r in runs}
    known = racing | {label(None, t.number, 1.0) for t in study.proxy_trials()}
    return {
        key: PredictedRun(candidate=key, prediction=p, bpb=results.get(key), racing=key in racing)
        for key, p in sorted(predictions.items(), key=lambda item: item[1].bpb)
        if key in known  # whatever else a worker may have stored isn't shown
    }


def _when_queued(run: FrozenTrial) -> Prediction | None:
    attrs = attributes_of(run)
    if attrs.predicted is None or attrs.predicted_half_width is None:
        return None
    return Prediction(bpb=attrs.predicted, half_width=attrs.predicted_half_width, long_runs=0)


def predictions_line(study: ReadStudy, predicted: Mapping[str, PredictedRun], *, race_over: bool) -> str:
    """Return in sentences what is predicted, and how predictions came out; empty where nothing can be, or is to be."""
    stored = stored_predictions(study.confirm_attributes())
    if predicted:
        sentences = [_promising(stored, list(predicted.values())), _kept(list(predicted.values()))]
        return " ".join(sentence for sentence in sentences if sentence)
    if race_over or study.plan.is_grid or not study.plan.confirmations:
        return ""
    proxies = sum(t.state.is_finished() for t in study.proxy_trials())
    long = sum(r.state == TrialState.COMPLETE and final_budget(study.plan, r) for r in study.confirm_trials())
    return (
        f"Long BPB can't be predicted yet: that takes {MIN_PROXIES} proxies and {MIN_LONG_RUNS} long runs that have "
        f"ended, and there are {proxies} and {long}."
    )


def _promising(stored: Predictions, predicted: Sequence[PredictedRun]) -> str:
    """Return the best predictions of candidates that have had no long run."""
    waiting = [p for p in predicted if p.bpb is None]
    if not waiting:
        return ""
    named = ", ".join(f"{p.candidate} at {p.text}" for p in waiting[:MOST_NAMED])
    source = f"Predicted from {stored.proxies} proxies and {stored.long_runs} long runs"
    return f"{source}, the best without a long run: {named} BPB (90% intervals)."


def _kept(predicted: Sequence[PredictedRun]) -> str:
    """Return how many long runs came out as predicted."""
    ended = [p for p in predicted if p.bpb is not None]
    if not ended:
        return ""
    inside = sum(p.prediction.holds(p.bpb) for p in ended if p.bpb is not None)
    noun = "long run" if len(ended) == 1 else "long runs"
    return f"Of {len(ended)} {noun} predicted beforehand, {inside} came out within the 90% interval."
