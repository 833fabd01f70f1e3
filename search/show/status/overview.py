"""The records of a study's overview, which the terminal shows and `status --json` prints."""

from dataclasses import asdict, dataclass, field
from typing import Any

SCHEMA_VERSION = 2
"""Version of the JSON: it rises when a field is removed or changes its meaning, not for a new field."""


def described(doc: str) -> Any:
    """Return a record's field with its description, which the JSON schema has too."""
    return field(metadata={"doc": doc})


@dataclass(frozen=True, kw_only=True)
class TrialCounts:
    """Numbers of trials of one fidelity, by state."""

    asked: int = described(
        "Number of runs that there will be: an estimate for confirmation runs until the race is over, and for proxies "
        "while hours or dollars limit them."
    )
    estimated: bool = described("Whether `asked` is an estimate.")
    complete: int = described("Runs trained to the end.")
    pruned: int = described("Runs stopped early by the pruner.")
    failed: int = described("Runs failed by a fault of their configuration: diverged, out of memory, error.")
    lost: int = described("Runs lost with their worker, or handed back, and queued again as other trials.")
    running: int = described("Runs being trained.")
    to_come: int = described("Runs not started.")

    @property
    def ended(self) -> int:
        """Number of runs that need no more work, lost ones left out."""
        return self.complete + self.pruned + self.failed


@dataclass(frozen=True, kw_only=True)
class WorkerStatus:
    """A registered worker that hasn't ended."""

    name: str = described("HOST/PROCESS-TOKEN.")
    launch: str = described("Name of the rented machine; empty if it wasn't rented.")
    device: str = described("Name of its GPU or processor.")
    state: str = described("alive, or dead: no heartbeat for longer than `grace_seconds`.")
    run: str = described("The run that it trains, `trial 7` or `confirmation 3`; empty while it is idle.")
    percent: int = described("Percent of its run's budget that was spent at the last report.")
    tokens_per_second: float | None = described("Tokens trained on per second in the last run that it finished.")
    trials: int = described("Number of trials that it has trained to the end or until they were pruned.")
    usd_per_hour: float = described("Its price, in dollars an hour.")
    usd: float = described("Its cost so far, in dollars.")
    silent_seconds: float = described("Seconds since its last heartbeat.")


@dataclass(frozen=True, kw_only=True)
class BestResult:
    """The best configuration of some kind, with its result."""

    label: str = described("`trial 7`, or `baseline NAME`.")
    bpb: float = described(
        "Bits per byte; for a confirmed configuration what to expect of it: the mean over its seeds, shrunk for having "
        "been chosen."
    )
    half_width: float | None = described(
        "Half of the 95% interval of `bpb`; null if no configuration was run with two seeds."
    )
    mean_bpb: float = described("Mean over its seeds, by which configurations are ranked.")
    seeds: int = described("Number of runs, each with its own seed, in that mean.")
    parameters: dict[str, Any] = described("Values of the searched settings, and of those that a baseline sets itself.")


@dataclass(frozen=True, kw_only=True)
class ReportCorrelation:
    """How well losses at one report predict final ones."""

    percent: int = described("Percent of the proxy's budget at this report.")
    rho: float = described("Spearman's correlation over all finished proxies.")
    bound: float = described("Its lower 90% confidence bound.")
    proof: float = described(
        "Probability that losses at this report predict final ones, judged by where the good runs were then."
    )
    n: int = described("Number of proxies compared.")
    open: bool = described(
        "Whether `proof` is 0.95 or more and enough proxies have finished; for reading, the pruner doesn't wait for it."
    )


@dataclass(frozen=True, kw_only=True)
class Correlation:
    """The correlation at every report, and where the pruner's gate is open."""

    steps: list[ReportCorrelation] = described("An entry for each report but the last.")
    finished: int = described("Number of proxies trained to the end.")
    needed: int = described("Number of proxies that must have finished before any is pruned.")
    open_from: int | None = described(
        "Percent of the budget from which `open` is true at every later report; null: nowhere."
    )


