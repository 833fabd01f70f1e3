"""Training an export again, to see whether the BPB it states comes out.

Everything is taken from the export: settings, seed, budget, hashes of text and tokenizer, hardware class, and the
interval in which one new run should lie. That interval allows for the configuration having been chosen as the best of
several (`search.study.estimate`); older exports, which don't state it, and single runs have the mean's, by the noise
from seed to seed: the best of several is better on paper than it is, so that more than 5% of them come out above it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from model.data.corpus import Corpus
from model.data.tokenizer import cpu_count
from model.training.result import Result
from model.training.train import train
from search.common.errors import SearchError
from search.export.merged import why_not_again
from search.export.reader import ExportedResult, ExportedTraining, read_export
from search.machine.hardware import Hardware, compare, detect_hardware
from search.machine.preparation import Progress
from search.retrain.train import export_corpus, train_export

Say = Callable[[str], None]
SLOW_FRACTION = 0.9
"""Fraction of the stated tokens/s below which a worse BPB says nothing against the export."""
TOLERANCE_HINT = "`--tolerance 0.02` compares with a difference of your own"


@dataclass(frozen=True)
class Interval:
    """The interval in which one new run's BPB should lie, and where it comes from."""

    low: float
    high: float
    why: str
    from_noise: bool = True
    """Whether the interval comes from the noise from seed to seed, not from a tolerance that the user gave."""


def interval(claimed: ExportedResult, tolerance: float | None = None) -> Interval | None:
    """Return the 95% interval of one new run, or the stated BPB ± a tolerance; None if the noise isn't known."""
    n = len(claimed.seeds)
    half, why = tolerance, f"± {tolerance:g}, the tolerance given" if tolerance is not None else ""
    if half is None:
        stated = claimed.new_run_half_width
        half = claimed.noise.prediction_half_width(n) if stated is None else stated
        why = f"95%, one new run: noise from seed to seed {claimed.noise.deviation or 0:.4f} BPB"
        why += f" ({claimed.noise.degrees} degrees of freedom, {claimed.noise_of})" if claimed.noise_of else ""
    return None if half is None else Interval(claimed.val_bpb - half, claimed.val_bpb + half, why, tolerance is None)


@dataclass(frozen=True)
class Verification:
    """Whether the stated BPB came out again, and why."""

    answer: str
    """yes, no or can't tell."""
    why: str


def judge(bpb: float, expected: Interval | None, undecided: str = "") -> Verification:
    """Return whether a run's BPB lies in the interval; `undecided` is the reason if the run can't tell, else empty."""
    if expected is None:
        return Verification("can't tell", f"the export doesn't know the noise from seed to seed; {TOLERANCE_HINT}")
    inside = expected.low <= bpb <= expected.high
    side = "within the interval" if inside else f"{'below' if bpb < expected.low else 'above'} the interval"
    if undecided:
        return Verification("can't tell", f"{undecided} (it lies {side})")
    # A BPB below the interval is a no as well: then the export states a worse one than its run can have had.
    return Verification("yes" if inside else "no", f"it lies {side}")


def too_wide(expected: Interval | None, corpus: Corpus) -> str:
    """Return why an interval from noise is too wide to tell anything; empty if it isn't."""
    if expected is None or not expected.from_noise or expected.high < corpus.unigram_bpb:
        return ""
    return f"so few seeds leave an interval in which merely counting tokens would lie ({corpus.unigram_bpb:.4f} BPB)"


def fewer_tokens(claimed: float | None, here: float) -> str:
    """Return why a worse run tells nothing, namely that it saw clearly fewer tokens; empty if it didn't."""
    if not claimed or here >= SLOW_FRACTION * claimed:
        return ""
    return (
        f"this run had {1 - here / claimed:.0%} fewer tokens a second: the machine is slower, or something else used it"
    )


@dataclass(frozen=True)
class Comparability:
    """Whether a run on this machine can be compared with the exported one."""

    budget_scale: float = 1.0
    """Factor on the budget that makes up for another GPU's speed."""
    incomparable: str = ""
    """Reason why no run here can tell; empty if one can."""
    note: str = ""
    """Difference of the hardware, for the user."""


def comparability(claimed: Hardware | None, here: Hardware) -> Comparability:
    """Return whether a run here can be compared; budgets aren't scaled on CPUs, whose timings are too noisy."""
    if claimed is None:
        return Comparability(incomparable="the export doesn't name the hardware of its budget")
    comparison = compare(claimed, here)
    if not comparison.refused and comparison.scale == 1.0:
        return Comparability(note=comparison.difference)
    note = comparison.difference.replace("the study's", "the export's")
    if here.kind != "cuda" or comparison.scale is None:
        return Comparability(incomparable=f"{note}, and a time budget buys something else there")
    return Comparability(comparison.scale, note=f"{note}; the budget is scaled × {comparison.scale:.2f}")


