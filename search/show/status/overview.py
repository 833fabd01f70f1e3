"""A study at a glance, as one record: what the console shows and `status --json` prints."""

from dataclasses import asdict, dataclass, field
from typing import Any

SCHEMA_VERSION = 1
"""Rises when a field goes or changes its meaning; a new field leaves it."""


def told(doc: str) -> Any:
    """Return a record's field with what it means, which its schema says too."""
    return field(metadata={"doc": doc})


@dataclass(frozen=True, kw_only=True)
class Counts:
    """The trials of one fidelity by state."""

    asked: int = told("Number of runs that there will be; for confirmation runs an estimate until the race is over.")
    estimated: bool = told("Whether `asked` is an estimate.")
    complete: int = told("Runs trained to the end.")
    pruned: int = told("Runs stopped early by the pruner.")
    failed: int = told("Runs failed by a fault of their configuration: diverged, out of memory, error.")
    lost: int = told("Runs lost with their worker, or handed back, and queued again as other trials.")
    running: int = told("Runs being trained.")
    to_come: int = told("Runs not started.")

    @property
    def ended(self) -> int:
        """Those that count among the asked and need no more work."""
        return self.complete + self.pruned + self.failed


@dataclass(frozen=True, kw_only=True)
class WorkerNow:
    """A worker that hasn't ended."""

    name: str = told("HOST/PROCESS-TOKEN.")
    launch: str = told("Name of the rented machine; empty if it wasn't rented.")
    device: str = told("Name of its GPU or processor.")
    state: str = told("alive, or dead: no heartbeat for longer than `grace_seconds`.")
    run: str = told("The run that it trains, `trial 7` or `confirmation 3`; empty while it is idle.")
    percent: int = told("Percent of its run's budget that was spent at the last report.")
    tokens_per_second: float | None = told("Tokens trained on per second in the last run that it finished.")
    trials: int = told("Number of trials that it has trained to the end or until they were pruned.")
    usd_per_hour: float = told("Its price, in dollars an hour.")
    usd: float = told("Its cost so far, in dollars.")
    silent_seconds: float = told("Seconds since its last heartbeat.")


@dataclass(frozen=True, kw_only=True)
class Found:
    """A configuration with its result."""

    label: str = told("`trial 7`, or `baseline NAME`.")
    bpb: float = told("Bits per byte; for a confirmed configuration the mean over its seeds.")
    half_width: float | None = told(
        "Half of the 95% interval of that mean; null if no configuration was run with two seeds."
    )
    seeds: int = told("Number of runs, each with its own seed, in that mean.")
    parameters: dict[str, Any] = told("Values of the searched settings.")


@dataclass(frozen=True, kw_only=True)
class Foretold:
    """How losses at a report foretell final ones."""

    percent: int = told("Percent of the proxy's budget at this report.")
    rho: float = told("Spearman's correlation over all finished proxies.")
    bound: float = told("Its lower 90% confidence bound.")
    proof: float = told(
        "Probability that losses at this report predict final ones, judged by where the good runs stood."
    )
    n: int = told("Number of proxies compared.")
    open: bool = told(
        "Whether `proof` is 0.95 or more and enough proxies have finished; the pruner goes by `proof` itself."
    )


@dataclass(frozen=True, kw_only=True)
class Correlation:
    """The correlation by progress, and the pruner's gate."""

    steps: list[Foretold] = told("An entry for each report but the last.")
    finished: int = told("Number of proxies trained to the end.")
    needed: int = told("Number of proxies that must have finished before any is pruned.")
    open_from: int | None = told(
        "Percent of the budget from which `open` is true at every later report; null: nowhere."
    )


@dataclass(frozen=True, kw_only=True)
class TransferNow:
    """Whether the proxy foretold what was confirmed."""

    pairs: int = told("Number of configurations with both a proxy's and a confirmed BPB.")
    tau: float | None = told("Kendall's τ-b; null below 5 pairs.")
    low: float | None = told("Lower end of its 95% interval.")
    high: float | None = told("Upper end of that interval.")
    proven: bool = told("Whether τ ≤ 0 can be excluded.")
    verdict: str = told("The result of the check, as a sentence.")


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Hours and dollars of all workers, idle or not."""

    hours: float = told("Worker hours so far.")
    hours_projected: float = told("Worker hours when the study ends, an estimate.")
    usd: float = told("Dollars so far.")
    usd_bound: float = told("Further dollars until the runs under way end.")
    usd_projected: float = told("Dollars when the study ends, an estimate.")
    max_usd: float | None = told("The cap in dollars; null if there is none.")
    capped: bool = told("Whether the cap will end the study before its runs do.")


@dataclass(frozen=True, kw_only=True)
class Warned:
    """Something to act upon, or not to trust blindly."""

    kind: str = told("waiting, idle, stopped, cap, or a caveat's name: edge, learning-rate, noise, correlation, …")
    sentence: str = told("The warning, as a sentence.")


@dataclass(frozen=True, kw_only=True)
class Overview:
    """A study at one moment."""

    schema_version: int = told("Version of this format; rises when a field is removed or changes its meaning.")
    at: str = told("Time of this status, in UTC; by the server's clock once a worker has registered.")
    study: str = told("Name of the study.")
    description: str = told("Description in the study file.")
    kind: str = told("search or grid.")
    state: str = told(
        "running; waiting for its first worker; stopped: runs are left, but there is no worker; finished."
    )
    proxy_budget: str = told("Training time of a proxy.")
    confirm_budget: str = told("Training time of a confirmation run.")
    elapsed_seconds: float = told("Seconds during which at least one worker was registered.")
    eta_seconds: float | None = told(
        "Seconds until the end, an estimate for the workers alive now; null if there is none."
    )
    proxies: Counts = told("The proxy trials by state.")
    confirmations: Counts = told("The confirmation runs by state.")
    workers: list[WorkerNow] = told("Workers that haven't ended.")
    best_proxy: Found | None = told("The finished proxy with the lowest BPB.")
    baseline_proxy: Found | None = told("The best proxy of a baseline.")
    best_confirmed: Found | None = told(
        "The confirmed configuration with the lowest mean BPB; those that failed in a confirmation run come last."
    )
    baseline_confirmed: Found | None = told("The best confirmed baseline.")
    searched_confirmed: Found | None = told("The best confirmed configuration that isn't a baseline.")
    correlation: Correlation = told("How well losses during training predict final ones.")
    transfer: TransferNow = told("How well proxies predict confirmed results.")
    pruning_saved_seconds: float = told("Training seconds that pruning saved.")
    race: str = told("State of the race of confirmation runs, as a sentence; empty before it began.")
    race_over: bool = told("Whether the race needs no further run.")
    cost: Cost = told("Cost in hours and dollars.")
    warnings: list[Warned] = told("Warnings, the most urgent first.")

    def table(self) -> dict[str, Any]:
        """Return plain tables, as JSON has them."""
        return asdict(self)