@dataclass(frozen=True, kw_only=True)
class TransferSummary:
    """Whether proxies predict the order of confirmed configurations."""

    pairs: int = described("Number of configurations with both a proxy's and a confirmed BPB.")
    tau: float | None = described("Kendall's τ-b; null below 5 pairs.")
    low: float | None = described("Lower end of its 95% interval.")
    high: float | None = described("Upper end of that interval.")
    proven: bool = described("Whether τ ≤ 0 can be excluded.")
    verdict: str = described("The result of the check, as a sentence.")


@dataclass(frozen=True, kw_only=True)
class RunPrediction:
    """A candidate's first long run, as it was predicted before it ended."""

    label: str = described("`trial 7`, or `baseline NAME`.")
    bpb: float = described("Predicted BPB.")
    half_width: float = described("Half of the 90% interval in which the run's BPB is predicted to lie.")
    long_runs: int = described("Long runs that were known when it was predicted.")
    racing: bool = described("Whether the candidate has, or waits for, a long run.")
    result: float | None = described("BPB of its first long run; null before that has ended.")


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Hours and dollars of all workers, idle or not."""

    hours: float = described("Worker hours so far.")
    hours_projected: float = described("Worker hours when the study ends, an estimate.")
    usd: float = described("Dollars so far.")
    usd_bound: float = described("Further dollars until the runs under way end.")
    usd_projected: float = described("Dollars when the study ends, an estimate.")
    max_usd: float | None = described("The cap in dollars; null if there is none.")
    capped: bool = described("Whether the cap will end the study before its runs do.")


@dataclass(frozen=True, kw_only=True)
class StatusWarning:
    """A warning: something to act upon, or a caveat of the results."""

    kind: str = described("waiting, idle, stopped, cap, or a caveat's name: edge, learning-rate, noise, correlation, …")
    sentence: str = described("The warning, as a sentence.")


@dataclass(frozen=True, kw_only=True)
class Overview:
    """A study's state at one moment."""

    schema_version: int = described("Version of this format; rises when a field is removed or changes its meaning.")
    at: str = described("Time of this status, in UTC; by the server's clock once a worker has registered.")
    study: str = described("Name of the study.")
    description: str = described("Description in the study file.")
    kind: str = described("search or grid.")
    state: str = described(
        "running; waiting for its first worker; stopped: runs are left, but there is no worker; finished."
    )
    proxy_budget: str = described("Training time of a proxy.")
    confirm_budget: str = described("Training time of a confirmation run.")
    elapsed_seconds: float = described("Seconds during which at least one worker was registered.")
    eta_seconds: float | None = described(
        "Seconds until the end, an estimate for the workers alive now; null if there is none."
    )
    proxies: TrialCounts = described("The proxy trials by state.")
    confirmations: TrialCounts = described("The confirmation runs by state.")
    workers: list[WorkerStatus] = described("Workers that haven't ended.")
    best_proxy: BestResult | None = described("The finished proxy with the lowest BPB.")
    baseline_proxy: BestResult | None = described("The best proxy of a baseline.")
    best_confirmed: BestResult | None = described(
        "The confirmed configuration with the lowest mean BPB; those that failed in a confirmation run come last."
    )
    baseline_confirmed: BestResult | None = described("The best confirmed baseline.")
    searched_confirmed: BestResult | None = described("The best confirmed configuration that isn't a baseline.")
    correlation: Correlation = described("How well losses during training predict final ones.")
    transfer: TransferSummary = described("How well proxies predict confirmed results.")
    predictions: list[RunPrediction] = described(
        "Predicted long runs, the best prediction first; empty while too few runs have ended to predict."
    )
    pruning_saved_seconds: float = described("Training seconds that pruning saved.")
    race: str = described("State of the race of confirmation runs, as a sentence; empty before it began.")
    race_over: bool = described("Whether the race needs no further run.")
    cost: Cost = described("Cost in hours and dollars.")
    warnings: list[StatusWarning] = described("Warnings, the most urgent first.")

    def table(self) -> dict[str, Any]:
        """Return the overview as plain dictionaries, for JSON."""
        return asdict(self)