def hash_mismatch(what: str, of: str, there: str, here: str) -> str:
    """Return the message that text or tokenizer here isn't that of an export or model, and what to do."""
    return (
        f"the {what} here is not the {of}'s: sha-256 {here[:9]}… here, {there[:9]}… there. "
        "BPB on another text says nothing about the claim: bring the same files with --data "
        "(for built-in text: the same Python version)."
    )


def check_text(claimed: ExportedResult, corpus: Corpus) -> list[str]:
    """Return what has the export's hash, of text and tokenizer; raises `SearchError` if one has another hash."""
    agreed = []
    for what, key, here in (
        ("text", "text_sha256", corpus.text_sha256),
        ("tokenizer", "tokenizer_sha256", corpus.tokenizer.sha256),
    ):
        there = claimed.provenance.get(key)
        if there is not None and there != here:
            raise SearchError(hash_mismatch(what, "export", str(there), here))
        agreed += [what] if there is not None else []
    return agreed


def verify(
    config: Path,
    *,
    rank: int | None = None,
    seed: int | None,
    tolerance: float | None,
    data: str | None,
    device: torch.device,
    progress: Progress,
    say: Say,
    trainer: Callable[..., Result] = train,
) -> Verification:
    """Train an export again, for its budget with its first seed, and return whether its BPB comes out.

    `trainer` takes the arguments of `model.training.train.train`. Raises `SearchError`, before anything is trained, if
    text or tokenizer aren't the export's, or the file is a merge.
    """
    if why := why_not_again(config):
        raise SearchError(why)
    export = read_export(config, rank)
    training, claimed = export.training, export.result
    corpus = export_corpus(training, data, progress)
    agreed = check_text(claimed, corpus)
    say(f"the same: {', '.join(agreed)} (sha-256)" if agreed else "note: the export has no hash of its text")
    _use_as_many_threads(claimed.machine, device)
    here = detect_hardware(device, claimed.machine is not None and claimed.machine.compiled)
    hardware = comparability(claimed.machine, here)
    if hardware.note or hardware.incomparable:
        say(f"note: {hardware.note or hardware.incomparable}")
    chosen = claimed.seeds[0] if seed is None else seed
    result = train_export(
        training, corpus, budget_scale=hardware.budget_scale, seed=chosen, device=device, say=say, trainer=trainer
    )
    assert result.val_bpb is not None
    expected = interval(claimed, tolerance)
    undecided = f"not comparable: {hardware.incomparable}" if hardware.incomparable else too_wide(expected, corpus)
    if expected is not None and result.val_bpb > expected.high and hardware.budget_scale == 1:
        undecided = undecided or fewer_tokens(claimed.tokens_per_second, result.tokens_per_second)
    verification = judge(result.val_bpb, expected, undecided)
    for line in result_lines(training, claimed, expected, result, chosen, hardware, verification):
        say(line)
    return verification


def _use_as_many_threads(claimed: Hardware | None, device: torch.device) -> None:
    """On a CPU, use as many threads as the exported run had, but no more than there are cores."""
    if claimed is not None and claimed.kind == device.type == "cpu":
        torch.set_num_threads(max(1, min(claimed.threads, cpu_count())))


def result_lines(
    training: ExportedTraining,
    claimed: ExportedResult,
    expected: Interval | None,
    result: Result,
    seed: int,
    hardware: Comparability,
    verification: Verification,
) -> list[str]:
    """Return four lines: the stated BPB, the interval, this run's BPB and the answer."""
    seeds = f"mean of {len(claimed.seeds)} seeds" if len(claimed.seeds) > 1 else f"seed {claimed.seeds[0]}"
    if claimed.mean_bpb != claimed.val_bpb:
        seeds = f"estimated from {seeds} ({claimed.mean_bpb:.4f})"
    scaled = f" = {training.budget} × {hardware.budget_scale:.2f}, scaled" if hardware.budget_scale != 1 else ""
    speed = ""
    if claimed.tokens_per_second:
        speed = f", {result.tokens_per_second / claimed.tokens_per_second - 1:+.0%} tokens/s"
    bounds = f"{expected.low:.4f} … {expected.high:.4f} BPB ({expected.why})" if expected else "not known"
    return [
        f"claimed:  {claimed.val_bpb:.4f} BPB, {seeds}, {training.budget}: {claimed.label}",
        f"interval: {bounds}",
        f"this run: {result.val_bpb:.4f} BPB, seed {seed}, {result.train_seconds:.1f} s{scaled}{speed}",
        f"verdict:  {verification.answer}: {verification.why}",
    ]
